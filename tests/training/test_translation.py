"""The recipe learns, exports and answers as transformers does, from scratch and from a base."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import sensorium
from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.nets import FolderNets
from sensorium.ops.generation import Decoder, Settings, generate
from sensorium.tasks.translation import Task
from sensorium.training import export
from sensorium.training.nets import TorchNets
from sensorium.training.networks import encoder_decoder
from sensorium.training.recipes import translation as recipe

NUMBERS = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]


def pairs(count: int) -> list[tuple[str, str]]:
    """Digits in a row, and in another language with the words the other way round."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 10, rng.integers(1, 5)) for _ in range(count)]
    return [(" ".join(map(str, row)) + " .", " ".join(NUMBERS[i] for i in row[::-1]) + " 。") for row in rows]


@pytest.fixture
def examples() -> list[Example]:
    found = pairs(300)
    return [Example(f"e:{i}", {"translation": {"x": a, "y": b}}, "e") for i, (a, b) in enumerate(found)]


def test_tokenizer_gives_back_the_spaces(examples: list[Example]) -> None:
    sources, targets = zip(*pairs(300))
    text, generated = recipe.learn_tokenizer(list(sources), list(targets), 120)
    tokenizer = Tokenizer.from_str(text)
    for target in targets[:50]:
        ids = tokenizer.encode(f"  {target}\n").ids
        assert tokenizer.decode(ids) == target
        assert max(ids) < generated < tokenizer.get_vocab_size()
    assert tokenizer.encode("").ids == [1]


def test_batches(examples: list[Example]) -> None:
    plan = recipe.plan(examples, None, vocabulary=100, width=16, batch_tokens=100)
    first, again, other = (recipe.batches(plan, examples, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first == again != other
    assert sorted(i for b in first for i in b) == list(range(len(examples)))
    batch = recipe.batch(plan, examples[:3], None)
    labels = batch["labels"]
    assert (batch["decoder_input_ids"][:, 0] == 0).all()
    assert (batch["decoder_input_ids"][:, 1:][labels[:, 1:] >= 0] == labels[:, :-1][labels[:, 1:] >= 0]).all()
    assert all(row[row >= 0][-1] == 1 for row in labels)


def test_steps_with_the_cache_are_the_whole_at_once() -> None:
    torch.manual_seed(0)
    network = encoder_decoder.EncoderDecoder(30, 20, width=16, heads=2, hidden=16).eval()
    source, mask = torch.randint(0, 30, (3, 5)), torch.ones(3, 5, dtype=torch.int64)
    mask[1, 3:] = 0
    target = torch.randint(0, 20, (3, 6))
    with torch.no_grad():
        whole = network(source, mask, target)
        cross = network.cross_keys_values(network.encode(source, mask))
        past, steps = None, []
        for part in target.split([2, 1, 3], dim=1):
            x, past = network.decode(part, mask, cross, past)
            steps.append(x)
        assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-5)
        short = network(source[1:2, :3], mask[1:2, :3], target[1:2])
        assert torch.allclose(short, whole[1:2], atol=1e-5)


def tiny(kind: str) -> transformers.PreTrainedModel:
    torch.manual_seed(3)
    ends = {"vocab_size": 40, "pad_token_id": 0, "eos_token_id": 1}
    sizes = {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "init_std": 0.5,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64,
    }  # fmt: skip
    if kind == "marian":
        config = transformers.MarianConfig(**sizes, **ends, decoder_start_token_id=0, forced_eos_token_id=None)
        model = transformers.MarianMTModel(config)
    elif kind == "bart":
        config = transformers.BartConfig(
            **sizes, **ends, bos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=None
        )
        model = transformers.BartForConditionalGeneration(config)
    else:
        config = transformers.T5Config(
            **ends, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
            relative_attention_num_buckets=8, relative_attention_max_distance=12, initializer_factor=3.0,
            decoder_start_token_id=0, feed_forward_proj="gated-gelu",
        )  # fmt: skip
        model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():  # of random weights the end would win at once, or never
        if getattr(model, "final_logits_bias", None) is not None:
            model.final_logits_bias[:, 1] += 1.0
    return model.eval()


def generated(nets, ids: np.ndarray, mask: np.ndarray, start: int, config: dict) -> list[list[int]]:
    states = nets["encoder_model"]({"input_ids": ids, "attention_mask": mask})["last_hidden_state"]
    beams = config.get("num_beams", 1)
    feeds = {"encoder_hidden_states": states.repeat(beams, 0), "encoder_attention_mask": mask.repeat(beams, 0)}
    decoder = Decoder(nets["decoder_model_merged"], feeds, len(ids) * beams)
    return generate(decoder, np.full((len(ids), 1), start, np.int64), Settings.of(config, 1))


@pytest.mark.parametrize("kind", ["marian", "bart", "t5"])
def test_parts_of_a_base_generate_as_transformers_does(kind: str) -> None:
    model = tiny(kind)
    nets = TorchNets(recipe.sample(None, encoder_decoder.Borrowed(model)))
    check_generation(model, nets)


def check_generation(model: transformers.PreTrainedModel, nets) -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([7, 2, 5, 1])
    mask = (np.arange(7) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(2, 40, mask.shape) * mask
    start = model.config.decoder_start_token_id
    for extra in ({}, {"num_beams": 3}, {"num_beams": 4, "length_penalty": 0.2, "no_repeat_ngram_size": 2}):
        config = {"max_new_tokens": 20, "eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": start, **extra}
        with torch.no_grad():
            theirs = model.generate(
                torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                generation_config=transformers.GenerationConfig(**config, do_sample=False),
            )[:, 1:].tolist()
        theirs = [row[: row.index(1) + 1] if 1 in row else row for row in theirs]
        assert generated(nets, ids, mask, start, config) == theirs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["marian", "bart", "t5"])
def test_files_of_a_base_generate_as_transformers_does(kind: str, tmp_path) -> None:
    model = tiny(kind)
    model.set_attn_implementation("eager")
    (tmp_path / "onnx").mkdir()
    for stem, part in recipe.sample(None, encoder_decoder.Borrowed(model)).items():
        export.write_network(part, tmp_path / "onnx" / f"{stem}.onnx")
    check_generation(model, FolderNets(tmp_path))


def test_a_base_with_its_own_tokenizer(tmp_path, examples: list[Example]) -> None:
    words = sorted({w for pair in pairs(300) for text in pair for w in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = tiny("t5")
    model.save_pretrained(tmp_path)
    plan = recipe.plan(examples, tmp_path, learning_rate=3e-3)
    network = recipe.build(plan)
    optimizer = torch.optim.AdamW(network.parameters(), plan.learning_rate)
    losses = []
    for _ in range(8):
        batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, examples[:64], np.random.default_rng(0)).items()}
        loss = recipe.loss(network, batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    answers = plan.task.predict(TorchNets(recipe.sample(plan, network.eval())), ["1 2 .", "3 ."], max_new_tokens=5)
    assert len(answers) == 2
    assert Task.load(plan.task.files()) == plan.task
    assert plan.task.scoring == "none"


def test_a_base_that_is_none(tmp_path, examples: list[Example]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="encoder-decoder"):
        recipe.plan(examples, tmp_path)


def test_direction(examples: list[Example]) -> None:
    for given, wanted in (({}, "xy"), ({"source": "y"}, "yx"), ({"target": "x"}, "yx"), ({"target": "y"}, "xy")):
        assert recipe.choose_languages(examples[0], **{"source": "", "target": "", **given}) == tuple(wanted)
    task = recipe.plan(examples, None, source="y", vocabulary=100, width=16).task
    assert task.open({"x": "1", "y": "eins"}) == "eins"
    for wrong in ({"source": "z"}, {"source": "x", "target": "x"}):
        with pytest.raises(InputError, match="x, y"):
            recipe.plan(examples, None, **wrong)


@pytest.mark.slow
def test_learns_exports_and_answers(tmp_path) -> None:
    for split, rows in (("train", pairs(1500)), ("dev", pairs(40))):
        (tmp_path / f"{split}.en").write_text("".join(f"{a}\n" for a, _ in rows))
        (tmp_path / f"{split}.de").write_text("".join(f"{b}\n" for _, b in rows))
    sizes = {"width": 64, "hidden": 128, "encoder_layers": 1, "decoder_layers": 1, "vocabulary": 60}
    record = sensorium.train(
        "translation", tmp_path, out=tmp_path / "run", epochs=12, quiet=True, source="en", batch_tokens=300, **sizes
    )
    assert record["result"]["metrics"]["bleu"]["value"] > 60
    assert record["result"]["verification"] == "pass"
    model = sensorium.load(tmp_path / "run")
    assert set(model.predict("1 2 3 .").translation_text.split()) <= {*NUMBERS, "。"}
    assert model.predict("7 .", num_beams=1).translation_text.endswith("。")


def test_targets_of_tokens_that_only_sources_have() -> None:
    """A validation sentence may hold words that no training target has: they become unknown, not an error."""
    examples = [
        Example(str(i), {"translation": {"en": f"zzz qqq {i}", "de": f"eins zwei {i}"}}, str(i)) for i in range(20)
    ]
    plan = recipe.plan(examples, None, vocabulary=60, width=16, heads=2, hidden=16, encoder_layers=1, decoder_layers=1)
    network = recipe.build(plan)
    strange = Example("x", {"translation": {"en": "zzz", "de": "qqq zzz"}}, "x")
    batch = {k: torch.as_tensor(v) for k, v in recipe.batch(plan, [strange], None).items()}
    assert torch.isfinite(recipe.loss(network, batch))
