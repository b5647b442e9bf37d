"""The same model in fewer bits: fp16, int8 and int4, verified against the original."""

from __future__ import annotations

import contextlib
import logging
import shutil
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import files, inference, verification
from sensorium.data import Dataset, Example, open_data
from sensorium.errors import InputError, Refused, SensoriumError, need
from sensorium.evaluation import examples_of
from sensorium.media import made_up
from sensorium.model import difference, load_probe, open_model, save_probe, seal
from sensorium.nets import SUFFIXES, FolderNets, Settings
from sensorium.nets.bound import BoundNet
from sensorium.nets.ort import OrtNet
from sensorium.runs import of_model
from sensorium.tasks import Nets, source_of, to_json

FORMATS = ("int8", "fp16", "int4")
CALIBRATION = 64  # examples that show the range of values
MADE_UP = 6  # sources to compare answers on, where there are no data
INSIDE_LIMIT = 1_900_000_000  # bytes of one protobuf message: larger weights stand beside it
BLOCK = 32  # weights that share a scale in int4


class Examples:
    """Calibration data for ONNX Runtime's quantisation: prepared examples, one at a time."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _untied(network: Any) -> Any:
    """The network with a weight of their own for Gemm nodes that share theirs, as an output layer does with the
    embeddings: the quantiser turns a Gemm's weight round in its place, whoever else reads it.
    """
    graph = network.graph
    weights = {weight.name: weight for weight in graph.initializer}
    used = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        if node.op_type == "Gemm" and node.input[1] in weights and used[node.input[1]] > 1:
            own = graph.initializer.add()
            own.CopyFrom(weights[node.input[1]])
            node.input[1] = own.name = f"{own.name}.{node.name}"
    return network


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic in 16 bits, inputs and outputs as they were."""
    onnx = need("onnx", "formats")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smaller = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    _save(onnx, smaller, target)


def to_int8(source: Path, target: Path, calibration: list[dict[str, np.ndarray]]) -> None:
    """Weights in 8 bits. With calibration, the activations of convolutions as well; those of matrix products always,
    by the range that each input turns out to have.
    """
    onnx = need("onnx", "formats")
    from onnxruntime import quantization as q

    logging.getLogger().setLevel(logging.ERROR)
    network = onnx.load(str(source))
    convolutions = any(node.op_type == "Conv" for node in network.graph.node)
    if convolutions and calibration:
        prepared = target.with_suffix(".prepared.onnx")
        try:
            q.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            q.quantize_static(
                str(prepared),
                str(target),
                Examples(calibration),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            )
        finally:
            prepared.unlink(missing_ok=True)
        return
    large = network.ByteSize() > INSIDE_LIMIT
    q.quantize_dynamic(
        _untied(network),
        str(target),
        per_channel=True,
        weight_type=q.QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        use_external_data_format=large,
    )
    if convolutions:
        smaller = onnx.load(str(target))
        for node in list(smaller.graph.node):
            if node.op_type in ("Conv", "ConvTranspose"):
                _weight_in_8_bits(onnx, smaller.graph, node)
        _save(onnx, smaller, target)


def _weight_in_8_bits(onnx: Any, graph: Any, node: Any) -> None:
    """The weight of a convolution as whole numbers with a scale for each filter; the arithmetic stays as it was."""
    weight = next((w for w in graph.initializer if w.name == node.input[1]), None)
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT:
        return
    values = onnx.numpy_helper.to_array(weight)
    axis = 0 if node.op_type == "Conv" else 1
    others = tuple(a for a in range(values.ndim) if a != axis)
    scale = np.maximum(np.abs(values).max(axis=others) / 127, np.float32(1e-12)).astype(np.float32)
    shape = [-1 if a == axis else 1 for a in range(values.ndim)]
    whole = np.rint(values / scale.reshape(shape)).astype(np.int8)
    name = f"{weight.name}.{node.name or node.output[0]}"
    graph.initializer.extend(
        [onnx.numpy_helper.from_array(whole, f"{name}.int8"), onnx.numpy_helper.from_array(scale, f"{name}.scale")]
    )
    back = onnx.helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [f"{name}.float"], axis=axis)
    node.input[1] = f"{name}.float"
    graph.node.insert(0, back)
    if not any(weight.name in other.input for other in graph.node):
        graph.initializer.remove(weight)


def to_int4(source: Path, target: Path) -> bool:
    """Weights of matrix products in 4 bits, in blocks with a scale each; everything else as it was.

    Returns:
        Whether there is such a weight; without one, nothing is written.
    """
    onnx = need("onnx", "formats")
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)
    network = _as_products(onnx, onnx.load(str(source)))
    quantizer = MatMulNBitsQuantizer(network, bits=4, block_size=BLOCK, is_symmetric=True)
    quantizer.process()
    smaller = quantizer.model.model
    if not any(node.op_type == "MatMulNBits" for node in smaller.graph.node):
        return False
    _save(onnx, smaller, target)
    return True


def _as_products(onnx: Any, network: Any) -> Any:
    """The network with MatMul and Add in place of Gemm: only the weights of MatMul are written in 4 bits."""
    graph = network.graph
    weights = {weight.name: weight for weight in graph.initializer}
    nodes = []
    for node in graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = node.op_type == "Gemm" and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
        if not plain or given.get("transA", 0) or node.input[1] not in weights:
            nodes.append(node)
            continue
        right = node.input[1]
        if given.get("transB", 0):
            right = f"{node.output[0]}.weight"
            values = np.ascontiguousarray(onnx.numpy_helper.to_array(weights[node.input[1]]).T)
            graph.initializer.append(onnx.numpy_helper.from_array(values, right))
        biased = len(node.input) > 2 and node.input[2]
        product = f"{node.output[0]}.product" if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], right], [product], name=f"{node.name}.product"))
        if biased:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    if not any(attribute.HasField("g") for node in nodes for attribute in node.attribute):
        for weight in [w for w in graph.initializer if w.name not in used]:
            graph.initializer.remove(weight)
    return network


def _save(onnx: Any, network: Any, target: Path) -> None:
    """Write a network, with weights above 2 GB beside it."""
    (target.parent / f"{target.name}.data").unlink(missing_ok=True)
    large = network.ByteSize() > INSIDE_LIMIT
    location = f"{target.name}_data" if large else None
    onnx.save(network, str(target), save_as_external_data=large, location=location)


def export(
    path: str | Path,
    *,
    to: str,
    data: str | Path | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """See `sensorium.export`."""
    if to not in FORMATS:
        raise InputError(f"--to {to}: there is no such format; there are: {', '.join(FORMATS)}")
    need("onnx", "formats")
    model = open_model(path)
    task = model.task()
    nets = model.nets(Settings(precision="fp32"))
    measured: list[Example] = []
    calibration: list[Example] = []
    name = ""
    if data is not None:
        dataset = open_data(Path(data), task=task.name)
        name, measured, learn = examples_of(task, dataset, split or ("val" if _has_val(dataset, path) else None), path)
        calibration = learn[:CALIBRATION]
    feeds: list[dict[str, np.ndarray]] = []
    if not hasattr(task, "predict"):
        feeds = [inference.collate([task.prepare(task.open(source_of(task, e.fields)))], {}) for e in calibration]
    with files.publishing(Path(out) if out else model.path) as new:
        shutil.copytree(model.path, new, dirs_exist_ok=True)
        entries = []
        for stem, source in nets.paths.items():
            target = new / "onnx" / f"{stem}{SUFFIXES[to]}.onnx"
            whole = nets[stem]
            ready = [{k: v for k, v in f.items() if k in whole.inputs} for f in feeds]
            if isinstance(whole, BoundNet):
                ready = [whole.feeds(f) for f in ready]
            try:
                if to == "fp16":
                    to_fp16(source, target)
                elif to == "int4":
                    if not to_int4(source, target):
                        continue
                else:
                    to_int8(source, target, ready)
                smaller = nets.bound(OrtNet(target))
            except SensoriumError:
                raise
            except Exception as error:  # the converters raise whatever they meet
                reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
                raise Refused(f"{source.name} cannot be written in {to}: {reason}") from error
            entry: dict[str, Any] = {"file": f"onnx/{target.name}", "precision": to, "verdict": "pass"}
            entry["bytes"] = {"before": source.stat().st_size, "after": target.stat().st_size}
            if (probe := load_probe(model.path, source.name)) is not None:
                given, expected = probe
                found = smaller(given)
                entry["difference_from_fp32"] = difference(task, expected, found)
                entry["noise"] = noise(expected, found)
                entry["tolerance"] = verification.TOLERANCES[to]
                save_probe(new, target.name, given, found)
            entries.append(entry)
        if not entries:
            raise Refused(f"{model.path}: no product with a matrix of weights, nothing to write in {to}")
        if measured:
            before = inference.evaluate(task, nets, measured, split=name, resamples=0)
            after = inference.evaluate(task, FolderNets(new, Settings(precision=to)), measured, split=name, resamples=0)
            result = verification.compare_evaluations(to, task.metric, task.lower_is_better, before, after)
            result["data"] = {"split": name, "examples": len(measured)}
            for entry in entries:
                entry |= result
        else:
            result = without_data(task, nets, FolderNets(new, Settings(precision=to)), entries, to)
            for entry in entries:
                entry |= result
        document = dict(model.verification)
        kept = [e for e in document.get("files", []) if e.get("precision") != to]
        document["files"] = kept + entries
        verification.write(new, document)
        seal(new, task.name, model.manifest.get("origin", {}))
        report = {"model": str(out or model.path), "to": to, "files": to_json(entries)}
        report["verdict"] = entries[0]["verdict"]
        if report["verdict"] == "fail" and not force:
            if not measured:
                raise Refused(f"{model.path}: {entries[0]['message']}; --force keeps it all the same")
            b, a = entries[0]["metrics_before"][task.metric], entries[0]["metrics_after"][task.metric]
            raise Refused(f"{to} loses too much: {task.metric} {b:.4g} became {a:.4g}; --force keeps it all the same")
    return report


def _has_val(dataset: Dataset, path: str | Path) -> bool:
    """Whether the data, or the run that the model lies in, has a validation split."""
    return "val" in dataset.splits() or of_model(path) is not None


def noise(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Root-mean-square difference of outputs relative to their own root mean square; the largest of all outputs."""
    worst = 0.0
    for name, reference in expected.items():
        a, b = reference.astype(np.float64), found[name].astype(np.float64)
        if a.shape != b.shape:
            return float("inf")
        here = np.isfinite(a) & (np.abs(a) < 1e9)  # without the places of what is never chosen
        if here.any():
            scale = max(float(np.sqrt((a[here] ** 2).mean())), 1e-6)
            worst = max(worst, float(np.sqrt(((a - b)[here] ** 2).mean())) / scale)
    return worst


def without_data(task: Any, before: Nets, after: Nets, entries: Sequence[Mapping[str, Any]], to: str) -> dict[str, Any]:
    """What can be said of a smaller model without data: how noisy its outputs are, and whether its answers to made-up
    sources are the same.
    """
    said: dict[str, Any] = {"data": {"split": "made up", "examples": 0}}
    alike = getattr(task, "alike", verification.same)
    with contextlib.suppress(SensoriumError, ValueError, TypeError, KeyError, IndexError):  # not to be made up
        sources = [task.open(source) for source in made_up.sources(task, MADE_UP, False)]
        pairs = [(inference.run(task, before, [s])[0], inference.run(task, after, [s])[0]) for s in sources]
        said["agreement"] = sum(bool(alike(a, b, verification.TOLERANCES[to])) for a, b in pairs) / len(pairs)
        said["data"]["examples"] = len(pairs)
    heard = [float(entry["noise"]) for entry in entries if "noise" in entry]
    allowed = verification.NOISE_ALLOWED[to]
    if not heard:
        message = "the folder keeps no inputs to compare outputs on, and no data were given"
        return said | {"verdict": "unverified", "message": message}
    if not max(heard) <= allowed:
        message = f"{to} changes the outputs by {max(heard):.2g} of their magnitude (allowed: {allowed:g})"
        return said | {"verdict": "fail", "message": message}
    message = "made without data: outputs were compared on made-up inputs, no metric was measured"
    return said | {"verdict": "pass", "message": message}
