"""Chat models that see: a picture among the words of a prompt, and an answer that is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity.architectures import Architecture
from tests.parity.architectures.examples import opened
from tests.parity.architectures.makers import fallback_pairs, pictures
from tests.parity.architectures.multimodal import asked

NEW = 10
LARGE = 0.5
TEXT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 37, "max_position_embeddings": 640, "initializer_range": LARGE,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37, "image_size": 32,
    "patch_size": 8, "initializer_range": LARGE,
}  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {% for part in message.content %}"
    "{% if part.type == 'image' %}MARK\n{% else %}{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


CLIP = ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}})
IDEFICS = {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}}
SIGLIP = {**VISION, "model_type": "siglip_vision_model"}
# Prefix of the classes, image processor, text, vision, what else the configuration says, and the processor's own.
FAMILIES: dict[str, tuple[Any, ...]] = {
    "llava": (
        "Llava", CLIP, {**TEXT, "model_type": "llama"}, {**VISION, "model_type": "clip_vision_model"},
        {"vision_feature_layer": -2},
        {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    ),
    "vipllava": (
        "VipLlava", CLIP, {**TEXT, "model_type": "llama"},
        {**VISION, "model_type": "clip_vision_model", "num_hidden_layers": 3}, {"vision_feature_layers": [-2, -1]},
        {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    ),
    "paligemma": (
        "PaliGemma", ("Siglip", {**square(32), "image_seq_length": 16}), {**TEXT, "model_type": "gemma"}, SIGLIP,
        {"projection_dim": 32}, {},
    ),
    "gemma3": (
        "Gemma3", ("Gemma3", square(32)),
        {**TEXT, "model_type": "gemma3_text", "sliding_window": 24, "query_pre_attn_scalar": 8,
         "layer_types": ["sliding_attention", "full_attention"]},
        SIGLIP, {"mm_tokens_per_image": 4}, {"image_seq_length": 4},
    ),
    "idefics3": (
        "Idefics3", ("Idefics3", IDEFICS), {**TEXT, "model_type": "llama"}, {**VISION, "model_type": "idefics3_vision"},
        {"scale_factor": 2}, {"image_seq_len": 4},
    ),
    "smolvlm": (
        "SmolVLM", ("SmolVLM", IDEFICS), {**TEXT, "model_type": "llama"}, {**VISION, "model_type": "smolvlm_vision"},
        {"scale_factor": 2}, {"image_seq_len": 4},
    ),
    "internvl": (
        "InternVL", ("GotOcr2", {**square(32), "crop_to_patches": True, "max_patches": 6}),
        {**TEXT, "model_type": "qwen2"},
        {**VISION, "model_type": "internvl_vision", "image_size": [32, 32], "patch_size": [8, 8]},
        {"downsample_ratio": 0.5}, {"image_seq_length": 4},
    ),
    "aya_vision": (
        "AyaVision", ("GotOcr2", {**square(32), "crop_to_patches": True, "max_patches": 6}),
        {**TEXT, "model_type": "cohere2", "sliding_window": 24}, SIGLIP,
        {"downsample_factor": 2, "alignment_intermediate_size": 64},
        {"patch_size": 8, "img_size": 32, "downsample_factor": 2},
    ),
    "mistral3": (
        "Mistral3", ("Pixtral", {"size": {"longest_edge": 64}, "patch_size": 8}), {**TEXT, "model_type": "mistral"},
        {**VISION, "model_type": "pixtral", "image_size": 64}, {"spatial_merge_size": 2, "vision_feature_layer": -1},
        {},
    ),
}  # fmt: skip
FAMILIES["qwen2_vl"] = (
    "Qwen2VL",
    (
        "Qwen2VL",
        {
            "size": {"shortest_edge": 1024, "longest_edge": 6144},
            "patch_size": 8,
            "merge_size": 2,
            "temporal_patch_size": 2,
        },
    ),
    {
        **TEXT,
        "model_type": "qwen2_vl_text",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    },
    {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8},
    {},
    {},
)
FAMILIES["qwen2_5_vl"] = (
    "Qwen2_5_VL",
    *FAMILIES["qwen2_vl"][1:2],
    {**FAMILIES["qwen2_vl"][2], "model_type": "qwen2_5_vl_text"},
    {
        "depth": 2,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 37,
        "patch_size": 8,
        "window_size": 32,
        "fullatt_block_indexes": [1],
    },
    {},
    {},
)
GRID = {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64], [96, 32]]}
FAMILIES["llava_next"] = (
    "LlavaNext",
    ("LlavaNext", {**CLIP[1], **GRID}),
    {**TEXT, "model_type": "llama"},
    {**VISION, "model_type": "clip_vision_model"},
    GRID,
    FAMILIES["llava"][-1],
)
FAMILIES["llava_onevision"] = (
    "LlavaOnevision",
    ("LlavaOnevision", {**square(32), **GRID}),
    {**TEXT, "model_type": "qwen2"},
    SIGLIP,
    {**GRID, "vision_aspect_ratio": "anyres_max_2"},
    {},
)
FAMILIES["qwen3_vl"] = (
    "Qwen3VL",
    *FAMILIES["qwen2_vl"][1:2],
    {**FAMILIES["qwen2_vl"][2], "model_type": "qwen3_vl_text"},
    {
        "depth": 3,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 37,
        "patch_size": 8,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
        "initializer_range": LARGE,
    },
    {},
    {},
)
FAMILIES["blip-2"] = (
    "Blip2",
    ("Blip", square(32)),
    {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "ffn_dim": 37,
        "num_attention_heads": 4,
        "max_position_embeddings": 640,
        "init_std": LARGE,
    },
    VISION,
    {
        "num_query_tokens": 5,
        "qformer_config": {
            "hidden_size": 32,
            "encoder_hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 37,
            "initializer_range": LARGE,
        },
    },
    {"num_query_tokens": 5},
)
SPECIAL = {
    "image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>", "start_image_token": "<img>",
    "end_image_token": "</img>", "context_image_token": "<context>", "video_token": "<video>",
}  # fmt: skip
IDEFICS_TOKENS = [
    "<fake_token_around_image>",
    "<global-img>",
    *(f"<row_{r}_col_{c}>" for r in (1, 2, 3) for c in (1, 2, 3)),
    "<|IMG_PATCH|>",
    "[IMG_BREAK]",
    "[IMG_END]",
]
PROCESSORS = {"smolvlm": "Idefics3", "vipllava": "Llava"}
BY_HAND = ("mistral3", "internvl", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_onevision")


def tokenizer_of(folder: Path, name: str) -> Any:
    # BLIP-2's processor names its token itself.
    tokenizer = fallback_pairs(folder, **({} if name == "blip-2" else {"extra_special_tokens": SPECIAL}))
    if name == "blip-2":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        tokenizer.save_pretrained(folder)
        return tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": IDEFICS_TOKENS})
    return tokenizer


def maker(name: str, template: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        prefix, (seeing, options), text, vision, more, own = FAMILIES[name]
        tokenizer = tokenizer_of(folder, name)
        mark = {"gemma3": "<boi>", "internvl": "<context>"}.get(name, "<image>")
        image = {"internvl": "<context>", "aya_vision": "<|IMG_PATCH|>"}.get(name, "<image>")
        ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
        number = tokenizer.convert_tokens_to_ids
        given = {"image_token_id": number(image), "boi_token_id": number("<boi>"), "eoi_token_id": number("<eoi>")}
        kind = getattr(t, f"{prefix}ForConditionalGeneration")
        known = {key: value for key, value in given.items() if name == "gemma3" or key == "image_token_id"}
        config = kind.config_class(
            text_config={**text, **ids, "vocab_size": len(tokenizer)}, vision_config=vision, **known, **more
        )
        config.tie_word_embeddings = False
        model = kind(config).eval()
        with torch.no_grad():  # where a family has a size of its own for new weights
            for weight in model.parameters():
                if weight.ndim > 1 and weight.std() < 0.1:
                    weight.normal_(0, 0.3)
        model.generation_config = t.GenerationConfig(**ids)
        model.save_pretrained(folder)
        picture = getattr(t, f"{seeing}ImageProcessorPil")(**options)
        if template:
            (folder / "chat_template.jinja").write_text(TEMPLATE.replace("MARK", mark))
        if name in BY_HAND:
            picture.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        else:
            processor_of(t, name, picture, tokenizer, own).save_pretrained(folder)

    return make


def by_hand(name: str, model: Any, picture: Any, tokenizer: Any) -> Callable[..., Any]:
    """What a processor does that cannot be made without reading videos."""
    mark, first, last = {"internvl": ("<context>", "<img>", "</img>")}.get(name, ("<image>", "", ""))

    def prepare(images: list[Any], text: str, return_tensors: str) -> dict[str, Any]:
        import torch

        if name == "mistral3":
            seen = picture(images, patch_size={"height": 16, "width": 16}, return_tensors=return_tensors)
            height, width = (int(size) // 16 for size in seen["image_sizes"][0])
            place = "[IMG_BREAK]".join([mark * width] * height) + "[IMG_END]"
            return {**tokenizer(text.replace(mark, place), return_tensors="pt"), **seen}
        seen = picture(images, return_tensors=return_tensors)
        seen = {key: seen[key] for key in ("pixel_values", "image_grid_thw", "image_sizes") if key in seen}
        with torch.no_grad():
            features = list(model.get_image_features(**seen, return_dict=True).pooler_output)
        count = sum(each.numel() // each.shape[-1] for each in features)
        written = tokenizer(text.replace(mark, f"{first}{mark * count}{last}"), return_tensors="pt")
        if "image_grid_thw" in seen:
            seen["mm_token_type_ids"] = (written["input_ids"] == tokenizer.convert_tokens_to_ids(mark)).int()
        return {**written, **seen}

    return prepare


def chat(template: str, question: str) -> str:
    """The text of a question about a picture."""
    import jinja2

    content = [{"type": "image"}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers has it
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def processor_of(t: Any, name: str, seeing: Any, tokenizer: Any, own: dict[str, Any]) -> Any:
    prefix = PROCESSORS.get(name, FAMILIES[name][0])
    return getattr(t, f"{prefix}Processor")(image_processor=seeing, tokenizer=tokenizer, **own)


def expect(
    name: str, template: bool, words: str | None, answers: bool = False
) -> Callable[[Path, list[Any]], list[Any]]:
    """Processor, chat template, `generate`, and the text that is new."""

    def expected(folder: Path, sources: list[Any]) -> list[Any]:
        import torch
        import transformers as t

        prefix, (seeing, _), *_, own = FAMILIES[name]
        model = getattr(t, f"{prefix}ForConditionalGeneration").from_pretrained(folder).eval()
        tokenizer = t.AutoTokenizer.from_pretrained(folder)
        picture = getattr(t, f"{seeing}ImageProcessorPil").from_pretrained(folder)
        if name in BY_HAND:
            processor = by_hand(name, model, picture, tokenizer)
        else:
            processor = processor_of(t, name, picture, tokenizer, own)
        place = folder / "chat_template.jinja"
        found = []
        for source in sources:
            question = source["question"] if answers else words
            path = source["image"] if answers else source
            text = question
            if template:
                text = chat(place.read_text(), question)
            given = processor(images=[opened(path)], text=text, return_tensors="pt")
            given = {key: value for key, value in given.items() if key not in ("labels", "rows", "cols")}
            with torch.no_grad():
                ids = model.generate(**given, max_new_tokens=NEW, do_sample=False)
            new = tokenizer.decode(ids[0, given["input_ids"].shape[1] :], skip_special_tokens=True)
            found.append([{"answer": new.strip()}] if answers else {"generated_text": new})
        return found

    return expected


def describes(name: str, words: str, template: bool = True) -> Architecture:
    options = {"prompt": words, "max_new_tokens": NEW}
    return Architecture(name, "image-to-text", maker(name, template), expect(name, template, words), pictures, options)


ARCHITECTURES = [
    describes("llava", "what is it"),
    describes("vipllava", "<image> a picture of", False),
    describes("paligemma", "caption en", False),
    describes("gemma3", "where is the fox?"),
    describes("idefics3", "how many words?"),
    describes("internvl", "what is it?"),
    describes("aya_vision", "what is it?"),
    describes("mistral3", "what is it?"),
    describes("qwen2_vl", "what is it?"),
    describes("qwen2_5_vl", "what is it?"),
    describes("llava_next", "what is it?"),
    describes("llava_onevision", "what is it?"),
    describes("qwen3_vl", "what is it?"),
    describes("blip-2", "a picture of", False),
    Architecture(
        "smolvlm", "visual-question-answering", maker("smolvlm", True), expect("smolvlm", True, None, True), asked,
        {"max_new_tokens": NEW},
    ),
]  # fmt: skip
