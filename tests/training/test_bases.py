from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sensorium.errors import InputError
from sensorium.training.bases import files_of, network_of

KIND = "AutoModelForSeq2SeqLM"
CONFIG = """{"model_type": "marian", "vocab_size": 9, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1,
"encoder_attention_heads": 1, "decoder_attention_heads": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "is_encoder_decoder": true}"""


def test_what_is_needed_and_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json; a base is a folder"):
        files_of(tmp_path, "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not valid JSON"):
        files_of(tmp_path, "config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: should hold an object"):
        files_of(tmp_path, "config.json")


def test_weights_are_tensors_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG)
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"not a base for translation: .*safetensors"):
        network_of(tmp_path, KIND, "translation")
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(InputError, match="not a base for translation: "):
        network_of(tmp_path, KIND, "translation")
