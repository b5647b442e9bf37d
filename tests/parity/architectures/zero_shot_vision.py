"""Networks that are asked for labels given with the question: of the picture, or of objects in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity.architectures import Architecture
from tests.parity.architectures.examples import LARGE, opened
from tests.parity.architectures.makers import SENTENCES, byte_pairs, pictures, word_pieces

CLASSIFY = "zero-shot-image-classification"
LABELS = ["fox", "lazy dog", "Größe und Maß", "天気", "word after word " * 3]
OPTIONS: dict[str, Any] = {"candidate_labels": LABELS}
TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
VISION = {**TEXT, "image_size": 32, "patch_size": 8}
SMALL = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
SQUARE = {"size": {"height": 32, "width": 32}}


def maker(build: Callable[[Any, Path], tuple[Any, Any]]) -> Callable[[Path], None]:
    """A function that writes the tokenizer, the model and the image processor that `build` makes of transformers."""

    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        model, processor = build(t, folder)
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)

    return make


def expect_labels(folder: Path, sources: list[Any]) -> list[Any]:
    """What the pipeline of transformers answers."""
    import transformers as t

    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pipeline = t.pipeline(CLASSIFY, str(folder), image_processor=processor)
    return [pipeline(opened(source), candidate_labels=LABELS) for source in sources]


def clip_words(folder: Path, cls: str = "CLIPTokenizer", **given: Any) -> Any:
    """A tokenizer in the manner of CLIP, learned from the sentences; saved in the folder."""
    import json

    import transformers as t
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    own = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    own.normalizer = normalizers.Lowercase()
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    own.train_from_iterator(SENTENCES, trainer)
    learned = json.loads(own.to_str())["model"]
    tokens = [*learned["vocab"], *(c + "</w>" for c in alphabet if c + "</w>" not in learned["vocab"])]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    merges = [tuple(pair) for pair in learned["merges"]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = getattr(t, cls)(vocab=vocabulary, merges=merges, model_max_length=77, **given)
    tokenizer.save_pretrained(folder)
    return tokenizer


def clip_text(tokenizer: Any, **given: Any) -> dict[str, Any]:
    """Settings of a text model that reads this tokenizer's tokens."""
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": LARGE,
        **given,
    }


def clip(t: Any, folder: Path) -> tuple[Any, Any]:
    text = t.CLIPTextConfig(**clip_text(clip_words(folder)))
    vision = t.CLIPVisionConfig(**VISION, initializer_range=LARGE)
    config = t.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    return t.CLIPModel(config), t.CLIPImageProcessor(**SMALL)


def metaclip(t: Any, folder: Path) -> tuple[Any, Any]:
    text = t.MetaClip2TextConfig(**clip_text(clip_words(folder)))
    vision = t.MetaClip2VisionConfig(**VISION, initializer_range=LARGE)
    config = t.MetaClip2Config(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    return t.MetaClip2Model(config), t.CLIPImageProcessor(**SMALL)


def clipseg(t: Any, folder: Path) -> tuple[Any, Any]:
    text = t.CLIPSegTextConfig(**clip_text(clip_words(folder)))
    vision = t.CLIPSegVisionConfig(**VISION, initializer_range=LARGE)
    config = t.CLIPSegConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    return t.CLIPSegModel(config), t.ViTImageProcessor(**SQUARE)


def groupvit(t: Any, folder: Path) -> tuple[Any, Any]:
    text = t.GroupViTTextConfig(**clip_text(clip_words(folder)))
    vision = t.GroupViTVisionConfig(
        hidden_size=32, depths=[2, 2, 2], num_hidden_layers=6, num_group_tokens=[8, 4, 0],
        num_output_groups=[8, 4, 4], num_attention_heads=2, intermediate_size=37, image_size=32, patch_size=8,
        initializer_range=LARGE,
    )  # fmt: skip
    config = t.GroupViTConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24, projection_intermediate_dim=48
    )
    return t.GroupViTModel(config), t.CLIPImageProcessor(**SMALL)


def siglip(t: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer = byte_pairs(folder, model_input_names=["input_ids"], pad_token="</s>")
    text = t.SiglipTextConfig(**clip_text(tokenizer, max_position_embeddings=64, projection_size=32))
    vision = t.SiglipVisionConfig(**VISION)
    model = t.SiglipModel(t.SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
    model.logit_scale.data.fill_(1.0)
    model.logit_bias.data.fill_(-0.5)
    return model, t.SiglipImageProcessor(**SQUARE)


def siglip2(t: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer = byte_pairs(folder, model_input_names=["input_ids"], padding_side="right")
    text = t.Siglip2TextConfig(**clip_text(tokenizer, max_position_embeddings=64, projection_size=32))
    vision = t.Siglip2VisionConfig(**TEXT, num_patches=16, patch_size=8)
    model = t.Siglip2Model(t.Siglip2Config(text_config=text.to_dict(), vision_config=vision.to_dict()))
    model.logit_scale.data.fill_(1.0)
    model.logit_bias.data.fill_(-0.5)
    return model, t.Siglip2ImageProcessor(patch_size=8, max_num_patches=24)


def chinese_clip(t: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer = word_pieces(folder)
    text = t.ChineseCLIPTextConfig(
        **TEXT, vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=LARGE
    )
    vision = t.ChineseCLIPVisionConfig(**VISION, initializer_range=LARGE)
    config = t.ChineseCLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    return t.ChineseCLIPModel(config), t.ChineseCLIPImageProcessor(**SMALL)


def altclip(t: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer = byte_pairs(folder)
    text = t.AltCLIPTextConfig(
        **clip_text(tokenizer, max_position_embeddings=80, project_dim=24, initializer_range=0.1)
    )
    vision = t.AltCLIPVisionConfig(**VISION, initializer_range=LARGE)
    config = t.AltCLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    return t.AltCLIPModel(config), t.CLIPImageProcessor(**SMALL)


def align(t: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer = word_pieces(folder)
    text = t.AlignTextConfig(**TEXT, vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=LARGE)
    vision = t.AlignVisionConfig(
        image_size=32, width_coefficient=0.2, depth_coefficient=0.2, hidden_dim=32, initializer_range=LARGE
    )
    config = t.AlignConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64)
    return t.AlignModel(config), t.EfficientNetImageProcessor(**SQUARE, rescale_offset=True, do_normalize=False)


def labels(name: str, build: Callable[[Any, Path], tuple[Any, Any]], quick: bool = False) -> Architecture:
    return Architecture(name, CLASSIFY, maker(build), expect_labels, pictures, OPTIONS, quick)


ARCHITECTURES = [
    labels("clip", clip, quick=True),
    labels("siglip", siglip),
    labels("siglip2", siglip2),
    labels("metaclip_2", metaclip),
    labels("clipseg", clipseg),
    labels("groupvit", groupvit),
    labels("chinese_clip", chinese_clip),
    labels("altclip", altclip),
    labels("align", align),
]
