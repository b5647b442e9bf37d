"""Reading: classifiers of texts and tokens, answers to questions, gaps, labels given at call time, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.architectures import Architecture
from tests.parity.architectures.makers import SENTENCES

# Weights of this size decide between the labels of a random model.
LARGE = 0.5
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
CONTEXTS = (
    ("Who jumps?", "The quick brown fox jumps over the lazy dog. " * 3),
    ("Größe?", "Größe und Maß, naïve café; 12,345.67 km/h!"),
    ("天気は?", "東京の天気は晴れです。"),
    ("где 🙂?", "как дела 🙂 مرحبا\nnew line\n\nanother"),
    ("What?", "word after word and the fox " * 40),
)


@dataclass(frozen=True)
class Family:
    """A family with its configuration, tokenizer and heads.

    Attributes:
        config: what differs from the usual in its configuration; None leaves a setting out.
        heads: names of classes of transformers, with the task that each is tried for.
        empty: whether transformers itself can do something with an empty text.
    """

    model_type: str
    tokenizer: Callable[..., Any]
    heads: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    empty: bool = True


def _trained(model: Any, trainer: Any, pre: Any) -> Any:
    from tokenizers import Tokenizer

    own = Tokenizer(model)
    own.pre_tokenizer = pre
    own.train_from_iterator([*SENTENCES, *(text for pair in CONTEXTS for text in pair)], trainer)
    return own


def _framed(own: Any, first: str, last: str, pair: str, types: tuple[int, int] = (0, 0)) -> None:
    """Special tokens around a text and around a pair."""
    from tokenizers import processors

    a, b = types
    begin = f"{first}:{a} " if first else ""
    own.post_processor = processors.TemplateProcessing(
        single=f"{begin}$A:{a} {last}:{a}".strip(),
        pair=f"{begin}$A:{a} {pair} $B:{b} {last}:{b}".strip(),
        special_tokens=[(t, own.token_to_id(t)) for t in {first, last, pair.split(":")[0]} if t],
    )


def _saved(own: Any, folder: Path, **given: Any) -> Any:
    import transformers as t

    tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=64, **given)
    tokenizer.save_pretrained(folder)
    return tokenizer


def pieces(folder: Path, types: bool = True) -> Any:
    """As BERT: words in pieces."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    own = _trained(models.WordPiece(unk_token="[UNK]"), trainer, pre_tokenizers.BertPreTokenizer())
    own.normalizer = normalizers.BertNormalizer()
    own.decoder = decoders.WordPiece()
    _framed(own, "[CLS]", "[SEP]", "[SEP]:0", (0, int(types)))
    names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    return _saved(own, folder, **names, model_input_names=inputs)


def unigram(folder: Path) -> Any:
    """As XLM-RoBERTa: pieces with their spaces."""
    from tokenizers import decoders, models, pre_tokenizers, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    own = _trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())
    own.decoder = decoders.Metaspace()
    _framed(own, "<s>", "</s>", "</s>:0 </s>:0")
    return _saved(own, folder, **MARKS, model_input_names=["input_ids", "attention_mask"])


MARKS = {
    "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>",
    "unk_token": "<unk>", "mask_token": "<mask>",
}  # fmt: skip


def byte_level(folder: Path, framed: bool = True) -> Any:
    """As RoBERTa, or without special tokens as GPT-2: byte pairs."""
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    own = _trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    own.decoder = decoders.ByteLevel()
    if framed:
        own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    else:
        own.post_processor = processors.ByteLevel(trim_offsets=False)
    names = MARKS if framed else {k: MARKS[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
    return _saved(own, folder, **names, model_input_names=["input_ids", "attention_mask"])


def residues(folder: Path) -> Any:
    """As ESM: a letter for each link of a protein, by a tokenizer that transformers has in Python only."""
    import transformers as t

    letters = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <mask>"
    (folder / "vocab.txt").write_text(letters.replace(" ", "\n"))
    tokenizer = t.EsmTokenizer(str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make(family: Family, head: str, folder: Path) -> None:
    import torch
    import transformers as t

    torch.manual_seed(0)
    tokenizer = family.tokenizer(folder)
    kind = getattr(t, head)
    usual = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 37, "max_position_embeddings": 66, "initializer_range": LARGE,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    if head.endswith("ForTokenClassification"):
        usual["id2label"] = dict(enumerate(TAGS))
    elif head.endswith("ForSequenceClassification"):
        usual["id2label"] = {0: "contradiction", 1: "neutral", 2: "entailment"}
    given = {**usual, **family.config}
    config = kind.config_class(**{k: v for k, v in given.items() if v is not None})
    if "label2id" in config.to_dict() and config.id2label:
        config.label2id = {label: i for i, label in config.id2label.items()}
    model = kind(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # where a family has a size of its own for new weights
            if weight.ndim == 2 and weight.std() < 0.2:
                weight.mul_(0.3 / max(float(weight.std()), 1e-3))
    model.save_pretrained(folder)


def pipeline(head: str, task: str, folder: Path) -> Any:
    import transformers as t

    model = getattr(t, head).from_pretrained(folder, attn_implementation="eager").eval()
    return t.pipeline(task, model=model, tokenizer=t.AutoTokenizer.from_pretrained(folder))


def by_pipeline(head: str, task: str, given: dict[str, Any], folder: Path, sources: list[Any]) -> list[Any]:
    ask = pipeline(head, task, folder)
    found = [ask(source, **given) for source in sources]
    if task == "feature-extraction":
        return [one[0] for one in found]
    if task == "zero-shot-classification":
        return [[{"label": a, "score": b} for a, b in zip(one["labels"], one["scores"])] for one in found]
    return [[one] if isinstance(one, dict) else one for one in found]


def by_spans(head: str, given: dict[str, Any], folder: Path, sources: list[Any]) -> list[Any]:
    """What the question-answering pipeline of transformers 4 answered."""
    import torch
    import transformers as t

    model = getattr(t, head).from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    top_k, impossible = given.get("top_k", 1), given.get("handle_impossible_answer", False)
    answers = []
    for source in sources:
        context = source["context"]
        tokens = tokenizer(
            source["question"], context, truncation="only_second", max_length=64, stride=32,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        found: list[dict[str, Any]] = []
        nothing = 1e6
        for i, ids in enumerate(tokens["input_ids"]):
            fed = {n: torch.tensor([tokens[n][i]]) for n in tokenizer.model_input_names if n in tokens}
            with torch.no_grad():
                outputs = model(**fed)
            allowed = np.array([s == 1 for s in tokens.sequence_ids(i)]) | (np.array(ids) == tokenizer.cls_token_id)
            ends = []
            for logits in (outputs["start_logits"], outputs["end_logits"]):
                values = torch.where(torch.tensor(allowed), logits[0], torch.tensor(-10000.0)).softmax(-1).numpy()
                ends.append(values.astype(np.float64))
            nothing = min(nothing, float(ends[0][0] * ends[1][0]))
            ends[0][0] = ends[1][0] = 0
            scores = np.tril(np.triu(np.outer(*ends)), 14)
            for flat in np.argsort(-scores.ravel(), kind="stable")[: 2 * top_k + 10]:
                first, last = divmod(int(flat), len(ids))
                if last < first or not (allowed[first] and allowed[last]):
                    continue
                words = [tokens.token_to_word(i, first), tokens.token_to_word(i, last)]
                if None in words:
                    begin, stop = tokens["offset_mapping"][i][first][0], tokens["offset_mapping"][i][last][1]
                else:
                    begin = tokens.word_to_chars(i, words[0], 1).start
                    stop = tokens.word_to_chars(i, words[1], 1).end
                text, score = context[begin:stop], float(scores[first, last])
                same = [one for one in found if one["answer"].lower() == text.lower()]
                if same:
                    same[0]["score"] += score
                else:
                    found.append({"answer": text, "score": score, "start": begin, "end": stop})
        if impossible:
            found.append({"answer": "", "score": nothing, "start": 0, "end": 0})
        found.sort(key=lambda one: -one["score"])
        answers.append(found[:top_k] if top_k > 1 else found[0])
    return answers


def texts(family: Family, mask: str, folder: Path) -> list[Any]:
    """The usual awkward texts; each with a gap, where gaps are to be filled."""
    found = [s for s in (*SENTENCES, "  \n ", "one line\nanother line\n\n\tthird") if s.strip() or family.empty]
    if mask:
        found = [f"{s[: len(s) // 2][:30]} {mask} {s[len(s) // 2 :]}" for s in found] + [f"{mask} and {mask}."]
    return found


def questions(folder: Path) -> list[Any]:
    return [{"question": q, "context": c} for q, c in CONTEXTS]


STRATEGIES = ("none", "simple", "first", "average", "max")


def cases() -> list[Architecture]:
    found = []
    for number, family in enumerate(FAMILIES):
        for head in family.heads:
            quick = family.model_type == "bert"
            sources = partial(texts, family, "")
            options: dict[str, Any] = {}
            theirs: dict[str, Any] | None = None
            if head.endswith("ForSequenceClassification"):
                options, task = {"top_k": None}, "text-classification"
                theirs = {"top_k": None, "truncation": True}
                if number % 3 == 0 and family.tokenizer is not residues:
                    labels = {"candidate_labels": ["a fox", "東京", "words"], "multi_label": number % 2 == 0}
                    ask = partial(by_pipeline, head, "zero-shot-classification", labels)
                    asked = Architecture(
                        family.model_type, "zero-shot-classification", partial(make, family, head), ask,
                        partial(present, family), labels, quick,
                    )  # fmt: skip
                    found.append(asked)
            elif head.endswith("ForTokenClassification"):
                options, task = {"aggregation_strategy": STRATEGIES[number % 5]}, "token-classification"
                if number % 2 and number % 5:
                    options["stride"] = 8
            elif "QuestionAnswering" in head:
                task, sources = "question-answering", questions
                options = {"top_k": 1 + number % 3, "handle_impossible_answer": number % 2 == 1}
            elif head.endswith(("ForMaskedLM", "WithLMHeadModel")):
                task = "fill-mask"
                mask = {pieces: "[MASK]"}.get(getattr(family.tokenizer, "func", family.tokenizer), "<mask>")
                sources = partial(texts, family, mask)
                theirs = {"tokenizer_kwargs": {"truncation": True}}
            else:
                task, theirs = "feature-extraction", {"truncation": True}
            expect = partial(by_pipeline, head, task, options if theirs is None else theirs)
            if task == "question-answering":
                expect = partial(by_spans, head, options)
            found.append(
                Architecture(family.model_type, task, partial(make, family, head), expect, sources, options, quick)
            )
    return found


def present(family: Family, folder: Path) -> list[Any]:
    """Texts that the zero-shot pipeline takes: not empty."""
    return [s for s in texts(family, "", folder) if s]


def heads(prefix: str, *names: str) -> tuple[str, ...]:
    """Classes of one family."""
    return tuple(prefix + name for name in names)


SEQUENCE, TOKENS, ANSWERS = "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"
MASKED, BODY = "ForMaskedLM", "Model"
ALL = (SEQUENCE, TOKENS, ANSWERS, MASKED, BODY)
untyped = partial(pieces, types=False)
plain = partial(byte_level, framed=False)
PAIR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "init_std": 0.3,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "decoder_start_token_id": 2,
}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 37, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1}

FAMILIES = [
    Family("bert", pieces, heads("Bert", *ALL)),
    Family("distilbert", untyped, heads("DistilBert", TOKENS, MASKED),
           {"dim": 32, "hidden_dim": 37, "n_heads": 2, "n_layers": 2}),
    Family("roberta", byte_level, heads("Roberta", *ALL)),
    Family("xlm-roberta", unigram, heads("XLMRoberta", *ALL)),
    Family("camembert", unigram, heads("Camembert", BODY, TOKENS)),
    Family("albert", pieces, heads("Albert", SEQUENCE, ANSWERS), {"embedding_size": 16}),
    Family("electra", pieces, heads("Electra", TOKENS, MASKED), {"embedding_size": 16}),
    Family("mpnet", untyped, heads("MPNet", ANSWERS, BODY)),
    Family("deberta", pieces, heads("Deberta", SEQUENCE, TOKENS, ANSWERS, MASKED, BODY),
           {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": -1}),
    Family("deberta-v2", pieces, heads("DebertaV2", *ALL),
           {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "share_att_key": True,
            "norm_rel_ebd": "layer_norm", "position_biased_input": False}),
    Family("modernbert", untyped, heads("ModernBert", SEQUENCE, ANSWERS),
           {"global_attn_every_n_layers": 2, "local_attention": 16}),
    Family("mobilebert", pieces, heads("MobileBert", TOKENS, MASKED),
           {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32}),
    Family("squeezebert", pieces, heads("SqueezeBert", ANSWERS, BODY),
           {"embedding_size": 32, "intermediate_size": 36, "q_groups": 2, "k_groups": 2, "v_groups": 2,
            "post_attention_groups": 2}),
    Family("convbert", pieces, heads("ConvBert", MASKED, SEQUENCE), {"embedding_size": 32}),
    Family("roformer", pieces, heads("RoFormer", BODY, TOKENS), {"embedding_size": 32}),
    Family("ernie", pieces, heads("Ernie", SEQUENCE, ANSWERS)),
    Family("fnet", pieces, heads("FNet", ANSWERS, BODY), {"use_tpu_fourier_optimizations": False}),
    Family("nystromformer", pieces, heads("Nystromformer", MASKED, SEQUENCE),
           {"segment_means_seq_len": 64, "num_landmarks": 64}),
    Family("big_bird", pieces, heads("BigBird", BODY, TOKENS), {"attention_type": "original_full"}),
    Family("esm", residues, heads("Esm", SEQUENCE, MASKED, BODY), {"position_embedding_type": "rotary"}),
    Family("esm", untyped, heads("Esm", TOKENS)),
    Family("layoutlm", pieces, heads("LayoutLM", ANSWERS, BODY)),
    Family("xlm", pieces, heads("XLM", SEQUENCE, TOKENS, "ForQuestionAnsweringSimple", "WithLMHeadModel", BODY),
           {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "mask_index": 4, "init_std": 0.3, "embed_init_std": 0.3}),
    Family("flaubert", pieces, heads("Flaubert", SEQUENCE, TOKENS, "ForQuestionAnsweringSimple", "WithLMHeadModel"),
           {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "mask_index": 4, "init_std": 0.3, "embed_init_std": 0.3}),
    Family("rembert", pieces, heads("RemBert", SEQUENCE, ANSWERS),
           {"input_embedding_size": 16, "output_embedding_size": 16}),
    Family("ibert", byte_level, heads("IBert", TOKENS, MASKED)),
    Family("data2vec-text", byte_level, heads("Data2VecText", ANSWERS, BODY)),
    Family("roberta-prelayernorm", byte_level, heads("RobertaPreLayerNorm", MASKED, SEQUENCE)),
    Family("bart", byte_level, heads("Bart", SEQUENCE, ANSWERS), PAIR),
    Family("t5", unigram, heads("T5", SEQUENCE, TOKENS, ANSWERS), T5),
    Family("gpt2", plain, heads("GPT2", SEQUENCE, TOKENS, ANSWERS), {"n_embd": 32, "n_layer": 2, "n_head": 2}, False),
    Family("llama", plain, heads("Llama", SEQUENCE, TOKENS, ANSWERS), {"num_key_value_heads": 1}, False),
    Family("qwen2", plain, heads("Qwen2", SEQUENCE, TOKENS), {"num_key_value_heads": 1}, False),
    Family("xlnet", pieces, heads("XLNet", SEQUENCE, TOKENS, "ForQuestionAnsweringSimple", BODY),
           {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 37, "max_position_embeddings": None}),
    Family("longformer", byte_level, heads("Longformer", SEQUENCE, ANSWERS, MASKED), {"attention_window": 8}),
    Family("megatron-bert", pieces, heads("MegatronBert", SEQUENCE)),
    Family("xlm-roberta-xl", unigram, heads("XLMRobertaXL", TOKENS)),
    Family("xmod", unigram, heads("Xmod", SEQUENCE), {"languages": ["en_XX"], "default_language": "en_XX"}),
    Family("openai_privacy_filter", plain, heads("OpenAIPrivacyFilter", TOKENS),
           {"num_key_value_heads": 1, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2,
            "sliding_window": 8}, False),
    Family("splinter", pieces, heads("Splinter", ANSWERS), {"question_token_id": 4}),
    Family("roc_bert", pieces, heads("RoCBert", MASKED)),
    Family("nomic_bert", pieces, heads("NomicBert", BODY)),
    Family("jina_embeddings_v3", unigram, heads("JinaEmbeddingsV3", BODY)),
    Family("gte", pieces, heads("Gte", SEQUENCE)),
    Family("luke", byte_level, heads("Luke", SEQUENCE, TOKENS), {"entity_vocab_size": 10, "entity_emb_size": 16}),
    Family("eurobert", byte_level, heads("EuroBert", MASKED, SEQUENCE)),
    Family("esmc", residues, heads("Esmc", MASKED, SEQUENCE)),
    Family("mra", byte_level, heads("Mra", SEQUENCE)),
    Family("yoso", byte_level, heads("Yoso", SEQUENCE), {"use_expectation": True}),
    Family("markuplm", byte_level, heads("MarkupLM", ANSWERS), {"xpath_unit_hidden_size": 4}),
    Family("led", byte_level, heads("LED", ANSWERS),
           {**PAIR, "attention_window": 8, "max_encoder_position_embeddings": 82,
            "max_decoder_position_embeddings": 82}),
    Family("mbart", byte_level, heads("MBart", SEQUENCE), PAIR),
    Family("mt5", unigram, heads("MT5", SEQUENCE), T5),
    Family("mistral", plain, heads("Mistral", SEQUENCE), {"num_key_value_heads": 1}, False),
    Family("phi3", plain, heads("Phi3", SEQUENCE), {"num_key_value_heads": 1}, False),
    Family("gemma", plain, heads("Gemma", SEQUENCE), {"num_key_value_heads": 1, "head_dim": 16}, False),
    Family("gemma2", plain, heads("Gemma2", TOKENS),
           {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16}, False),
    Family("qwen3", plain, heads("Qwen3", SEQUENCE), {"num_key_value_heads": 1, "head_dim": 16}, False),
    Family("gpt_neox", plain, heads("GPTNeoX", SEQUENCE), {}, False),
    Family("bloom", plain, heads("Bloom", TOKENS), {"n_layer": 2, "n_head": 2}, False),
    Family("falcon", plain, heads("Falcon", ANSWERS), {}, False),
    Family("opt", plain, heads("OPT", SEQUENCE), {"ffn_dim": 37, "word_embed_proj_dim": 32}, False),
    Family("openai-gpt", plain, heads("OpenAIGPT", SEQUENCE),
           {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66}, False),
    Family("biogpt", plain, heads("BioGpt", TOKENS), {}, False),
    Family("modernbert-decoder", plain, heads("ModernBertDecoder", SEQUENCE),
           {"global_attn_every_n_layers": 2, "local_attention": 16}, False),
    Family("ultrabert", byte_level, heads("Ultrabert", MASKED, TOKENS, ANSWERS),
           {"num_key_value_heads": 2, "sliding_window": 8, "prediction_head_size": 32}),
    Family("neomme", byte_level, heads("NeoMME", MASKED),
           {"embedding_rank": 16, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8}),
    Family("funnel", pieces, heads("Funnel", SEQUENCE),
           {**dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")),
            "max_position_embeddings": None, "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 37,
            "block_sizes": [1, 1], "num_decoder_layers": 1}, False),
]  # fmt: skip


def make_sentences(folder: Path) -> None:
    """A folder of sentence-transformers: two ways of pooling, a layer, vectors of the length 1."""
    import json

    import torch

    make(FAMILIES[0], "BertModel", folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    layer = {"in_features": 64, "out_features": 24, "bias": True}
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 20, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "word: "}, "default_prompt_name": "query"},
        "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        "2_Dense/config.json": {**layer, "activation_function": "torch.nn.modules.activation.Tanh"},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    linear = torch.nn.Linear(64, 24)
    torch.save({f"linear.{k}": v for k, v in linear.state_dict().items()}, folder / "2_Dense" / "pytorch_model.bin")


def expect_sentences(folder: Path, sources: list[Any]) -> list[Any]:
    """What sentence-transformers computes."""
    import torch
    import transformers as t

    model = t.BertModel.from_pretrained(folder).eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    layer = torch.load(folder / "2_Dense" / "pytorch_model.bin", weights_only=True)
    answers = []
    for source in sources:
        tokens = tokenizer(f"word: {source}", truncation=True, max_length=20, return_tensors="pt")
        with torch.no_grad():
            states = model(**tokens).last_hidden_state[0]
        both = torch.cat([states[0], states.mean(0)])
        vector = torch.tanh(layer["linear.weight"] @ both + layer["linear.bias"])
        answers.append(torch.nn.functional.normalize(vector, dim=0).tolist())
    return answers


def tiny(head: str) -> Callable[[Path], None]:
    """Writes a tiny BERT with this head, for tests of the task."""
    return partial(make, FAMILIES[0], f"Bert{head}")


ARCHITECTURES = [
    *cases(),
    Architecture("bert", "feature-extraction", make_sentences, expect_sentences, partial(texts, FAMILIES[0], "")),
]
