"""What `inspect` says of a foreign model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIST_LIMIT = 200  # entries that a report shows of one list


@dataclass
class Report:
    """A summary of a model, made without running or unpickling anything of it.

    Attributes:
        format: the framework's name; `version` of the format or of the program that wrote it.
        inputs, outputs: name to shape (None: any size), or None where the file does not say.
        layers: how many of each kind.
        parameters: number of trained values; `multiply_adds` of one example, where known.
        metadata: what else the file says.
        code: what in it could run code, if a careless program opened it.
        missing: what `convert` would need besides; `reason` why the format is not converted at all.
        notes: what a user should know.
    """

    format: str
    version: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    layers: Counter[str] = field(default_factory=Counter)
    parameters: int | None = None
    multiply_adds: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    code: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reason: str | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The document that `sensorium inspect --json` prints."""
        return {
            "format": self.format,
            "version": self.version,
            "inputs": short(self.inputs),
            "outputs": short(self.outputs),
            "layers": dict(self.layers.most_common(LIST_LIMIT)),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "metadata": short(self.metadata),
            "could_run_code": self.code[:LIST_LIMIT],
            "convertible": self.reason is None and not self.missing,
            "missing": self.missing[:LIST_LIMIT],
            "why_not": self.reason,
            "notes": self.notes[:LIST_LIMIT],
        }


def short(values: Mapping[str, Any]) -> dict[str, Any]:
    """The first entries of a mapping, with long texts cut and nothing that JSON cannot hold."""
    return {str(k)[:200]: _plain(v) for k, v in list(values.items())[:LIST_LIMIT]}


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, str):
        text = "".join(c if c.isprintable() else " " for c in value[:300])
        return text + ("..." if len(value) > 300 else "")
    if depth < 3 and isinstance(value, Mapping):
        return {str(k)[:200]: _plain(v, depth + 1) for k, v in list(value.items())[:LIST_LIMIT]}
    if depth < 3 and isinstance(value, Iterable):
        return [_plain(v, depth + 1) for v in list(value)[:LIST_LIMIT]]
    return str(value)[:300]
