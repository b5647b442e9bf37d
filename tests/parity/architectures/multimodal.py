"""Pictures and text together: captions, and answers about pictures and documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.architectures import Architecture
from tests.parity.architectures.makers import SENTENCES, byte_pairs, opened, pictures, word_pieces

DOCUMENT = "document-question-answering"
NEW = 8  # tokens that are written
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
QUESTIONS = ("What is the fox doing?", "東京の天気は?", "How many dogs are there, in all, over the brown fence?")


def seeded() -> tuple[Any, Any]:
    import torch
    import transformers

    torch.manual_seed(0)
    return transformers, torch


def decided(model: Any, scale: float = 4.0) -> Any:
    """The model with larger weights, so that one token is clearly the best, and differing from place to place."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(scale)
            elif name.endswith("bias"):
                weight.normal_(0, 0.2)
    return model.eval()


def vit(t: Any) -> Any:
    return t.ViTConfig(**SMALL, image_size=32, patch_size=8)


def save_seeing_writer(folder: Path, encoder: Any, decoder: Any, tokenizer: Any, processor: Any, **ids: int) -> None:
    """A `VisionEncoderDecoderModel` of an encoder's and a decoder's configuration."""
    t, _ = seeded()
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = decided(t.VisionEncoderDecoderModel(config))
    for name, value in ids.items():
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def make_vit_bert(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = word_pieces(folder)
    decoder = t.BertConfig(**SMALL, vocab_size=len(tokenizer), is_decoder=True, add_cross_attention=True)
    processor = t.ViTImageProcessorPil(size={"height": 32, "width": 32})
    ids = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 3}
    save_seeing_writer(folder, vit(t), decoder, tokenizer, processor, **ids)


def make_vit_gpt2(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = byte_pairs(folder)
    decoder = t.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64, add_cross_attention=True,
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    processor = t.ViTImageProcessorPil(size={"height": 32, "width": 32})
    ids = {"decoder_start_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    save_seeing_writer(folder, vit(t), decoder, tokenizer, processor, **ids)


def make_trocr(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = byte_pairs(folder)
    encoder = t.DeiTConfig(**{**SMALL, "hidden_size": 48}, image_size=32, patch_size=8)
    decoder = t.TrOCRConfig(
        vocab_size=len(tokenizer), d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=37,
        cross_attention_hidden_size=48, max_position_embeddings=64, is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    processor = t.DeiTImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    ids = {"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 2}
    save_seeing_writer(folder, encoder, decoder, tokenizer, processor, **ids)


def donut(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = byte_pairs(folder)
    tokens = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    tokenizer.save_pretrained(folder)
    encoder = t.DonutSwinConfig(
        image_size=[64, 32], patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    decoder = t.MBartConfig(
        vocab_size=len(tokenizer), d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=37,
        max_position_embeddings=160, is_decoder=True, add_cross_attention=True, scale_embedding=True,
    )  # fmt: skip
    processor = t.DonutImageProcessorPil(size={"height": 64, "width": 32})
    ids = {"decoder_start_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    save_seeing_writer(folder, encoder, decoder, tokenizer, processor, **ids)


def make_donut(folder: Path) -> None:
    donut(folder)


def expect_captions(prompt: str | None = None, beams: int = 1) -> Callable[[Path, list[Any]], list[Any]]:
    """Processor, `generate`, and the text without special tokens."""

    def expected(folder: Path, sources: list[Any]) -> list[Any]:
        t, torch = seeded()
        config = t.AutoConfig.from_pretrained(folder)
        model = getattr(t, config.architectures[0]).from_pretrained(folder).eval()
        processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
        tokenizer = t.AutoTokenizer.from_pretrained(folder)
        answers = []
        for source in sources:
            given = {"pixel_values": processor(opened(source), return_tensors="pt").pixel_values}
            if prompt is not None and config.model_type == "git":
                ids = tokenizer(prompt, add_special_tokens=False).input_ids
                given["input_ids"] = torch.tensor([[tokenizer.cls_token_id, *ids]])
            elif prompt is not None and config.model_type == "blip":
                given["input_ids"] = tokenizer(prompt, return_tensors="pt").input_ids
            elif prompt is not None:
                ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
                given["decoder_input_ids"] = ids
            with torch.no_grad():
                found = model.generate(**given, max_new_tokens=NEW, num_beams=beams, do_sample=False)
            answers.append({"generated_text": tokenizer.decode(found[0], skip_special_tokens=True)})
        return answers

    return expected


def blip_config(t: Any, tokens: int) -> Any:
    text = {
        **SMALL, "vocab_size": tokens, "encoder_hidden_size": 32, "max_position_embeddings": 64, "bos_token_id": 2,
        "sep_token_id": 3, "pad_token_id": 0, "eos_token_id": 3, "projection_dim": 32,
    }  # fmt: skip
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 32}
    return t.BlipConfig(text_config=text, vision_config=vision, projection_dim=32)


def make_blip(folder: Path, kind: str = "BlipForConditionalGeneration") -> None:
    t, _ = seeded()
    tokenizer = word_pieces(folder)
    decided(getattr(t, kind)(blip_config(t, len(tokenizer)))).save_pretrained(folder)
    t.BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def make_blip_question(folder: Path) -> None:
    make_blip(folder, "BlipForQuestionAnswering")


def make_git(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = word_pieces(folder)
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    config = t.GitConfig(
        vision_config=vision, **SMALL, vocab_size=len(tokenizer), max_position_embeddings=64, bos_token_id=2,
        eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    decided(t.GitForCausalLM(config)).save_pretrained(folder)
    t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def make_vilt(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = word_pieces(folder)
    config = t.ViltConfig(
        **SMALL, vocab_size=len(tokenizer), image_size=48, patch_size=8, max_position_embeddings=64,
        initializer_range=0.3, id2label={i: f"answer {i}" for i in range(7)},
    )  # fmt: skip
    t.ViltForQuestionAnswering(config).eval().save_pretrained(folder)
    t.ViltImageProcessorPil(size={"shortest_edge": 48}, size_divisor=8).save_pretrained(folder)


def asked(folder: Path) -> list[Any]:
    """Each picture with a question."""
    return [
        {"image": path, "question": QUESTIONS[number % len(QUESTIONS)]} for number, path in enumerate(pictures(folder))
    ]


def expect_vilt(folder: Path, sources: list[Any]) -> list[Any]:
    t, torch = seeded()
    model = t.ViltForQuestionAnswering.from_pretrained(folder).eval()
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        with torch.no_grad():
            seen = processor(opened(source["image"]), return_tensors="pt")
            scores = model(**tokenizer(source["question"], return_tensors="pt"), **seen).logits[0].sigmoid()
        best = scores.topk(5)
        labels = [model.config.id2label[int(i)] for i in best.indices]
        answers.append([{"answer": label, "score": float(s)} for label, s in zip(labels, best.values)])
    return answers


def expect_blip_question(folder: Path, sources: list[Any]) -> list[Any]:
    t, torch = seeded()
    model = t.BlipForQuestionAnswering.from_pretrained(folder).eval()
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        seen = processor(opened(source["image"]), return_tensors="pt").pixel_values
        words = tokenizer(source["question"], return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            found = model.generate(pixel_values=seen, **words, max_new_tokens=NEW)
        answers.append([{"answer": tokenizer.decode(found[0], skip_special_tokens=True).strip()}])
    return answers


def layout(size: int) -> dict[str, Any]:
    return {**SMALL, "vocab_size": size, "max_2d_position_embeddings": 1024, "initializer_range": 0.5}


def make_layoutlm(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = word_pieces(folder, 128)
    config = t.LayoutLMConfig(**layout(len(tokenizer)), max_position_embeddings=160)
    t.LayoutLMForQuestionAnswering(config).eval().save_pretrained(folder)


def layout_tokenizer(folder: Path) -> Any:
    """Byte-level, as RoBERTa's, taking words with boxes."""
    t, _ = seeded()
    model = json.loads(byte_pairs(folder).backend_tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = t.LayoutLMv3Tokenizer(vocab=model["vocab"], merges=merges, model_max_length=128)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_layoutlmv3(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = layout_tokenizer(folder)
    config = t.LayoutLMv3Config(
        **layout(len(tokenizer)), max_position_embeddings=130, coordinate_size=6, shape_size=4, input_size=32,
        patch_size=8, rel_pos_bins=8, rel_2d_pos_bins=8,
    )  # fmt: skip
    t.LayoutLMv3ForQuestionAnswering(config).eval().save_pretrained(folder)
    size = {"height": 32, "width": 32}
    t.LayoutLMv3ImageProcessorPil(apply_ocr=False, size=size).save_pretrained(folder)


def make_lilt(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = layout_tokenizer(folder)
    config = t.LiltConfig(
        **{**layout(len(tokenizer)), "hidden_size": 48}, max_position_embeddings=130, channel_shrink_ratio=2
    )
    t.LiltForQuestionAnswering(config).eval().save_pretrained(folder)


def documents(folder: Path) -> list[Any]:
    """Each picture as a page, with a question and words on it; one has more words than the model takes at once."""
    lines = [*(line.split() for line in SENTENCES if line), ["invoice", "number", "12,345.67", "total"] * 16]
    found = []
    for number, (path, words) in enumerate(zip(pictures(folder), [lines[0], lines[1], lines[5], lines[3], lines[2]])):
        boxes = [[10 * (i % 90), 9 * (i % 100), 10 * (i % 90) + 50, 9 * (i % 100) + 20] for i in range(len(words))]
        pairs = [[word, box] for word, box in zip(words, boxes)]
        found.append({"image": path, "question": QUESTIONS[number % 3], "word_boxes": pairs})
    return found


def expect_layout(folder: Path, sources: list[Any]) -> list[Any]:
    """The pipeline of transformers, whose answers to LayoutLMv3 and LiLT it has by the same steps."""
    from transformers.pipelines.document_question_answering import select_starts_ends

    t, torch = seeded()
    config = t.AutoConfig.from_pretrained(folder)
    model = getattr(t, config.architectures[0]).from_pretrained(folder).eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    if config.model_type == "layoutlm":
        ask = t.pipeline("document-question-answering", model=model, tokenizer=tokenizer)
        keys = ("question", "word_boxes")
        return [ask({k: source[k] for k in keys}, top_k=2) for source in sources]
    sees = (folder / "preprocessor_config.json").exists()
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil") if sees else None
    answers = []
    for source in sources:
        words, boxes = ([pair[k] for pair in source["word_boxes"]] for k in (0, 1))
        given = tokenizer(
            [source["question"]], [words], boxes=[boxes], truncation="only_second", max_length=128, stride=64,
            return_overflowing_tokens=True,
        )  # fmt: skip
        found = []
        for window in range(len(given["input_ids"])):
            inputs = {k: torch.tensor(given[k][window : window + 1]) for k in ("input_ids", "attention_mask", "bbox")}
            if processor is not None:
                inputs["pixel_values"] = processor(opened(source["image"]), return_tensors="pt").pixel_values
            with torch.no_grad():
                out = model(**inputs)
            size = len(given["input_ids"][window])
            mask = [part != 1 for part in given.sequence_ids(window)]
            mask[0] = False
            starts, ends, scores, _ = select_starts_ends(
                out.start_logits[:, :size].numpy(), out.end_logits[:, :size].numpy(), np.array([mask]),
                inputs["attention_mask"].numpy(), top_k=2,
            )  # fmt: skip
            ids = given.word_ids(window)
            for start, end, score in zip(starts, ends, scores):
                a, b = ids[start], ids[end]
                found.append({"answer": " ".join(words[a : b + 1]), "score": float(score), "start": a, "end": b})
        answers.append(sorted(found, key=lambda answer: -answer["score"])[:2])
    return answers


def expect_donut(folder: Path, sources: list[Any]) -> list[Any]:
    t, _ = seeded()
    model = t.VisionEncoderDecoderModel.from_pretrained(folder).eval()
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    model.generation_config.max_new_tokens = NEW
    ask = t.pipeline("document-question-answering", model=model, tokenizer=tokenizer, image_processor=processor)
    answers = [ask({k: s[k] for k in ("image", "question")}) for s in sources]
    return [[{"answer": a["answer"] or ""} for a in found] for found in answers]


def make_florence(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = byte_pairs(folder, extra_special_tokens={"image_token": "<image>"}, model_max_length=1024)
    vision = {
        "embed_dim": [16, 16, 16, 16], "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2],
        "window_size": 4, "projection_dim": 32,
    }  # fmt: skip
    text = {
        "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37,
        "max_position_embeddings": 128, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "forced_eos_token_id": 2,
    }  # fmt: skip
    config = t.Florence2Config(vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id)
    model = decided(t.Florence2ForConditionalGeneration(config), 3.0)
    model.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    seeing = t.CLIPImageProcessorPil(size=size, do_center_crop=False, image_seq_length=5)
    t.Florence2Processor(seeing, tokenizer).save_pretrained(folder)


def expect_florence(folder: Path, sources: list[Any]) -> list[Any]:
    t, torch = seeded()
    model = t.Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    seeing = t.CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    processor = t.Florence2Processor(seeing, tokenizer)
    answers = []
    for source in sources:
        given = processor(text="<CAPTION>", images=opened(source), return_tensors="pt")
        with torch.no_grad():
            found = model.generate(**given, max_new_tokens=NEW, num_beams=3, do_sample=False)
        answers.append({"generated_text": tokenizer.decode(found[0], skip_special_tokens=True)})
    return answers


def make_pix2struct(folder: Path) -> None:
    t, _ = seeded()
    tokenizer = byte_pairs(folder)
    text = {
        "hidden_size": 32, "d_kv": 16, "d_ff": 37, "num_layers": 2, "num_heads": 2, "vocab_size": len(tokenizer),
        "decoder_start_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "patch_embed_hidden_size": 3 * 64, "d_kv": 16, "d_ff": 37, "num_hidden_layers": 2,
        "num_attention_heads": 2, "seq_len": 64,
    }  # fmt: skip
    config = t.Pix2StructConfig(text_config=text, vision_config=vision)
    model = decided(t.Pix2StructForConditionalGeneration(config))
    model.generation_config = t.GenerationConfig(decoder_start_token_id=0, pad_token_id=1, eos_token_id=2)
    model.save_pretrained(folder)
    t.Pix2StructImageProcessorPil(patch_size={"height": 8, "width": 8}, max_patches=40).save_pretrained(folder)


def expect_pix2struct(folder: Path, sources: list[Any]) -> list[Any]:
    t, torch = seeded()
    model = t.Pix2StructForConditionalGeneration.from_pretrained(folder).eval()
    processor = t.Pix2StructImageProcessorPil.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        with torch.no_grad():
            found = model.generate(**processor(opened(source), return_tensors="pt"), max_new_tokens=NEW)
        answers.append({"generated_text": tokenizer.decode(found[0], skip_special_tokens=True)})
    return answers


WRITE: dict[str, Any] = {"max_new_tokens": NEW}


def captioner(kind: str, make: Callable[[Path], None], prompt: str | None = None, beams: int = 1) -> Architecture:
    options = {**WRITE} | ({"prompt": prompt} if prompt else {}) | ({"num_beams": beams} if beams > 1 else {})
    return Architecture(kind, "image-to-text", make, expect_captions(prompt, beams), pictures, options, kind == "blip")


ARCHITECTURES = [
    captioner("blip", make_blip, "the quick fox", 3),
    captioner("git", make_git),
    captioner("git", make_git, "the lazy dog"),
    captioner("vision-encoder-decoder (vit, bert)", make_vit_bert),
    captioner("vision-encoder-decoder (vit, gpt2)", make_vit_gpt2),
    captioner("vision-encoder-decoder (deit, trocr)", make_trocr, beams=2),
    captioner("vision-encoder-decoder (donut-swin, mbart)", make_donut, "<s_docvqa>"),
    Architecture("florence2", "image-to-text", make_florence, expect_florence, pictures, {**WRITE, "num_beams": 3}),
    Architecture("pix2struct", "image-to-text", make_pix2struct, expect_pix2struct, pictures, WRITE),
    Architecture("vilt", "visual-question-answering", make_vilt, expect_vilt, asked),
    Architecture("blip", "visual-question-answering", make_blip_question, expect_blip_question, asked, WRITE),
    Architecture("layoutlm", DOCUMENT, make_layoutlm, expect_layout, documents, {"top_k": 2}),
    Architecture("layoutlmv3", DOCUMENT, make_layoutlmv3, expect_layout, documents, {"top_k": 2}),
    Architecture("lilt", DOCUMENT, make_lilt, expect_layout, documents, {"top_k": 2}),
    Architecture("vision-encoder-decoder (donut-swin, mbart)", DOCUMENT, make_donut, expect_donut, documents, WRITE),
]
