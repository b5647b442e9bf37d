"""Architectures that hear and speak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.architectures import Architecture

# Weights of this size decide between the labels of a random model.
LARGE = 0.5
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmno'"]

WAVES = {
    "conv_dim": (16, 16, 16), "conv_stride": (5, 4, 4), "conv_kernel": (10, 8, 4), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37,
    "initializer_range": LARGE,
}  # fmt: skip
LAYERS = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
POSITIONS = {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 15}
# model_type: what its classes are called, what they need besides, whether batches of them have attention masks
FAMILIES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "wav2vec2": ("Wav2Vec2", {**WAVES, **LAYERS}, True),
    "hubert": ("Hubert", WAVES, False),
    "wavlm": ("WavLM", {**WAVES, "num_buckets": 8, "max_bucket_distance": 20}, True),
    "unispeech": ("UniSpeech", WAVES, False),
    "unispeech-sat": ("UniSpeechSat", {**WAVES, **LAYERS}, True),
    "data2vec-audio": ("Data2VecAudio", {**WAVES, **POSITIONS}, True),
    "wav2vec2-conformer": ("Wav2Vec2Conformer", {**WAVES, "position_embeddings_type": "relative"}, True),
    "sew": ("SEW", {**WAVES, "squeeze_factor": 2}, False),
    "sew-d": (
        "SEWD",
        {**WAVES, "squeeze_factor": 2, "max_position_embeddings": 64, "position_buckets": 16, "hidden_act": "gelu"},
        False,
    ),
    "wav2vec2-bert": ("Wav2Vec2Bert", {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5}, True),
}


def sounds(folder: Path) -> list[Any]:
    """Files: tones, two channels at 44.1 kHz, a telephone's 8 kHz, silence, a short one."""
    import soundfile

    rng = np.random.default_rng(0)
    place = folder / "sounds"
    place.mkdir()

    def tones(seconds: float, rate: int) -> np.ndarray:
        t = np.arange(round(seconds * rate)) / rate
        wave = sum(np.sin(2 * np.pi * f * t * (1 + t)) for f in (220, 440, 1000)) * 0.2
        return np.asarray(wave + rng.normal(0, 0.02, len(t)), np.float32)

    made = {
        "tones": (tones(1.0, 16000), 16000),
        "stereo": (np.stack([tones(0.8, 44100), 0.3 * tones(0.8, 44100)[::-1]], 1), 44100),
        "telephone": (tones(1.3, 8000), 8000),
        "silence": (np.zeros(8000, np.float32), 16000),
        "short": (tones(0.2, 16000), 16000),
    }
    for name, (samples, rate) in made.items():
        soundfile.write(place / f"{name}.wav", samples, rate)
    return [str(place / f"{name}.wav") for name in made]


def heard(path: str, rate: int) -> np.ndarray:
    """A sound as pipelines of transformers load it."""
    from transformers.audio_utils import load_audio

    return load_audio(path, rate, backend="soundfile")


def seed() -> None:
    import torch

    torch.manual_seed(0)


def ctc_tokenizer(folder: Path) -> Any:
    """Letters, as wav2vec2 and its relatives say them."""
    import transformers as t

    (folder / "vocab.json").write_text(json.dumps({c: i for i, c in enumerate(LETTERS)}))
    tokenizer = t.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def wave_extractor(model_type: str) -> Any:
    import transformers as t

    if model_type == "wav2vec2-bert":
        return t.SeamlessM4TFeatureExtractor()
    return t.Wav2Vec2FeatureExtractor(return_attention_mask=FAMILIES[model_type][2])


def make_waves(model_type: str, head: str, **given: Any) -> Callable[[Path], None]:
    """wav2vec2 and its relatives."""

    def make(folder: Path) -> None:
        import transformers as t

        seed()
        name, extra, _ = FAMILIES[model_type]
        labels = {"id2label": {i: f"class {i}" for i in range(4)}, "classifier_proj_size": 16}
        if head == "ForCTC":
            ctc_tokenizer(folder)
            labels = {"vocab_size": len(LETTERS), "pad_token_id": 0}
        wave_extractor(model_type).save_pretrained(folder)
        config = getattr(t, f"{name}Config")(**{**SMALL, **extra, **labels, **given})
        getattr(t, f"{name}{head}")(config).eval().save_pretrained(folder)

    return make


def make_ast(folder: Path) -> None:
    import transformers as t

    seed()
    labels = {i: f"class {i}" for i in range(4)}
    config = t.ASTConfig(
        **SMALL, id2label=labels, patch_size=8, num_mel_bins=24, max_length=60, frequency_stride=6, time_stride=6
    )
    t.ASTForAudioClassification(config).eval().save_pretrained(folder)
    t.ASTFeatureExtractor(num_mel_bins=24, max_length=60).save_pretrained(folder)


WHISPER = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "num_mel_bins": 20, "max_source_positions": 100,
    "max_target_positions": 64, "init_std": LARGE,
}  # fmt: skip


def make_whisper_classifier(folder: Path) -> None:
    import transformers as t

    seed()
    config = t.WhisperConfig(**WHISPER, id2label={i: f"class {i}" for i in range(4)}, classifier_proj_size=16)
    t.WhisperForAudioClassification(config).eval().save_pretrained(folder)
    t.WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)


def expect_labels(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForAudioClassification.from_pretrained(folder)
    extractor = t.AutoFeatureExtractor.from_pretrained(folder)
    answers = []
    for source in sources:
        rate = extractor.sampling_rate
        with torch.no_grad():
            inputs = extractor(heard(source, rate), sampling_rate=rate, return_tensors="pt")
            logits = model(**inputs).logits[0]
        several = model.config.problem_type == "multi_label_classification"
        scores = logits.sigmoid() if several else logits.softmax(-1)
        order = scores.argsort(descending=True).tolist()
        answers.append([{"label": model.config.id2label[i], "score": float(scores[i])} for i in order])
    return answers


def classifier(model_type: str, make: Callable[[Path], None], quick: bool = False) -> Architecture:
    return Architecture(model_type, "audio-classification", make, expect_labels, sounds, {"top_k": None}, quick)


ARCHITECTURES = [
    *(classifier(name, make_waves(name, "ForSequenceClassification"), name == "wav2vec2") for name in FAMILIES),
    classifier("audio-spectrogram-transformer", make_ast),
    classifier("whisper", make_whisper_classifier),
]
