"""Architectures that hear and speak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.architectures import Architecture
from tests.parity.architectures.makers import SENTENCES, byte_pairs

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


def noisy_sounds(folder: Path) -> list[Any]:
    """The same with faint noise for silence, of which these extractors make infinities or rounding errors."""
    import soundfile

    paths = sounds(folder)
    noise = np.random.default_rng(2).normal(0, 1e-3, 8000)
    soundfile.write(paths[3], noise, 16000)
    return paths


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


def expect_letters(folder: Path, sources: list[Any]) -> list[Any]:
    """As the pipeline: all frames, words with times."""
    import torch
    import transformers as t

    model = t.AutoModelForCTC.from_pretrained(folder)
    extractor = t.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    step = model.config.inputs_to_logits_ratio / extractor.sampling_rate
    answers = []
    for source in sources:
        samples = heard(source, extractor.sampling_rate)
        with torch.no_grad():
            inputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
            ids = model(**inputs).logits.argmax(-1)[0]
        said = tokenizer.decode(ids, output_word_offsets=True)
        chunks = [
            {"text": w["word"], "timestamp": [w["start_offset"] * step, w["end_offset"] * step]}
            for w in said.word_offsets
        ]
        answers.append({"text": said.text.strip(), "chunks": chunks})
    return answers


def long_sounds(folder: Path) -> list[Any]:
    """Files that last longer than what is heard at once."""
    import soundfile

    rng = np.random.default_rng(1)
    place = folder / "long"
    place.mkdir()
    paths = []
    for seconds in (33.0, 61.5, 2.0):
        t = np.arange(round(seconds * 16000)) / 16000
        wave = np.sin(2 * np.pi * (300 + 200 * np.sin(t)) * t) * (np.sin(3 * t) > 0) * 0.3
        soundfile.write(place / f"{seconds}.wav", wave + rng.normal(0, 0.02, len(t)), 16000)
        paths.append(str(place / f"{seconds}.wav"))
    return paths


def by_pipeline(**given: Any) -> Callable[[Path, list[Any]], list[Any]]:
    """What the pipeline of transformers answers."""

    def expected(folder: Path, sources: list[Any]) -> list[Any]:
        import transformers as t

        transcribe = t.pipeline("automatic-speech-recognition", str(folder), device="cpu")
        rate = transcribe.feature_extractor.sampling_rate
        answers = []
        for source in sources:
            found = transcribe({"raw": heard(source, rate), "sampling_rate": rate}, **given)
            chunks = [{"text": c["text"], "timestamp": list(c["timestamp"])} for c in found.get("chunks", [])]
            answers.append({"text": found["text"], "chunks": chunks})
        return answers

    return expected


WHISPER_TOKENS = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|ja|>", "<|translate|>", "<|transcribe|>",
    "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip


def make_whisper(folder: Path) -> None:
    import transformers as t
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    seed()
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    own.train_from_iterator(SENTENCES, trainer)
    model = json.loads(own.to_str())["model"]
    tokenizer = t.WhisperTokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]])
    tokenizer.add_special_tokens({"additional_special_tokens": WHISPER_TOKENS})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    tokenizer.save_pretrained(folder)
    t.WhisperFeatureExtractor(feature_size=20).save_pretrained(folder)
    number = {token: tokenizer.convert_tokens_to_ids(token) for token in WHISPER_TOKENS}
    special = {
        "bos_token_id": number["<|endoftext|>"], "eos_token_id": number["<|endoftext|>"],
        "pad_token_id": number["<|endoftext|>"], "decoder_start_token_id": number["<|startoftranscript|>"],
    }  # fmt: skip
    config = t.WhisperConfig(
        **{**WHISPER, "max_source_positions": 1500, "encoder_layers": 1},
        vocab_size=len(tokenizer), suppress_tokens=None, begin_suppress_tokens=None, **special,
    )  # fmt: skip
    network = t.WhisperForConditionalGeneration(config).eval()
    network.generation_config = t.GenerationConfig(
        **special, max_length=48, suppress_tokens=[5, 9], begin_suppress_tokens=[7, special["eos_token_id"]],
        is_multilingual=True, no_timestamps_token_id=number["<|notimestamps|>"], max_initial_timestamp_index=50,
        lang_to_id={token: number[token] for token in ("<|en|>", "<|de|>", "<|ja|>")},
        task_to_id={kind: number[f"<|{kind}|>"] for kind in ("translate", "transcribe")},
        alignment_heads=[[0, 1], [1, 0]], return_timestamps=False,
    )  # fmt: skip
    network.save_pretrained(folder)


def recogniser(
    model_type: str, make: Callable[[Path], None], expected: Any, sources: Any = sounds, **options: Any
) -> Architecture:
    return Architecture(model_type, "automatic-speech-recognition", make, expected, sources, options)


ADAPTER = {"add_adapter": True, "num_adapter_layers": 1, "output_hidden_size": 32}
GERMAN = {"num_beams": 3, "max_new_tokens": 24, "language": "german"}
GREEDY = {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 24}}


def make_vits(folder: Path) -> None:
    import transformers as t

    seed()
    letters = ["_", *"abcdefghijklmnopqrstuvwxyz'- ", "<unk>", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({c: i for i, c in enumerate(letters)}))
    t.VitsTokenizer(str(folder / "vocab.json"), phonemize=False, language="eng").save_pretrained(folder)
    config = t.VitsConfig(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=24, flow_size=16,
        spectrogram_bins=9, prior_encoder_num_flows=2, prior_encoder_num_wavenet_layers=2, upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8], upsample_initial_channel=16, resblock_kernel_sizes=[3], noise_scale=0.0,
        resblock_dilation_sizes=[[1, 3]], noise_scale_duration=0.0, duration_predictor_filter_channels=16,
        initializer_range=0.1,
    )  # fmt: skip
    t.VitsModel(config).eval().save_pretrained(folder)


PHRASES = ["Hello there, it's me!", "a", "The quick brown fox jumps over the lazy dog, and is gone", "naïve 東京 ok"]


def phrases(folder: Path) -> list[Any]:
    """Capitals and punctuation, one letter, longer, letters that the vocabulary lacks."""
    return list(PHRASES)


def expect_vits(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.VitsModel.from_pretrained(folder).eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        with torch.no_grad():
            sound = model(**tokenizer(source, return_tensors="pt")).waveform[0]
        answers.append({"audio": sound.numpy(), "sampling_rate": model.config.sampling_rate})
    return answers


def make_speecht5(folder: Path) -> None:
    import transformers as t

    seed()
    tokenizer = characters(folder)
    t.SpeechT5FeatureExtractor().save_pretrained(folder)
    config = t.SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=24, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=37,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=37, speech_decoder_prenet_units=16,
        speech_decoder_prenet_dropout=0.0, speech_decoder_postnet_units=16, speaker_embedding_dim=8, num_mel_bins=10,
        initializer_range=0.1, max_text_positions=200,
    )  # fmt: skip
    t.SpeechT5ForTextToSpeech(config).eval().save_pretrained(folder)
    (folder / "voices.json").write_text(json.dumps({"one": [0.1 * i - 0.3 for i in range(8)], "two": [1.0] * 8}))
    vocoder = t.SpeechT5HifiGanConfig(
        model_in_dim=10, upsample_initial_channel=16, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], initializer_range=0.1,
    )  # fmt: skip
    t.SpeechT5HifiGan(vocoder).eval().save_pretrained(folder / "vocoder")


def expect_speecht5(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.SpeechT5ForTextToSpeech.from_pretrained(folder).eval()
    vocoder = t.SpeechT5HifiGan.from_pretrained(folder / "vocoder").eval()
    tokenizer = t.SpeechT5Tokenizer.from_pretrained(folder)
    voice = torch.tensor(json.loads((folder / "voices.json").read_text())["two"])[None]
    answers = []
    for source in sources:
        with torch.no_grad():
            ids = tokenizer(source, return_tensors="pt").input_ids
            sound = model.generate_speech(ids, voice, vocoder=vocoder)
        answers.append({"audio": sound.numpy(), "sampling_rate": 16000})
    return answers


def speaker(model_type: str, make: Callable[[Path], None], expected: Any, **options: Any) -> Architecture:
    return Architecture(model_type, "text-to-speech", make, expected, phrases, options)


def make_frames(model_type: str) -> Callable[[Path], None]:
    """Parakeet and LASR with CTC: pieces of words."""

    def make(folder: Path) -> None:
        import transformers as t

        seed()
        tokenizer = byte_pairs(folder, "ParakeetTokenizer")
        encoder = {**SMALL, "subsampling_conv_channels": 8, "num_mel_bins": 20, "max_position_embeddings": 400}
        given = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        if model_type == "parakeet_ctc":
            encoder |= {"subsampling_factor": 4, "conv_kernel_size": 5}
            config = t.ParakeetCTCConfig(encoder_config=encoder, **given)
            network, extractor = t.ParakeetForCTC(config), t.ParakeetFeatureExtractor(feature_size=20)
        else:
            encoder |= {"conv_kernel_size": 8}
            config = t.LasrCTCConfig(encoder_config=encoder, **given)
            network, extractor = t.LasrForCTC(config), t.LasrFeatureExtractor(feature_size=20)
        network.eval().save_pretrained(folder)
        extractor.save_pretrained(folder)

    return make


def make_transducer(model_type: str) -> Callable[[Path], None]:
    """Parakeet with a network that knows what was said before."""

    def make(folder: Path) -> None:
        import torch
        import transformers as t

        seed()
        tokenizer = byte_pairs(folder, "ParakeetTokenizer")
        tokenizer.add_special_tokens({"additional_special_tokens": ["<blank>"]})
        tokenizer.save_pretrained(folder)
        blank = tokenizer.convert_tokens_to_ids("<blank>")
        encoder = {
            **SMALL, "subsampling_conv_channels": 8, "num_mel_bins": 20, "max_position_embeddings": 400,
            "subsampling_factor": 4, "conv_kernel_size": 5,
        }  # fmt: skip
        kind = "TDT" if model_type == "parakeet_tdt" else "RNNT"
        config = getattr(t, f"Parakeet{kind}Config")(
            encoder_config=encoder, vocab_size=len(tokenizer), blank_token_id=blank, decoder_hidden_size=24,
            max_symbols_per_step=4, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        network = getattr(t, f"ParakeetFor{kind}")(config).eval()
        with torch.no_grad():
            for weight in network.parameters():
                if weight.ndim > 1:
                    weight.mul_(3)
            network.joint.head.bias[blank] += 4  # mostly, nothing is said
        network.generation_config = t.GenerationConfig(decoder_start_token_id=blank, pad_token_id=blank)
        network.save_pretrained(folder)
        t.ParakeetFeatureExtractor(feature_size=20).save_pretrained(folder)

    return make


def expect_transducer(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    config = t.AutoConfig.from_pretrained(folder)
    model = getattr(t, config.architectures[0]).from_pretrained(folder).eval()
    extractor = t.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        sound = extractor(heard(source, 16000), sampling_rate=16000, return_tensors="pt", return_attention_mask=True)
        with torch.no_grad():
            found = model.generate(**sound)
        said = tokenizer.decode(found.sequences[0], skip_special_tokens=True, group_tokens=False)
        answers.append({"text": said.strip()})
    return answers


def expect_frames(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForCTC.from_pretrained(folder).eval()
    extractor = t.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        with torch.no_grad():
            sound = extractor(
                heard(source, 16000), sampling_rate=16000, return_tensors="pt", return_attention_mask=True
            )
            ids = model.generate(**sound)
        ids = ids if isinstance(ids, torch.Tensor) else ids.sequences
        answers.append({"text": tokenizer.decode(ids[0], skip_special_tokens=True).strip()})
    return answers


SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}


def make_moonshine(folder: Path) -> None:
    import transformers as t

    seed()
    tokenizer = byte_pairs(folder)
    t.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)
    config = t.MoonshineConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2, encoder_num_attention_heads=2, decoder_num_attention_heads=2,
        initializer_range=LARGE, **SPECIAL,
    )  # fmt: skip
    network = t.MoonshineForConditionalGeneration(config).eval()
    network.generation_config = t.GenerationConfig(**SPECIAL, max_length=24, repetition_penalty=1.5)
    network.save_pretrained(folder)


def make_speech_to_text(folder: Path) -> None:
    import transformers as t

    seed()
    tokenizer = byte_pairs(folder)
    t.Speech2TextFeatureExtractor(num_mel_bins=20, feature_size=20).save_pretrained(folder)
    config = t.Speech2TextConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=37, decoder_ffn_dim=37, conv_channels=24, init_std=LARGE,
        input_feat_per_channel=20, max_target_positions=64, max_source_positions=400, **SPECIAL,
    )  # fmt: skip
    network = t.Speech2TextForConditionalGeneration(config).eval()
    network.generation_config = t.GenerationConfig(**SPECIAL, max_length=24, num_beams=3)
    network.save_pretrained(folder)


def make_speech_encoder_decoder(folder: Path) -> None:
    import transformers as t

    seed()
    tokenizer = byte_pairs(folder)
    t.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    encoder = t.Wav2Vec2Config(**SMALL, **FAMILIES["wav2vec2"][1])
    decoder = t.BertConfig(
        **{**SMALL, "hidden_size": 24}, vocab_size=len(tokenizer), is_decoder=True, add_cross_attention=True,
        max_position_embeddings=64,
    )  # fmt: skip
    config = t.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **SPECIAL)
    network = t.SpeechEncoderDecoderModel(config).eval()
    network.generation_config = t.GenerationConfig(**SPECIAL, max_length=20)
    network.save_pretrained(folder)


def characters(folder: Path) -> Any:
    """A SentencePiece model of characters, as SpeechT5 has it."""
    import sentencepiece
    import transformers as t

    (folder / "said.txt").write_text("\n".join(PHRASES * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "said.txt"), model_prefix=str(folder / "spm_char"), model_type="char", vocab_size=46,
        pad_id=1, bos_id=0, eos_id=2, unk_id=3, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokenizer = t.SpeechT5Tokenizer(str(folder / "spm_char.model"))
    tokenizer.save_pretrained(folder)
    for name in ("said.txt", "spm_char.vocab"):
        (folder / name).unlink()
    return tokenizer


def make_speecht5_hearing(folder: Path) -> None:
    import transformers as t

    seed()
    tokenizer = characters(folder)
    t.SpeechT5FeatureExtractor().save_pretrained(folder)
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = t.SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=24, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=37,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=37, initializer_range=LARGE, **special,
        conv_dim=(16, 16, 16), conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4), feat_extract_norm="layer",
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, max_text_positions=200,
    )  # fmt: skip
    network = t.SpeechT5ForSpeechToText(config).eval()
    network.generation_config = t.GenerationConfig(**special, max_length=24)
    network.save_pretrained(folder)


def expect_written(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForSpeechSeq2Seq.from_pretrained(folder).eval()
    extractor = t.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    answers = []
    for source in sources:
        with torch.no_grad():
            sound = extractor(heard(source, 16000), sampling_rate=16000, return_tensors="pt")
            ids = model.generate(**sound)[0]
        answers.append({"text": tokenizer.decode(ids, skip_special_tokens=True).strip()})
    return answers


CLAP_LABELS = ["a dog", "rain", "an engine, far away"]


def make_clap(**given: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import transformers as t

        seed()
        tokenizer = byte_pairs(folder, "RobertaTokenizerFast")
        text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 66, "pad_token_id": 1}
        sound = {
            "window_size": 4, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
            "hidden_size": 32, "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16,
            "num_hidden_layers": 2, "initializer_range": LARGE, **given,
        }  # fmt: skip
        config = t.ClapConfig(text_config=text, audio_config=sound, projection_dim=16, logit_scale_init_value=5.0)
        network = t.ClapModel(config).eval()
        network.save_pretrained(folder)
        how = "fusion" if given else "rand_trunc"
        t.ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation=how).save_pretrained(folder)

    return make


def expect_clap(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.ClapModel.from_pretrained(folder).eval()
    extractor = t.ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    texts = tokenizer([f"This is a sound of {label}." for label in CLAP_LABELS], return_tensors="pt", padding=True)
    answers = []
    for source in sources:
        with torch.no_grad():
            sound = extractor(heard(source, 48000), sampling_rate=48000, return_tensors="pt")
            scores = model(**texts, **sound).logits_per_audio[0].softmax(-1)
        order = scores.argsort(descending=True).tolist()
        answers.append([{"label": CLAP_LABELS[i], "score": float(scores[i])} for i in order])
    return answers


def clap(**given: Any) -> Architecture:
    return Architecture(
        "clap",
        "zero-shot-audio-classification",
        make_clap(**given),
        expect_clap,
        sounds,
        {"candidate_labels": CLAP_LABELS},
    )


ARCHITECTURES = [
    *(classifier(name, make_waves(name, "ForSequenceClassification"), name == "wav2vec2") for name in FAMILIES),
    classifier("audio-spectrogram-transformer", make_ast),
    classifier("whisper", make_whisper_classifier),
    *(
        recogniser(name, make_waves(name, "ForCTC"), expect_letters, return_timestamps=True)
        for name in FAMILIES
        if name != "wav2vec2-bert"
    ),
    recogniser("wav2vec2-bert", make_waves("wav2vec2-bert", "ForCTC"), expect_letters, return_timestamps=True),
    recogniser(
        "wav2vec2",
        make_waves("wav2vec2", "ForCTC"),
        by_pipeline(chunk_length_s=0.7, stride_length_s=0.1, return_timestamps="char"),
        return_timestamps=True, granularity="char", chunk_length_s=0.7, stride_length_s=0.1,
    ),
    recogniser("whisper", make_whisper, by_pipeline(**GREEDY), max_new_tokens=24),
    recogniser(
        "whisper", make_whisper, by_pipeline(generate_kwargs=GERMAN),
        language="german", num_beams=3, max_new_tokens=24,
    ),
    recogniser(
        "whisper", make_whisper, by_pipeline(**GREEDY, return_timestamps=True), long_sounds, return_timestamps=True,
        max_new_tokens=24,
    ),
    recogniser(
        "whisper", make_whisper, by_pipeline(**GREEDY, return_timestamps="word", chunk_length_s=12), long_sounds,
        return_timestamps=True, granularity="word", chunk_length_s=12.0, max_new_tokens=24,
    ),
    speaker("vits", make_vits, expect_vits),
    speaker("speecht5", make_speecht5, expect_speecht5, speaker="two"),
    clap(),
    clap(enable_fusion=True),
    recogniser("parakeet_ctc", make_frames("parakeet_ctc"), expect_frames, noisy_sounds),
    recogniser("parakeet_tdt", make_transducer("parakeet_tdt"), expect_transducer, noisy_sounds),
    recogniser("parakeet_rnnt", make_transducer("parakeet_rnnt"), expect_transducer, noisy_sounds),
    recogniser("lasr_ctc", make_frames("lasr_ctc"), expect_frames),
    recogniser("moonshine", make_moonshine, expect_written),
    recogniser("speech_to_text", make_speech_to_text, expect_written, noisy_sounds),
    recogniser("speech-encoder-decoder", make_speech_encoder_decoder, expect_written),
    recogniser("speecht5", make_speecht5_hearing, expect_written),
    classifier("wav2vec2", make_waves("wav2vec2", "ForSequenceClassification", use_weighted_layer_sum=True)),
    recogniser(
        "wav2vec2-bert", make_waves("wav2vec2-bert", "ForCTC", **ADAPTER),
        expect_letters, return_timestamps=True,
    ),
    recogniser(
        "wav2vec2-conformer", make_waves("wav2vec2-conformer", "ForCTC", position_embeddings_type="rotary"),
        expect_letters, return_timestamps=True,
    ),
]  # fmt: skip
