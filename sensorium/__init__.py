"""Sensorium: one tool for seeing, reading and hearing, from your own data to a deployed model.

The verbs are functions. They import what they need when they are called, so that `import sensorium` costs nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sensorium import tasks
    from sensorium.data import Dataset
    from sensorium.inference import Evaluation
    from sensorium.predictor import Predictor

__all__ = [
    "__version__",
    "bench",
    "compare",
    "convert",
    "evaluate",
    "export",
    "inspect",
    "load",
    "open_data",
    "pull",
    "serve",
    "tasks",
    "train",
    "tune",
    "verify",
]


# ONNX Runtime reports its use to its maker, from its import on, unless told not to before. Nothing is sent home here.
for _name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):
    os.environ.setdefault(_name, "1")


def __getattr__(name: str) -> Any:
    if name == "tasks":  # both a package and a verb: it can be called
        import importlib

        return importlib.import_module("sensorium.tasks")
    raise AttributeError(f"module 'sensorium' has no attribute '{name}'")


def load(
    model: str | Path,
    *,
    engine: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    task: str | None = None,
) -> Predictor:
    """A model ready to answer.

    Args:
        model: a model folder, or a run folder (its best model).
        engine: `onnxruntime` or `openvino`; None for what `tune` found on this machine, or else `onnxruntime`.
        precision: `fp32`, `fp16`, `int8`, `int4`, or with OpenVINO `bf16`; None for what `tune` found, or else fp32.
        threads: of one run; None for all cores.
        device: `cpu`, or `cuda`, `coreml`, `directml` where the installed onnxruntime can use them.
        task: another task than the folder names that the same files serve: a detector can also track.

    Returns:
        A `Predictor`: `.predict(source)`, `.predict_batch(sources)`, `.stream(sources)`.

    Raises:
        InputError: there is no model at this path.
    """
    from sensorium.nets import Settings
    from sensorium.predictor import Predictor

    return Predictor(model, Settings(engine, precision, threads, device), task=task)


def open_data(
    path: str | Path, *, format: str | None = None, splits: str | Path | None = None, task: str | None = None
) -> Dataset:
    """Recognise and read a data set.

    Args:
        path: file or folder.
        format: name of a reader, where the recognition should not decide.
        splits: a `splits.json`, for data whose own splits should not count.
        task: the task it is wanted for, which decides between readings.

    Returns:
        The data set: `.format`, `.fields`, `.examples`, `.splits()`, `.notes`.

    Raises:
        InputError: it is no data set that we know, or not one for this task.
    """
    from sensorium.data import open_data as read

    return read(path, format=format, splits=splits, task=task)


def train(
    task: str,
    data: str | Path,
    *,
    out: str | Path,
    base: str | Path | None = None,
    network: Any = None,
    epochs: int | None = None,
    budget: float | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    splits: str | Path | None = None,
    workers: int = 1,
    skip_bad: bool = False,
    force: bool = False,
    quiet: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    """Train a model on a data set, export it, and verify the export.

    Args:
        task: name of the task, as `sensorium.tasks()` lists them.
        data: a data set that `open_data` reads.
        out: the run folder to make; the model folder will be `out/model`.
        base: a Hugging Face model folder to start from; None starts from scratch.
        network: your own `torch.nn.Module`, called with the task's inputs by name, instead of the recipe's.
        epochs: passes over the training data; None for the recipe's own.
        budget: seconds within which to end; epochs are left out to keep it.
        seed: of everything random.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        resume: go on with the run in `out`.
        splits: a `splits.json` that says what to train on.
        workers: threads that make batches; the result does not depend on it.
        skip_bad: leave out examples that cannot be read, instead of stopping.
        force: publish the model even if its verification failed.
        quiet: no progress on standard error.
        parameters: the recipe's own, such as `learning_rate`, `batch_size`, `image_size`.

    Returns:
        What `run.json` holds: `result` has the metrics on the validation examples.

    Raises:
        InputError: task, data or a parameter is wrong.
        MissingError: PyTorch is not installed.
        Refused: training or verification failed.
    """
    from sensorium.errors import check_path, need

    check_path(data, out)
    need("torch", "train")
    from sensorium.training.main import train as run

    record: dict[str, Any] = run(
        task,
        data,
        out=out,
        base=base,
        network=network,
        epochs=epochs,
        budget=budget,
        seed=seed,
        device=device,
        resume=resume,
        splits=splits,
        workers=workers,
        skip_bad=skip_bad,
        force=force,
        quiet=quiet,
        parameters=parameters,
    )
    return record


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    splits: str | Path | None = None,
    engine: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    task: str | None = None,
    **options: Any,
) -> Evaluation:
    """Measure a model on a data set with the standard metrics of its task.

    Args:
        model: a model or run folder.
        data: a data set that `open_data` reads.
        split: `train`, `val`, `test` or `all`; None takes test, else val, else all.
        splits: a `splits.json` that says which example belongs where.
        engine, precision, threads, device: as for `load`.
        task: another task than the folder names that the same files serve.
        options: of the task's answer, over those it evaluates with.

    Returns:
        `.metrics` with 95 % confidence intervals, `.baseline`, `.worst()`, `.to_json()`.

    Raises:
        InputError: model or data cannot be read or do not fit each other.
    """
    from sensorium.evaluation import evaluate as run
    from sensorium.nets import Settings

    settings = Settings(engine, precision, threads, device)
    return run(model, data, split=split, splits=splits, settings=settings, task=task, **options)


def verify(
    model: str | Path, data: str | Path | None = None, *, split: str | None = None, precision: str | None = None
) -> dict[str, Any]:
    """Whether a model folder is sound and still gives the recorded answers, here, on this machine.

    Args:
        model: a model or run folder.
        data: the data it was verified on, to measure its metrics again.
        split: of the data; None for the recorded one.
        precision: the precision to measure.

    Returns:
        `verdict` (`pass`, `fail` or `unverified`), `files`, and with data `metrics`.

    Raises:
        InputError: there is no model at this path, or the data cannot be read or is not named.
    """
    from sensorium.errors import InputError
    from sensorium.evaluation import evaluate as measure
    from sensorium.model import open_model
    from sensorium.nets import Settings
    from sensorium.verification import verify as check

    folder = open_model(model)
    if data is None and (split or precision):
        raise InputError("a split or precision says what to measure: name the data, too")
    found = None
    if data is not None and check(folder)["verdict"] != "fail":
        recorded = folder.verification.get("data", {}).get("split")
        settings = Settings(engine="onnxruntime", precision=precision)  # as it was recorded, not as it was tuned
        found = measure(model, data, split=split or recorded, settings=settings)
    return check(folder, found, precision)


def compare(
    a: str | Path,
    b: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    splits: str | Path | None = None,
    precisions: tuple[str | None, str | None] = (None, None),
    **options: Any,
) -> dict[str, Any]:
    """How much better model `b` is than model `a`, on the same examples.

    Returns:
        `difference` (b - a) of each metric with its 95 % confidence interval, the number of examples that went
        `better` and `worse`, and those that changed most in `flipped`.

    Raises:
        InputError: the models do not do the same task, or model or data cannot be read.
    """
    from sensorium.evaluation import compare as run

    return run(a, b, data, split=split, splits=splits, precisions=precisions, **options)


def export(
    model: str | Path,
    *,
    to: str,
    data: str | Path | None = None,
    split: str | None = None,
    calibrate: Sequence[Any] = (),
    out: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the model in another precision, verified against the original.

    Args:
        model: a model or run folder.
        to: `int8`, `fp16` or `int4`.
        data: to calibrate with and to measure the loss on; without it, outputs are compared.
        split: of the data to measure on; None for val, else test.
        calibrate: sources to calibrate with, where there are no data with true answers.
        out: a new model folder; None adds the file to the model's own.
        force: keep it even if it loses too much.

    Returns:
        `verdict` and, for each file, sizes, differences, and metrics before and after.

    Raises:
        InputError: model or data cannot be read.
        MissingError: the package onnx is not installed (extra `formats`).
        Refused: it cannot be written, or loses more than is allowed.
    """
    from sensorium.errors import check_path
    from sensorium.precision import export as run

    check_path(out)
    return run(model, to=to, data=data, split=split, calibrate=calibrate, out=out, force=force)


def convert(
    *files: str | Path,
    out: str | Path,
    task: str | None = None,
    labels: str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: str | None = None,
    color: str | None = None,
    scale: float | None = None,
    outputs: Sequence[str] = (),
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    architecture: str | Path | None = None,
    check: str | Path | None = None,
    tolerance: float | None = None,
    force: bool = False,
    tokenizer: str | Path | None = None,
    padding: str | None = None,
    rate: int | None = None,
    features: str | Path | None = None,
) -> dict[str, Any]:
    """Write a model of another framework as a model folder that ONNX Runtime runs.

    Nothing in the files is executed or unpickled, and the framework they come from is not needed, but for PyTorch: a
    checkpoint folder of Hugging Face (config.json and weights) is built by transformers and exported.

    Args:
        files: all files of one model (a graph and its weights), or its folder.
        out: the model folder to make.
        task: what the model does, as `sensorium.tasks()` lists them.
        labels: a file with the names of its classes: one a line, or JSON.
        image_size: (height, width) of the picture it takes.
        mean: subtracted from each channel, in the order of the channels.
        std: by which each channel is then divided.
        layout: `NCHW` or `NHWC`.
        color: `rgb` or `bgr`: the order of the channels.
        scale: by which pixel values, 0 to 255, are multiplied before `mean` is subtracted: 1/255, say.
        outputs: names of the outputs wanted, for graphs that do not say.
        shapes: shape of an input by its name, for graphs that do not say.
        architecture: a file that describes the layers, for files that hold only parameters.
        check: an .npz with inputs (`in_NAME`) and outputs of the original (`out_NAME`) to compare with.
        tolerance: largest absolute difference allowed by `check`.
        force: write the folder even if the check fails.
        tokenizer: what makes tokens of a text: a folder or a tokenizer.json of Hugging Face, a tokenizer of Keras as
            JSON, or a vocabulary (one word a line, or JSON).
        padding: `left` or `right`: where a shorter text is filled up, and a longer one cut, to the length it takes.
        rate: samples a second of the sound it takes.
        features: a JSON file that says how the features of a sound are made, as preprocessor_config.json does.

    Returns:
        `verdict` (`pass`, `fail`, or `unverified` without `check`), inputs, outputs, differences, notes.

    Raises:
        InputError: the files are of no known format, damaged, or hold a layer that cannot be converted.
        MissingError: the package onnx is not installed (extra `formats`), or PyTorch for a checkpoint (extra `train`).
        Refused: the outputs differ from those of the original.
    """
    from sensorium.conversion import checkpoint_of
    from sensorium.conversion import convert as run
    from sensorium.errors import check_path

    check_path(out)
    if architecture is None and (folder := checkpoint_of(files)) is not None:
        from sensorium.errors import need

        need("torch", "train")
        from sensorium.training.pretrained import convert as export_checkpoint

        report: dict[str, Any] = export_checkpoint(
            folder, Path(out), task=task, force=force, check=check, tolerance=tolerance
        )
        return report
    return run(
        files,
        out=out,
        task=task,
        labels=labels,
        image_size=image_size,
        mean=mean,
        std=std,
        layout=layout,
        color=color,
        scale=scale,
        outputs=outputs,
        shapes=shapes,
        architecture=architecture,
        check=check,
        tolerance=tolerance,
        force=force,
        tokenizer=tokenizer,
        padding=padding,
        rate=rate,
        features=features,
    )


def inspect(path: str | Path, *, html: str | Path | None = None) -> dict[str, Any]:
    """What a file or folder is (model, run, data, a network of any framework), what is in it, and whether it is sound.

    Args:
        html: a page to write with the network drawn, of a network or a model folder.

    Raises:
        InputError: it is none of these.
    """
    from sensorium import inspection

    return inspection.inspect(path) if html is None else inspection.write_page(path, html)


def tune(model: str | Path, sources: Sequence[Any] = (), *, save: bool = True, **options: Any) -> dict[str, Any]:
    """Find the quickest engine, precision, threads and batch size for a model on this machine that keep its answers.

    Args:
        model: a model or run folder.
        sources: to measure with and to compare answers on; lower precisions need 20 or more.
        save: record the choice in the user's cache, for every later `load` that does not ask for something else.
        options: of the task's answer.

    Returns:
        `chosen`, `speedup` over ONNX Runtime in fp32, and every candidate with its time and agreement.

    Raises:
        InputError: the model or a source cannot be opened.
        Refused: the model does not answer.
    """
    from sensorium.tuning import tune as run

    return run(model, sources, save=save, **options)


def bench(model: str | Path, sources: Sequence[Any] = (), **options: Any) -> dict[str, Any]:
    """Latency, throughput and memory of a model on this machine, and its share of what the machine can do.

    Args:
        model: a model or run folder.
        sources: to measure with; something made up where there are none.
        options: of the task's answer.

    Raises:
        InputError: the model or a source cannot be opened.
    """
    from sensorium.performance import bench as run

    return run(load(model), sources, **options)


def pull(source: str, *, out: str | Path | None = None, limit: int | None = None, quiet: bool = True) -> dict[str, Any]:
    """Fetch a model from a package registry, a hub, the web or a folder. Nothing of it is installed or executed.

    Args:
        source: `pypi:NAME[==V]`, `npm:NAME[@V]`, `hf:ORG/NAME[@REV]`, `https://...`, or a path; behind a `#`, the files
            or folders wanted, with commas between them.
        out: the folder to make; None only lists the files: those asked for, or those that look like models.
        limit: bytes that may be fetched and unpacked.
        quiet: no progress on standard error.

    Returns:
        `name`, `version`, `licence`, `address`, and `files` with sizes and (if fetched) sha256; `origin.json` in the
        folder keeps them.

    Raises:
        InputError: there is no such thing, its hash differs from the one promised, or it is not safe to open.
        MissingError: the registry cannot be reached.
    """
    from sensorium.hub import pull as run

    return run(source, out=out, limit=limit, quiet=quiet)


def serve(models: list[str | Path] | str | Path, *, host: str = "127.0.0.1", port: int = 8000, **limits: Any) -> None:
    """Serve models over HTTP, with a page to try them, until SIGTERM or SIGINT.

    Args:
        models: model or run folders.
        host: address to listen on; other than the loopback only when asked for.
        port: to listen on.
        limits: see `sensorium.serving`.

    Raises:
        InputError: a model cannot be opened, or the port is taken.
        MissingError: the web server is not installed (extra `serve`).
    """
    from sensorium.errors import need

    need("uvicorn", "serve")
    from sensorium.serving import run

    run([models] if isinstance(models, (str, Path)) else list(models), host=host, port=port, **limits)
