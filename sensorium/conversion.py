"""A foreign model becomes a model folder, checked against outputs of the original where these are given."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import bindings, files, formats, verification
from sensorium.errors import InputError, Refused, need
from sensorium.formats import Graph, Options
from sensorium.formats.shared.finished import Finished
from sensorium.model import save_probe, seal, write_files
from sensorium.nets import trial
from sensorium.nets.bound import BoundNet
from sensorium.nets.ort import OrtNet
from sensorium.ops.batches import collate, fixed_size
from sensorium.tasks import find, to_json

GOLDEN_LIMIT = 1 << 30  # bytes of unpacked reference arrays
PROBE_LIMIT = 10**12  # multiply-adds of a network that is run once to keep what it gives
# Largest difference allowed of an output, relative to its largest magnitude: float32 in another order of summation.
TOLERANCE = 2e-5


WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")


def checkpoint_of(sources: Sequence[str | Path]) -> Path | None:
    """The folder, if this is a checkpoint of Hugging Face: PyTorch's weights and a config.json naming an architecture.

    Args:
        sources: the folder, or files in it; the config.json may lie beside them.

    Raises:
        InputError: it is one, and a file of its weights is missing, damaged, or could run code.
    """
    paths = [Path(source) for source in sources]
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else paths[0].parent
    if not (folder / "config.json").is_file() or any(path.parent != folder for path in paths if path != folder):
        return None
    found = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
    if not found or not (paths == [folder] or set(paths) & set(found)):
        return None
    config = files.read_json(folder / "config.json")
    if not isinstance(config, dict) or not config.get("architectures"):
        return None
    for path in found:
        if path.suffix == ".json":
            _check_shards(path)
            continue
        report = formats.inspect([path])
        if path.suffix == ".bin" and report["why_not"]:
            raise InputError(f"{path}: {report['why_not']}")
    return folder


def _check_shards(index: Path) -> None:
    """Every file that an index of weights names lies beside it."""
    content = files.read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        raise InputError(f"{index}: names no files of weights ('weight_map')")
    for name in sorted({str(place) for place in places.values()}):
        if Path(name).name != name or name in ("", ".", ".."):
            raise InputError(f"{index}: '{name[:80]}' lies outside of its folder; refused")
        if not (index.parent / name).is_file():
            raise InputError(f"{index}: the file {name} that it names is missing")


def convert(
    sources: Sequence[str | Path],
    *,
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
    """See `sensorium.convert`."""
    onnx = need("onnx", "formats")
    if task is not None:
        find(task)
    names = _labels(labels)
    given, answers = golden_sets(Path(check))[0] if check is not None else ({}, {})
    options = Options(
        tuple(outputs),
        dict(shapes or {}),
        image_size,
        Path(architecture) if architecture else None,
        {name: array.shape for name, array in given.items()},
        list(answers),
    )
    graph = formats.read(sources, options)
    proto = graph.model()
    told = {"mean": mean, "std": std, "scale": scale, "layout": layout, "color": color, "size": image_size}
    preprocessing = graph.preprocessing | {k: v for k, v in told.items() if v is not None}
    binding = None
    if task is not None:
        try:
            places = [None if place is None else Path(place) for place in (tokenizer, features)]
            heard = bindings.Told(names, image_size, layout, list(shapes or {}), places[0], padding, rate, places[1])
            binding = bindings.find(graph, task, heard)
        except InputError as error:
            raise InputError(f"{sources[0]}: {error}") from None
        names = binding.config.pop("labels", names)
        if binding.size is not None:
            preprocessing["size"] = binding.size
            if not {"mean", "std", "scale"} & set(preprocessing):
                graph.notes.append("pixel values stay 0 to 255: no --scale, --mean or --std was given")
    origin = {
        "format": graph.producer,
        "files": {Path(s).name: files.sha256(Path(s)) for s in sources if Path(s).is_file()},
        "notes": graph.notes,
    }
    with files.publishing(Path(out)) as folder:
        (folder / "onnx").mkdir()
        target = folder / "onnx" / "model.onnx"
        external = proto.ByteSize() > 1_900_000_000
        onnx.save(proto, str(target), save_as_external_data=external, location="model.onnx_data" if external else None)
        stranger = isinstance(graph, Finished)
        if stranger:  # not of our making: first in a process that may crash
            trial.look(target)
        net = OrtNet(target)
        asked: OrtNet | BoundNet = BoundNet(net, binding.content) if binding is not None else net
        reference = getattr(graph, "reference", [])  # of the original, run where the graph was made
        if binding is not None:
            count = fixed_size(asked) or 1
            feeds = collate([binding.example] * count, {})
            save_probe(folder, target.name, feeds, asked(feeds))
        elif reference:
            save_probe(folder, target.name, reference[0][0], net(reference[0][0]))
        elif stranger:
            _try(graph, net, folder)
        elif (graph.multiply_adds() or 0) < PROBE_LIMIT:
            feeds = probe(graph, net)
            save_probe(folder, target.name, feeds, net(feeds))
        entry: dict[str, Any] = {"file": "onnx/model.onnx", "precision": "fp32", "tolerance": 1e-3}
        if check is not None:
            entry |= compare(net, Path(check), tolerance)
        elif reference:
            entry |= compare_sets(net, reference, tolerance, getattr(graph, "referee", ""))
        else:
            entry["verdict"] = "unverified"
        write_files(folder, describe(graph, preprocessing, names, binding))
        content = verification.document(task or "", [entry], {}, {"onnx": str(onnx.__version__)})
        content["verdict"] = entry["verdict"]
        content["source"] = graph.producer
        if entry["verdict"] == "unverified":
            entry["message"] = "no outputs of the original were given (--check): what it computes was not compared"
        verification.write(folder, content)
        seal(folder, task or "", origin)
        report = {
            "model": str(out),
            "format": graph.producer,
            "task": task,
            "inputs": {i.name: {"shape": _free(graph, i), "dtype": i.dtype.name} for i in graph.inputs},
            "outputs": list(graph.outputs),
            "operators": dict(graph.kinds.most_common()),
            "parameters": graph.parameters,
            "multiply_adds": graph.multiply_adds(),
            "notes": graph.notes,
            **{k: v for k, v in entry.items() if k not in ("file", "precision")},
        }
        if entry["verdict"] == "fail" and not force:
            raise Refused(f"{sources[0]}: converted, but {entry['message']}; nothing was written (--force writes it)")
    cleaned: dict[str, Any] = to_json(report)
    return cleaned


def _try(graph: Graph, net: OrtNet, folder: Path) -> None:
    """Keep what a stranger's network gives for made-up inputs, if it runs on them, and ends."""
    feeds = example(graph, 1)
    try:
        trial.run(net.path, feeds)
    except InputError as error:
        graph.notes.append(f"it was not run on made-up inputs: {error}")
        return
    save_probe(folder, net.path.name, feeds, net(feeds))


def _free(graph: Graph, entry: Any) -> list[int | str]:
    free = graph.free_axes(entry)
    return [free.get(axis, size) for axis, size in enumerate(entry.shape)]


def probe(graph: Graph, net: OrtNet) -> dict[str, np.ndarray]:
    """Made-up inputs that the network can be run on: one example if it allows that, else of the source's own shapes."""
    for batch in (1, None):
        feeds = example(graph, batch)
        try:
            net(feeds)
        except InputError:
            if batch is None:
                raise
        else:
            break
    return feeds


def example(graph: Graph, batch: int | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Made-up inputs: values in 0..1, zeros and ones for whole numbers."""
    random = np.random.default_rng(seed)
    feeds = {}
    for entry in graph.inputs:
        free = graph.free_axes(entry)
        shape = [batch if batch and free.get(axis) == "batch" else n for axis, n in enumerate(entry.shape)]
        if entry.dtype.kind == "f":
            feeds[entry.name] = random.random(shape, np.float32).astype(entry.dtype)
        else:
            feeds[entry.name] = random.integers(0, 2, shape).astype(entry.dtype)
    return feeds


def describe(
    graph: Graph, preprocessing: Mapping[str, Any], names: Sequence[str], binding: bindings.Binding | None
) -> dict[str, Any]:
    """`config.json`, `preprocessor_config.json` and `bindings.json`, as far as they are known."""
    config: dict[str, Any] = {"model_type": "converted", "source_format": graph.producer}
    if names:
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    written: dict[str, Any] = {"config.json": config}
    pictures = [i for i in graph.inputs if len(i.shape) == 4]
    if binding is not None:
        config |= binding.config
        written["bindings.json"] = binding.content
        written |= binding.files
    if preprocessing and (binding is None or binding.size is not None):
        written["preprocessor_config.json"] = _preprocessor(preprocessing, pictures[0].shape if pictures else None)
    return written


def _preprocessor(told: Mapping[str, Any], shape: tuple[int, ...] | None) -> dict[str, Any]:
    """`preprocessor_config.json`: mean and deviation are in the units that follow the scale (0..255 without one)."""
    config: dict[str, Any] = {"do_resize": True, "resample": 2, "do_rescale": "scale" in told, "do_normalize": False}
    layout = str(told.get("layout", "NCHW")).upper()
    size = told.get("size")
    if size is None and shape is not None:
        size = shape[2:] if layout == "NCHW" else shape[1:3]
    if size is not None:
        config["size"] = {"height": int(size[0]), "width": int(size[1])}
    if "scale" in told:
        config["rescale_factor"] = float(told["scale"])
    if "mean" in told or "std" in told:
        mean, std = list(told.get("mean", ())), list(told.get("std", ()))
        config["do_normalize"] = True
        config["image_mean"] = _three(mean or [0.0], "--mean")
        config["image_std"] = _three(std or [1.0], "--std")
    if str(told.get("color", "rgb")).lower() == "bgr":
        config["do_flip_channel_order"] = True
    return config


def _three(values: Sequence[float], flag: str) -> list[float]:
    """One number for each colour; of one number, the same for all."""
    if len(values) not in (1, 3) or any(v != v for v in values):
        raise InputError(f"{flag}: {len(values)} numbers; a picture has three colours (or give one number for all)")
    return [float(v) for v in (list(values) * 3)[:3]]


def _labels(path: str | Path | None) -> list[str]:
    """Names of the classes: one a line, or a JSON list, or a JSON object by number."""
    if path is None:
        return []
    place = Path(path)
    if place.suffix == ".json":
        value = files.read_json(place)
        value = value.get("id2label", value) if isinstance(value, dict) else value
        if isinstance(value, dict) and value and all(str(k).isdigit() for k in value):
            return [str(value[k]) for k in sorted(value, key=int)]
        if isinstance(value, list) and value:
            return [str(v) for v in value]
        raise InputError(f"{place}: should hold a list of labels, or an object that names them by number")
    try:
        lines = place.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: cannot be read as a list of labels: {error}") from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise InputError(f"{place}: holds no labels")
    return found


# Comparing with outputs of the original


def golden_sets(path: Path) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Inputs and outputs of the original: arrays `in_NAME` and `out_NAME`, further sets with the ending `__s1`, ...

    Raises:
        InputError: it is not such a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > GOLDEN_LIMIT:
                raise InputError(f"{path}: larger than {GOLDEN_LIMIT >> 20} MB when unpacked")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # zipfile and numpy raise many kinds
        raise InputError(f"{path}: not an .npz of inputs and outputs: {error}") from None
    sets: dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
    for key, array in arrays.items():
        found = re.fullmatch(r"(in|out)_(.+?)(?:__s(\d+))?", key)
        if found:
            pair = sets.setdefault(int(found[3] or 0), ({}, {}))
            pair[0 if found[1] == "in" else 1][found[2]] = array
    if not sets or not all(outputs for _, outputs in sets.values()):
        raise InputError(f"{path}: no arrays named in_NAME and out_NAME in it")
    return [sets[k] for k in sorted(sets)]


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _pair(wanted: Sequence[str], offered: Sequence[str], what: str, path: Path) -> dict[str, str]:
    """Names of the network to the keys of the reference file; by position where one or all are unnamed."""
    by_key = {_key(name): name for name in wanted}
    pairs = {by_key[key]: key for key in offered if key in by_key}
    if len(pairs) < len(offered):
        left = [n for n in wanted if n not in pairs]
        rest = [k for k in offered if k not in pairs.values()]
        if len(left) == len(rest) and (len(rest) == 1 or not pairs):
            pairs |= dict(zip(left, rest))
        else:
            raise InputError(f"{path}: the {what} '{rest[0]}' is none of the network's ({', '.join(wanted)[:200]})")
    return pairs


def given_tolerance(path: Path) -> float | None:
    """The largest absolute difference that a `meta.json` beside the reference file allows."""
    beside = path.with_name("meta.json")
    if not beside.is_file():
        return None
    allowed = files.read_json(beside)
    tolerance = allowed.get("tolerance") if isinstance(allowed, dict) else None
    if not isinstance(tolerance, dict):
        return None
    # Of quantised outputs: the steps that a conversion may be off, where the original itself is exact.
    told = [v for v in (tolerance.get("max_abs"), tolerance.get("converted_max_lsb")) if isinstance(v, (int, float))]
    return float(max(told)) if told else None


def compare(net: OrtNet, path: Path, tolerance: float | None = None) -> dict[str, Any]:
    """Run a network on the inputs of a reference file and compare with its outputs.

    Args:
        net: the converted network.
        path: an .npz as `golden_sets` reads it.
        tolerance: largest absolute difference allowed; None takes that of a `meta.json` beside it, or else
            `TOLERANCE` of the largest magnitude of each output.

    Returns:
        `verdict`, `largest_difference`, `allowed`, and the difference of each output.
    """
    allowed = tolerance if tolerance is not None else given_tolerance(path)
    sets = []
    for inputs, expected in golden_sets(path):
        names = _pair(list(net.inputs), list(inputs), "input", path)
        outputs = _pair(net.outputs, list(expected), "output", path)
        feeds = {n: inputs[k] for n, k in names.items()}
        sets.append((usual_inputs(net, feeds), {n: expected[k] for n, k in outputs.items()}))
    return compare_sets(net, sets, allowed, path.name)


def usual_inputs(net: OrtNet, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs of a text network that a reference may leave out, as a first run has them: everything is attended, at its
    place, in the first segment, and nothing was read before."""
    found = dict(feeds)
    ids = next((found[n] for n in ("input_ids", "decoder_input_ids") if n in found), None)
    if ids is None or ids.ndim != 2:
        return found
    for name, (shape, dtype) in net.inputs.items():
        if name in found:
            continue
        if name == "attention_mask":
            found[name] = np.ones_like(ids)
        elif name == "token_type_ids":
            found[name] = np.zeros_like(ids)
        elif name == "position_ids":
            found[name] = np.broadcast_to(np.arange(ids.shape[1], dtype=ids.dtype), ids.shape)
        elif name == "use_cache_branch":
            found[name] = np.zeros(1, np.bool_)
        elif name.startswith("past_key_values"):
            sizes = [len(ids), *(n if isinstance(n, int) else 0 for n in shape[1:])]
            found[name] = np.zeros(sizes, dtype)
    return found


def compare_sets(
    net: OrtNet,
    sets: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    allowed: float | None,
    reference: str,
) -> dict[str, Any]:
    """`compare` with inputs and outputs by the network's own names."""
    worst, limit, problem = 0.0, 0.0, ""
    by_output: dict[str, float] = {}
    for number, (feeds, expected) in enumerate(sets):
        found = net(dict(feeds))
        for name, a in expected.items():
            b = found[name]
            if a.shape != b.shape:
                problem = problem or f"output '{name}' has the shape {list(b.shape)} instead of {list(a.shape)}"
                continue
            x, y = a.astype(np.float64), b.astype(np.float64)
            gap = np.abs(x - y)[~((x == y) | (np.isnan(x) & np.isnan(y)))]
            distance = float(gap.max(initial=0.0))
            distance = float("inf") if np.isnan(distance) else distance
            here = allowed if allowed is not None else TOLERANCE * max(1.0, float(np.abs(x).max(initial=0)))
            worst, limit = max(worst, distance), max(limit, here)
            by_output[name] = max(by_output.get(name, 0.0), distance)
            if distance > here:
                problem = problem or f"output '{name}' differs by {distance:.2g} (allowed: {here:.2g}, set {number})"
    result: dict[str, Any] = {
        "verdict": "fail" if problem else "pass",
        "largest_difference": to_json(worst),
        "allowed": limit,
        "outputs_compared": to_json(by_output),
        "reference": reference,
    }
    return result | ({"message": problem} if problem else {})
