"""Classification: from logits to labels with scores, and the field's metrics, equal to scikit-learn's.

Labels are integers here: 0..C-1 for the model's own, `unknown(label)` for one that the model does not have.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.errors import CallError, InputError, check_count
from sensorium.ops.ranking import highest

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Label:
    """One label of the answer.

    Attributes:
        label: its name.
        score: how sure the model is, 0..1.
    """

    label: str
    score: float


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis, which sum to 1."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(logits: Floats) -> npt.NDArray[np.float64]:
    """Independent probabilities, without overflow for large negative logits."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float64))))


FUNCTIONS = ("softmax", "sigmoid", "none")


def function_of(config: Mapping[str, Any]) -> str:
    """What makes scores of logits, by a `config.json`: one of `FUNCTIONS`, as Hugging Face's pipelines choose it.

    Its `function_to_apply` comes first. Numbers of a regression stay as they are; labels of which several can be true,
    or of which there is one, have a probability each; others share one.
    """
    labels, multi = labels_of(config)
    if config.get("problem_type") == "regression":
        usual = "none"
    else:
        usual = "sigmoid" if multi or len(labels) == 1 else "softmax"
    return str(config.get("function_to_apply") or usual)


def scores(logits: Floats, function: str) -> npt.NDArray[np.float64]:
    """Scores of logits (C,), by one of `FUNCTIONS`.

    Raises:
        InputError: there is no such function.
    """
    if function not in FUNCTIONS:
        raise CallError(f"function_to_apply '{function}': use one of {', '.join(FUNCTIONS)}")
    if function == "none":
        return np.asarray(logits, np.float64)
    return sigmoid(logits) if function == "sigmoid" else softmax(logits)


def ranked(scores: Floats, names: Sequence[str], top_k: int | None = None) -> list[Label]:
    """The labels, best first; the first of equals first.

    Args:
        scores: (C,) one per name.
        names: C names.
        top_k: how many; None for all.

    Raises:
        InputError: `top_k` is less than 1.
    """
    check_count("top_k", top_k)
    order = highest(np.asarray(scores), top_k)
    return [Label(names[i], float(scores[i])) for i in order]


def unknown(label: str) -> int:
    """A negative number that stands for a label which the model does not have."""
    return -1 - zlib.crc32(label.encode())


def accuracy(truth: Ints, predicted: Ints) -> float:
    """Share of equal labels, or of wholly equal rows for (N, C) truth; NaN for no examples."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if not len(truth):
        return float("nan")
    same = truth == predicted
    return float(np.mean(same.all(axis=1) if same.ndim == 2 else same))


def macro_f1(truth: Ints, predicted: Ints) -> float:
    """Mean of F1 over the labels that occur in either, or over the columns of (N, C) indicators.

    A label without any true positive counts 0, also a column that is empty in both (`zero_division=0`).
    NaN for no examples.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if not len(truth):
        return float("nan")
    if truth.ndim == 2:
        hit = (truth.astype(bool) & predicted.astype(bool)).sum(axis=0)
        total = truth.astype(bool).sum(axis=0) + predicted.astype(bool).sum(axis=0)
    else:
        seen, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
        first, second = codes[: len(truth)], codes[len(truth) :]
        hit = np.bincount(first[first == second], minlength=len(seen))
        total = np.bincount(codes, minlength=len(seen))
    return float(np.mean(2 * hit / np.maximum(total, 1)))


def average_precision(truth: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Area under the precision-recall steps of one label; equal scores are one step; 0 without a positive.

    Args:
        truth: (N,) bool.
        scores: (N,) higher is more likely.
    """
    if not truth.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    steps = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(truth[order])[steps]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (steps + 1)) / hits[-1])


def mean_average_precision(truth: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Mean of the average precision over the columns of (N, C) indicators; NaN for no examples."""
    if not truth.size:
        return float("nan")
    return float(np.mean([average_precision(truth[:, c], scores[:, c]) for c in range(truth.shape[1])]))


def single_scores(pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Metrics of one label each, from (truth, predicted) pairs."""
    table = np.array(pairs, np.int64).reshape(-1, 2)
    truth, predicted = table[:, 0], table[:, 1]
    return {"accuracy": accuracy(truth, predicted), "macro_f1": macro_f1(truth, predicted)}


def multi_scores(rows: Sequence[tuple[Ints, Floats]], threshold: float = 0.5) -> dict[str, float]:
    """Metrics of many labels each; a label counts as predicted from `threshold` on.

    Args:
        rows: for each example the true label numbers (`unknown` ones become columns that nothing predicts)
            and the scores (C,).
        threshold: of the predicted labels, for accuracy (whole rows) and F1.
    """
    if not rows:
        return dict.fromkeys(("accuracy", "macro_f1", "mean_average_precision"), float("nan"))
    scores = np.array([s for _, s in rows], np.float64)
    strange = sorted({int(i) for labels, _ in rows for i in labels if i < 0})
    columns = {number: scores.shape[1] + k for k, number in enumerate(strange)}
    scores = np.pad(scores, ((0, 0), (0, len(strange))))
    truth = np.zeros(scores.shape, bool)
    for row, (labels, _) in zip(truth, rows):
        row[[columns.get(int(i), int(i)) for i in labels]] = True
    predicted = scores >= threshold
    return {
        "accuracy": accuracy(truth, predicted),
        "macro_f1": macro_f1(truth, predicted),
        "mean_average_precision": mean_average_precision(truth, scores),
    }


def shares(truths: Sequence[str | Sequence[str]]) -> list[Label]:
    """How often each label occurs among the examples, the most common first: the naive predictor's answer."""
    counts = Counter(label for truth in truths for label in ([truth] if isinstance(truth, str) else truth))
    return [Label(label, n / len(truths)) for label, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))]


def shown(result: Sequence[Label], truth: str | Sequence[str] = ()) -> tuple[list[tuple[str, float]], list[str]]:
    """What is drawn of an answer: the best labels with their scores, and the right ones, these even if far down."""
    right = [truth] if isinstance(truth, str) else list(truth)
    some = [*result[:5], *[r for r in result[5:] if r.label in right][:3]]
    return [(r.label, r.score) for r in some], right


def labels_of(config: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The labels that a `config.json` names, in the order of the logits, and whether several can be true at once.

    Hugging Face leaves out the names of two labels that have none of their own.

    Raises:
        InputError: `id2label` does not name them from '0' on.
    """
    count = config.get("num_labels", 2)
    names = config.get("id2label", {i: f"LABEL_{i}" for i in range(count if isinstance(count, int) else 0)})
    if not isinstance(names, Mapping) or not names or not all(str(key).isdigit() for key in names):
        raise InputError("config.json: 'id2label' is to name the labels, from '0' on")
    labels = [str(names[key]) for key in sorted(names, key=int)]
    return labels, config.get("problem_type") == "multi_label_classification"
