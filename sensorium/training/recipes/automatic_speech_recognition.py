"""How to train speech recognition: a convolutional network from scratch, or a base model of Hugging Face, with CTC."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from torch import nn

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.inference import collate
from sensorium.media import audio
from sensorium.media.audio import Audio
from sensorium.ops import ctc
from sensorium.tasks.automatic_speech_recognition import Task, ctc_tokenizer
from sensorium.training.bases import files_of, network_of
from sensorium.training.networks.speech_recognizer import SpeechRecognizer
from sensorium.training.plan import Part, Plan

BLANK, UNKNOWN, DELIMITER = "<pad>", "<unk>", "|"
HIGHEST_RATE = 16000  # speech has little above half of it
GIVEN = ("target", "target_length", "frames", "blank")  # of a batch, for the loss; the rest are inputs


def plan(
    examples: list[Example],
    base: Path | None,
    *,
    width: int = 0,
    depth: int = 0,
    kernel: int = 9,
    dropout: float = 0.1,
    factor: int = 0,
    join: float = 0.5,
    most_joined: int = 5,
    speed: float = 0.2,
    noise: float = 0.6,
    mask: float = 1.0,
    batch_seconds: float = 160.0,
    freeze: bool = True,
) -> Plan:
    """What to train.

    Args:
        width, depth: of the network from scratch; 0 for what suits the amount of sound.
        kernel, dropout: of the network from scratch.
        factor: frames of 10 ms that one answer stands for: 1, 2 or 4; 0 for what the transcripts allow.
        join: share of the batches whose examples are joined with others, for sequences longer than the data's; the
            plain ones are quicker, and easier to begin with.
        most_joined: how many are joined at most.
        speed: how much quicker or slower (and higher or lower) speech is made, at most.
        noise: share of the examples with noise added.
        mask: how many bands and stretches of time are hidden (SpecAugment), 1 for the usual number.
        batch_seconds: most seconds of sound in a batch.
        freeze: leave the convolutions of a wav2vec2 base as they are.
    """
    transcripts = [clean(e.fields["text"]) for e in examples]
    characters = sorted({c for said in transcripts for c in said if c != " "})
    if not characters:
        raise InputError("automatic-speech-recognition learns from transcripts; all of these are empty")
    if len(characters) > 5000:
        raise InputError(f"the transcripts have {len(characters)} different characters; at most 5000 can be learned")
    augmentation = {"join": join, "most_joined": most_joined, "speed": speed, "noise": noise, "mask": mask}
    parameters: dict[str, Any] = augmentation | {"batch_seconds": batch_seconds, "freeze": freeze}
    if base is not None:
        return _plan_from(base, transcripts, characters, parameters)

    known = [facts(e.fields["audio"]) for e in examples[:: max(1, len(examples) // 500)]]
    rate = min(HIGHEST_RATE, Counter(rate for rate, _ in known).most_common(1)[0][0])
    vocabulary = {token: i for i, token in enumerate((BLANK, UNKNOWN, DELIMITER, *characters))}
    hop, window = round(rate / 100), round(rate / 40)
    preprocessor = {
        "feature_extractor_type": "ParakeetFeatureExtractor",
        "processor_class": "ParakeetProcessor",
        "feature_size": 80 if rate > 12000 else 64,
        "sampling_rate": rate,
        "hop_length": hop,
        "win_length": window,
        "n_fft": max(512, 1 << (window - 1).bit_length()),
        "preemphasis": 0.97,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }
    if not factor:
        # Nearly all transcripts must fit into their frames with room to spare.
        room = [
            seconds * 100 / max(1, ctc.needed([ord(c) for c in said]))
            for (_, seconds), said in zip(known, transcripts[:: max(1, len(examples) // 500)])
        ]
        spare = float(np.percentile(room, 1)) / 1.5
        factor = 4 if spare >= 4 else 2 if spare >= 2 else 1
    config = {
        "architectures": ["ParakeetForCTC"],
        "model_type": "parakeet_ctc",
        "vocab_size": len(vocabulary),
        "pad_token_id": 0,
        "encoder_config": {
            "model_type": "parakeet_encoder",
            "num_mel_bins": preprocessor["feature_size"],
            "subsampling_factor": factor,
            "subsampling_conv_kernel_size": 3,
            "subsampling_conv_stride": 2,
        },
    }
    task = Task(config, preprocessor, tokenizer_settings(), vocabulary, ctc_tokenizer(vocabulary, BLANK, DELIMITER))
    hours = float(np.mean([seconds for _, seconds in known])) * len(examples) / 3600
    width, depth = width or (96 if hours < 1 else 144 if hours < 10 else 256), depth or (5 if hours < 1 else 8)
    network = {"kind": "convolutions", "bands": preprocessor["feature_size"], "labels": len(vocabulary)}
    network |= {"factor": factor, "width": width, "depth": depth, "kernel": kernel, "groups": 1, "dropout": dropout}
    batch_size = 24
    steps = max(1, len(examples) // batch_size)
    return Plan(
        task,
        network,
        epochs=int(np.clip(6000 / steps, 10, 250)),
        batch_size=batch_size,
        learning_rate=2e-3,
        weight_decay=0.02,
        warmup=0.08,
        average=0.998,
        parameters=parameters,
    )


def tokenizer_settings() -> dict[str, Any]:
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": BLANK,
        "unk_token": UNKNOWN,
        "bos_token": None,
        "eos_token": None,
        "word_delimiter_token": DELIMITER,
        "do_lower_case": False,
        "clean_up_tokenization_spaces": False,
    }


def clean(said: str) -> str:
    """A transcript in the form it is learned: composed characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", said).split())


@lru_cache(1 << 20)
def facts(path: str) -> tuple[int, float]:
    """Samples per second, and seconds, as the file's header says."""
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        opened = audio.load(path)  # says what is wrong
        return opened.rate, opened.seconds
    return int(found.samplerate), float(found.duration)


def _plan_from(base: Path, transcripts: list[str], characters: list[str], parameters: dict[str, Any]) -> Plan:
    """Fine-tuning: the base's own preprocessing, and its vocabulary where that can spell the transcripts."""
    files = files_of(base, "config.json", "preprocessor_config.json")
    config, preprocessor = files["config.json"], files["preprocessor_config.json"]
    preprocessor.setdefault("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    settings, vocabulary = tokenizer_settings(), {}
    if "vocab.json" in files and "tokenizer_config.json" in files:
        found = {**settings, **files["tokenizer_config.json"]}
        task = Task(config, preprocessor, found, files["vocab.json"])
        whole = set(task.numbers)
        if set(characters) <= whole:
            vocabulary, settings = task.vocabulary, found
        elif {c.upper() for c in characters} <= whole and not any(c.isupper() for c in characters):
            vocabulary, settings = task.vocabulary, found | {"do_lower_case": True}
    if not vocabulary:
        vocabulary = {token: i for i, token in enumerate((BLANK, UNKNOWN, DELIMITER, *characters))}
        config |= {"pad_token_id": 0}
    task = Task(config, preprocessor, settings, vocabulary)
    config |= {"vocab_size": len(task.numbers), "pad_token_id": task.blank}
    delimiter = str(settings.get("word_delimiter_token", DELIMITER))
    blank = next(token for token, number in task.numbers.items() if number == task.blank)
    network = _network(base, config)
    config["architectures"] = [type(network).__name__]
    task = Task(config, preprocessor, settings, vocabulary, ctc_tokenizer(task.numbers, blank, delimiter))
    return Plan(
        task,
        {"kind": "transformers", "architecture": type(network).__name__},
        base,
        epochs=int(np.clip(20000 / max(1, len(transcripts)), 5, 40)),
        batch_size=8,
        learning_rate=1e-4,
        weight_decay=0.005,
        warmup=0.1,
        average=0.99,
        parameters=parameters,
    )


def _network(base: Path, config: dict[str, Any]) -> nn.Module:
    """The base model with a head for these characters."""
    network, _ = network_of(
        base,
        "AutoModelForCTC",
        Task.name,
        vocab_size=config["vocab_size"],
        pad_token_id=config["pad_token_id"],
        attn_implementation="eager",  # the one that exports with free sizes
    )
    return network


def build(plan: Plan) -> nn.Module:
    if plan.base is not None:
        network = _network(plan.base, plan.task.config)
        if plan.parameters["freeze"] and hasattr(network, "freeze_feature_encoder"):
            network.freeze_feature_encoder()
        network.config.mask_time_prob = 0.0  # the recipe's own augmentation is enough, and repeatable
        return network
    return SpeechRecognizer(**{key: value for key, value in plan.network.items() if key != "kind"})


def batches(plan: Plan, examples: list[Example], rng: np.random.Generator) -> list[list[int]]:
    """Examples of like length together, in a random order; fewer where they are long."""
    order = rng.permutation(len(examples))
    seconds = np.array([facts(e.fields["audio"])[1] for e in examples])
    near = 20 * plan.batch_size  # sorted only among neighbours, so that epochs differ
    found: list[list[int]] = []
    for start in range(0, len(order), near):
        part = order[start : start + near]
        current: list[int] = []
        for i in part[np.argsort(seconds[part], kind="stable")]:
            longest = max(seconds[i], 0.01)
            full = len(current) >= plan.batch_size or (len(current) + 1) * longest > plan.parameters["batch_seconds"]
            if current and full:
                found.append(current)
                current = []
            current.append(int(i))
        if current:
            found.append(current)
    return [found[i] for i in rng.permutation(len(found))]


def batch(plan: Plan, examples: list[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """input_features (B, T, bands) or input_values (B, T), attention_mask (B, T); target (B, S) and its length,
    frames of the answer (B,), and the number of the blank (1,).
    """
    task: Task = plan.task
    sounds = [(task.open(e.fields["audio"]), clean(e.fields["text"])) for e in examples]
    if rng is not None:
        joined = bool(rng.random() < plan.parameters["join"])
        sounds = [_vary(plan, sounds, i, joined, rng) for i in range(len(sounds))]
    items = [task.prepare(sound) for sound, _ in sounds]
    frames = np.array([task.frames(int(item["attention_mask"].sum())) for item in items], np.int64)
    if rng is not None and "input_features" in items[0]:
        for item in items:
            _hide(item["input_features"], plan.parameters["mask"], rng)
    targets = [spell(task, said) for _, said in sounds]
    table = np.zeros((len(targets), max(1, *map(len, targets))), np.int64)
    for row, target in zip(table, targets):
        row[: len(target)] = target
    arrays = collate(items, {"input_features": 0, "input_values": 0, "attention_mask": 0})
    lengths = np.array([len(t) for t in targets], np.int64)
    return arrays | {"target": table, "target_length": lengths, "frames": frames, "blank": np.array([task.blank])}


def spell(task: Task, said: str) -> list[int]:
    """The labels of a transcript; characters that the vocabulary does not have are left out."""
    if task.tokenizer_config.get("do_lower_case") and not set(said.replace(" ", "")) <= set(task.numbers):
        said = said.upper()
    delimiter = task.tokenizer_config.get("word_delimiter_token", DELIMITER)
    tokens = [delimiter if c == " " else c for c in said]
    return [task.numbers[token] for token in tokens if token in task.numbers]


def _vary(
    plan: Plan, sounds: list[tuple[Audio, str]], index: int, joined: bool, rng: np.random.Generator
) -> tuple[Audio, str]:
    """One example as it might have been said by somebody else, somewhere else, perhaps with others after it."""
    p = plan.parameters
    chosen = [index]
    if joined:
        chosen += rng.integers(0, len(sounds), rng.integers(0, max(1, p["most_joined"]))).tolist()
    rate = sounds[index][0].rate
    loudness = 10 ** rng.uniform(-1.2, 0)
    pieces, said, total = [_silence(rng, rate)], [], 0.0
    factor = float(np.exp(rng.uniform(-1, 1) * np.log1p(p["speed"])))  # one voice throughout, nearly
    for i in chosen:
        sound, words = sounds[i]
        total += sound.seconds
        if i != index and total > 20:  # joining long sentences teaches nothing more
            break
        x = np.asarray(sound.samples)
        if p["speed"]:
            pace = factor * float(np.exp(rng.uniform(-0.3, 0.3) * np.log1p(p["speed"])))
            x = np.asarray(soxr.resample(x, rate * pace, rate, quality="LQ"), np.float32)
        pieces += [x * np.float32(loudness * 10 ** rng.uniform(-0.3, 0)), _silence(rng, rate)]
        said.append(words)
    x = np.concatenate(pieces)
    if rng.random() < p["noise"]:
        noise = rng.standard_normal(len(x)).astype(np.float32)
        if rng.random() < 0.5:  # more of it in the low bands, as in rooms
            noise = np.cumsum(noise - noise.mean(), dtype=np.float64).astype(np.float32)
            noise -= np.convolve(noise, np.ones(33, np.float32) / 33, "same")
        level = float(np.sqrt(np.mean(x**2))) * 10 ** rng.uniform(-2, -0.4)
        x = x + noise * np.float32(level / (float(noise.std()) + 1e-9))
    return Audio(x.astype(np.float32), rate), " ".join(said)


def _silence(rng: np.random.Generator, rate: int) -> np.ndarray:
    """Up to 0.4 s of almost nothing, more often a little of it."""
    length = int(rate * 0.4 * rng.random() ** 2)
    return (rng.standard_normal(length) * 10 ** rng.uniform(-4.5, -3)).astype(np.float32)


def _hide(features: np.ndarray, strength: float, rng: np.random.Generator) -> None:
    """SpecAugment: bands and stretches of time are set to their mean, in place."""
    frames, bands = features.shape
    for _ in range(rng.poisson(1.5 * strength)):
        size = int(rng.integers(0, max(2, bands // 5)))
        start = int(rng.integers(0, bands - size + 1))
        features[:, start : start + size] = 0
    for _ in range(rng.poisson(strength * (0.5 + frames / 100))):
        size = int(rng.integers(0, 9))
        start = int(rng.integers(0, max(1, frames - size)))
        features[start : start + size] = 0


def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """CTC, per character."""
    inputs = {k: v for k, v in batch.items() if k not in GIVEN}
    found = network(**inputs)
    logits = found if isinstance(found, torch.Tensor) else found["logits"]
    frames = batch["frames"].clamp(max=logits.shape[1])
    total = F.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        batch["target"],
        frames,
        batch["target_length"],
        blank=int(batch["blank"]),
        reduction="sum",
        zero_infinity=True,  # what is said too quickly for its frames does not count
    )
    return total / batch["target_length"].sum().clamp(min=1)


class Logits(nn.Module):
    """A network of transformers with its logits as the only output.

    Families whose first layer is normalised over time are not told what is filling: they are given none.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        found = self.network(input_values, attention_mask=attention_mask)
        logits: torch.Tensor = found if isinstance(found, torch.Tensor) else found["logits"]
        return logits


def sample(plan: Plan, network: nn.Module) -> dict[str, Part]:
    task: Task = plan.task
    t = np.arange(task.rate) / task.rate
    tones = [np.sin(2 * np.pi * 200 * t), np.sin(2 * np.pi * 300 * t[: len(t) * 3 // 4])]
    sounds = [Audio(0.1 * tone.astype(np.float32), task.rate) for tone in tones]
    if not task.padding:
        sounds = sounds[:1] * 2
    arrays = collate([task.prepare(sound) for sound in sounds], task.padding)
    if isinstance(network, SpeechRecognizer) or "input_features" in arrays:
        module: nn.Module = network
    else:
        module = Logits(network)
    inputs = {k: torch.from_numpy(v) for k, v in arrays.items()}
    if not task.padding:
        inputs.pop("attention_mask")
    free = {name: {0: "batch", 1: "time"} for name in inputs}
    return {"model": Part(module, inputs, ["logits"], free)}
