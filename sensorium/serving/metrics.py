"""Counters, gauges and histograms in the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

Labels = tuple[tuple[str, str], ...]


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{k}="{_escape(v)}"' for k, v in labels)
    return f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}"


class Value:
    """A counter (only ever increased) or a gauge, one number per set of labels."""

    def __init__(self, kind: str, name: str, help: str) -> None:
        self.kind, self.name, self.help = kind, name, help
        self.values: dict[Labels, float] = {}

    def add(self, amount: float = 1.0, **labels: str) -> None:
        key = tuple(sorted(labels.items()))
        self.values[key] = self.values.get(key, 0.0) + amount

    def set(self, value: float, **labels: str) -> None:
        self.values[tuple(sorted(labels.items()))] = value

    def lines(self) -> list[str]:
        return [_line(self.name, labels, value) for labels, value in sorted(self.values.items())]


class Histogram:
    """How many observations were at most each bound, their sum and their number, per set of labels."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:
        self.name, self.help, self.bounds = name, help, tuple(bounds)
        self.counts: dict[Labels, list[int]] = {}
        self.sums: dict[Labels, float] = {}

    def observe(self, value: float, **labels: str) -> None:
        key = tuple(sorted(labels.items()))
        counts = self.counts.setdefault(key, [0] * (len(self.bounds) + 1))
        counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sums[key] = self.sums.get(key, 0.0) + value

    def lines(self) -> list[str]:
        lines = []
        for labels, counts in sorted(self.counts.items()):
            total = 0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                total += count
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(_line(f"{self.name}_bucket", (*labels, ("le", edge)), total))
            lines.append(_line(f"{self.name}_sum", labels, self.sums[labels]))
            lines.append(_line(f"{self.name}_count", labels, total))
        return lines


class Metrics:
    """What the service counts. `model` is always a served name, so the number of series is bounded."""

    def __init__(self) -> None:
        self.requests = Value("counter", "sensorium_requests_total", "Predict requests, by HTTP status.")
        self.examples = Value("counter", "sensorium_examples_total", "Examples computed.")
        self.shed = Value("counter", "sensorium_shed_total", "Requests refused early because of load.")
        self.pending = Value("gauge", "sensorium_pending_examples", "Examples admitted, not yet answered.")
        self.ready = Value("gauge", "sensorium_ready", "1 if the model answers, else 0.")
        self.latency = Histogram("sensorium_request_seconds", "From request to answer.", SECONDS)
        self.queue = Histogram("sensorium_queue_seconds", "From opened to computing, per example.", SECONDS)
        self.compute = Histogram("sensorium_batch_seconds", "Computing one batch.", SECONDS)
        self.sizes = Histogram("sensorium_batch_size", "Examples computed together.", SIZES)

    def text(self) -> str:
        """The whole page of `/metrics`."""
        lines = []
        for metric in vars(self).values():
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            lines += metric.lines()
        return "\n".join(lines) + "\n"
