"""Checkpoint folders: how weights are read, what is refused, and what a finished folder holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import sensorium
from sensorium.errors import InputError, Refused
from sensorium.nets.ort import OrtNet
from sensorium.training import export
from sensorium.training.plan import Part
from sensorium.training.pretrained import forms, sequence_to_sequence, writing
from sensorium.training.pretrained.checkpoint import read_weights
from sensorium.training.pretrained.decoder import cache_sizes, decoder_part
from tests.parity.architectures import examples

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    examples.make_bert(folder)
    return folder


@pytest.fixture(scope="module")
def converted(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "model"
    sensorium.convert(checkpoint, out=out)
    return out


def test_a_finished_folder_is_sound(converted: Path) -> None:
    assert sensorium.verify(converted)["verdict"] == "pass"
    net = sensorium.load(converted).nets["model"]
    assert {name: shape for name, (shape, _) in net.inputs.items()} == {
        name: ["batch_size", "sequence_length"] for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    assert net.outputs == ["logits"]
    assert json.loads((converted / "sensorium.json").read_text())["task"] == "text-classification"
    assert not list(converted.glob("*.safetensors"))


def test_sharded_and_pickled_weights_are_the_same(checkpoint: Path, converted: Path, tmp_path: Path) -> None:
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    for kind in ("sharded", "pickled"):
        folder = tmp_path / kind
        shutil.copytree(checkpoint, folder)
        (folder / "model.safetensors").unlink()
        if kind == "sharded":
            model.save_pretrained(folder, max_shard_size="20KB")
            assert (folder / "model.safetensors.index.json").is_file()
        else:
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        sensorium.convert(folder, out=tmp_path / "out" / kind)
        a, b = (sensorium.load(p).predict("some words") for p in (converted, tmp_path / "out" / kind))
        assert a == b


def test_what_cannot_be_loaded_is_said_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    def changed(name: str, **values: object) -> Path:
        folder = tmp_path / name
        shutil.copytree(checkpoint, folder)
        config = json.loads((folder / "config.json").read_text()) | values
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    cases = {
        "no architecture 'OddForThings'": changed("odd", architectures=["OddForThings"]),
        "lack": changed("head", architectures=["BertForQuestionAnswering"]),
        "cannot be loaded: its weight .* has the shape": changed("size", hidden_size=48),
    }
    for message, folder in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            sensorium.convert(folder, out=tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_answer_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="BertForSequenceClassification cannot do question-answering"):
        sensorium.convert(checkpoint, out=tmp_path / "model", task="question-answering")
    assert not (tmp_path / "model").exists()


def test_large_weights_stand_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "INSIDE_LIMIT", 1000)
    part = Part(torch.nn.Linear(40, 40), {"input": torch.rand(2, 40)}, ["output"], {"input": {0: "batch"}})
    written = writing.write(part, tmp_path / "model.onnx", "Linear")
    assert written.difference < 1e-5
    assert (tmp_path / "model.onnx_data").stat().st_size > 6000
    assert (tmp_path / "model.onnx").stat().st_size < 3000


def test_a_size_that_is_not_free_is_noticed(tmp_path: Path) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + float(np.prod(x.shape[1:]))  # the number is written into a recorded graph

    first, other = torch.rand(2, 5), torch.rand(3, 7)
    part = Part(Fixed(), {"x": first}, ["y"], {"x": {0: "batch", 1: "time"}}, other={"x": other})
    found = writing.write(part, tmp_path / "model.onnx", "Fixed")
    assert found.difference < 1e-3 or found.notes == ["takes only inputs of the sample's size"]


def test_an_input_may_have_no_free_axis(tmp_path: Path) -> None:
    part = Part(torch.nn.ReLU(), {"input": torch.rand(1, 5)}, ["y"], {"input": {}})
    assert writing.write(part, tmp_path / "model.onnx", "Fixed").difference == 0


def test_axes_that_may_be_one_are_not_dropped(tmp_path: Path) -> None:
    class Squeezing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.amax(1, keepdim=True).squeeze()[:, None] * x

    x = torch.arange(6.0).reshape(2, 3)
    part = Part(Squeezing(), {"x": x}, ["y"], {"x": {0: "rows"}})
    export.write_network(part, tmp_path / "model.onnx")
    assert OrtNet(tmp_path / "model.onnx")({"x": x[:1].numpy()})["y"].tolist() == [[0.0, 2.0, 4.0]]


def test_a_module_that_cannot_be_written_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x).real

    part = Part(Odd(), {"x": torch.rand(2, 4, 4)}, ["y"], {"x": {0: "batch"}})
    with pytest.raises(Refused, match=r"Odd: model\.onnx"):
        writing.write(part, tmp_path / "model.onnx", "Odd")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_model_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    import transformers

    config = transformers.ViTMAEConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=4
    )
    transformers.ViTMAEModel(config).save_pretrained(tmp_path)
    with pytest.raises(Refused, match="draws random numbers"):
        sensorium.convert(tmp_path, out=tmp_path / "out", task="image-feature-extraction")


def test_a_model_that_generates_in_a_way_of_its_own_is_refused(tmp_path: Path) -> None:
    import transformers

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 40}
    text = {"embed_dim": 16, "layers": 1, "ffn_dim": 16, "attention_heads": 2, "vocab_size": 40}
    vision = {**small, "intermediate_size": 16, "image_size": 16, "patch_size": 8}
    config = transformers.Kosmos2Config(text_config=text, vision_config=vision, latent_query_num=2)
    transformers.Kosmos2ForConditionalGeneration(config).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(Refused, match="generates in a way that is not known here"):
        sensorium.convert(tmp_path / "checkpoint", out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_that_is_built_otherwise_is_refused_in_one_line(tmp_path: Path) -> None:
    import transformers

    config = transformers.MusicgenDecoderConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, num_codebooks=2
    )
    transformers.MusicgenForCausalLM(config).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(Refused, match=r"MusicgenForCausalLM is built in a way that is not known here \(RuntimeError: "):
        sensorium.convert(tmp_path / "checkpoint", out=tmp_path / "model")


def test_what_made_up_inputs_lack_is_said(tmp_path: Path) -> None:
    """By the model, where there is neither a task nor a processor."""
    import transformers

    sizes = {"prediction_length": 2, "context_length": 4, "lags_sequence": [1], "num_time_features": 1, "d_model": 8}
    model = transformers.InformerForPrediction(transformers.InformerConfig(**sizes))
    model.save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(Refused, match=r"InformerForPrediction: no inputs can be made .* 'past_time_features'"):
        sensorium.convert(tmp_path / "checkpoint", out=tmp_path / "model")


def test_the_reason_of_an_exporter_goes_on_after_a_colon() -> None:
    assert export.reason_of(ValueError("the following:\n\n  - a size \n  - another")) == "the following: - a size"
    assert export.reason_of(ValueError("\none line\nanother")) == "one line"


def test_a_layer_that_keeps_more_than_keys_and_values_has_no_cache() -> None:
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    mamba = {"mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_ssm": 16, "mamba_n_groups": 1, "mamba_d_state": 4}
    both = transformers.FalconH1Config(**sizes, **mamba, num_key_value_heads=2, head_dim=8, vocab_size=40)
    assert cache_sizes(transformers.FalconH1ForCausalLM(both).eval()) is None
    latent = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
    index = {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 4, "first_k_dense_replace": 1}
    indexed = transformers.DeepseekV32Config(**sizes, **latent, **index, num_key_value_heads=2, vocab_size=40)
    assert cache_sizes(transformers.DeepseekV32ForCausalLM(indexed).eval()) is None
    plain = transformers.LlamaConfig(**sizes, num_key_value_heads=1, vocab_size=40)
    assert cache_sizes(transformers.LlamaForCausalLM(plain).eval()) == [((1, 8), (1, 8))]


def test_a_decoder_is_checked_on_one_token_and_on_many(tmp_path: Path) -> None:
    """Code that decides by the tokens is recorded as it went for the sample's."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=1, vocab_size=40)
    model = transformers.LlamaForCausalLM(config).eval()
    inner = model.lm_head.forward
    for number, unlike in enumerate((lambda time: time == 1, lambda time: time > 256)):
        model.lm_head.forward = lambda x, unlike=unlike: inner(x) + (1.0 if unlike(int(x.shape[1])) else 0.0)
        found = writing.write(decoder_part(model), tmp_path / f"{number}.onnx", "Llama")
        assert found.difference > 1e-3


def test_one_size_is_refused_where_a_task_prepares_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_size(part: Part, path: Path) -> None:
        if 1 in part.dynamic["input"]:
            raise Refused("no free time")
        export.write_network(part, path)

    monkeypatch.setattr(writing, "write_network", one_size)
    monkeypatch.setattr(writing, "write_traced", one_size)
    part = Part(
        torch.nn.ReLU(), {"input": torch.rand(2, 5)}, ["y"], {"input": {0: "rows", 1: "time"}},
        other={"input": torch.rand(3, 7)},
    )  # fmt: skip
    with pytest.raises(Refused, match="no free time"):
        writing.write(part, tmp_path / "model.onnx", "Fixed", task=object())
    found = writing.write(part, tmp_path / "other.onnx", "Fixed")
    assert found.notes == ["takes only inputs of the sample's size"]


def test_a_decoder_that_sees_what_comes_after_takes_one_token_at_a_time() -> None:
    import transformers

    pair = {f"{part}_{name}": size for part in ("encoder", "decoder")
            for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    kinds = ("FSMT", {"langs": ["en", "de"], "src_vocab_size": 40, "tgt_vocab_size": 40}), ("Bart", {"vocab_size": 40})
    for prefix, own in kinds:
        kind = getattr(transformers, f"{prefix}ForConditionalGeneration")
        model = kind(kind.config_class(d_model=16, init_std=0.5, max_position_embeddings=32, **pair, **own)).eval()
        free = sequence_to_sequence.networks(model)["decoder_model_merged"].dynamic["input_ids"]
        assert (1 in free) == (prefix == "Bart")


def test_attention_by_random_hashes_is_refused(tmp_path: Path) -> None:
    import transformers

    config = transformers.ReformerConfig(
        attn_layers=["lsh"], axial_pos_embds=False, hidden_size=16, attention_head_size=8, feed_forward_size=16,
        num_attention_heads=2, num_buckets=2, vocab_size=40, max_position_embeddings=64,
    )  # fmt: skip
    transformers.ReformerForSequenceClassification(config).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(Refused, match="hashes that it draws at random"):
        sensorium.convert(tmp_path / "checkpoint", out=tmp_path / "model")


def test_frames_are_called_pixel_values(tmp_path: Path) -> None:
    import transformers

    config = transformers.VJEPA2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, crop_size=16, patch_size=8, frames_per_clip=2,
        pred_hidden_size=16, pred_num_attention_heads=2, pred_num_hidden_layers=1, num_pooler_layers=1,
    )  # fmt: skip
    transformers.VJEPA2ForVideoClassification(config).save_pretrained(tmp_path)
    network, missing = read_weights(transformers.VJEPA2ForVideoClassification, tmp_path)
    assert not missing
    assert network(pixel_values=torch.zeros(1, 2, 3, 16, 16)).logits.shape == (1, 2)


def test_each_form_says_what_it_fits() -> None:
    for form in forms():
        assert 0 <= form.match({"architectures": ["BertModel"], "model_type": "bert"}, None) <= 1
        assert callable(form.parts)
