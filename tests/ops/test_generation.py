from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import InputError
from sensorium.ops.generation import Decoder, Settings, batches, generate, steps
from sensorium.ops.generation.stopping import stop_strings


class Remembering:
    """A network whose next token is the sum of all it has read, which only its cache knows.

    Args:
        shape: of the cache, the axis of time free.
        names: of the cache and of what it becomes.
    """

    outputs: tuple[str, ...]

    def __init__(self, shape: list[Any], names: tuple[str, str] = ("past_key_values.0.key", "present.0.key")) -> None:
        self.cache, self.present = names
        self.inputs: dict[str, Any] = {
            "input_ids": (["b", "t"], np.int64),
            "attention_mask": (["b", "p"], np.int64),
            self.cache: (shape, np.float32),
        }
        self.outputs = ("logits", self.present)
        self.time = next(i for i, size in enumerate(shape) if i and not isinstance(size, int))

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids, past, mask = feeds["input_ids"], feeds[self.cache], feeds["attention_mask"]
        each = past.shape[0] // len(ids)
        row = (ids * mask[:, -ids.shape[1] :]).astype(np.float32)
        new = np.repeat(row, each, axis=0).reshape([len(past), *[1] * (past.ndim - 1)][:1] + [
            ids.shape[1] if i == self.time else 1 for i in range(1, past.ndim)
        ])  # fmt: skip
        sizes = [ids.shape[1] if i == self.time else size for i, size in enumerate(past.shape)]
        present = np.concatenate([past, np.broadcast_to(new, sizes)], axis=self.time)
        total = present.reshape(len(ids), each, *present.shape[1:])[:, 0]
        total = np.moveaxis(total, self.time, 1).reshape(len(ids), present.shape[self.time], -1)[:, :, 0].sum(axis=1)
        logits = np.zeros((len(ids), ids.shape[1], 50), np.float32)
        logits[np.arange(len(ids)), -1, total.astype(int) % 50] = 4
        logits[np.arange(len(ids)), -1, (total.astype(int) + 1) % 50] = 3
        return {"logits": logits, self.present: present}


SHAPES = [
    (["b", 2, "p", 3], 1),
    (["batch_size x num_heads", 3, "p"], 4),  # keys of BLOOM
    (["batch_size x num_heads", "p", 3], 4),
    (["b", "p", 6], 1),  # keys and values of GPT-BigCode in one
]


@pytest.mark.parametrize(("shape", "heads"), SHAPES, ids=str)
def test_caches_of_several_shapes(shape: list[Any], heads: int) -> None:
    net = Remembering(shape)
    prompts = [[3, 4], [1, 2, 5, 7], [20]]
    for config in ({"max_new_tokens": 4}, {"max_new_tokens": 4, "num_beams": 3}):
        together = batches.continuations(net, prompts, config, heads=heads)
        alone = [batches.continuations(net, [one], config, heads=heads)[0] for one in prompts]
        assert together == alone
    assert batches.continuations(net, prompts, {"max_new_tokens": 3}, heads=heads)[0] == [[7, 14, 28]]


def test_other_caches_by_name() -> None:
    net = Remembering(["b", 2, "p", 3], ("past_conv.0", "present_conv.0"))
    assert batches.continuations(net, [[3, 4]], {"max_new_tokens": 2}) == [[[7, 14]]]


def test_a_cache_that_is_not_understood() -> None:
    with pytest.raises(InputError, match="no fixed number"):
        Decoder(Remembering(["b", "h", "p", 3]), {}, 1)


def test_rows_that_have_ended_are_left_out() -> None:
    net = Remembering(["b", 1, "p", 1])
    config = {"max_new_tokens": 5, "eos_token_id": 8}
    decoder, ids, settings = batches.ready(net, [[4], [1]], config)
    seen = [(rows.tolist(), tokens.tolist()) for rows, tokens in steps(decoder, ids, settings)]
    assert seen == [([0, 1], [4, 1]), ([0, 1], [8, 2]), ([1], [4]), ([1], [8])]


def test_no_more_than_the_model_takes() -> None:
    net = Remembering(["b", 1, "p", 1])
    assert batches.continuations(net, [[1, 2]], {"max_new_tokens": 50}, longest=5) == [[[3, 6, 12]]]
    assert batches.positions({"n_positions": 7}) == 7
    assert batches.positions({"text_config": {"max_position_embeddings": 9}}) == 9
    assert batches.positions({}) is None


def test_padding() -> None:
    ids, mask = batches.pad_left([[1, 2, 3], [4], []], 9)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4], [9, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]
    ids, mask = batches.pad_right([[1, 2, 3], [4]], 9)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_network_without_a_cache_reads_all_anew() -> None:
    class Whole:
        inputs = {"input_ids": (["b", "t"], np.int64)}  # noqa: RUF012

        def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            logits = np.zeros((*feeds["input_ids"].shape, 50), np.float32)
            logits[:, -1, feeds["input_ids"].sum() % 50] = 1
            return {"logits": logits}

    settings = Settings.of({"max_new_tokens": 3}, 2)
    assert generate(Decoder(Whole(), {}, 1), np.array([[3, 4]]), settings) == [[7, 14, 28]]


@pytest.mark.parametrize(
    ("strings", "ids", "over"),
    [
        (["ab"], [1, 2], True),
        (["ab"], [1, 3], False),
        (["ab"], [4], True),
        (["ab"], [4, 3], False),  # it ended before
        (["cab"], [3, 4], True),
        (["東"], [5, 6], True),
        (["東"], [5], False),
        (["abab"], [4, 4], True),
        ([""], [1], False),
        (["a"], [0, 99], False),
    ],
)
def test_stop_strings(strings: list[str], ids: list[int], over: bool) -> None:
    table = [b"", b"a", b"b", b"c", b"xaby", "東".encode()[:2], "東".encode()[2:]]
    if strings == ["cab"]:
        table[4] = b"ab"
    if strings == ["abab"]:
        table[4] = b"ab"
    assert stop_strings(strings, table)(np.array([ids])).tolist() == [over]


@given(st.lists(st.lists(st.integers(1, 99), max_size=5), min_size=1, max_size=4))
def test_shorter_rows_are_filled_up_at_their_ends(rows: list[list[int]]) -> None:
    ids, mask = batches.pad_right(rows, 0)
    assert [row[real == 1].tolist() for row, real in zip(ids, mask)] == rows
    assert (ids[mask == 0] == 0).all()
