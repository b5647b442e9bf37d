"""Modules written for export give what transformers gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sensorium.training.pretrained import rewrites

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20,
    "initializer_range": 0.3,
}  # fmt: skip
PAIR = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "init_std": 0.3,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
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
}  # fmt: skip


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
