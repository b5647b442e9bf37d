"""A checkpoint of Hugging Face: its model in PyTorch, its files completed, and inputs to try it with."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.numpy import save_file

from sensorium import files, model
from sensorium.errors import InputError, SensoriumError
from sensorium.formats import File, safetensors
from sensorium.formats.torch.tensors import arrays
from sensorium.training.pretrained import samples, sentence_pieces, slow_tokenizers

# What a model folder keeps of a checkpoint: everything that is neither weights nor code.
KEPT = (".json", ".txt", ".jinja", ".model", ".bpe", ".md")
DROPPED = ("config.json", "tokenizer.json", model.MANIFEST, model.VERIFICATION)
WEIGHTS = ("pytorch_model", "model.safetensors", "model-", "tf_model", "flax_model", "training_args", "trainer_state")
# Tasks that take the body of a model, whatever head its checkpoint has.
BODY = ("feature-extraction", "sentence-similarity", "image-feature-extraction")


@dataclass
class Checkpoint:
    """What a form makes networks of.

    Attributes:
        folder: the checkpoint.
        out: the model folder that is being made; its JSON and tokenizer files are complete.
        config: what config.json says.
        name: the class of the model.
        model: in fp32, on the CPU, in evaluation mode.
        task_name: what it does, or None where nothing says it.
        notes: what the user should know.
        without: outputs that come from weights which the checkpoint does not have.
    """

    folder: Path
    out: Path
    config: dict[str, Any]
    name: str
    model: Any
    task_name: str | None
    notes: list[str] = field(default_factory=list)
    without: tuple[str, ...] = ()

    @cached_property
    def task(self) -> Any:
        """The task with what the files say, or None where it is not known or cannot be had from these files."""
        if self.task_name is None:
            return None
        try:
            return model.Model(self.out).task(self.task_name)
        except SensoriumError as error:
            self.notes.append(f"the folder cannot do {self.task_name} yet: {error}")
            return None

    @cached_property
    def inputs(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Two batches of inputs, of other sizes wherever the preparation lets sizes vary."""
        return samples.inputs(self.folder, self.config, self.model, self.task)


def load(folder: Path, out: Path, task: str | None) -> Checkpoint:
    """Load a checkpoint, and begin the model folder with its files.

    Raises:
        InputError: it is not a checkpoint that transformers can load.
    """
    config = files.read_json(folder / "config.json")
    name = str((config.get("architectures") or [""])[0])
    copy_files(folder, out)
    files.write_atomic(out / "config.json", files.dump_json(config))
    kind = getattr(transformers, name, None)
    if kind is None:
        own = "its code is its own, and is not run" if config.get("auto_map") else "a newer version may"
        raise InputError(f"{folder}: transformers {transformers.__version__} has no architecture '{name}': {own}")
    found = task or task_of(out)
    if task in BODY and not name.endswith("Model"):
        kind = transformers.AutoModel
    network, missing = read_weights(kind, folder)
    notes: list[str] = []
    pooler = [name for name in missing if "pooler" in name]
    if len(pooler) < len(missing):
        raise InputError(
            f"{folder}: its weights lack {len(missing)} of those of {type(network).__name__}, such as "
            f"'{sorted(missing)[0]}': not a checkpoint of this architecture"
        )
    without: tuple[str, ...] = ()
    if pooler:
        without = ("pooler_output",)
        notes.append("its weights have no pooler: the output pooler_output is left out")
    complete_files(folder, out, notes)
    return Checkpoint(folder, out, config, type(network).__name__, network, found, notes, without)


def read_weights(kind: Any, folder: Path) -> tuple[Any, list[str]]:
    """The model in fp32 with plain attention, and the names of weights that the checkpoint does not have.

    Raises:
        InputError: it cannot be loaded.
    """
    given: dict[str, Any] = {
        "dtype": torch.float32,
        "local_files_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
    }
    with quiet():
        try:
            try:
                network, told = kind.from_pretrained(folder, attn_implementation="eager", **given)
            except ValueError as error:
                if "attn" not in str(error).lower() and "attention" not in str(error).lower():
                    raise
                network, told = kind.from_pretrained(folder, **given)
        except Exception as error:  # transformers and its readers raise whatever they meet
            reason = mismatch(kind, folder) or " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(f"{folder}: {getattr(kind, '__name__', kind)} cannot be loaded: {reason}") from error
    network = network.float().eval()
    takes = inspect.signature(network.forward).parameters
    if "pixel_values_videos" in takes and "pixel_values" not in takes:  # frames, by the name that they have elsewhere
        forward = network.forward
        network.forward = lambda pixel_values, **others: forward(pixel_values_videos=pixel_values, **others)
    return network, list(told.get("missing_keys", ()))


def mismatch(kind: Any, folder: Path) -> str:
    """The first weight whose shape is not what config.json says; empty where none is found."""
    with contextlib.suppress(Exception), torch.device("meta"):  # of a config.json that is damaged, anything
        wanted = kind(kind.config_class.from_pretrained(folder)).state_dict()
        for path in sorted(folder.glob("*.safetensors")):
            for name, (_, shape, _) in safetensors.header(File.of(path)).items():
                if name in wanted and list(wanted[name].shape) != shape:
                    return f"its weight '{name}' has the shape {shape}, config.json asks for {list(wanted[name].shape)}"
    return ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers and PyTorch say on the side."""
    from transformers.utils import logging as told

    before, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    told.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.set_verbosity(before)
        if bars:
            told.enable_progress_bar()


def task_of(folder: Path) -> str | None:
    """The task that the files of a folder name."""
    try:
        return model.Model(folder).task_name
    except SensoriumError:
        return None


def copy_files(folder: Path, out: Path) -> None:
    """Copy what is neither weights nor code."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in KEPT and path.name not in DROPPED and not path.name.startswith(WEIGHTS):
            shutil.copyfile(path, out / path.name)
    for path in sorted(folder.glob("*/config.json")):  # such as 1_Pooling of sentence-transformers
        (out / path.parent.name).mkdir()
        shutil.copyfile(path, out / path.parent.name / path.name)
        if "out_features" in files.read_json(path):  # a layer after the pooling
            weights, older = path.with_name("model.safetensors"), path.with_name("pytorch_model.bin")
            target = out / path.parent.name / weights.name
            if weights.is_file():
                shutil.copyfile(weights, target)
            elif older.is_file():
                save_file(arrays(File.of(older)), target)


def complete_files(folder: Path, out: Path, notes: list[str]) -> None:
    """Write the files that runtimes without transformers read, where a checkpoint has their content elsewhere."""
    vocabularies = (
        *("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tokenizer.model", "spm.model"),
        *("spiece.model", "sentencepiece.bpe.model", "source.spm"),
    )
    if any((folder / name).is_file() for name in vocabularies):
        write_tokenizer(folder, out, notes)
    nested = files.read_json(out / "processor_config.json") if (out / "processor_config.json").is_file() else {}
    parts = [nested.get(name) for name in ("image_processor", "feature_extractor", "video_processor")]
    found = next((part for part in parts if isinstance(part, dict)), None)
    if found and not (out / "preprocessor_config.json").exists():
        both = {k: v for part in reversed(parts) if isinstance(part, dict) for k, v in part.items()}
        (out / "preprocessor_config.json").write_text(files.dump_json(both), "utf-8")
    if (out / "preprocessor_config.json").exists():
        pictures = files.read_json(out / "preprocessor_config.json")
        if pictures.get("image_processor_type") == "Swin2SRImageProcessor" and "size_divisor" in pictures:
            both = {**pictures, "pad_size": pictures["size_divisor"]}  # what transformers.js reads
            (out / "preprocessor_config.json").write_text(files.dump_json(both), "utf-8")


def write_tokenizer(folder: Path, out: Path, notes: list[str]) -> None:
    """tokenizer.json as transformers itself has it after loading, which may not be what the file on disk says."""
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        own = getattr(tokenizer, "backend_tokenizer", None) or slow_tokenizers.converted(tokenizer)
        own = own or sentence_pieces.tokenizer_of(tokenizer)
        text = own.to_str()
    except Exception as error:  # no fast tokenizer, or none that this version can load
        if (folder / "tokenizer.json").is_file():
            shutil.copyfile(folder / "tokenizer.json", out / "tokenizer.json")
        else:
            reason = " ".join(str(error).split())[:150] or type(error).__name__
            notes.append(f"no tokenizer.json could be made: {reason}")
        return
    (out / "tokenizer.json").write_text(text, "utf-8")
    plain = (str, int, float, bool, type(None))
    settings = {k: v for k, v in tokenizer.init_kwargs.items() if isinstance(v, plain)}
    settings |= {k: str(v) for k, v in tokenizer.special_tokens_map.items() if not isinstance(v, list)}
    settings["tokenizer_class"] = type(tokenizer).__name__
    for name in ("model_max_length", "model_input_names", "padding_side", "truncation_side"):
        settings[name] = getattr(tokenizer, name)
    if (out / "tokenizer_config.json").exists():
        settings |= files.read_json(out / "tokenizer_config.json")
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")
