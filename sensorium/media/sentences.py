"""From the states of tokens to one vector for a text, as the files of sentence-transformers describe it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import CallError

POOLING = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Ways of pooling, in the order in which several stand side by side, with their switches in `1_Pooling/config.json`."""

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Identity": np.asarray,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "GELU": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "SiLU": lambda x: x / (1 + np.exp(-x)),
}

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def pool(states: np.ndarray, ways: Sequence[str], skip: int = 0) -> np.ndarray:
    """One vector of the states of tokens.

    Args:
        states: (T, D) of one text, without padding.
        ways: of `POOLING`; the vectors of several stand side by side.
        skip: tokens of a prompt, at the beginning, that do not count.
    """
    kept = states[skip:] if skip < len(states) else states
    weights = np.arange(1, len(states) + 1, dtype=np.float64)[len(states) - len(kept) :, None]
    found = {
        "cls": lambda: states[0],
        "max": lambda: kept.max(axis=0),
        "mean": lambda: kept.mean(axis=0),
        "mean_sqrt_len": lambda: kept.sum(axis=0) / np.sqrt(len(kept)),
        "weightedmean": lambda: (kept * weights).sum(axis=0) / weights.sum(),
        "lasttoken": lambda: states[-1],
    }
    return np.concatenate([np.asarray(found[way](), np.float64) for way in ways])


def normalize(vector: np.ndarray) -> np.ndarray:
    """The vector with the length 1; one of zeros stays so."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


@dataclass
class Dense:
    """A layer after the pooling: weight (out, in), bias (out,) or None."""

    weight: np.ndarray
    bias: np.ndarray | None
    activation: str

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        found = self.weight @ vector + (0 if self.bias is None else self.bias)
        return np.asarray(ACTIVATIONS[self.activation](found))


@dataclass
class Sentences:
    """What follows the network.

    Attributes:
        ways: how states are pooled; none where the folder does not say it.
        steps: layers, and `normalize`, in their order.
        prompts: texts that are put in front, by name; `prompt` is the name of the usual one.
        pool_prompt: whether the tokens of a prompt count.
        max_length: most tokens of a text.
        lower: whether texts are brought to small letters.
        similarity: `cosine`, `dot`, `euclidean` or `manhattan`.
        kept: the files that this was read from.
    """

    ways: tuple[str, ...] = ()
    steps: list[Callable[[np.ndarray], np.ndarray]] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    pool_prompt: bool = True
    max_length: int | None = None
    lower: bool = False
    similarity: str = "cosine"
    kept: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Sentences:
        """From modules.json and the files it leads to; of a folder without one, a plain network.

        Raises:
            InputError: a module is missing or of a kind that is not known.
        """
        found = cls()

        def read(name: str) -> Any:
            value = files.get(name)
            if value is not None:
                found.kept[name] = value
            return value

        settings = read("config_sentence_transformers.json") or {}
        found.prompts = {str(k): str(v) for k, v in (settings.get("prompts") or {}).items()}
        found.prompt = settings.get("default_prompt_name")
        found.similarity = settings.get("similarity_fn_name") or "cosine"
        for module in read("modules.json") or []:
            kind, path = str(module.get("type", "")).rsplit(".", 1)[-1], module.get("path", "")
            config = read(f"{path}/config.json" if path else "sentence_bert_config.json") or {}
            if kind == "Transformer":
                config = read("sentence_bert_config.json") or config
                found.max_length, found.lower = config.get("max_seq_length"), bool(config.get("do_lower_case"))
            elif kind == "Pooling":
                found.ways = _ways(config)
                found.pool_prompt = config.get("include_prompt", True)
            elif kind == "Dense":
                found.steps.append(_dense(config, read(f"{path}/model.safetensors"), path))
            elif kind == "Normalize":
                found.steps.append(normalize)
            elif kind != "Dropout":
                raise CallError(f"modules.json: a module '{kind}' is not known")
        return found

    def finish(self, vector: np.ndarray) -> np.ndarray:
        """Layers and normalization after the pooling."""
        for step in self.steps:
            vector = step(vector)
        return vector

    def similar(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How alike vectors are, the higher the more: (N, D) and (M, D) to (N, M)."""
        if self.similarity == "cosine":
            return np.asarray(unit(a) @ unit(b).T)
        if self.similarity == "dot":
            return np.asarray(a @ b.T)
        order = 1 if self.similarity == "manhattan" else 2
        return np.stack([-np.linalg.norm(b - row, ord=order, axis=1) for row in a])


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of the length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _ways(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    ways = [named] if isinstance(named, str) else named or [w for w, switch in POOLING.items() if config.get(switch)]
    if unknown := [way for way in ways if way not in POOLING]:
        raise CallError(f"1_Pooling/config.json: pooling '{unknown[0]}': one of {', '.join(POOLING)} is known")
    return tuple(way for way in POOLING if way in ways) or ("mean",)


def _dense(config: Mapping[str, Any], data: Any, path: str) -> Dense:
    if not isinstance(data, bytes):
        raise CallError(f"{path}/model.safetensors is missing: the layer after the pooling needs its weights")
    activation = str(config.get("activation_function") or "Identity").rsplit(".", 1)[-1]
    if activation not in ACTIVATIONS:
        raise CallError(f"{path}/config.json: activation '{activation}': one of {', '.join(ACTIVATIONS)} is known")
    arrays = tensors(data, f"{path}/model.safetensors")
    weight = arrays.get("linear.weight")
    if weight is None or weight.ndim != 2:
        raise CallError(f"{path}/model.safetensors: has no 'linear.weight'")
    return Dense(weight, arrays.get("linear.bias"), activation)


def tensors(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, as float64.

    Raises:
        InputError: damaged, or of a type that is not read.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + size]), memoryview(data)[8 + size :]
        found = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            if entry["dtype"] == "BF16":
                array = (np.frombuffer(body[start:end], "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                array = np.frombuffer(body[start:end], DTYPES[entry["dtype"]])
            found[name] = array.reshape(entry["shape"]).astype(np.float64)
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CallError(f"{where}: damaged: {error}") from None
