"""Exported programs (.pt2): looked through before PyTorch opens them, for its own reader trusts the file.

It would evaluate expressions of sizes (with SymPy), import modules that tree descriptions name, unpickle weights, and
call whatever function of `torch`, `math` or `operator` a node names. So only what the allow-lists here have passes.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.shared import json_text, pickles
from sensorium.formats.shared.archive import Archive
from sensorium.formats.shared.report import Report
from sensorium.formats.torch import tensors

JSON_LIMIT = 256 << 20
NODES = 200_000
TARGETS = re.compile(
    r"torch\.ops\.(aten|prims)\.[A-Za-z_0-9]+\.[A-Za-z_0-9]+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.(sym_(int|float|max|min|not|sum|ite|sqrt)|_sym_sqrt)"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|cond|while_loop|scan|map_impl|wrap_with_autocast)"
    r"|torch\._C\._set_grad_enabled|torch\.amp\.autocast_mode\._(enter|exit)_autocast"
)
FILES = re.compile(r"torch\.ops\.aten\.from_file\..*")  # the one that opens a file
RAW = re.compile(r"/data/(weights/weight_\d+|constants/tensor_\d+|constants/constant_\d+)$")  # values, no pickles
SHORT = re.compile(r"(^|/)(version|byteorder|archive_format|archive_version|\.data/serialization_id|\.format_version)$")
WORDS = frozenset(
    {"Max", "Min", "FloorDiv", "CeilDiv", "Mod", "PythonMod", "ModularIndexing", "CleanDiv", "IntTrueDiv", "TruncToInt",
     "FloatTrueDiv", "ToFloat", "CeilToInt", "FloorToInt", "RoundToInt", "Where", "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
     "And", "Or", "Not", "True", "False", "true", "false", "oo", "int_oo", "Identity", "PowByNatural", "LShift",
     "RShift", "Piecewise", "ceiling", "floor", "Abs", "Pow", "Mul", "Add", "Integer", "Rational", "Float", "Symbol"}
)  # fmt: skip
SYMBOL = re.compile(r"[a-zA-Z_]\w*")
EXPRESSION = re.compile(r"[\w\s+\-*/%(),.<>=&|~!]{0,2000}")
CALLED = re.compile(r"(\w+)\s*\(")
SIZE = re.compile(r"(s|u|z|f|zf|zuf)\d+|_?[a-z][a-z0-9_]{0,39}")  # a size of the program: s0, batch
TREE = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", "collections.deque"})


def _documents(archive: Archive) -> Iterator[tuple[str, Any]]:
    for name in archive.names:
        if name.endswith(".json"):
            yield name, json_text.parse(archive.read(name, JSON_LIMIT), f"{archive.file.path}: {name}")


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with the key that it stands under."""
    stack = [(key, value)]
    while stack:
        name, here = stack.pop()
        if isinstance(here, str):
            yield name, here
        elif isinstance(here, dict):
            for k, inner in here.items():
                yield "key", str(k)
                stack.append((str(k), inner))
        elif isinstance(here, list):
            stack += [(name, inner) for inner in here]


def _expression(text: str) -> bool:
    """Whether an expression of sizes is made of numbers, sizes and arithmetic alone."""
    text = re.sub(r"'(\w{1,40})'", r"\1", text)  # Symbol('s0', integer=True)
    if (
        not EXPRESSION.fullmatch(text)
        or "__" in text
        or re.search(r"\.\s*[A-Za-z_]|\*\*\s*\d{3}|\d{25}|[)\]]\s*\(", text)
    ):
        return False
    if not all(word in WORDS for word in CALLED.findall(text)):  # a name that is called is one of ours
        return False
    return all(word in WORDS or SIZE.fullmatch(word) for word in SYMBOL.findall(text))


def vet(archive: Archive) -> list[str]:
    """What in an exported program is not on the lists; empty where it may be opened."""
    bad: list[str] = []
    for name, document in _documents(archive):
        for key, text in _strings(document):
            if key == "target" and (not TARGETS.fullmatch(text) or FILES.fullmatch(text)):
                bad.append(f"{name}: a node would call {text[:80]}")
            elif key in ("expr_str", "sympy_expr") and not _expression(text):
                bad.append(f"{name}: an expression of sizes that is not arithmetic: {text[:80]}")
            elif key in ("in_spec", "out_spec") and text:
                bad += [f"{name}: {found}" for found in _tree(text)]
            elif "__enum__" in text or "default_factory_module" in text:
                bad.append(f"{name}: would import a module of its choice")
            elif key == "key" and text == "as_custom_obj":
                bad.append(f"{name}: an object of a class of its own")
        if isinstance(document, dict):
            bad += [
                f"{name}: a size called {s[:80]}" for s in document.get("range_constraints") or () if not _expression(s)
            ]
            held = document.get("config")
            entries = held.values() if isinstance(held, dict) else ()
            if any(isinstance(e, dict) and e.get("use_pickle") for e in entries):
                bad.append(f"{name}: weights in pickles")
    for name in archive.names:
        bad += _pickled(archive, name)
    return bad


def _tree(text: str) -> Iterator[str]:
    """What a description of nested values names besides lists, tuples and dictionaries."""
    try:
        value = json_text.parse(text, "tree")
    except InputError:
        yield "a description of nested values that is not JSON"
        return
    for key, word in _strings(value):
        if key == "type" and word and word not in TREE:
            yield f"nested values of the type {word[:80]}"
        if "default_factory" in word or "__enum__" in word:
            yield "would import a module of its choice"


def _pickled(archive: Archive, name: str) -> Iterator[str]:
    """What in a member is not raw values, a short text, or tensors that the allow-list reader would read."""
    if name.endswith(".json") or RAW.search(name) or not archive.sizes[name]:
        return
    if SHORT.search(name) and archive.sizes[name] < 4096:
        return
    if not name.endswith(".pt"):
        yield f"{name}: neither weights nor a part of the program"
        return
    inner = Archive(archive.file, archive.read(name))
    if any("/code/" in n for n in inner.names) or not inner.find("data.pkl"):
        yield f"{name}: a TorchScript module inside"
    for member in inner.names:
        if member.endswith(".pkl"):
            for word in pickles.walk(inner.read(member, JSON_LIMIT), f"{archive.file.path}: {name}").names:
                if word not in tensors.ALLOWED:
                    yield f"{name}: its pickle names {word}"


def cleaned(archive: Archive, target: Path) -> None:
    """A copy of a program that passed `vet`, without what PyTorch would compile as Python: guards and stack traces.

    Raises:
        InputError: it did not pass.
    """
    if bad := vet(archive):
        raise InputError(f"{archive.file.path}: refused as unsafe: {bad[0]}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in archive.names:
            data = archive.read(name)
            if name.endswith(".json"):
                document = json_text.parse(data, name)
                if isinstance(document, dict) and "graph_module" in document:
                    document["guards_code"] = []
                data = json.dumps(document).encode()
            new.writestr(name, data)


def inspect(archive: Archive, report: Report) -> None:
    """The operators, inputs and outputs of an exported program."""
    where = str(archive.file.path)
    bad = vet(archive)
    report.code += bad
    if bad:
        report.reason = f"refused as unsafe: {bad[0]}"
    programs = [(n, d) for n, d in _documents(archive) if isinstance(d, dict) and "graph_module" in d]
    if len(programs) != 1:
        raise InputError(f"{where}: {len(programs)} programs in this archive, instead of one")
    try:
        _describe(programs[0][1], report, where)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{where}: corrupt: the program is not described as it should be ({error})") from None


def _describe(program: dict[str, Any], report: Report, where: str) -> None:
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    if len(graph["nodes"]) > NODES:
        raise InputError(f"{where}: more than {NODES} nodes")
    report.version = "pt2"
    report.metadata["schema"] = program.get("schema_version")
    report.metadata["opset"] = program.get("opset_version")
    for node in graph["nodes"]:
        report.layers[".".join(str(node["target"]).split(".")[-2:-1]) or str(node["target"])] += 1
    values = graph["tensor_values"]

    def shape(name: str) -> list[int | str]:
        sizes = values[name]["sizes"]
        return [s["as_int"] if "as_int" in s else str(s["as_expr"]["expr_str"]) for s in sizes]

    for entry in signature["input_specs"]:
        if "user_input" in entry and "as_tensor" in entry["user_input"]["arg"]:
            name = entry["user_input"]["arg"]["as_tensor"]["name"]
            report.inputs[name] = shape(name)
    for entry in signature["output_specs"]:
        if "user_output" in entry and "as_tensor" in entry["user_output"]["arg"]:
            name = entry["user_output"]["arg"]["as_tensor"]["name"]
            report.outputs[name] = shape(name)
    held = [e["parameter"]["arg"]["name"] for e in signature["input_specs"] if "parameter" in e]
    report.parameters = 0
    for name in held:
        count = 1
        for size in shape(name):
            count *= int(size)
        report.parameters += count
