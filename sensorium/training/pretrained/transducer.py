"""A transducer, such as Parakeet's: `encoder_model.onnx` (a sound to frames), `decoder_model.onnx` (the token said last
to what may follow), and `joint_model.onnx` (both to the scores of what is said at a frame)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sensorium.training.plan import Part
from sensorium.training.pretrained import samples
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.samples import free_axes


def match(config: dict[str, Any], task: str | None) -> float:
    name = str((config.get("architectures") or [""])[0])
    return 0.9 if name.endswith(("ForRNNT", "ForTDT")) else 0.0


class Frames(nn.Module):
    """What becomes `encoder_model.onnx`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Tensor:
        """(rows, frames, width)."""
        return self.model.get_audio_features(**inputs, return_dict=True).pooler_output


class Said(nn.Module):
    """What becomes `decoder_model.onnx`."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        """(rows, 1, width), and the states (layers, rows, width) to give with the next token."""
        found, (hidden, cell) = self.decoder.lstm(self.decoder.embedding(input_ids), (hidden_state, cell_state))
        return self.decoder.decoder_projector(found), hidden, cell


class Joint(nn.Module):
    """What becomes `joint_model.onnx`."""

    def __init__(self, joint: Any) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, encoder_hidden_states: Tensor, decoder_hidden_states: Tensor) -> Tensor:
        return self.joint(encoder_hidden_states=encoder_hidden_states, decoder_hidden_states=decoder_hidden_states)


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    sounds = samples.inputs(
        checkpoint.folder, checkpoint.config, model, checkpoint.task, ("input_features", "attention_mask")
    )
    random = torch.Generator().manual_seed(0)
    lstm = model.decoder.lstm
    said, frames = [], []
    for rows in (2, 3):
        state = torch.randn(lstm.num_layers, rows, lstm.hidden_size, generator=random)
        ids = torch.randint(model.config.vocab_size, (rows, 1), generator=random)
        said.append({"input_ids": ids, "hidden_state": state, "cell_state": state.flip(1)})
        names = ("encoder_hidden_states", "decoder_hidden_states")
        frames.append({name: torch.randn(rows, 1, lstm.hidden_size, generator=random) for name in names})
    states = ["present_hidden_state", "present_cell_state"]
    rows_of = {"input_ids": {0: "batch_size"}, "hidden_state": {1: "batch_size"}, "cell_state": {1: "batch_size"}}
    joined = {name: {0: "batch_size"} for name in frames[0]}
    return {
        "encoder_model": Part(Frames(model), sounds[0], ["last_hidden_state"], free_axes(*sounds), other=sounds[1]),
        "decoder_model": Part(Said(model.decoder), said[0], ["decoder_hidden_states", *states], rows_of, other=said[1]),
        "joint_model": Part(Joint(model.joint), frames[0], ["logits"], joined, other=frames[1]),
    }
