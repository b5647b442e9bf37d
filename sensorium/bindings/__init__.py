"""How a converted network serves a task: which input takes the source, which output the answer, and in what form."""

from __future__ import annotations

from sensorium.bindings import detections, pictures, sounds, texts
from sensorium.bindings.shared import Binding, Told, constant, scores
from sensorium.errors import InputError
from sensorium.formats import Graph

__all__ = ["Binding", "Told", "find"]

# Of each task: what its source is called, what finds the inputs for it, and what finds the answer.
TASKS = {
    "image-classification": ("picture", pictures.bind, scores),
    "object-detection": ("picture", pictures.bind, detections.bind),
    "image-segmentation": ("picture", pictures.bind, pictures.segmentation),
    "text-classification": ("text", texts.bind, scores),
    "audio-classification": ("sound", sounds.bind, sounds.scores),
}


def find(graph: Graph, task: str, told: Told) -> Binding:
    """The binding of a converted network for a task.

    Raises:
        InputError: something has to be told: everything that is missing, in one line.
    """
    if task not in TASKS:
        raise InputError(
            f"--task {task}: a converted network can serve {', '.join(TASKS)}; leave --task out to convert it as it is"
        )
    found = Binding()
    source, bind, answer = TASKS[task]
    taken = bind(graph, told, found)
    further = {i.name: constant(i, found, source) for i in graph.inputs if i.name not in taken} if taken else {}
    found.content["constants"] = further
    answer(graph, told, found)
    if found.missing:
        raise InputError(f"{task} also needs: " + "; ".join(found.missing))
    found.content = {key: value for key, value in found.content.items() if value}
    return found
