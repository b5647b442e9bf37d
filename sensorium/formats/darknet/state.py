"""What the layers so far have made."""

from __future__ import annotations

from dataclasses import dataclass, field

from sensorium.formats.darknet.sections import Section
from sensorium.formats.darknet.weights import Weights
from sensorium.formats.shared.graph import Graph

SIDE = 16384  # largest picture


CHANNELS = 65536


@dataclass
class State:
    """What the layers so far have made.

    Attributes:
        x: the value the next layer reads; `values` those of all layers.
        boxes, scores: decoded answers of the heads.
    """

    graph: Graph
    net: Section
    weights: Weights
    x: str
    values: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)
    scores: list[str] = field(default_factory=list)

    def shape(self, value: str | None = None) -> tuple[int, ...]:
        return self.graph.shape(value or self.x)

    def layer(self, section: Section, place: int, setting: str) -> str:
        """The output of another layer: its number, or how many before this one."""
        number = section.number + place if place < 0 else place
        if not 0 <= number < section.number:
            raise section.fault(f"{setting} {place}: there is no layer {number} before this one")
        return self.values[number]
