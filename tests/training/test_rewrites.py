"""Modules written for export give what transformers gives."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sensorium.nets.ort import OrtNet
from sensorium.training import export
from sensorium.training.plan import Part
from sensorium.training.pretrained import rewrites
from sensorium.training.pretrained.single import Answers, outputs_of

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20,
    "initializer_range": 0.3,
}  # fmt: skip
PAIR = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "init_std": 0.3,
}  # fmt: skip
FUNNEL: dict[str, Any] = {
    "vocab_size": 50, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 20, "block_sizes": [1, 1, 1],
    "num_decoder_layers": 1, "initializer_range": 0.3,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "FunnelModel": FUNNEL,
    "FunnelBaseModel": {**FUNNEL, "separate_cls": False},
    "LongformerModel": {**TEXT, "attention_window": 4, "pad_token_id": 1},
    "LongformerForSequenceClassification": {**TEXT, "attention_window": 4, "pad_token_id": 1},
    "LongformerForQuestionAnswering": {**TEXT, "attention_window": 4, "pad_token_id": 1, "sep_token_id": 2},
    "LEDModel": {**PAIR, "attention_window": 4},
    "SwitchTransformersModel": {
        "vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_heads": 2, "num_experts": 3,
        "num_sparse_encoder_layers": 1, "expert_capacity": 2, "decoder_start_token_id": 0,
    },
    "NllbMoeModel": {**PAIR, "num_experts": 4, "encoder_sparse_step": 1, "decoder_sparse_step": 1},
    "DeepseekV2Model": {
        **TEXT, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "n_routed_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "first_k_dense_replace": 2,
    },
    "Llama4TextModel": {
        **TEXT, "head_dim": 8, "num_key_value_heads": 2, "intermediate_size_mlp": 20, "num_local_experts": 2,
        "num_experts_per_tok": 1,
    },
    "DbrxModel": {
        "vocab_size": 50, "d_model": 16, "n_heads": 2, "n_layers": 1, "initializer_range": 0.3,
        "attn_config": {"kv_n_heads": 1, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 8, "moe_num_experts": 4, "moe_top_k": 2},
    },
}  # fmt: skip
RECURRENT: dict[str, dict[str, Any]] = {
    "MambaModel": {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
    "MiniMaxModel": {
        **TEXT, "num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "num_key_value_heads": 2,
        "layer_types": ["linear_attention", "full_attention"], "block_size": 3,
    },
    "RecurrentGemmaModel": {
        **TEXT, "num_key_value_heads": 1, "lru_width": 16, "attention_window_size": 8, "head_dim": 8,
        "block_types": ["recurrent", "attention"],
    },
    "RwkvModel": {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16,
        "intermediate_size": 20,
    },
}  # fmt: skip


class Chunked(torch.nn.Module):
    """Mamba 2's scan, or the gated delta rule, of made-up tokens."""

    def __init__(self, home: Any, delta: bool) -> None:
        super().__init__()
        self.home = home
        self.delta = delta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, time, 4 heads, 6) to the same."""
        keys = x[:, :, ::2, :5]
        if self.delta:
            given = {"g": -x[..., 0].abs(), "beta": x[..., 1].sigmoid(), "use_qk_l2norm_in_kernel": True}
            return self.home.torch_chunk_gated_delta_rule(keys + 1, keys, x, **given)[0]
        rate, more = torch.tensor([-0.5, -1.0, -0.1, -2.0]), {"dt_bias": torch.ones(4), "dt_softplus": True}
        return self.home.mamba2_chunk_scan(
            x, x[..., 0], rate, keys, keys + 1, chunk_size=2, D=torch.arange(4.0), dt_limit=(0.1, 2.0), **more
        )


@pytest.mark.parametrize("family", ["mamba2", "qwen3_next"])
def test_what_is_read_in_chunks_takes_any_number_of_tokens(family: str, tmp_path: Path) -> None:
    home: Any = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    module = Chunked(home, family == "qwen3_next")
    x = torch.randn(2, 7, 4, 6, generator=torch.Generator().manual_seed(0))
    wanted = module(x).numpy()
    holder = torch.nn.Module()
    holder.add_module("inner", Chunked(home, True))
    type(holder.inner).__module__, before = home.__name__, type(holder.inner).__module__
    try:
        assert rewrites.apply(holder)
        np.testing.assert_array_equal(module(x).numpy(), wanted)  # as before where nothing is exported
        part = Part(module, {"x": x[:, :4].clone()}, ["y"], {"x": {0: "rows", 1: "time"}})
        export.write_network(part, tmp_path / "model.onnx")
    finally:
        type(holder.inner).__module__ = before
    found = OrtNet(tmp_path / "model.onnx")({"x": x.numpy()})["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrence_takes_any_number_of_tokens(name: str, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**RECURRENT[name], use_cache=False, attn_implementation="eager")).eval()
    assert rewrites.apply(model)
    ids = torch.randint(3, 50, (2, 7))
    module = Answers(model, ["last_hidden_state"])
    part = Part(module, {"input_ids": ids[:, :4]}, module.names, {"input_ids": {0: "rows", 1: "time"}})
    export.write_network(part, tmp_path / "model.onnx")
    found = OrtNet(tmp_path / "model.onnx")({"input_ids": ids.numpy()})["last_hidden_state"]
    with torch.no_grad():
        assert np.allclose(found, model(ids).last_hidden_state.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_rewritten_models_give_the_same(name: str) -> None:
    import transformers

    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**MODELS[name], attn_implementation="eager")).eval()
    ids = torch.randint(3, 50, (2, 11))
    mask = torch.ones_like(ids)
    ids[:, 3] = ids[:, 4] = ids[:, 10] = 2  # ends of a question and of its text
    if "QuestionAnswering" not in name:
        mask[1, 8:] = 0
    given = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids[:, :5]
    with torch.no_grad():
        before = model(**given)[0]
        assert rewrites.apply(model)
        after = model(**given)[0]
    kept = mask.bool() if before.shape[:2] == ids.shape and before.ndim == 3 else slice(None)
    assert torch.allclose(before[kept], after[kept], atol=1e-5)


def test_of_a_body_its_states_are_the_answer() -> None:
    found = dict.fromkeys(("last_hidden_state", "cls_token_value"), torch.zeros(1))  # of CvT
    assert outputs_of(found) == ["cls_token_value"]
    assert outputs_of(found, body=True) == ["last_hidden_state"]
