"""Time-series forecasting: how a series of numbers goes on, with the range that it stays in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError, check_count
from sensorium.media import charts, text
from sensorium.ops import batches, forecasts
from sensorium.tasks import Arrays, Nets, Tally

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_VALUES = 10_000_000
ROUNDS = 256  # how often a model may go on from its own answers


@dataclass
class Forecast:
    """How the series goes on.

    Attributes:
        mean: the value expected at each step; of several channels, a list of them.
        quantiles: by their share ("0.1"), the values that it stays below with this probability; none where the model
            gives none.
    """

    mean: Any
    quantiles: dict[str, Any] = field(default_factory=dict)


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json: `context_length`, `prediction_length` (or `horizon_length`), `num_input_channels`,
            `distribution_output`, `quantiles`; `season`, in steps, for the metric.
    """

    config: dict[str, Any]

    name: ClassVar[str] = "time-series-forecasting"
    architectures: ClassVar[tuple[str, ...]] = ("ForPrediction",)
    source: ClassVar[str] = "series"
    truth: ClassVar[str] = "series"
    metric: ClassVar[str] = "mase"
    lower_is_better: ClassVar[bool] = True
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {"hold_out": True}

    def __post_init__(self) -> None:
        found = {name: self.config.get(name) for name in ("context_length", "prediction_length", "horizon_length")}
        horizon = found["horizon_length"] or found["prediction_length"]
        if not isinstance(found["context_length"], int) or not isinstance(horizon, int):
            raise InputError("config.json: a forecast needs context_length and prediction_length")
        self.context, self.horizon = found["context_length"], horizon
        self.channels = int(self.config.get("num_input_channels") or 1)
        self.season = int(self.config.get("season") or 1)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        if not isinstance(files.get("config.json"), dict):
            raise InputError("config.json is missing: time-series-forecasting needs it")
        return cls(files["config.json"])

    def files(self) -> dict[str, Any]:
        return {"config.json": self.config}

    def open(self, source: Any) -> np.ndarray:
        """A series (T, C): numbers, lists of numbers (one for each step), a file of them, or their text.

        Raises:
            InputError: something is no number, or there are not as many channels as the model takes.
        """
        if isinstance(source, Mapping):
            source = source.get("past_values", source.get("series"))
        if isinstance(source, (str, bytes, Path)):
            source = numbers(source)
        try:
            found = np.array([[np.nan if v is None else v for v in np.ravel(row)] for row in source], np.float64)
        except (TypeError, ValueError):
            raise InputError(
                "a series is a list of numbers, or a list of equally long lists, one for each step"
            ) from None
        if found.ndim != 2 or not len(found) or found.size > MAX_VALUES:
            raise InputError("the series is empty, or too long")
        if found.shape[1] != self.channels:
            raise InputError(f"the model takes {self.channels} values at each step, the series has {found.shape[1]}")
        return found

    def prepare(self, source: np.ndarray) -> Arrays:
        """past_values (T, C) or, of a model of single series, (T,) float32; what was not observed is 0 and marked."""
        series = source[-self.context :]
        missing = self.context - len(series)
        values = np.concatenate([np.full((missing, series.shape[1]), np.nan), series])
        seen = np.isfinite(values)
        filled = np.where(seen, values, 0.0).astype(np.float32)
        if "num_input_channels" in self.config:
            return {"past_values": filled, "past_observed_mask": seen.astype(np.float32)}
        padding = (np.arange(self.context) < missing).astype(np.float32)
        frequency = np.zeros(1, np.int64)
        return {"past_values": filled[:, 0], "past_values_padding": padding, "freq": frequency}

    def decode(self, outputs: Arrays, source: np.ndarray) -> tuple[np.ndarray, dict[float, np.ndarray]]:
        """Mean (H, C), and quantiles of the same shape by their share."""
        if "mean_predictions" not in outputs and "prediction_outputs" not in outputs:
            raise InputError(f"the network has no output 'mean_predictions': it has {', '.join(outputs)}")
        mean = outputs["mean_predictions" if "mean_predictions" in outputs else "prediction_outputs"].astype(np.float64)
        mean = mean.reshape(len(mean), -1)
        found: dict[float, np.ndarray] = {}
        if "full_predictions" in outputs:
            full = outputs["full_predictions"].astype(np.float64)
            for i, q in enumerate(self.config.get("quantiles") or QUANTILES, 1):
                found[float(q)] = full[:, i : i + 1]
        elif "scale" in outputs and "center" in outputs:
            center, scale = outputs["center"].astype(np.float64), outputs["scale"].astype(np.float64)
            for q in QUANTILES:
                student = "df" in outputs
                step = forecasts.student_quantile(q, outputs["df"]) if student else forecasts.normal_quantile(q)
                found[q] = center + scale * step
        return mean, found

    def predict(
        self, nets: Nets, sources: Sequence[np.ndarray], *, prediction_length: int | None = None, hold_out: bool = False
    ) -> list[Forecast]:
        """How each series goes on.

        Options:
            prediction_length: how many steps; by default as many as the model gives, more are made of its own answers
            hold_out: forecast the last steps of the series from those before, to measure it
        """
        check_count("prediction_length", prediction_length)
        length = self.horizon if prediction_length is None else prediction_length
        if length > ROUNDS * self.horizon:
            raise CallError(f"prediction_length is at most {ROUNDS * self.horizon} for this model, not {length}")
        known = [source[: -self.horizon] if hold_out else source for source in sources]
        if any(not len(series) for series in known):
            raise InputError(f"a series is longer than the {self.horizon} steps that are held out")
        parts: list[list[tuple[np.ndarray, dict[float, np.ndarray]]]] = [[] for _ in sources]
        for _ in range(-(-length // self.horizon)):
            items = [self.prepare(series) for series in known]
            for i, outputs in batches.outputs(nets["model"], items, self.padding):
                parts[i].append(self.decode(outputs, known[i]))
            known = [np.concatenate([series, some[-1][0]]) for series, some in zip(known, parts)]
        answers = []
        for some in parts:
            mean = np.concatenate([one for one, _ in some])[:length]
            shares = {q: np.concatenate([one[q] for _, one in some])[:length] for q in some[0][1]}
            answers.append(Forecast(_shown(mean), {f"{q:g}": _shown(rows) for q, rows in shares.items()}))
        return answers

    def tally(self, prediction: Forecast, truth: Any, nets: Nets) -> Tally:
        """Errors over the steps held out: MASE, sMAPE, and both sums of the weighted quantile loss."""
        series = self.open(truth)
        history, future = series[: -self.horizon], series[-self.horizon :]
        mean = np.asarray(prediction.mean, np.float64).reshape(len(prediction.mean), -1)[: len(future)]
        found = {float(q): np.asarray(v, np.float64).reshape(mean.shape) for q, v in prediction.quantiles.items()}
        mase = forecasts.mase(history, future, mean, self.season)
        loss, total = forecasts.weighted_loss(future, found or {0.5: mean})
        return Tally(-mase if np.isfinite(mase) else 0.0, (mase, forecasts.smape(future, mean), loss, total))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Mean MASE and sMAPE (0..200) over the series; the weighted quantile loss over all of them."""
        rows = np.array([t.stats for t in tallies], np.float64).reshape(-1, 4)
        scaled = rows[np.isfinite(rows[:, 0]), 0]
        total = rows[:, 3].sum()
        return {
            "mase": float(scaled.mean()) if len(scaled) else float("nan"),
            "smape": float(rows[:, 1].mean()) if len(rows) else float("nan"),
            "wql": float(rows[:, 2].sum() / total) if total else float("nan"),
        }

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Forecast]:
        """The last season again and again."""

        def repeated(source: Any) -> Forecast:
            known = self.open(source)[: -self.horizon]
            last = known[-self.season :]
            return Forecast(_shown(np.tile(last, (-(-self.horizon // len(last)), 1))[: self.horizon]))

        return repeated

    def draw(self, source: Any, result: Forecast, truth: Any = None) -> Image.Image:
        """The end of the series and its forecast, for the first channel."""
        known = np.asarray(self.open(source))[:, 0]
        mean = np.asarray(result.mean, np.float64).reshape(len(result.mean), -1)[:, 0]
        start = len(known) - (len(mean) if truth is not None else 0)
        first = max(0, len(known) - 4 * self.horizon)
        shown = {"series": (np.arange(first, len(known)).tolist(), known[first:].tolist())}
        for name, rows in {"forecast": mean, **_outer(result.quantiles)}.items():
            shown[name] = (np.arange(start, start + len(rows)).tolist(), rows.tolist())
        return charts.lines(shown, "forecast", "step")


def _outer(quantiles: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The lowest and the highest quantile, first channel."""
    names = sorted(quantiles, key=float)
    return {
        q: np.asarray(quantiles[q]).reshape(len(quantiles[q]), -1)[:, 0] for q in dict.fromkeys(names[:1] + names[-1:])
    }


def _shown(rows: np.ndarray) -> Any:
    """Numbers for one channel, lists for several."""
    return (rows[:, 0] if rows.shape[1] == 1 else rows).tolist()


def numbers(source: str | bytes | Path) -> list[list[float]]:
    """The numbers of a text or file: JSON, or separated by commas, spaces and lines; a first line may name columns.

    Raises:
        InputError: there is something else in it.
    """
    path = (
        Path(source) if isinstance(source, str) and source[-4:].lower() in (".csv", ".txt", ".tsv", "json") else source
    )
    words = text.load(path)
    try:
        found = json.loads(words)
        return found if isinstance(found, list) else [found]
    except (ValueError, RecursionError):
        pass
    rows = [row for row in csv.reader(io.StringIO(words.replace("\t", ",").replace(";", ","))) if any(row)]
    if rows and not all(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    table = [[float(cell) for cell in row if _is_number(cell)] for row in rows]
    if len(table) == 1:  # a single line holds the steps
        table = [[value] for value in table[0]]
    if not table or not all(table):
        raise InputError(f"no series of numbers: '{words[:40]}'")
    return table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
