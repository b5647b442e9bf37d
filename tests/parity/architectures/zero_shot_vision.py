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
DETECT = "zero-shot-object-detection"
PHRASES = ["brown fox", "lazy dog", "word"]
FOUND = {"threshold": 0.3}
GROUNDED = {"threshold": 0.2, "text_threshold": 0.15}
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


def two_made_apart(t: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer = word_pieces(folder, 77)
    text = t.BertConfig(**TEXT, vocab_size=len(tokenizer), max_position_embeddings=80, initializer_range=LARGE)
    vision = t.ViTConfig(**VISION, initializer_range=LARGE)
    config = t.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    return t.VisionTextDualEncoderModel(config), t.ViTImageProcessor(**SQUARE)


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


def owl(version: str) -> Callable[[Any, Path], tuple[Any, Any]]:
    def build(t: Any, folder: Path) -> tuple[Any, Any]:
        tokenizer = clip_words(folder, pad_token="!")
        text = getattr(t, f"{version}TextConfig")(**clip_text(tokenizer, max_position_embeddings=16))
        vision = getattr(t, f"{version}VisionConfig")(**VISION, initializer_range=0.2)
        config = getattr(t, f"{version}Config")(
            text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=32
        )
        model = getattr(t, f"{version}ForObjectDetection")(config)
        for name, weights in model.named_parameters():
            if "logit_" in name or "box_head" in name:  # else all scores and boxes are at their ends
                weights.data.mul_(0.1)
        return model, getattr(t, f"{version}ImageProcessor")(**SQUARE)

    return build


def expect_owl(folder: Path, sources: list[Any]) -> list[Any]:
    """What the processor of transformers makes of it, a label after the other, as its pipeline asks."""
    import torch
    import transformers as t

    model = t.AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    answers = []
    for source in sources:
        picture = opened(source)
        pixels = processor(picture, return_tensors="pt")
        rows = []
        for label in PHRASES:
            words = tokenizer([label], padding="max_length", max_length=16, truncation=True, return_tensors="pt")
            with torch.no_grad():
                outputs = model(**words, **pixels)
            size = torch.tensor([[picture.height, picture.width]])
            found = processor.post_process_object_detection(outputs, FOUND["threshold"], size)[0]
            rows += [(label, float(s), b.tolist()) for s, b in zip(found["scores"], found["boxes"])]
        answers.append(objects(rows))
    return answers


def objects(rows: list[tuple[str, float, list[float]]]) -> list[dict[str, Any]]:
    """Detections as our answers have them, best first."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = sorted(rows, key=lambda row: -row[1])
    return [{"label": label, "score": score, "box": dict(zip(corners, box))} for label, score, box in rows]


def grounding(version: str) -> Callable[[Any, Path], tuple[Any, Any]]:
    def build(t: Any, folder: Path) -> tuple[Any, Any]:
        tokenizer = word_pieces(folder)
        text = t.BertConfig(**TEXT, vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=LARGE)
        backbone = t.SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
            out_features=["stage2", "stage3", "stage4"], initializer_range=0.1,
        )  # fmt: skip
        config = getattr(t, f"{version}Config")(
            backbone_config=backbone, text_config=text, d_model=64, encoder_layers=1, decoder_layers=2,
            encoder_ffn_dim=37, decoder_ffn_dim=37, encoder_attention_heads=2, decoder_attention_heads=2,
            num_queries=12, max_text_len=64, init_std=LARGE,
        )  # fmt: skip
        model = getattr(t, f"{version}ForObjectDetection")(config)
        for name, weights in model.named_parameters():
            if name.endswith("decoder.layer_norm.weight"):
                weights.data.mul_(0.1)
            if "class_embed" in name and name.endswith("bias"):
                weights.data.fill_(-1.0)
        return model, t.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})

    return build


def expect_grounding(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    pixels = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    processor = t.GroundingDinoProcessor(pixels, t.AutoTokenizer.from_pretrained(folder))
    answers = []
    for source in sources:
        picture = opened(source)
        inputs = processor(images=picture, text=PHRASES, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        found = processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            GROUNDED["threshold"],
            GROUNDED["text_threshold"],
            [(picture.height, picture.width)],
        )[0]
        rows = zip(found["text_labels"], found["scores"].tolist(), found["boxes"].tolist())
        answers.append(objects([(label, score, box) for label, score, box in rows]))
    return answers


def detect(name: str, build: Callable[[Any, Path], tuple[Any, Any]], expect: Any, how: dict[str, Any]) -> Architecture:
    return Architecture(name, DETECT, maker(build), expect, pictures, {"candidate_labels": PHRASES, **how})


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
    labels("vision-text-dual-encoder", two_made_apart),
    detect("owlvit", owl("OwlViT"), expect_owl, FOUND),
    detect("owlv2", owl("Owlv2"), expect_owl, FOUND),
    detect("grounding-dino", grounding("GroundingDino"), expect_grounding, GROUNDED),
    detect("mm-grounding-dino", grounding("MMGroundingDino"), expect_grounding, GROUNDED),
]
