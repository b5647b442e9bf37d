"""Models that write: decoders alone, and encoders with decoders."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.parity.architectures import Architecture
from tests.parity.architectures.makers import SENTENCES, byte_pairs, fallback_pairs, pieces

# Weights of this size decide between the tokens of a random model.
LARGE = 0.5
POSITIONS = 320
# The names that most decoders have for their sizes, and those of GPT-2.
COMMON = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "max_position_embeddings": POSITIONS, "initializer_range": LARGE,
}  # fmt: skip
GROUPED = {**COMMON, "num_key_value_heads": 2}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS, "initializer_range": LARGE}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 48}
WIDE = {**GROUPED, "head_dim": 8}
SLIDING = {**WIDE, "sliding_window": 4}
# Names for the experts of a layer, which go round several families.
MIXED = {**GROUPED, "intermediate_size": 48, "num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {
    **GROUPED, "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
LATENT = {
    **COMMON, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
INDEXED = {"index_n_heads": 16, "index_head_dim": 8, "index_topk": 4}
DELTA = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
MAMBA_HEADS = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8,
}  # fmt: skip
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": OLD,
    "gpt_neo": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
        "window_size": 4, "intermediate_size": 37, "max_position_embeddings": POSITIONS, "initializer_range": LARGE,
    },
    "gpt_neox": COMMON,
    "gptj": {**OLD, "rotary_dim": 4},
    "codegen": {**OLD, "rotary_dim": 4, "n_ctx": POSITIONS},
    "gpt_bigcode": {**OLD, "multi_query": True},
    "opt": {
        "hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "ffn_dim": 37, "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS, "init_std": LARGE,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": LARGE},
    "falcon": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": LARGE,
        "multi_query": True, "alibi": False, "new_decoder_architecture": False,
    },
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": POSITIONS, "initializer_range": LARGE},
    "xglm": {
        "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 37, "max_position_embeddings": POSITIONS,
        "init_std": LARGE,
    },
    "biogpt": COMMON,
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 4},
    "mixtral": {**GROUPED, "intermediate_size": 48, "num_local_experts": 3, "num_experts_per_tok": 2},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "qwen2_moe": {**GROUPED, **EXPERTS, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {**GROUPED, **EXPERTS, "moe_intermediate_size": 16, "head_dim": 8},
    "phi": COMMON,
    "phi3": GROUPED,
    "gemma": {**GROUPED, "head_dim": 8},
    "gemma2": {**GROUPED, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "gemma3_text": {**GROUPED, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "stablelm": GROUPED,
    "starcoder2": GROUPED,
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "granite": GROUPED,
    "smollm3": GROUPED,
    "cohere": GROUPED,
    "helium": {**GROUPED, "head_dim": 8},
    "nemotron": GROUPED,
    "persimmon": COMMON,
    "glm": {**GROUPED, "head_dim": 8},
    "exaone4": GROUPED,
    "arcee": GROUPED,
    "apertus": GROUPED,
    "openai-gpt": OLD,
    "gpt-sw3": OLD,
    "gpt_neox_japanese": {**COMMON, "intermediate_multiple_size": 2},
    "cohere2": SLIDING,
    "glm4": WIDE,
    "olmo3": SLIDING,
    "olmoe": {**GROUPED, **EXPERTS},
    "granitemoe": MIXED,
    "granitemoeshared": {**MIXED, "shared_intermediate_size": 16},
    "flex_olmo": {**GROUPED, **EXPERTS},
    "minimax_m2": {**MIXED, "head_dim": 8},
    "phimoe": MIXED,
    "gpt_oss": {**MIXED, "head_dim": 8, "sliding_window": 4},
    "ministral": WIDE,
    "ministral3": WIDE,
    "seed_oss": WIDE,
    "ernie4_5": WIDE,
    "ernie4_5_moe": {
        **GROUPED, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16, "moe_num_shared_experts": 1,
    },
    "hunyuan_v1_dense": WIDE,
    "diffllama": GROUPED,
    "nanochat": GROUPED,
    "vaultgemma": {**SLIDING, "query_pre_attn_scalar": 8},
    "gemma3n_text": {
        **SLIDING, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300, "num_kv_shared_layers": 0,
        "laurel_rank": 4, "activation_sparsity_pattern": None,
    },
    "gemma4_text": SLIDING,
    "internlm3": GROUPED,
    "jais2": GROUPED,
    "bitnet": GROUPED,
    "doge": GROUPED,
    "mellum": WIDE,
    "dots1": ROUTED,
    "glm4_moe": {**ROUTED, "head_dim": 8},
    "deepseek_v3": {**LATENT, **ROUTED, "num_key_value_heads": 4},
    "deepseek_v2": {**LATENT, **ROUTED, "num_key_value_heads": 4},
    "minicpm3": {**LATENT, "num_key_value_heads": 4},
    "llama4_text": {**WIDE, "intermediate_size_mlp": 37, "num_local_experts": 4, "num_experts_per_tok": 1},
    "lfm2": {**GROUPED, "layer_types": ["conv", "full_attention"]},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": LARGE},
    "falcon_mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": LARGE},
    "jamba": {
        **GROUPED, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "intermediate_size": 48, "num_experts": 4, "mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False,
    },
    "bert-generation": {**COMMON, "is_decoder": True},
    "jetmoe": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_key_value_heads": 2, "kv_channels": 8, "intermediate_size": 48,
        "num_local_experts": 4, "num_experts_per_tok": 2, "initializer_range": LARGE,
    },
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 37, "n_positions": POSITIONS, "initializer_range": LARGE},
    "modernbert-decoder": {**COMMON, "global_attn_every_n_layers": 2, "local_attention": 8},
    "bert": {**COMMON, "is_decoder": True},
    "roberta": {**COMMON, "is_decoder": True},
    "megatron-bert": {**COMMON, "is_decoder": True},
    "roc_bert": {**COMMON, "is_decoder": True},
    "xlm-roberta-xl": {**COMMON, "is_decoder": True},
    "xmod": {**COMMON, "is_decoder": True, "languages": ["en_XX"], "default_language": "en_XX"},
    "mamba2": {
        "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 2,
        "chunk_size": 8, "initializer_range": LARGE,
    },
    "qwen3_5_text": {**WIDE, **DELTA},
    "qwen3_next": {**WIDE, **DELTA, **EXPERTS, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "nemotron_h": {
        **WIDE, "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 1, "ssm_state_size": 8, "chunk_size": 8,
        "layers_block_type": ["mamba", "attention"], "use_mamba_kernels": False,
    },
    "bamba": {**GROUPED, **MAMBA_HEADS, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        **MIXED, **MAMBA_HEADS, "shared_intermediate_size": 16, "layer_types": ["mamba", "attention"],
    },
    "lfm2_moe": {
        **MIXED, "num_experts": 4, "moe_intermediate_size": 16, "num_dense_layers": 1,
        "layer_types": ["conv", "full_attention"],
    },
    "glm4_moe_lite": {**LATENT, **ROUTED, "num_key_value_heads": 4},
    "cwm": WIDE,
    "hunyuan_v1_moe": {**WIDE, "intermediate_size": 48, "num_experts": 4, "moe_topk": 2},
    "hyperclovax": GROUPED,
    "granite_swa": SLIDING,
    "exaone_moe": {**ROUTED, "head_dim": 8, "num_experts": 4},
    "solar_open": {**ROUTED, "head_dim": 8},
    "youtu": {**LATENT, "num_key_value_heads": 4},
    "qwen3_5_moe_text": {
        **WIDE, **DELTA, **EXPERTS, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    },
    "iquestcoder": WIDE,
    "granitemoe_swa": {**MIXED, "sliding_window": 4},
    "cohere2_moe": {**SLIDING, **EXPERTS},
    "hy_v3": {**WIDE, **ROUTED, "num_experts": 4},
    "mimo_v2_flash": {**ROUTED, "head_dim": 8, "v_head_dim": 8, "sliding_window": 4},
    "axk1": {**LATENT, **ROUTED, "num_key_value_heads": 4},
    "axk2": {**LATENT, **ROUTED, "num_key_value_heads": 4},
    "flint": WIDE,
    "laguna": {**WIDE, **EXPERTS},
    "lfm3": {**GROUPED, "layer_types": ["conv", "full_attention"]},
    "olmo_hybrid": WIDE,
    "aria_text": {
        **WIDE, "intermediate_size": 48, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1,
    },
    # Not with beams, among which transformers does not reorder what it keeps.
    "minimax": {**MIXED, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    "afmoe": {**ROUTED, "head_dim": 8, "num_experts": 4, "num_dense_layers": 1, "sliding_window": 4},
    "dbrx": {
        "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": POSITIONS, "initializer_range": LARGE,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "recurrent_gemma": {
        **COMMON, "num_key_value_heads": 1, "head_dim": 8, "lru_width": 32, "attention_window_size": 8,
        "block_types": ["recurrent", "attention"],
    },
    "zamba": {
        **COMMON, "num_key_value_heads": 4, "mamba_d_state": 8, "mamba_dt_rank": 4, "n_mamba_heads": 2,
        "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "use_mamba_kernels": False,
    },
    "zamba2": {  # below the least step, transformers reads a text and its next token differently
        **COMMON, "num_key_value_heads": 4, "mamba_d_state": 8, "mamba_ngroups": 1, "n_mamba_heads": 4,
        "mamba_headdim": 16, "chunk_size": 8, "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2,
        "num_mem_blocks": 1, "use_mamba_kernels": False, "adapter_rank": 4, "time_step_min": 1e-9,
    },
    "falcon_h1": {**WIDE, **MAMBA_HEADS, "mamba_d_ssm": 64},
    "rwkv": {
        "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "intermediate_size": 48,
        "context_length": POSITIONS,
    },
    "trocr": {
        "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 37, "init_std": LARGE,
        "max_position_embeddings": POSITIONS,
    },
    "deepseek_v32": {**LATENT, **ROUTED, **INDEXED, "num_key_value_heads": 4},
    "glm_moe_dsa": {**LATENT, **ROUTED, **INDEXED, "num_key_value_heads": 4},
}  # fmt: skip
PLAIN = {"num_layers": 2, "num_heads": 4, "d_model": 32, "d_kv": 8, "d_ff": 37, "initializer_factor": 5.0}
PAIRED = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "max_position_embeddings": POSITIONS, "init_std": LARGE,
    "forced_eos_token_id": None,
}  # fmt: skip
T5_GEMMA = {**SLIDING, "query_pre_attn_scalar": 8, "vocab_size": 200}
WRITERS: dict[str, dict[str, Any]] = {
    "t5": PLAIN,
    "mt5": PLAIN,
    "umt5": PLAIN,
    "longt5": {**PLAIN, "local_radius": 3},
    "bart": PAIRED,
    "mvp": PAIRED,
    "blenderbot": PAIRED,
    "blenderbot-small": PAIRED,
    "plbart": PAIRED,
    "pegasus_x": {**PAIRED, "num_global_tokens": 4, "block_size": 8, "stagger_local_blocks": True},
    "t5gemma": {"encoder": T5_GEMMA, "decoder": {**T5_GEMMA, "cross_attention_hidden_size": 32}},
    "switch_transformers": {
        **PLAIN, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4,
        "expert_capacity": 64, "num_decoder_layers": 2,
    },
    "nllb-moe": {
        **PAIRED, "num_experts": 4, "expert_capacity": 64, "encoder_sparse_step": 2, "decoder_sparse_step": 2,
    },
    "led": {
        **PAIRED, "attention_window": 8, "max_encoder_position_embeddings": POSITIONS,
        "max_decoder_position_embeddings": POSITIONS,
    },
}  # fmt: skip
SUMMARIZERS: dict[str, dict[str, Any]] = {
    "pegasus": PAIRED,
    "bigbird_pegasus": {**PAIRED, "block_size": 64},  # of short texts it reads all
}  # fmt: skip
TRANSLATORS: dict[str, dict[str, Any]] = {
    "marian": PAIRED,
    "mbart": PAIRED,
    "m2m_100": PAIRED,
    "fsmt": {**PAIRED, "langs": ["en", "de"], "src_vocab_size": 200, "tgt_vocab_size": 200},
}
# Settings go round, so that each is tried on several architectures.
SETTINGS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "length_penalty": 0.5},
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2, "min_new_tokens": 4},
    {"num_beams": 4, "no_repeat_ngram_size": 3, "early_stopping": True},
]
QUICK = ("gpt2", "t5")
LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn")
FALLBACK = ("llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3_text")


def prompts(folder: Path) -> list[Any]:
    """Texts in several scripts; the long one is cut to what a small model takes."""
    return [*(one for one in SENTENCES if one), "", " leading space", "one\ntwo\n"]


def maker(model_type: str, sizes: dict[str, Any]) -> Callable[[Path], None]:
    """Writes a checkpoint of a decoder alone."""

    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        tokenizer = (fallback_pairs if model_type in FALLBACK else byte_pairs)(folder)
        names = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
        config = t.AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **{**sizes, **names})
        model = t.AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            if weight.ndim == 2 and not weight.any():  # routers that begin with zeros choose between equals
                torch.nn.init.normal_(weight, std=LARGE)
        model.generation_config = t.GenerationConfig(**names)
        model.eval().save_pretrained(folder)

    return make


def expect(settings: dict[str, Any]) -> Callable[[Path, list[Any]], list[Any]]:
    """What `generate` writes, as the text-generation pipeline gives it."""

    def expected(folder: Path, sources: list[Any]) -> list[Any]:
        import torch
        import transformers as t

        model = t.AutoModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = t.AutoTokenizer.from_pretrained(folder)
        answers = []
        for source in sources:
            ids = tokenizer(source, return_tensors="pt", return_token_type_ids=False)["input_ids"].long()
            if ids.shape[1] == 0:
                ids = torch.tensor([[model.config.bos_token_id]])
            with torch.no_grad():
                found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **settings)
            new = tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
            answers.append({"generated_text": source + new})
        return answers

    return expected


def write_maker(model_type: str, sizes: dict[str, Any], languages: bool = False) -> Callable[[Path], None]:
    """Writes a checkpoint of an encoder with a decoder; with `languages`, its tokenizer puts one before each text."""

    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        tokenizer = pieces(folder, languages=LANGUAGES if languages else ())
        names = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
        names["decoder_start_token_id"] = names["eos_token_id"] if "init_std" in sizes else names["pad_token_id"]
        config = t.AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **{**sizes, **names})
        model = t.AutoModelForSeq2SeqLM.from_config(config)
        model.generation_config = t.GenerationConfig(**names)
        model.eval().save_pretrained(folder)

    return make


def make_two_berts(folder: Path) -> None:
    """An encoder and a decoder that were made apart."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    tokenizer = pieces(folder)
    names = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    names["decoder_start_token_id"] = names["bos_token_id"]
    sizes = {**COMMON, "vocab_size": len(tokenizer)}
    both = t.BertConfig(**sizes), t.BertConfig(**sizes, is_decoder=True, add_cross_attention=True)
    config = t.EncoderDecoderConfig.from_encoder_decoder_configs(*both)
    for name, value in names.items():
        setattr(config, name, value)
    model = t.EncoderDecoderModel(config=config)
    model.generation_config = t.GenerationConfig(**names)
    model.eval().save_pretrained(folder)


def expect_written(settings: dict[str, Any], field: str) -> Callable[[Path, list[Any]], list[Any]]:
    """What `generate` writes; `tgt_lang` is the language of it."""

    def expected(folder: Path, sources: list[Any]) -> list[Any]:
        import torch
        import transformers as t

        model = t.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        tokenizer = t.AutoTokenizer.from_pretrained(folder)
        given = {name: value for name, value in settings.items() if not name.endswith("_lang")}
        if "tgt_lang" in settings:
            given["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(settings["tgt_lang"])
        answers = []
        for source in sources:
            batch = tokenizer(source, return_tensors="pt", truncation=True, return_token_type_ids=False)
            if "src_lang" in settings:
                default = tokenizer.convert_tokens_to_ids(LANGUAGES[0])
                other = tokenizer.convert_tokens_to_ids(settings["src_lang"])
                batch["input_ids"] = torch.where(batch["input_ids"] == default, other, batch["input_ids"])
            with torch.no_grad():
                found = model.generate(**batch, do_sample=False, **given)
            answers.append({field: tokenizer.decode(found[0], skip_special_tokens=True)})
        return answers

    return expected


def documents(folder: Path) -> list[Any]:
    """Texts in several scripts, short and long."""
    return [one for one in SENTENCES if one]


ANSWERS = {
    "text2text-generation": "generated_text", "summarization": "summary_text", "translation": "translation_text",
}  # fmt: skip
SEVERAL = {"mbart", "m2m_100"}

ARCHITECTURES = [
    Architecture(
        name, "text-generation", maker(name, sizes), expect({"max_new_tokens": 12, **settings}), prompts,
        {"max_new_tokens": 12, **settings}, quick=name in QUICK,
    )
    for (name, sizes), settings in zip(DECODERS.items(), cycle(SETTINGS))
] + [
    Architecture(
        name, task, write_maker(name, sizes, name in SEVERAL),
        expect_written({"max_new_tokens": 12, **settings, **languages}, ANSWERS[task]), documents,
        {"max_new_tokens": 12, **settings, **languages}, quick=name in QUICK,
    )
    for task, family in zip(ANSWERS, (WRITERS, SUMMARIZERS, TRANSLATORS))
    for (name, sizes), settings in zip(family.items(), cycle(SETTINGS))
    for languages in [{"src_lang": "fra_Latn", "tgt_lang": "deu_Latn"} if name in SEVERAL else {}]
] + [
    Architecture(
        "encoder-decoder", "text2text-generation", make_two_berts,
        expect_written({"max_new_tokens": 12}, "generated_text"), documents, {"max_new_tokens": 12},
    ),
]  # fmt: skip
