"""From a checkpoint folder of Hugging Face to a model folder that runs without PyTorch.

A *form* says which networks a checkpoint becomes: one forward pass, a decoder with its cache, an encoder and a decoder
... Each is a module of this folder with `match(config, task) -> float` (how well it fits, 0 for not at all) and
`parts(checkpoint) -> dict[str, Part]` (file stem to what is to be written). The folder is the registry.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import torch
import transformers

from sensorium import files, inference, model, verification
from sensorium.conversion import compare, usual_inputs
from sensorium.errors import Fault, Refused, SensoriumError
from sensorium.media import made_up
from sensorium.nets import Settings
from sensorium.nets.ort import OrtNet
from sensorium.tasks import described, find, names
from sensorium.training.export import reason_of
from sensorium.training.fusions import graphs
from sensorium.training.pretrained.checkpoint import Checkpoint, load
from sensorium.training.pretrained.writing import write

MISFIT = re.compile("cannot be run on|does not prepare|has no output|and no '|runs one network")
"""What is said of networks that are none for a task; other errors are of the made-up source."""
SLOW = ("image-generation", "mask-generation", "text-to-speech")
"""Tasks that run their networks hundreds of times for an answer."""


def forms() -> list[ModuleType]:
    """The modules of this folder that are forms."""
    found = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return [module for module in found if hasattr(module, "match")]


def form_of(config: dict[str, Any], task: str | None) -> ModuleType:
    """The form that fits best."""
    return max(forms(), key=lambda module: (float(module.match(config, task)), module.__name__))


def convert(
    folder: Path,
    out: Path,
    *,
    task: str | None = None,
    force: bool = False,
    check: str | Path | None = None,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Write a model folder from a checkpoint, each of its networks checked against PyTorch.

    Args:
        folder: config.json, weights (safetensors, or pytorch_model.bin read without running code), and the files of
            its tokenizer or preprocessor.
        task: what it is to do; None for what its architecture says.
        force: write it even where a network differs.
        check: an .npz of inputs and outputs of the original to compare with as well; `tolerance` is allowed.

    Returns:
        What `verification.json` says, with inputs, outputs and the number of parameters.

    Raises:
        InputError: it is not a checkpoint that transformers can load.
        Refused: a network cannot be written as ONNX, does not give PyTorch's outputs, or is none for the task.
    """
    if task is not None and task not in names():
        find(task)  # says what there is instead
    with files.publishing(out) as new:
        checkpoint = load(folder, new, task)
        form = form_of(checkpoint.config, checkpoint.task_name)
        (new / "onnx").mkdir()
        entries, operators = [], Counter[str]()
        inputs: dict[str, Any] = {}
        outputs: list[str] = []
        notes: list[str] = []
        for stem, part in parts_of(form, checkpoint).items():
            path = new / "onnx" / f"{stem}.onnx"
            written = write(part, path, checkpoint.name, checkpoint.task)
            model.save_probe(new, path.name, written.feeds, written.expected)
            usual = verification.TOLERANCES["fp32"]
            entry = {
                "file": f"onnx/{path.name}",
                "precision": "fp32",
                "largest_difference": written.difference,
                "tolerance": usual,
                "verdict": "pass" if written.difference <= usual else "fail",
            }
            if check is not None and stem == "model":
                entry |= compare(OrtNet(path), Path(check), tolerance)
            entries.append(entry)
            proto = onnx.load(str(path), load_external_data=False)
            operators.update(node.op_type for graph in graphs(proto.graph) for node in graph.node)
            inputs |= written.inputs
            outputs += [name for name in part.outputs if name not in outputs]
            notes += [f"{path.name}: {note}" for note in written.notes]
        notes = [*checkpoint.notes, *notes]
        if check is not None and (new / "onnx" / "decoder_model_merged.onnx").is_file():
            entries[-1] |= compare(Chain(new / "onnx"), Path(check), tolerance)
        elif check is not None and not (new / "onnx" / "model.onnx").is_file():
            notes.append(f"{Path(check).name}: not compared: this model has no network of its own inputs and outputs")
        versions = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "onnx": onnx.__version__,
        }
        content = verification.document(checkpoint.task_name or "", entries, {}, versions)
        content["source"] = checkpoint.name
        content["notes"] = notes
        verification.write(new, content)
        if not (new / "README.md").exists():
            (new / "README.md").write_text(card(checkpoint, content), "utf-8")
        origin = {"format": "Hugging Face checkpoint", "architecture": checkpoint.name, "name": folder.resolve().name}
        model.seal(new, checkpoint.task_name or "", origin)
        worst = max(entries, key=lambda entry: entry["largest_difference"])
        allowed = worst.get("allowed", worst["tolerance"])
        if content["verdict"] == "fail" and not force:
            raise Refused(
                f"{folder}: {checkpoint.name}: {worst['file']} differs from PyTorch by "
                f"{worst['largest_difference']:.2g} (allowed: {allowed:g}); nothing was written "
                "(--force writes it)"
            )
        if checkpoint.task is not None and not force:
            answer(new, checkpoint.task, checkpoint.name)
    return {
        "model": str(out),
        "format": f"Hugging Face checkpoint, {checkpoint.name}",
        "task": checkpoint.task_name,
        "inputs": inputs,
        "outputs": outputs,
        "operators": dict(operators.most_common()),
        "parameters": checkpoint.model.num_parameters(),
        "files": [entry["file"] for entry in entries],
        "notes": notes,
        "verdict": content["verdict"],
        "largest_difference": worst["largest_difference"],
        "allowed": allowed,
    }


def parts_of(form: ModuleType, checkpoint: Checkpoint) -> dict[str, Any]:
    """What a form makes of a checkpoint.

    Raises:
        Refused: the model is not built as the form takes it to be.
    """
    try:
        found: dict[str, Any] = form.parts(checkpoint)
    except SensoriumError:
        raise
    except Exception as error:  # of the model's own code, or of a part that it has not
        raise Refused(
            f"{checkpoint.name} is built in a way that is not known here ({type(error).__name__}: {reason_of(error)})"
        ) from error
    return found


def answer(folder: Path, task: Any, name: str) -> None:
    """Have a finished folder answer made-up sources of two sizes, as it is going to be used.

    Raises:
        Refused: its networks are none for the task.
    """
    choices = described(type(task))
    if choices["required"] or task.name in SLOW:
        return
    few = {"max_new_tokens": 2} if "max_new_tokens" in choices["options"] else {}
    nets = model.open_model(folder).nets(Settings(precision="fp32"))
    for other in (False, True):
        try:
            source = task.open(made_up.sources(task, 1, other)[0])
            inference.run(task, nets, [source], **few)
        except SensoriumError as error:
            if isinstance(error, Fault) or MISFIT.search(str(error)):
                raise Refused(f"{name} cannot do {task.name}: {error}") from error
        except Exception:  # of a source that is not to be made up for it
            return


class Chain:
    """An encoder and a decoder as one network, from its source and the tokens before to what is said of the next."""

    def __init__(self, folder: Path) -> None:
        self.encoder = OrtNet(folder / "encoder_model.onnx")
        self.decoder = OrtNet(folder / "decoder_model_merged.onnx")
        self.inputs = {**self.encoder.inputs, "decoder_input_ids": self.decoder.inputs["input_ids"]}
        self.outputs = [name for name in self.decoder.outputs if not name.startswith("present")]

    def __call__(self, feeds: dict[str, Any]) -> dict[str, Any]:
        states = next(iter(self.encoder(feeds).values()))
        given = {"input_ids": feeds["decoder_input_ids"], "encoder_hidden_states": states}
        if "attention_mask" in feeds:
            given["encoder_attention_mask"] = feeds["attention_mask"]
        return self.decoder(usual_inputs(self.decoder, given))


def card(checkpoint: Checkpoint, content: dict[str, Any]) -> str:
    """The model card, for a checkpoint that has none."""
    tag = f"pipeline_tag: {checkpoint.task_name}\n" if checkpoint.task_name else ""
    return (
        f"---\n{tag}library_name: sensorium\n---\n# {checkpoint.name}\n\nConverted from a checkpoint of Hugging Face; "
        f"its networks give PyTorch's outputs ({content['verdict']}; see `verification.json`).\n"
    )
