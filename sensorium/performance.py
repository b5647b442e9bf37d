"""How quick a model is on this machine: latency, throughput, memory, and its share of what the machine can do."""

from __future__ import annotations

import base64
import inspect
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from sensorium import inference, sources
from sensorium.errors import InputError
from sensorium.nets.ort import OrtNet, available_cores, session_options
from sensorium.predictor import Predictor
from sensorium.tasks import Nets, options

BATCHES = (1, 4, 16)
# An ONNX file with nothing but c = MatMul(a, b).
MATMUL = (
    "CAg6WwoRCgFhCgFiEgFjIgZNYXRNdWwSAWdaFQoBYRIQCg4IARIKCgMSAW0KAxIBa1oVCgFiEhAKDggBEgoKAxIBawoDEgFuYhUK"
    "AWMSEAoOCAESCgoDEgFtCgMSAW5CBAoAEBE="
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of repeated runs.

    Attributes:
        median, p95: of one run.
        runs: how many were made.
    """

    median: float
    p95: float
    runs: int


def timed(run: Callable[[], object], seconds: float = 1.0, least: int = 5, most: int = 1000) -> Speed:
    """How long `run` takes, after two runs that do not count."""
    run()
    run()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or (time.perf_counter() < end and len(found) < most):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return Speed(statistics.median(found), float(np.quantile(found, 0.95)), len(found))


def opened_sources(predictor: Predictor, given: Sequence[Any] = ()) -> tuple[list[Any], dict[str, Any]]:
    """Sources to measure with, opened: those given, or a made-up one; and options that the task cannot do without.

    Raises:
        InputError: none can be made up for this task, or one given cannot be opened.
    """
    task = predictor.task
    made = list(given)
    if not made:
        one = sources.example(task)
        if one is None and task.source != "label":
            raise InputError(f"{task.name}: name some sources to measure with; none can be made up for this task")
        made = [one]
    lacking = [o.name for o in options(type(task)) if o.default is inspect.Parameter.empty]
    return [task.open(source) for source in made], {name: ["a", "b"] for name in lacking}


def bench(predictor: Predictor, given: Sequence[Any] = (), seconds: float = 1.0, **chosen: Any) -> dict[str, Any]:
    """Measure a model from opened sources to answers.

    Args:
        given: sources to measure with; a made-up one where there are none.
        seconds: to measure for, at each batch size.
        chosen: options of the answer.

    Returns:
        `batches`: for each size the median and 95th percentile in milliseconds and the examples per second;
        `engine_share`: of the time at batch 1, what the networks themselves take; `multiply_adds` of one example,
        `peak` GFLOP/s that a matrix product reaches here with as many threads, `share_of_peak`, `memory_mb`.
    """
    opened, needed = opened_sources(predictor, given)
    how = {**needed, **chosen}
    task, nets = predictor.task, predictor.nets
    rows = []
    for size in BATCHES:
        batch = [opened[i % len(opened)] for i in range(size)]
        speed = timed(lambda batch=batch: inference.run(task, nets, batch, **how), seconds)  # type: ignore[misc]
        rows.append(
            {
                "batch_size": size,
                "median_ms": 1e3 * speed.median,
                "p95_ms": 1e3 * speed.p95,
                "per_second": size / speed.median,
                "runs": speed.runs,
            }
        )
    watch = Stopwatch(nets)
    begin = time.perf_counter()
    timed(lambda: inference.run(task, watch, opened[:1], **how), seconds)
    share = watch.seconds / (time.perf_counter() - begin)
    threads = predictor.settings.threads or available_cores()
    peak = gemm_peak(threads)
    work = multiply_adds(
        nets.paths,
        lambda counted: inference.run(task, {k: nets.bound(net) for k, net in counted.items()}, opened[:1], **how),
    )
    engine_seconds = share * rows[0]["median_ms"] / 1e3
    return {
        "task": task.name,
        "settings": {name: getattr(predictor.settings, name) for name in ("engine", "precision", "threads", "device")},
        "batches": rows,
        "engine_share": share,
        "multiply_adds": work,
        "peak_gflops": peak,
        "bandwidth_gb_s": bandwidth(),
        "share_of_peak": 2 * work / engine_seconds / 1e9 / peak if work else None,
        "memory_mb": memory() / 2**20,
    }


class Stopwatch(Mapping[str, Any]):
    """Networks whose runs are timed."""

    def __init__(self, nets: Nets) -> None:
        self.nets, self.seconds = nets, 0.0

    def __getitem__(self, name: str) -> Any:
        return _Timed(self, self.nets[name])

    def __contains__(self, name: object) -> bool:
        return name in self.nets

    def __iter__(self) -> Iterator[str]:
        return iter(self.nets)

    def __len__(self) -> int:
        return len(self.nets)


class _Timed:
    def __init__(self, watch: Stopwatch, net: Any) -> None:
        self._watch, self._net = watch, net

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._net, name)
        return self._timed(value) if name == "step" else value

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*given)
            finally:
                self._watch.seconds += time.perf_counter() - begin

        return run

    def __call__(self, feeds: Mapping[str, Any]) -> Any:
        return self._timed(self._net)(feeds)


def multiply_adds(paths: Mapping[str, Path], run: Callable[[Any], object]) -> int:
    """Multiply-adds of everything that `run` computes with the networks in these files, whatever their shapes."""
    with tempfile.TemporaryDirectory() as folder:
        nets = {stem: _Profiled(path, Path(folder) / stem) for stem, path in paths.items()}
        run(nets)
        return sum(net.multiply_adds() for net in nets.values())


class _Profiled(OrtNet):
    """A network as its file has it, unfused, that writes down the shapes of everything it computes."""

    def __init__(self, path: Path, prefix: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = True
        options.profile_file_prefix = str(prefix)
        super().__init__(path, options=options)

    def multiply_adds(self) -> int:
        profile = Path(self._session.end_profiling())
        total = 0
        for event in json.loads(profile.read_text("utf-8")):
            given = event.get("args", {})
            if event.get("cat") == "Node" and "output_type_shape" in given:
                total += _work(
                    given["op_name"], _shapes(given["input_type_shape"]), _shapes(given["output_type_shape"])
                )
        return total


def _shapes(described: Sequence[Mapping[str, Sequence[int]]]) -> list[list[int]]:
    return [list(shape) for one in described for shape in one.values()]


def _work(kind: str, given: list[list[int]], made: list[list[int]]) -> int:
    """Multiply-adds of one node, by the shapes of its inputs and outputs."""
    if not given or not made:
        return 0
    if kind in ("MatMul", "MatMulInteger", "FusedMatMul", "QLinearMatMul", "MatMulNBits", "DynamicQuantizeMatMul"):
        return math.prod(made[0]) * given[0][-1]
    if kind == "MultiHeadAttention":
        return math.prod(given[0][:2]) * sum(math.prod(one[1:]) for one in given[1:3])
    if kind == "Gemm":
        return math.prod(given[0]) * made[0][-1]
    if kind in ("Conv", "ConvInteger", "FusedConv") and len(given) > 1:
        return math.prod(made[0]) * math.prod(given[1][1:])
    if kind == "ConvTranspose" and len(given) > 1:
        return math.prod(given[0]) * math.prod(given[1][1:])
    if kind in ("LSTM", "GRU", "RNN") and len(given) > 2:
        steps = math.prod(given[0][:2])
        return steps * (math.prod(given[1]) + math.prod(given[2]))
    return 0


def gemm_peak(threads: int, size: int = 1024) -> float:
    """GFLOP/s that a float32 matrix product reaches in ONNX Runtime with so many threads."""
    session = ort.InferenceSession(
        base64.b64decode(MATMUL), session_options(threads), providers=["CPUExecutionProvider"]
    )
    a = np.random.default_rng(0).random((size, size), np.float32)
    return 2 * size**3 / timed(lambda: session.run(None, {"a": a, "b": a}), 0.3).median / 1e9


def bandwidth() -> float:
    """GB/s of copying memory, counting what is read and what is written."""
    a = np.ones(1 << 26, np.uint8)  # zeros would be one page, read from the cache
    b = np.empty_like(a)
    return 2 * a.nbytes / timed(lambda: np.copyto(b, a), 0.3).median / 1e9


def memory() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not tell."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except (OSError, ValueError, ImportError):
        return 0
