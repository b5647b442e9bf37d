"""Forecasters: from past values to the mean of those to come, with what is needed for their quantiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sensorium.training.plan import Part
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.samples import free_axes

TIMES = ("timesfm", "timesfm2_5")


def match(config: dict[str, Any], task: str | None) -> float:
    return 1.0 if config.get("model_type") in ("patchtst", "patchtsmixer", *TIMES) and _predicts(config) else 0.0


def _predicts(config: dict[str, Any]) -> bool:
    return any(str(name).endswith("ForPrediction") for name in config.get("architectures") or [])


class Parameters(nn.Module):
    """What a distribution's head gives, as its parameters: as transformers does it, but without removing an axis of
    length 1 by a test of its length, which ONNX has not.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        positive = [(x + torch.sqrt(x * x + 4)) / 2 for x in raw]
        if self.kind == "negative_binomial":
            return positive[0], raw[1]
        scale = positive[-1].clamp_min(torch.finfo(raw[-1].dtype).eps)
        return (*[2 + x for x in positive[:-2]], raw[-2], scale)


class Values(nn.Module):
    """A model of several channels: its values, or mean, center and scale (and degrees of freedom) of a distribution."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        kind = model.config.distribution_output if getattr(model, "distribution_output", None) else None
        self.kind = kind
        self.names = ["mean_predictions"]
        for part in model.modules():
            if kind and hasattr(part, "domain_map") and model.config.prediction_length > 1:
                part.domain_map = Parameters(kind)
        if kind in ("normal", "student_t"):
            self.names += ["center", "scale"] + (["df"] if kind == "student_t" else [])

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        name = "observed_mask" if "mixer" in self.model.config.model_type else "past_observed_mask"
        found = self.model(past_values=past_values, **{name: past_observed_mask}, return_dict=True)
        if self.kind is None:
            return (found.prediction_outputs,)
        if self.kind == "negative_binomial":
            count, logits = found.prediction_outputs
            return (count * torch.exp(logits + found.scale.log()),)
        *freedom, center, scale = found.prediction_outputs
        center = center * found.scale + found.loc
        return (center, center, scale * found.scale, *freedom)


class Patches(nn.Module):
    """A model of single series, read in patches, that says itself which quantiles it gives."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.names = ["mean_predictions", "full_predictions"]
        self.padding = torch.zeros(0)

    def _prepared(self, inputs: Any, freq: Any = None, context_len: Any = None) -> tuple[torch.Tensor, ...]:
        """Instead of the model's own filling up, which cannot be exported: the series come filled up."""
        later = torch.zeros_like(self.padding[:, :1]).expand(-1, self.model.horizon_len)
        both = self.values, torch.cat([self.padding, later], dim=1)
        return both if freq is None else (*both, self.freq)

    def forward(self, past_values: torch.Tensor, past_values_padding: torch.Tensor, freq: torch.Tensor) -> Any:
        self.values, self.padding, self.freq = past_values, past_values_padding, freq
        self.model._preprocess = self._prepared
        try:
            given = {"freq": [0]} if self.model.config.model_type == "timesfm" else {}
            found = self.model(past_values=[past_values[0]], **given, return_dict=True)
        finally:
            del self.model._preprocess
        # An input that makes no difference is kept all the same.
        return found.mean_predictions + 0 * freq.to(past_values.dtype).sum(), found.full_predictions


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model, config = checkpoint.model, checkpoint.model.config
    # A distribution that looks at its parameters, to see whether they are possible, cannot be exported.
    torch.distributions.Distribution.set_default_validate_args(False)
    rng = torch.Generator().manual_seed(0)

    def batch(rows: int) -> dict[str, torch.Tensor]:
        if config.model_type in TIMES:
            values = torch.randn(rows, config.context_length, generator=rng).cumsum(1)
            padding = torch.zeros_like(values)
            padding[1:, : config.context_length // 3] = 1
            return {
                "past_values": values * (1 - padding),
                "past_values_padding": padding,
                "freq": torch.zeros(rows, 1, dtype=torch.int64),
            }
        values = torch.randn(rows, config.context_length, config.num_input_channels, generator=rng).cumsum(1)
        seen = torch.ones_like(values)
        seen[1:, : config.context_length // 3] = 0
        return {"past_values": values * seen, "past_observed_mask": seen}

    module = Patches(model) if config.model_type in TIMES else Values(model)
    first, second = batch(2), batch(3)
    return {"model": Part(module.eval(), first, module.names, free_axes(first, second), other=second)}
