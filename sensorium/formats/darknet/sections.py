"""The sections of a .cfg and their settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sensorium.errors import InputError
from sensorium.formats.shared.source import File

SECTIONS = 10_000


@dataclass
class Section:
    """One section of a .cfg: its kind and its settings; `number` is that of the layer (the first after [net] is 0)."""

    kind: str
    line: int
    where: str
    settings: dict[str, str] = field(default_factory=dict)
    number: int = -1

    def fault(self, message: str) -> InputError:
        layer = f"layer {self.number} " if self.number >= 0 else ""
        return InputError(f"{self.where}, line {self.line}: {layer}[{self.kind}]: {message}")

    def whole(self, name: str, default: int = 0, least: int = -(1 << 31), most: int = (1 << 31) - 1) -> int:
        """An integer.

        Raises:
            InputError: it is none, or not within `least` and `most`.
        """
        text = self.settings.get(name)
        if text is None:
            return default
        try:
            value = int(float(text)) if re.fullmatch(r"[+-]?\d{1,12}\.\d*", text) else int(text)
        except ValueError:
            raise self.fault(f"{name}={text[:40]} is not a whole number") from None
        if not least <= value <= most:
            raise self.fault(f"{name}={text[:40]} is not possible ({least} to {most})")
        return value

    def number_of(self, name: str, default: float) -> float:
        text = self.settings.get(name)
        try:
            return default if text is None else float(text)
        except ValueError:
            raise self.fault(f"{name}={text!r} is not a number") from None

    def numbers(self, name: str) -> list[float]:
        """A list separated by commas."""
        words = [w.strip() for w in self.settings.get(name, "").split(",") if w.strip()]
        try:
            return [float(w) for w in words]
        except ValueError:
            raise self.fault(f"{name} is not a list of numbers") from None


def is_text(file: File) -> bool:
    return file.looks_like_text and bool(
        re.search(rb"^\s*\[(net|network|convolutional|maxpool|yolo|region)\]", file.head, re.MULTILINE)
    )


def read_sections(file: File) -> list[Section]:
    """The sections of a .cfg, [net] first.

    Raises:
        InputError: a line is no setting, or there is no [net].
    """
    found: list[Section] = []
    for number, raw in enumerate(file.text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if not line.endswith("]"):
                raise InputError(f"{file.path}, line {number}: a section's name does not end: {line[:40]!r}")
            found.append(Section(line[1:-1].strip().lower(), number, str(file.path)))
            if len(found) > SECTIONS:
                raise InputError(f"{file.path}: more than {SECTIONS} sections")
            continue
        name, equals, value = line.partition("=")
        if not equals or not found:
            raise InputError(f"{file.path}, line {number}: {line[:40]!r} is no setting of a section")
        # Darknet takes out all white space
        found[-1].settings[re.sub(r"\s", "", name)] = re.sub(r"\s", "", re.split(r"[#;]", value)[0])
    if not found or found[0].kind not in ("net", "network"):
        raise InputError(f"{file.path}: it does not begin with a section [net]: not a Darknet network")
    if len(found) < 2:
        raise InputError(f"{file.path}: no layers in this network")
    for number, section in enumerate(found[1:]):
        section.number = number
    return found
