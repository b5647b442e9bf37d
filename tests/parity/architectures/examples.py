"""One architecture each of reading, seeing and hearing: the pattern for the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.architectures import Architecture
from tests.parity.architectures.makers import opened, pictures, sounds, texts, word_pieces

# Weights of this size decide between the labels of a random model.
LARGE = 0.5


def make_bert(folder: Path) -> None:
    import torch
    import transformers as t

    torch.manual_seed(0)
    tokenizer = word_pieces(folder)
    config = t.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37,
        max_position_embeddings=64, initializer_range=LARGE, id2label={0: "bad", 1: "fair", 2: "good"},
    )  # fmt: skip
    t.BertForSequenceClassification(config).eval().save_pretrained(folder)


def expect_bert(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        with torch.no_grad():
            encoded = tokenizer(source, return_tensors="pt", truncation=True)
            scores = model(**encoded).logits[0].softmax(-1)
        best = int(scores.argmax())
        answers.append([{"label": model.config.id2label[best], "score": float(scores[best])}])
    return answers


def make_vit(folder: Path) -> None:
    import torch
    import transformers as t

    torch.manual_seed(0)
    config = t.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37, image_size=32, patch_size=8,
        initializer_range=LARGE, id2label={i: f"class {i}" for i in range(4)},
    )  # fmt: skip
    t.ViTForImageClassification(config).eval().save_pretrained(folder)
    t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def expect_vit(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForImageClassification.from_pretrained(folder)
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    answers = []
    for source in sources:
        with torch.no_grad():
            scores = model(**processor(opened(source), return_tensors="pt")).logits[0].softmax(-1)
        order = scores.argsort(descending=True).tolist()
        answers.append([{"label": model.config.id2label[i], "score": float(scores[i])} for i in order])
    return answers


def make_wav2vec2(folder: Path) -> None:
    import torch
    import transformers as t

    torch.manual_seed(0)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh"]
    (folder / "vocab.json").write_text(json.dumps({c: i for i, c in enumerate(letters)}))
    tokenizer = t.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    t.Wav2Vec2Processor(t.Wav2Vec2FeatureExtractor(return_attention_mask=True), tokenizer).save_pretrained(folder)
    config = t.Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37,
        conv_dim=(16, 16, 16), conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4), num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
        do_stable_layer_norm=True, initializer_range=LARGE, pad_token_id=0,
    )  # fmt: skip
    t.Wav2Vec2ForCTC(config).eval().save_pretrained(folder)


def expect_wav2vec2(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForCTC.from_pretrained(folder)
    processor = t.AutoProcessor.from_pretrained(folder)
    answers = []
    for samples, rate in sources:
        with torch.no_grad():
            ids = model(**processor(np.asarray(samples), sampling_rate=rate, return_tensors="pt")).logits.argmax(-1)
        answers.append({"text": processor.batch_decode(ids)[0].strip()})
    return answers


ARCHITECTURES = [
    Architecture("bert", "text-classification", make_bert, expect_bert, texts, quick=True),
    Architecture("vit", "image-classification", make_vit, expect_vit, pictures, {"top_k": None}, quick=True),
    Architecture("wav2vec2", "automatic-speech-recognition", make_wav2vec2, expect_wav2vec2, sounds),
]
