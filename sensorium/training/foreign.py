"""PyTorch's own graphs as ONNX: called in a child process with limits, on files that were looked through before.

Each function writes `model.onnx` and `reference.npz` (inputs, and the outputs PyTorch gave for them) into a folder.
Which axes are free is found by trying: PyTorch runs the network with other sizes, and ONNX Runtime has to agree.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from sensorium.errors import InputError, SensoriumError
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.shared.source import File
from sensorium.formats.torch import exported as programs
from sensorium.nets.ort import OrtNet
from sensorium.training.export import write_network
from sensorium.training.fusions import drop_notes
from sensorium.training.plan import Part

OPSET = 18
SIDES = (64, 32, 224, 28, 96, 128, 16, 256, 48, 299)  # of a picture, tried in this order
LENGTHS = (32, 16, 64, 128, 20, 100, 8)
NAMES = {2: "height", 3: "width"}
TOLERANCE = 1e-4  # of the largest magnitude, between PyTorch and a candidate in ONNX Runtime

Shape = tuple[int, ...]
Sample = dict[str, torch.Tensor]


# Finding out what a network takes


def sample(shapes: dict[str, Shape], kinds: dict[str, torch.dtype], seed: int = 0) -> Sample:
    """Made-up inputs."""
    random = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes.items():
        kind = kinds.get(name, torch.float32)
        if kind.is_floating_point:
            made[name] = torch.rand(shape, generator=random, dtype=torch.float32).to(kind)
        else:
            made[name] = torch.randint(0, 2, shape, generator=random).to(kind)
    return made


def call(module: Callable[..., Any], feeds: Sample) -> list[tuple[str, torch.Tensor]]:
    """The outputs of a network in their order, with the names that it gives them (or none)."""
    with torch.no_grad():
        found = module(*feeds.values())
    return list(_flat(found, ""))


def _flat(value: Any, name: str) -> Any:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for place, inner in enumerate(value):
            own = getattr(value, "_fields", None)
            label = own[place] if own else ""
            yield from _flat(inner, label if not name else f"{name}.{label or place}")


def works(module: Callable[..., Any], shapes: dict[str, Shape], kinds: dict[str, torch.dtype]) -> str | None:
    """Why a network does not run on inputs of these shapes; None where it does."""
    try:
        return None if call(module, sample(shapes, kinds)) else "it has no outputs"
    except Exception as error:  # of the network's own code, which is only tried
        lines = [line for line in str(error).splitlines() if line.strip()]
        return (lines[-1] if lines else type(error).__name__)[:200]


def guesses(parameters: Sequence[torch.Tensor], side: Sequence[int] | None) -> list[Shape]:
    """Shapes that one input may have, judged by the first weight."""
    for weight in parameters:
        if weight.ndim == 5:
            return [(2, weight.shape[1], s, s, s) for s in (16, 32, 8)]
        if weight.ndim == 4:
            sides = [tuple(side)] if side else [(s, s) for s in SIDES]
            return [(2, weight.shape[1] * k, *s) for k in (1, weight.shape[0]) for s in sides]
        if weight.ndim == 3:
            return [(2, weight.shape[1], n) for n in LENGTHS]
        if weight.ndim == 2:
            return [(2, weight.shape[1]), *((2, n, weight.shape[1]) for n in LENGTHS)]
    return [(2, 3, *(side or (32, 32)))]


def types(names: Sequence[str], kinds: dict[str, torch.dtype]) -> list[dict[str, torch.dtype]]:
    """Types that the inputs may have: numbers, whole numbers, and mixtures of both."""
    if kinds:
        return [kinds]
    choices = itertools.product((torch.float32, torch.int64, torch.bool), repeat=min(len(names), 3))
    found = [dict(zip(names, choice)) for choice in choices]
    return [{name: choice.get(name, choice[names[0]]) for name in names} for choice in found]


def settle(
    module: Callable[..., Any],
    names: Sequence[str],
    kinds: dict[str, torch.dtype],
    told: dict[str, Shape],
    traced: Sequence[Shape],
    parameters: Sequence[torch.Tensor],
    side: Sequence[int] | None,
) -> dict[str, Shape]:
    """Shapes of the inputs that the network runs on.

    Raises:
        InputError: none were told, and those that were guessed do not fit: says what to tell.
    """
    given = {name: told.get(name) for name in names}
    if len(names) == len(told) and not all(given.values()):
        given = dict(zip(names, told.values()))
    if all(given.values()):
        shapes = {name: tuple(shape or ()) for name, shape in given.items()}
        reason = None
        for number in types(names, kinds):
            found = works(module, shapes, number)
            if found is None:
                kinds |= number
                return shapes
            reason = reason or found
        if reason is not None:
            raise InputError(f"it does not run on inputs of shape {_list(shapes)}: {reason}")
        return shapes
    tries: list[Sequence[Shape]] = [traced] if len(traced) == len(names) else []
    if len(names) == 1:
        tries += [[shape] for shape in guesses(parameters, side)]
        tries += [[shape] for shape in ((2, 16), (2, 128)) if not parameters or parameters[0].ndim == 2]
    reason = None
    for shapes in tries:
        named = dict(zip(names, (tuple(s) for s in shapes)))
        for number in types(names, kinds):
            found = works(module, named, number)
            if found is None:
                kinds |= number
                return named
            reason = reason or found
    example = " ".join(f"--shape {name}=1,..." for name in names)
    raise InputError(
        f"the shape of its input{'s' * (len(names) > 1)} {', '.join(names)} is not in the file; say it with {example}"
        + (f" ({reason})" if reason else "")
    )


def _list(shapes: dict[str, Shape]) -> str:
    return ", ".join(str(list(s)) for s in shapes.values())


def free_axes(
    module: Callable[..., Any], shapes: dict[str, Shape], kinds: dict[str, torch.dtype]
) -> dict[str, dict[int, str]]:
    """The axes whose size may change, named; axes of the same size that must change together have one name."""
    free: dict[str, dict[int, str]] = {name: {} for name in shapes}

    def good(axes: list[tuple[str, int]]) -> bool:
        for change in (lambda n: n + 1, lambda n: 2 * n, lambda n: n + 32):
            changed = {n: list(s) for n, s in shapes.items()}
            for name, axis in axes:
                changed[name][axis] = change(shapes[name][axis])
            if works(module, {n: tuple(s) for n, s in changed.items()}, kinds) is None:
                return True
        return False

    every = [(name, 0) for name, shape in shapes.items() if shape]
    if every and good(every):
        for name, _ in every:
            free[name][0] = "batch"
    first = next(iter(shapes))
    for axis in range(1, max((len(s) for s in shapes.values()), default=0)):
        holders = [name for name, shape in shapes.items() if len(shape) > axis]
        alike = [n for n in holders if shapes[n][axis] == shapes[holders[0]][axis]]
        label = NAMES[axis] if len(shapes[first]) == 4 and axis in NAMES else f"axis{axis}"
        if len(alike) > 1 and good([(n, axis) for n in alike]):
            for name in alike:
                free[name][axis] = label
            holders = [n for n in holders if n not in alike]
        for name in holders:
            if good([(name, axis)]):
                free[name][axis] = label if len(shapes) == 1 else f"{name}_{label}"
    return free


# Writing


def publish(
    module: Callable[..., Any],
    writers: Sequence[Callable[[Sample, list[str], dict[str, dict[int, str]], Path], None]],
    shapes: dict[str, Shape],
    kinds: dict[str, torch.dtype],
    folder: str,
    free: dict[str, dict[int, str]] | None = None,
) -> dict[str, Any]:
    """Write a network with as many free axes as PyTorch and ONNX Runtime agree on.

    Raises:
        InputError: it cannot be written.
    """
    free = free_axes(module, shapes, kinds) if free is None else free
    batch = {n: {a: label for a, label in axes.items() if label == "batch"} for n, axes in free.items()}
    none: dict[str, dict[int, str]] = {n: {} for n in shapes}
    choices = [free, *([batch] if batch != free else []), *([none] if none != batch else [])]
    target, reason = Path(folder) / "model.onnx", ""
    for chosen, write in itertools.product(choices, writers):
        sizes = {
            n: tuple(max(2, k) if chosen[n].get(a) == "batch" else k for a, k in enumerate(s))
            for n, s in shapes.items()
        }
        feeds = sample(sizes, kinds)
        outputs = names_of(call(module, feeds))
        try:
            write(feeds, outputs, chosen, target)
            sets = [(feeds, call(module, feeds)), *others(module, sizes, kinds, chosen)]
            reason = disagreement(target, sets)
        except SensoriumError as error:
            reason = str(error)
        except Exception as error:  # the exporter wraps whatever the network raised
            lines = [line for line in str(error).splitlines() if line.strip()]
            reason = (lines[0] if lines else type(error).__name__)[:300]
        if not reason:
            notes = [] if chosen == free else ["only its example's sizes are free of doubt: other axes are fixed"]
            keep(sets, outputs, Path(folder) / "reference.npz")
            return {"notes": notes, "version": f"PyTorch {torch.__version__}"}
    raise InputError(f"cannot be written as ONNX: {reason}")


def names_of(found: Sequence[tuple[str, torch.Tensor]]) -> list[str]:
    """Names of outputs: their own, or `output`, `output1`, ..."""
    names: list[str] = []
    for place, (name, _) in enumerate(found):
        new = name or ("output" if len(found) == 1 else f"output{place}")
        names.append(new if new not in names else f"{new}{place}")
    return names


def others(
    module: Callable[..., Any], shapes: dict[str, Shape], kinds: dict[str, torch.dtype], free: dict[str, dict[int, str]]
) -> list[tuple[Sample, list[tuple[str, torch.Tensor]]]]:
    """The network run on other sizes of its free axes."""
    found = []
    for seed, change in enumerate((lambda n, label: n + 1 if label == "batch" else n + 32, lambda n, label: 2 * n)):
        sizes = {
            n: tuple(change(k, free[n][a]) if a in free[n] else k for a, k in enumerate(s)) for n, s in shapes.items()
        }
        if sizes != shapes and works(module, sizes, kinds) is None:
            feeds = sample(sizes, kinds, seed + 1)
            found.append((feeds, call(module, feeds)))
    return found


def disagreement(path: Path, sets: Sequence[tuple[Sample, list[tuple[str, torch.Tensor]]]]) -> str:
    """Where ONNX Runtime gives something else; empty where it does not."""
    net = OrtNet(path)
    for feeds, expected in sets:
        found = net({name: t.numpy() for name, t in feeds.items()})
        for (_, a), b in zip(expected, found.values()):
            x, y = a.detach().double().numpy(), b.astype(np.float64)
            if x.shape != y.shape:
                return f"ONNX Runtime gives an output of shape {list(y.shape)}, PyTorch of {list(x.shape)}"
            finite = np.isfinite(x)
            if not np.array_equal(finite, np.isfinite(y)):
                return "ONNX Runtime gives values that are not finite"
            distance = float(np.abs(x - y)[finite].max(initial=0.0))
            if distance > TOLERANCE * max(1.0, float(np.abs(x[finite]).max(initial=0.0))):
                return f"ONNX Runtime's outputs differ from PyTorch's by {distance:.2g}"
    return ""


def keep(sets: Sequence[tuple[Sample, list[tuple[str, torch.Tensor]]]], outputs: Sequence[str], path: Path) -> None:
    """Write inputs and outputs for the parent to compare with."""
    arrays = {}
    for number, (feeds, found) in enumerate(sets):
        arrays |= {f"{number}.in.{name}": t.numpy() for name, t in feeds.items()}
        arrays |= {f"{number}.out.{name}": t.detach().numpy() for name, (_, t) in zip(outputs, found)}
    np.savez(path, **arrays)


# The three kinds


def script(
    folder: str,
    path: str,
    traced: list[list[int]],
    shapes: dict[str, list[int]],
    image_size: list[int] | None,
) -> dict[str, Any]:
    """TorchScript. Its operators are looked through before it is run."""
    try:
        module = torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:  # of a file of unknown origin, in whatever place it is damaged
        raise InputError(f"{path}: not TorchScript that PyTorch {torch.__version__} loads: {_line(error)}") from None
    unknown = _operators(module)
    if unknown:
        raise InputError(f"{path}: refused: its operator {', '.join(unknown)} is not one that only computes")
    arguments = module.forward.schema.arguments[1:]  # the first is the module itself
    names = [
        a.name for a in arguments if not a.has_default_value() or ("Tensor" in str(a.type) and "Opt" not in str(a.type))
    ]
    kinds: dict[str, torch.dtype] = {}
    told = {name: tuple(shape) for name, shape in shapes.items()}
    parameters = [p for p in module.parameters() if p.ndim > 1] or [p for _, p in module.named_buffers() if p.ndim > 1]
    found = settle(module, names, kinds, told, [tuple(s) for s in traced], parameters, image_size)

    def write(feeds: Sample, outputs: list[str], free: dict[str, dict[int, str]], target: Path) -> None:
        traced_network(module, feeds, outputs, free, target)

    return publish(module, [write], found, kinds, folder)


def traced_network(
    module: Any, feeds: Sample, outputs: list[str], free: dict[str, dict[int, str]], target: Path
) -> None:
    """Write a network by way of TorchScript."""
    named = any(name for name, _ in call(module, feeds))
    inputs = tuple(feeds.values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.jit.trace(_Flat(module), inputs, strict=False, check_trace=False) if named else module,
            inputs,
            str(target),
            input_names=list(feeds),
            output_names=outputs,
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
    _renamed(target, list(feeds))


class _Flat(nn.Module):
    """A module whose outputs are tensors one after another: dictionaries have no form in ONNX."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor for _, tensor in _flat(self.module(*inputs), ""))


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _operators(module: Any) -> list[str]:
    """The operators of a TorchScript module that do more than compute: not of PyTorch, or touching files."""
    found: dict[str, None] = {}
    stack = list(module.inlined_graph.nodes())
    while stack:
        node = stack.pop()
        stack += [inner for block in node.blocks() for inner in block.nodes()]
        kind = node.kind()
        if not kind.startswith(("aten::", "prim::")) or kind in OUTSIDE:
            found[kind] = None
    return list(found)


# Of all operators that TorchScript can name, those that open files, talk to other machines, or call Python.
OUTSIDE = frozenset(
    {"aten::save", "aten::from_file", "aten::_print", "prim::Print", "prim::PythonOp", "prim::rpc_async",
     "prim::rpc_sync", "prim::rpc_remote", "prim::fork", "prim::CallFunction"}
)  # fmt: skip


def _renamed(path: Path, wanted: Sequence[str]) -> None:
    """Weights are inputs as well in old graphs: only what the caller feeds stays one."""
    proto = onnx.load(path)
    stored = {t.name for t in proto.graph.initializer}
    kept = [entry for entry in proto.graph.input if entry.name not in stored]
    if [entry.name for entry in kept] != list(wanted):
        missing = [name for name in wanted if name not in {e.name for e in kept}]
        if missing:
            raise InputError(f"its input '{missing[0]}' has no part in the outputs")
    del proto.graph.value_info[:]
    onnx.save(proto, path)


def exported(folder: str, path: str) -> dict[str, Any]:
    """A program of torch.export, from a copy that holds nothing PyTorch would execute."""
    clean = Path(folder) / "clean.pt2"
    programs.cleaned(open_zip(File.of(path)), clean)
    try:
        program = torch.export.load(clean)
        module = program.module()
    except Exception as error:  # of a file of unknown origin, in whatever place it is damaged
        raise InputError(f"{path}: not a program that PyTorch {torch.__version__} loads: {_line(error)}") from None
    finally:
        clean.unlink()
    names, shapes, kinds, free = _signature(program)

    def write(feeds: Sample, outputs: list[str], chosen: dict[str, dict[int, str]], target: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            found = torch.onnx.export(
                program, (), input_names=names, output_names=outputs, opset_version=OPSET, dynamo=True, verbose=False
            )
        proto = found.model_proto
        drop_notes(proto)
        del proto.graph.value_info[:]
        renamed: dict[str, str] = {}
        for entry in [*proto.graph.input, *proto.graph.output]:
            for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
                if label := chosen.get(entry.name, {}).get(axis):
                    renamed[dim.dim_param] = label
                if dim.dim_param in renamed:
                    dim.dim_param = renamed[dim.dim_param]
        onnx.save(proto, target)

    return publish(module, [write], shapes, kinds, folder, free)


def _signature(program: Any) -> tuple[list[str], dict[str, Shape], dict[str, torch.dtype], dict[str, dict[int, str]]]:
    """Names, example shapes, types and free axes of a program's inputs."""
    wanted = program.graph_signature.user_inputs
    shapes: dict[str, Shape] = {}
    kinds: dict[str, torch.dtype] = {}
    free: dict[str, dict[int, str]] = {}
    labels: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in wanted:
            continue
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise InputError(f"its input '{node.name}' is not a tensor")
        free[node.name] = {}
        sizes = []
        for axis, size in enumerate(value.shape):
            if isinstance(size, torch.SymInt):
                text = str(size)
                label = "batch" if axis == 0 else NAMES.get(axis, f"axis{axis}") if value.ndim == 4 else f"axis{axis}"
                if text not in labels:
                    labels[text] = label if label not in labels.values() else f"{node.name}_{label}"
                free[node.name][axis] = labels[text]
                bounds = program.range_constraints.get(size.node.expr)
                low = int(bounds.lower) if bounds is not None and bounds.lower.is_Integer else 2
                hint = size.node.hint
                sizes.append(int(hint) if hint is not None else max(2, low))
            else:
                sizes.append(int(size))
        shapes[node.name], kinds[node.name] = tuple(sizes), value.dtype
    return list(shapes), shapes, kinds, free


# Described layers

MERGES = {"Add": lambda *xs: sum(xs[1:], xs[0]), "Mul": lambda a, b: a * b, "Cat": lambda *xs: torch.cat(xs, 1)}
LAYERS = frozenset(
    name
    for name, kind in vars(nn).items()
    if inspect.isclass(kind)
    and issubclass(kind, nn.Module)
    and kind.__module__.startswith("torch.nn.modules.")
    and not name.startswith(("Lazy", "_"))
    and not name.endswith("Loss")
    and name
    not in ("Module", "Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "DataParallel")
)


class Layers(nn.Module):
    """Layers one after another, or as each names what it takes."""

    def __init__(self, described: Any, where: str) -> None:
        super().__init__()
        entries = described.get("layers") if isinstance(described, dict) else described
        if not isinstance(entries, list) or not 0 < len(entries) <= 10_000:
            raise InputError(f"{where}: no list of layers in this architecture (see docs/foreign-formats.md)")
        self.steps: list[tuple[str, list[str]]] = []
        self.merges: dict[str, Callable[..., Any]] = {}
        before = "input"
        for number, entry in enumerate(entries):
            kind, name, arguments, named, given = _entry(entry, number, where)
            if kind in MERGES:
                self.merges[name] = MERGES[kind]
            else:
                self.add_module(name.replace(".", "/"), layer(kind, arguments, named, f"{where}: layer {number}"))
            self.steps.append((name, given or [before]))
            before = name

    def forward(self, input: torch.Tensor) -> Any:
        values = {"input": input}
        for name, given in self.steps:
            work = self.merges.get(name) or self.get_submodule(name.replace(".", "/"))
            found = work(*(values[g] for g in given))
            values[name] = found[0] if isinstance(found, tuple) else found  # of a recurrent layer: every step's state
        return values[self.steps[-1][0]]


def _entry(entry: Any, number: int, where: str) -> tuple[str, str, list[Any], dict[str, Any], list[str]]:
    """Kind, name, positional and named arguments, and what it takes."""
    if isinstance(entry, str):
        entry = [entry]
    if isinstance(entry, list) and entry and isinstance(entry[0], str):
        named = {k: v for a in entry[1:] if isinstance(a, dict) for k, v in a.items()}
        return entry[0], str(number), [a for a in entry[1:] if not isinstance(a, dict)], named, []
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise InputError(f"{where}: layer {number} is neither [type, arguments ...] nor an object with a 'type'")
    named = {k: v for k, v in entry.items() if k not in ("type", "name", "args", "kwargs", "input", "inputs")}
    named |= entry.get("kwargs", {})
    given = entry.get("inputs", entry.get("input", []))
    return (
        entry["type"],
        str(entry.get("name", number)),
        list(entry.get("args", [])),
        named,
        [given] if isinstance(given, str) else given,
    )


def layer(kind: str, arguments: list[Any], named: dict[str, Any], where: str) -> nn.Module:
    """One layer of torch.nn by its name.

    Raises:
        InputError: there is no such layer, or not with these arguments.
    """
    kind = kind.removeprefix("torch.").removeprefix("nn.")
    if kind == "Sequential":
        inner = [_entry(e, i, where) for i, e in enumerate(arguments)]
        return nn.Sequential(*(layer(k, a, n, where) for k, _, a, n, _ in inner))
    if kind not in LAYERS:
        raise InputError(f"{where}: there is no layer '{kind[:60]}' in torch.nn")

    def plain(value: Any) -> Any:
        return tuple(plain(v) for v in value) if isinstance(value, list) else value

    try:
        return getattr(nn, kind)(*(plain(a) for a in arguments), **{k: plain(v) for k, v in named.items()})
    except (TypeError, ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"{where}: {kind}: {_line(error)}") from None


def layers(
    folder: str,
    path: str,
    names: list[str],
    described: Any,
    where: str,
    shapes: dict[str, list[int]],
    image_size: list[int] | None,
) -> dict[str, Any]:
    """A state dict with the layers that a file describes."""
    module = Layers(described, where).eval()
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: torch.from_numpy(stored[str(i)]) for i, name in enumerate(names)}
    fill(module, arrays, where)
    told = {name: tuple(shape) for name, shape in shapes.items()}
    if isinstance(described, dict) and isinstance(described.get("shape"), list) and not told:
        told = {"input": tuple(described["shape"])}
    kinds: dict[str, torch.dtype] = {}
    embedded = isinstance(next(iter(module.children()), None), (nn.Embedding, nn.EmbeddingBag))
    if embedded:
        kinds["input"] = torch.int64
    parameters = [p for p in module.parameters() if p.ndim > 1]
    found = settle(module, ["input"], kinds, told, [(2, 16)] if embedded else [], parameters, image_size)

    def write(feeds: Sample, outputs: list[str], free: dict[str, dict[int, str]], target: Path) -> None:
        write_network(Part(module, feeds, outputs, free), target)

    return publish(module, [write, lambda *given: traced_network(module, *given)], found, kinds, folder)


def fill(module: nn.Module, arrays: dict[str, torch.Tensor], where: str) -> None:
    """Give a network its parameters: by name, by name behind one prefix, or by their order.

    Raises:
        InputError: a parameter is missing, left over, or of another shape.
    """
    wanted = {name.replace("/", "."): value for name, value in module.state_dict().items()}
    counters = [name for name in wanted if name.endswith("num_batches_tracked")]
    needed = [name for name in wanted if name not in counters]
    prefixes = {name[: -len(needed[0])] for name in arrays if needed and name.endswith(needed[0])}
    found = None
    for prefix in sorted(prefixes, key=len):
        if all(prefix + name in arrays for name in needed):
            found = {name: arrays[prefix + name] for name in needed}
            rest = [n for n in arrays if n.startswith(prefix) and n.removeprefix(prefix) not in wanted]
            if rest:
                raise InputError(f"{where}: the tensor '{rest[0][:80]}' belongs to no layer of this architecture")
            break
    if found is None:
        kept = [name for name in arrays if not name.endswith("num_batches_tracked")]
        if len(kept) != len(needed):
            raise InputError(f"{where}: {len(kept)} tensors, but {len(needed)} are expected by this architecture")
        found = {name: arrays[key] for name, key in zip(needed, kept)}
    for name, value in found.items():
        if tuple(value.shape) != tuple(wanted[name].shape):
            raise InputError(
                f"{where}: '{name[:80]}' has the shape {list(value.shape)}, its layer {list(wanted[name].shape)}"
            )
        wanted[name].copy_(value)
