"""How to train text classification: from hashed n-grams, or from a base model of Hugging Face."""

from __future__ import annotations

import json
import unicodedata
from collections import ChainMap, Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.inference import collate
from sensorium.media.encoder import Encoder
from sensorium.tasks.text_classification import Task
from sensorium.training.bases import files_of, network_of
from sensorium.training.networks.text_classifier import TextClassifier
from sensorium.training.plan import Part, Plan

SPECIAL = ("[PAD]", "[UNK]", "[CLS]")
MOST_CHARACTERS = 8000  # of the vocabulary; Chinese needs about so many
MOST_WEIGHTS = 1 << 23  # of the table


def plan(
    examples: list[Example],
    base: Path | None,
    *,
    views: str = "fold",
    longest: int = 5,
    words: int = 2,
    buckets: int = 0,
    max_length: int = 0,
    balance: float | None = None,
) -> Plan:
    """What to train.

    Args:
        views: what the n-grams are made of: `fold` (without case), `raw`, `shape`; several with `+`.
        longest: characters of the longest n-gram.
        words: 1 for words, 2 for pairs of neighbouring words also, 0 for neither.
        buckets: rows of the table; 0 for as many as suit the number of labels.
        max_length: tokens after which a text is cut; 0 for what the data (or the base) needs.
        balance: 0 counts every example alike, 1 every label alike; by default 1 where each text has one label.
    """
    multi = "labels" in examples[0].fields
    balance = (0.0 if multi else 1.0) if balance is None else balance
    counts = Counter(label for e in examples for label in labels_of(e))
    if len(counts) < 2:
        raise InputError(f"text-classification learns from two labels or more; here is only {list(counts)}")
    names = sorted(counts)
    config: dict[str, Any] = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": "multi_label_classification" if multi else "single_label_classification",
    }
    weights = [(len(examples) / (len(names) * counts[name])) ** balance for name in names]
    parameters: dict[str, Any] = {"label_weights": weights, "balance": balance}
    if base is not None:
        return _plan_from(base, examples, config, parameters, max_length)

    texts = [unicodedata.normalize("NFKC", e.fields["text"]) for e in examples]
    longest_text = max(map(len, texts)) + 1
    max_length = max_length or min(4096, max(256, 1 << (longest_text - 1).bit_length()))
    characters = [c for c, _ in Counter("".join(texts)).most_common(MOST_CHARACTERS)]
    buckets = buckets or min(1 << 18, max(1 << 16, 1 << (MOST_WEIGHTS // len(names)).bit_length() - 1))
    encoder = Encoder(
        {
            "architectures": ["DistilBertForSequenceClassification"],
            "model_type": "distilbert",
            "vocab_size": len(SPECIAL) + len(characters),
            "max_position_embeddings": max_length,
            "pad_token_id": 0,
        }
        | config,
        character_tokenizer(characters),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_length,
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "clean_up_tokenization_spaces": False,
        },
    )
    network = {"kind": "n-grams", "labels": len(names), "views": views.split("+"), "longest": longest}
    network |= {"words": words, "buckets": buckets}
    return Plan(
        Task(encoder),
        network,
        epochs=_epochs(len(examples), 10),
        batch_size=32,
        learning_rate=20.0,
        weight_decay=0.1 / len(examples),  # the ridge of logistic regression with C = 10
        average=0.998,
        clip=1.0,
        monitor="loss",  # smoother than the metric of some hundred texts
        autocast=False,
        parameters=parameters,
    )


def _epochs(examples: int, most: int) -> int:
    """Fewer passes over larger data: about 100 000 examples are seen in all."""
    return int(np.clip(100_000 / max(1, examples), 3, most))


def _plan_from(
    base: Path, examples: list[Example], config: dict[str, Any], parameters: dict[str, Any], max_length: int
) -> Plan:
    """Fine-tuning: the base's own configuration and tokenizer, with new labels."""
    files = files_of(base, "config.json", "tokenizer.json")
    architecture = type(_network(base, config)).__name__
    kept = {k: v for k, v in files["config.json"].items() if k not in ("num_labels", "_name_or_path")}
    own = {"config.json": kept | config | {"architectures": [architecture]}}
    task = Task.load(ChainMap(own, files))
    # Attention grows with the square of the length, so no longer than nearly all texts need.
    lengths = [len(task.prepare(task.open(e.fields["text"]))["input_ids"]) for e in examples[:2000]]
    limit = max_length or int(np.percentile(lengths, 99)) + 1
    task.encoder.tokenizer_config["model_max_length"] = min(limit, task.encoder.max_length or limit)
    return Plan(
        Task.load(task.files()),
        {"kind": "transformers", "architecture": architecture},
        base,
        epochs=_epochs(len(examples), 10),
        batch_size=16,
        learning_rate=5e-5,
        weight_decay=0.01,
        warmup=0.1,
        average=0.99,
        parameters=parameters,
    )


def _network(base: Path, config: dict[str, Any]) -> nn.Module:
    """The base model with a head for these labels."""
    network, _ = network_of(
        base,
        "AutoModelForSequenceClassification",
        Task.name,
        id2label={int(k): v for k, v in config["id2label"].items()},
        label2id=config["label2id"],
        problem_type=config["problem_type"],
        attn_implementation="eager",  # the one that exports with free sizes
    )
    return network


def character_tokenizer(characters: list[str]) -> str:
    """tokenizer.json with one token per character: byte-pair encoding without pairs, which every runtime reads.

    Args:
        characters: single characters, the most common first.
    """
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *characters))}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in enumerate(SPECIAL)],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [SPECIAL.index("[CLS]")], "tokens": ["[CLS]"]}},
        },
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }
    return json.dumps(document, ensure_ascii=False)


def build(plan: Plan) -> nn.Module:
    if plan.base is not None:
        return _network(plan.base, plan.task.config)
    vocabulary = json.loads(plan.task.encoder.tokenizer_json)["model"]["vocab"]
    characters = sorted(vocabulary, key=vocabulary.__getitem__)
    characters[SPECIAL.index("[UNK]")] = "\ufffd"  # a sign of its own, unlike the other special tokens
    keys = ("labels", "views", "longest", "words", "buckets")
    return TextClassifier(characters, **{key: plan.network[key] for key in keys})


def optimizer(plan: Plan, network: nn.Module) -> torch.optim.Optimizer | None:
    """Plain steps for the table of n-grams, which find the solution of least length, as logistic regression does;
    Adam would let the rare n-grams weigh as much as the common ones. None for the loop's own.
    """
    if plan.network.get("kind") != "n-grams":
        return None
    return torch.optim.SGD(
        network.parameters(), plan.learning_rate, momentum=0.9, weight_decay=plan.weight_decay, nesterov=True
    )


def labels_of(example: Example) -> list[str]:
    found = example.fields.get("labels", example.fields.get("label"))
    return [found] if isinstance(found, str) else list(found)


def batch(plan: Plan, examples: list[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """input_ids, attention_mask ... (B, T) int64; target: (B,) label numbers, or (B, C) indicators; weight: (C,)."""
    task: Task = plan.task
    arrays = collate([task.prepare(task.open(e.fields["text"])) for e in examples], task.padding)
    if task.config.get("type_vocab_size", 0) < 2:
        arrays.pop("token_type_ids", None)
    arrays["weight"] = np.array(plan.parameters["label_weights"], np.float32)
    numbers = [[task.number[label] for label in labels_of(e) if label in task.number] for e in examples]
    if task.multi:
        target = np.zeros((len(examples), len(task.labels)), np.float32)
        for row, found in zip(target, numbers):
            row[found] = 1
        return arrays | {"target": target}
    # Labels that only the validation examples have do not count.
    return arrays | {"target": np.array([n[0] if n else -100 for n in numbers], np.int64)}


def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = {k: v for k, v in batch.items() if k not in ("target", "weight")}
    logits = logits_of(network(**inputs)).float()
    if batch["target"].ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, batch["target"], pos_weight=batch["weight"])
    return F.cross_entropy(logits, batch["target"], weight=batch["weight"])


def logits_of(found: Any) -> torch.Tensor:
    """The logits of what a network returns: a tensor, or a mapping as transformers returns it."""
    return found if isinstance(found, torch.Tensor) else found["logits"]


class Logits(nn.Module):
    """A network of transformers with its logits as the only output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return logits_of(self.network(input_ids=input_ids, attention_mask=attention_mask, **types))


def sample(plan: Plan, network: nn.Module) -> dict[str, Part]:
    examples = [Example("a", {"text": "A short text.", "label": ""}, ""), Example("b", {"text": "b", "label": ""}, "")]
    arrays = batch(plan, examples, None)
    inputs = {k: torch.from_numpy(v) for k, v in arrays.items() if k not in ("target", "weight")}
    free = {name: {0: "batch", 1: "sequence"} for name in inputs}
    module = network if isinstance(network, TextClassifier) else Logits(network)
    return {"model": Part(module, inputs, ["logits"], free)}
