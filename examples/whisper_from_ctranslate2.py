"""A Whisper model of CTranslate2 (faster-whisper) as a checkpoint folder of Hugging Face, for `sensorium convert`.

python examples/whisper_from_ctranslate2.py whisper-tiny-ct2 whisper-tiny
sensorium convert whisper-tiny --out models/whisper-tiny

The folder has `model.bin`, `config.json`, `tokenizer.json`. Weights may be float, half, bfloat16, or int8 with a scale
for each row. Needs numpy and safetensors.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors.numpy import save_file

# The types of CTranslate2, by number; the last is bfloat16, read as what it is half of.
TYPES = [np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16]


def read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The kind of model, and its tensors by name; int8 ones are brought back to float32."""
    with path.open("rb") as file:
        version = number(file, "<I")
        if version != 6:
            raise SystemExit(f"{path}: is version {version} of the format; this reads version 6")
        kind = text(file)
        number(file, "<I")
        found = {}
        for _ in range(number(file, "<I")):
            name, rank = text(file), number(file, "<B")
            shape = [number(file, "<I") for _ in range(rank)]
            dtype = TYPES[number(file, "<B")]
            array = np.frombuffer(file.read(number(file, "<I")), dtype).reshape(shape)
            if dtype is np.uint16:
                array = (array.astype(np.uint32) << 16).view(np.float32)
            found[name] = array
        aliases = [(text(file), text(file)) for _ in range(number(file, "<I"))]
    found |= {alias: found[name] for alias, name in aliases}
    for name in [n for n in found if n.endswith("weight_scale")]:
        weight = name.removesuffix("_scale")
        found[weight] = found[weight].astype(np.float32) / found.pop(name).astype(np.float32)[..., None]
    return kind, found


def number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def text(file: BinaryIO) -> str:
    return file.read(number(file, "<H")).rstrip(b"\0").decode()


def rename(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors by the names of transformers; queries, keys and values apart."""
    weights: dict[str, np.ndarray] = {}

    def copy(source: str, target: str) -> None:
        for kind, own in (("weight", "weight"), ("bias", "bias"), ("gamma", "weight"), ("beta", "bias")):
            if f"{source}/{kind}" in found:
                weights[f"{target}.{own}"] = np.ascontiguousarray(found[f"{source}/{kind}"], np.float32)

    def apart(source: str, target: str, parts: str) -> None:
        for kind in ("weight", "bias"):
            pieces = np.split(np.asarray(found[f"{source}/{kind}"], np.float32), len(parts))
            for part, piece in zip(parts, pieces):
                if kind == "weight" or part != "k":  # keys have no bias: what is there is zero
                    weights[f"{target}.{part}_proj.{kind}"] = np.ascontiguousarray(piece)

    for side in ("encoder", "decoder"):
        copy(f"{side}/layer_norm", f"model.{side}.layer_norm")
        weights[f"model.{side}.embed_positions.weight"] = found[f"{side}/position_encodings/encodings"].astype(
            np.float32
        )
        layers = {
            name.split("/")[1]
            for name in found
            if name.startswith(f"{side}/layer_") and "norm" not in name.split("/")[1]
        }
        for layer in layers:
            source, target = f"{side}/{layer}", f"model.{side}.layers.{layer.removeprefix('layer_')}"
            apart(f"{source}/self_attention/linear_0", f"{target}.self_attn", "qkv")
            copy(f"{source}/self_attention/linear_1", f"{target}.self_attn.out_proj")
            copy(f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm")
            copy(f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
            copy(f"{source}/ffn/linear_0", f"{target}.fc1")
            copy(f"{source}/ffn/linear_1", f"{target}.fc2")
            if side == "decoder":
                copy(f"{source}/attention/linear_0", f"{target}.encoder_attn.q_proj")
                apart(f"{source}/attention/linear_1", f"{target}.encoder_attn", "kv")
                copy(f"{source}/attention/linear_2", f"{target}.encoder_attn.out_proj")
                copy(f"{source}/attention/layer_norm", f"{target}.encoder_attn_layer_norm")
    copy("encoder/conv1", "model.encoder.conv1")
    copy("encoder/conv2", "model.encoder.conv2")
    copy("decoder/embeddings", "model.decoder.embed_tokens")
    return weights


def main(source: Path, target: Path) -> None:
    kind, found = read(source / "model.bin")
    if kind != "WhisperSpec":
        raise SystemExit(f"{source}: is a {kind}, not Whisper")
    weights = rename(found)
    told = json.loads((source / "config.json").read_text())
    tokens = json.loads((source / "tokenizer.json").read_text())["added_tokens"]
    token = {entry["content"]: entry["id"] for entry in tokens}
    end = token["<|endoftext|>"]
    special = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": token["<|startoftranscript|>"],
    }
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", sum(n.startswith(f"model.{side}.") and n.endswith("fc1.weight") for n in weights)),
            ("attention_heads", int(found[f"{side}/num_heads"])),
            ("ffn_dim", len(weights[f"model.{side}.layers.0.fc1.weight"])),
        )
    }
    vocabulary, width = weights["model.decoder.embed_tokens.weight"].shape
    bands = weights["model.encoder.conv1.weight"].shape[1]
    config = {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": vocabulary,
        "d_model": width,
        "num_mel_bins": bands,
        "max_source_positions": len(weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(weights["model.decoder.embed_positions.weight"]),
        **sides,
        **special,
    }
    generation = {
        **special,
        "max_length": config["max_target_positions"],
        "no_timestamps_token_id": token["<|notimestamps|>"],
        "max_initial_timestamp_index": 50,
        "suppress_tokens": told.get("suppress_ids"),
        "begin_suppress_tokens": told.get("suppress_ids_begin"),
        "alignment_heads": told.get("alignment_heads"),
        "is_multilingual": vocabulary >= 51865,
        "return_timestamps": False,
    }
    if generation["is_multilingual"]:
        names = {entry["id"]: entry["content"] for entry in tokens}
        generation["lang_to_id"] = {names[i]: i for i in told["lang_ids"] if i in names}
        generation["task_to_id"] = {kind: token[f"<|{kind}|>"] for kind in ("transcribe", "translate")}
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": bands,
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 480000,
        "nb_max_frames": 3000,
    }
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>",
                 "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "model_max_length": 1024}  # fmt: skip
    target.mkdir(parents=True)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    for name, content in (
        ("config.json", config),
        ("generation_config.json", generation),
        ("preprocessor_config.json", features),
        ("tokenizer_config.json", tokenizer),
    ):
        (target / name).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
