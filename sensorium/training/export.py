"""From the trained network to a model folder that carries the proof of being the same."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import torch
from safetensors.torch import save_file
from torch import nn

from sensorium import inference, model, verification
from sensorium.errors import Refused
from sensorium.files import publishing
from sensorium.nets.ort import OrtNet
from sensorium.training import fusions
from sensorium.training.nets import TorchNet, TorchNets
from sensorium.training.plan import Part, Plan

OPSET = 18
# A protobuf message cannot be larger than 2 GB: larger weights stand beside the graph.
INSIDE_LIMIT = 1_900_000_000


class _Called(nn.Module):
    """A module called with a dictionary: the exporter cannot bind inputs that a module takes as `**others`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: dict[str, torch.Tensor]) -> Any:
        return self.module(**inputs)


def write_network(part: Part, path: Path) -> None:
    """Write one part as an ONNX file with the weights inside it, or beside it (`model.onnx_data`) above 2 GB.

    Raises:
        Refused: the module cannot be expressed in ONNX; the reason is the exporter's.
    """
    part.module.eval()
    if part.write is not None:
        part.write(path)
        return
    try:
        with silent(), torch.no_grad(), free_sizes_kept(part.module), small_terms_kept():
            program = torch.onnx.export(
                _Called(part.module).eval(),
                (),
                kwargs={"inputs": part.inputs},
                input_names=list(part.inputs),
                output_names=part.outputs,
                dynamic_shapes={"inputs": {name: part.dynamic.get(name) for name in part.inputs}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                optimize=True,
            )
    except Exception as error:  # the exporter wraps whatever the module raised
        raise Refused(f"{path.name}: the network cannot be written as ONNX: {reason_of(error)}") from error
    if sum(p.nbytes for p in {*part.module.parameters(), *part.module.buffers()}) > INSIDE_LIMIT:
        import onnx_ir

        onnx_ir.save(program.model, path, external_data=f"{path.name}_data")
        proto = onnx.load(str(path), load_external_data=False)
    else:
        proto = program.model_proto
    fusions.choose_rows_first(proto.graph)
    types, sizes = fusions.fuse_attention(proto), fusions.value_sizes(proto.graph)
    # Shapes noted for the sample's sizes would be wrong for others, and quantisation trips over them.
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(types)
    used = {name for graph in fusions.graphs(proto.graph) for node in graph.node for name in node.input}
    used |= {output.name for graph in fusions.graphs(proto.graph) for output in graph.output}
    for unused in [given for given in proto.graph.input if given.name not in used]:
        proto.graph.input.remove(unused)
    fusions.order_gelu(proto.graph)
    fusions.merge_convolutions(proto.graph)
    fusions.drop_notes(proto)
    fusions.note_maps(proto.graph, sizes)
    onnx.save(proto, path)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without what the exporters say on the side: their errors say enough."""
    logging.disable(logging.CRITICAL)
    written, torch._C._jit_onnx_log = torch._C._jit_onnx_log, lambda *what: None  # the whole graph, past sys.stdout
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._C._jit_onnx_log = written
        logging.disable(logging.NOTSET)


def reason_of(error: BaseException) -> str:
    """What an exporter stumbled over, in one line: what its innermost error says first, and what a colon announces."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return text[:300] or type(error).__name__


class _Whole(type):
    """`int`, but that a size that is free stays free."""

    def __call__(cls, *given: Any) -> Any:
        if given and isinstance(given[0], torch.SymInt):
            return given[0]
        return torch.sym_int(given[0]) if given and isinstance(given[0], torch.SymFloat) else int(*given)

    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, int)


class _Int(metaclass=_Whole):
    pass


def _length(one: Any) -> Any:
    """`len`, but that a size that is free stays free."""
    return one.shape[0] if isinstance(one, torch.Tensor) else len(one)


@contextlib.contextmanager
def free_sizes_kept(module: nn.Module) -> Iterator[None]:
    """What is made of sizes follows these, where PyTorch's export would write down those of the sample.

    Deformable DETR and its like put the sizes of their maps into a tensor, `torch.as_tensor([(height, width), ...])`,
    and count their places, `torch.linspace(0.5, height - 0.5, height)`; Depth Anything says `int(height * 14)`,
    RT-DETR `len(pictures)`, and ZoeDepth splits by the number of pictures. MBart drops the axes that are 1, of which
    the batch may be one.
    """

    def any_free(data: Any, inside: bool = False) -> bool:
        if isinstance(data, (list, tuple)):
            return any(any_free(one, True) for one in data)
        return isinstance(data, torch.SymInt) or (inside and isinstance(data, torch.Tensor))

    def stacked(data: Any) -> torch.Tensor:
        if isinstance(data, (list, tuple)):
            return torch.stack([stacked(one) for one in data])
        return data if isinstance(data, torch.Tensor) else torch.scalar_tensor(data, dtype=torch.int64)

    def kept(make: Any) -> Any:
        def made(data: Any, *args: Any, **given: Any) -> torch.Tensor:
            if not any_free(data):
                return make(data, *args, **given)
            wanted = {name: given[name] for name in ("dtype", "device") if given.get(name) is not None}
            return stacked(data).to(**wanted) if wanted else stacked(data)

        return made

    def linspace(start: Any, end: Any, steps: Any, **given: Any) -> torch.Tensor:
        if not isinstance(steps, (torch.SymInt, torch.Tensor)):
            return before[2](start, end, steps, **given)
        kind = given.get("dtype") or torch.float32
        low, high, count = (
            value.to(kind) if isinstance(value, torch.Tensor) else torch.scalar_tensor(value, dtype=kind)
            for value in (start, end, steps - 1)
        )
        places = torch.arange(steps, dtype=kind) * ((high - low) / count.clamp(min=1)) + low
        return places.to(given["device"]) if given.get("device") is not None else places

    def split(whole: torch.Tensor, size: Any, dim: int = 0) -> Any:
        if not isinstance(size, torch.SymInt):
            return before[3](whole, size, dim)
        return tuple(whole.narrow(dim, i * size, size) for i in range(int(whole.shape[dim] // size)))

    def squeeze(whole: torch.Tensor, *dims: Any, **given: Any) -> torch.Tensor:
        if dims or given:
            return before[4](whole, *dims, **given)
        return before[4](whole, tuple(i for i, size in enumerate(whole.shape) if isinstance(size, int) and size == 1))

    files = {sys.modules[type(part).__module__] for part in module.modules()} - {sys.modules[__name__]}
    files |= {sys.modules[name] for name in ("transformers.utils.generic",) if name in sys.modules}  # has torch_int
    files = {file for file in files if file.__name__.startswith("transformers.") and not hasattr(file, "int")}
    for file in files:
        vars(file).update(int=_Int, len=_length)
    with torch.device("cpu"):
        torch.empty(0)  # PyTorch now notes which functions `torch.device` is for, once and for all: its own, not these
    before = torch.tensor, torch.as_tensor, torch.linspace, torch.Tensor.split, torch.Tensor.squeeze
    torch.tensor, torch.as_tensor, torch.linspace = kept(before[0]), kept(before[1]), linspace
    torch.Tensor.split, torch.Tensor.squeeze = split, squeeze
    try:
        yield
    finally:
        torch.tensor, torch.as_tensor, torch.linspace, torch.Tensor.split, torch.Tensor.squeeze = before
        for file in files:
            del vars(file)["int"], vars(file)["len"]


@contextlib.contextmanager
def small_terms_kept() -> Iterator[None]:
    """onnxscript takes what is within 1e-8 of nothing for nothing, and would leave out the epsilon of a normalisation:
    Helium's then divides zeros by zero. While this is open, only nothing is nothing.
    """
    from onnxscript.rewriter import _matcher

    def isclose(a: float, b: float, *, rel_tol: float, abs_tol: float) -> bool:
        return math.isclose(a, b, rel_tol=rel_tol)

    vars(_matcher)["math"] = SimpleNamespace(isclose=isclose)
    try:
        yield
    finally:
        vars(_matcher)["math"] = math


def check_network(task: Any, part: Part, path: Path) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """`model.difference` between a part in PyTorch and its file, with the inputs and PyTorch's outputs."""
    feeds = {name: tensor.detach().cpu().numpy() for name, tensor in part.inputs.items()}
    expected = TorchNet(part)(feeds)
    found = OrtNet(path)(feeds)
    return model.difference(task, expected, found), feeds, expected


def export(
    recipe: ModuleType,
    plan: Plan,
    network: nn.Module,
    folder: Path,
    *,
    val: Sequence[Any],
    learn: Sequence[Any],
    origin: dict[str, Any],
    data: dict[str, Any],
    force: bool = False,
) -> tuple[inference.Evaluation, dict[str, Any]]:
    """Write the model folder, evaluate the finished folder, and publish it if its answers are the network's.

    Args:
        folder: where the model folder is to stand.
        val: the examples that it is verified on.
        learn: examples for the naive baseline.
        origin: where the model comes from, for `sensorium.json`.
        data: what `val` is, for `verification.json`.
        force: publish a folder that failed all the same; its `verification.json` says `fail`.

    Returns:
        The evaluation of the finished folder, and what `verification.json` says.

    Raises:
        Refused: the folder's answers differ from the network's.
    """
    network = network.cpu().eval()
    task = plan.task
    parts = recipe.sample(plan, network)
    with publishing(folder) as new:
        (new / "onnx").mkdir()
        model.write_files(new, task.files())
        entries = []
        for stem, part in parts.items():
            path = new / "onnx" / f"{stem}.onnx"
            write_network(part, path)
            difference, feeds, expected = check_network(task, part, path)
            model.save_probe(new, path.name, feeds, expected)
            tolerance = verification.TOLERANCES["fp32"]
            entries.append(
                {
                    "file": f"onnx/{path.name}",
                    "precision": "fp32",
                    "largest_difference": difference,
                    "tolerance": tolerance,
                    "verdict": "pass" if difference <= tolerance else "fail",
                }
            )
        unique = {k: v.contiguous().clone() for k, v in network.state_dict().items()}
        save_file(unique, new / "weights.safetensors")

        before = inference.evaluate(task, TorchNets(parts), val, split="val", resamples=0)
        finished = model.Model(new)
        after = inference.evaluate(type(task).load(finished.files), finished.nets(), val, split="val", learn=learn)
        report = verification.compare_evaluations("fp32", task, before, after)
        for entry in entries:
            entry |= report | {"verdict": "fail" if "fail" in (entry["verdict"], report["verdict"]) else "pass"}
        versions = {"torch": torch.__version__, "onnx": onnx.__version__}
        document = verification.document(task.name, entries, {**data, "examples": len(val)}, versions)
        verification.write(new, document)
        (new / "README.md").write_text(card(plan, after, document, origin), "utf-8")
        model.seal(new, task.name, origin)
        if document["verdict"] != "pass" and not force:
            worst = max(entries, key=lambda e: e["largest_difference"])
            raise Refused(
                f"the exported model does not answer as the trained network does ({worst['file']} differs by "
                f"{worst['largest_difference']:.2g}, {task.metric} {report['metrics_before'].get(task.metric)} became "
                f"{report['metrics_after'].get(task.metric)}): not published; --force publishes it all the same"
            )
    return after, document


def card(plan: Plan, found: inference.Evaluation, document: dict[str, Any], origin: dict[str, Any]) -> str:
    """The model card."""
    rows = []
    for name, m in found.metrics.items():
        interval = f"{m['low']:.4f} to {m['high']:.4f}" if math.isfinite(m["low"]) else ""
        naive = f"{found.baseline[name]:.4f}" if name in found.baseline else ""
        rows.append(f"| {name} | {m['value']:.4f} | {interval} | {naive} |")
    data = document["data"]
    return "\n".join(
        [
            "---",
            f"pipeline_tag: {found.task}",
            "library_name: sensorium",
            "---",
            f"# {found.task}",
            "",
            f"Trained by Sensorium on `{origin.get('data', {}).get('name', 'data of its own')}`.",
            "",
            f"Measured on {data['examples']} examples held out from training ({data.get('split', 'val')}), "
            "with the finished folder:",
            "",
            "| metric | value | 95 % interval | naive baseline |",
            "|---|---|---|---|",
            *rows,
            "",
            f"The folder gives the trained network's answers ({document['verdict']}; see `verification.json`).",
            "",
            "Licence and limits: those of the data it was trained on; it knows nothing that was not in them.",
            "",
        ]
    )
