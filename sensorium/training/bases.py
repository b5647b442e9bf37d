"""Models of Hugging Face to be trained further: their files, and their networks with a head for other labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sensorium.errors import InputError, need
from sensorium.model import FolderFiles


def files_of(base: Path, *needed: str) -> FolderFiles:
    """The files of a base.

    Args:
        needed: JSON files that hold an object each, and tokenizer.json, without which it is none.

    Raises:
        InputError: one of them is missing, or is not that.
    """
    found = FolderFiles(base)
    for name in needed:
        if name not in found:
            raise InputError(f"{base}: has no {name}; a base is a folder as transformers saves it")
        if name != "tokenizer.json" and not isinstance(found[name], dict):
            raise InputError(f"{base / name}: should hold an object")
    return found


def network_of(base: Path, kind: str, task: str, **settings: Any) -> tuple[nn.Module, list[str]]:
    """The network of a base, in fp32; only tensors are read, no code and no pickle.

    Args:
        kind: the class of transformers that makes it: `AutoModelForCTC` ...
        task: what it is to be trained for, for messages.
        settings: what its `config.json` is to say.

    Returns:
        The network, and the names of its weights that the base does not have, which are new.

    Raises:
        InputError: it is not a base of this kind.
        MissingError: transformers is not installed.
    """
    transformers = need("transformers", "train")
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()  # that the head is new needs no table
    try:
        network, told = getattr(transformers, kind).from_pretrained(
            base,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            **settings,
        )
    except Exception as error:  # transformers and the readers of weights raise whatever they meet
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InputError(f"{base}: not a base for {task}: {reason}") from error
    return network, list(told["missing_keys"])
