"""Foreseeing: how series go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.architectures import Architecture

CONTEXT, HORIZON = 32, 8


def series(channels: int, folder: Path) -> list[Any]:
    """Waves with a trend: as long as the context, longer, shorter, and one that stands still for a while."""
    rng = np.random.default_rng(0)
    found = []
    for length in (32, 75, 20):
        t = np.arange(length)[:, None]
        values = np.sin(t / (3 + np.arange(channels))) * 5 + t * 0.1 + rng.normal(0, 0.3, (length, channels)) + 20
        found.append(values if channels > 1 else values[:, 0])
    found.append(np.concatenate([found[0][:10], np.repeat(found[0][9:10], 22, axis=0)]))
    return [one.tolist() for one in found]


def make(name: str, given: dict[str, Any], folder: Path) -> None:
    import torch
    import transformers as t

    torch.manual_seed(0)
    kind = getattr(t, name)
    model = kind(kind.config_class(**given)).eval()
    model.save_pretrained(folder)


def prepared(source: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The last values, (1, CONTEXT, channels), with zeros where there are none, and which were seen."""
    values = np.array(source, np.float32).reshape(len(source), channels)[-CONTEXT:]
    seen = np.ones_like(values)
    before = ((CONTEXT - len(values), 0), (0, 0))
    return np.pad(values, before)[None], np.pad(seen, before)[None]


def expect_channels(name: str, folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t
    from scipy import stats

    model = getattr(t, name).from_pretrained(folder).eval()
    answers = []
    for source in sources:
        values, seen = (torch.from_numpy(a) for a in prepared(source, model.config.num_input_channels))
        mask = "observed_mask" if "Mixer" in name else "past_observed_mask"
        with torch.no_grad():
            found = model(past_values=values, **{mask: seen})
            if model.distribution_output is None:
                answers.append({"mean": found.prediction_outputs[0].tolist()})
                continue
            spread = model.distribution_output.distribution(found.prediction_outputs, loc=found.loc, scale=found.scale)
        answer = {"mean": spread.mean[0].tolist()}
        if model.config.distribution_output != "negative_binomial":
            *df, center, scale = (p[0].double().numpy() for p in found.prediction_outputs)
            low = stats.t.ppf(0.1, df[0]) if df else stats.norm.ppf(0.1)
            total = (center + scale * low) * found.scale[0].numpy() + found.loc[0].numpy()
            answer["quantiles"] = {"0.1": total.tolist()}
        answers.append(answer)
    return answers


def expect_single(name: str, folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = getattr(t, name).from_pretrained(folder, attn_implementation="eager").eval()
    given = {"freq": [0]} if name == "TimesFmModelForPrediction" else {}
    answers = []
    for source in sources:
        with torch.no_grad():
            found = model(past_values=[torch.tensor(source, dtype=torch.float32)], **given)
        full = found.full_predictions[0]
        shares = {f"{q:g}": full[:, i].tolist() for i, q in enumerate(model.config.quantiles, 1)}
        answers.append({"mean": found.mean_predictions[0].tolist(), "quantiles": shares})
    return answers


PATCHED = {
    "context_length": CONTEXT, "prediction_length": HORIZON, "num_input_channels": 2, "patch_length": 8,
    "patch_stride": 8, "stride": 8, "d_model": 16, "num_hidden_layers": 2, "num_layers": 2, "num_attention_heads": 2,
    "ffn_dim": 32, "init_std": 0.3,
}  # fmt: skip
TIMESFM = {
    "context_length": CONTEXT, "horizon_length": HORIZON, "patch_length": 8, "hidden_size": 32, "intermediate_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16, "initializer_range": 0.3,
}  # fmt: skip


def channels(model_type: str, name: str, quick: bool = False, **more: Any) -> Architecture:
    given = PATCHED | more
    return Architecture(
        model_type, "time-series-forecasting", partial(make, name, given), partial(expect_channels, name),
        partial(series, given["num_input_channels"]), quick=quick,
    )  # fmt: skip


def single(model_type: str, name: str, **more: Any) -> Architecture:
    return Architecture(
        model_type, "time-series-forecasting", partial(make, name, TIMESFM | more), partial(expect_single, name),
        partial(series, 1),
    )  # fmt: skip


ARCHITECTURES = [
    channels("patchtst", "PatchTSTForPrediction", True, loss="mse"),
    channels("patchtst", "PatchTSTForPrediction", loss="nll", distribution_output="student_t", scaling="std"),
    channels("patchtst", "PatchTSTForPrediction", loss="nll", distribution_output="normal", scaling="mean"),
    channels("patchtsmixer", "PatchTSMixerForPrediction", loss="mse", mode="mix_channel"),
    channels("patchtsmixer", "PatchTSMixerForPrediction", loss="nll", distribution_output="normal"),
    single("timesfm", "TimesFmModelForPrediction"),
    single("timesfm2_5", "TimesFm2_5ModelForPrediction", num_key_value_heads=2, output_quantile_len=HORIZON),
]


def tiny(folder: Path) -> None:
    """Writes a tiny PatchTST of one channel, for tests of the task."""
    make("PatchTSTForPrediction", PATCHED | {"num_input_channels": 1, "loss": "mse"}, folder)
