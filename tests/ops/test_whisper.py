from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.ops import whisper

torch = pytest.importorskip("torch")

from types import SimpleNamespace  # noqa: E402

from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor  # noqa: E402
from transformers.models.whisper import generation_whisper, tokenization_whisper  # noqa: E402

BEGIN, WITHOUT, EOS = 60, 59, 50


def test_times_among_the_words_are_ruled_as_in_transformers():
    rng = np.random.default_rng(0)
    for most in (None, 5):
        config = SimpleNamespace(no_timestamps_token_id=WITHOUT, eos_token_id=EOS, max_initial_timestamp_index=most)
        theirs = WhisperTimeStampLogitsProcessor(config, begin_index=3)
        ours = whisper.timestamp_rule(BEGIN, WITHOUT, EOS, 3, most)
        for length in range(8):
            ids = rng.integers(0, 90, (6, 3 + length))
            ids[:3, -1] = rng.integers(BEGIN, 90, 3)
            scores = rng.normal(0, 4, (6, 90)).astype(np.float32)
            expected = theirs(torch.from_numpy(ids), torch.from_numpy(scores)).numpy()
            np.testing.assert_array_equal(ours(ids, scores), expected)


def test_overlapping_texts_are_joined_as_in_transformers():
    rng = np.random.default_rng(0)
    for _ in range(100):
        pieces = [rng.integers(0, 4, rng.integers(1, 12)).tolist() for _ in range(3)]
        times = [[(float(t), t + 0.5) for t in np.sort(rng.uniform(0, 9, len(p)))] for p in pieces]
        assert whisper.common(pieces)[0] == tokenization_whisper._find_longest_common_sequence(pieces)
        assert whisper.common(pieces, times) == tokenization_whisper._find_longest_common_sequence(pieces, times)


def test_the_cheapest_way_is_that_of_transformers():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (5, 1), (9, 40)):
        cost = rng.normal(size=shape)
        found, expected = whisper.warping(cost), generation_whisper._dynamic_time_warping(cost)
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(a, b)


def test_segments_say_where_to_go_on():
    words = [1, 2, 3]
    ended = [BEGIN, *words, BEGIN + 9, BEGIN + 9, *words]
    assert whisper.segments(ended, BEGIN, 3000, 2) == (
        [whisper.Segment([BEGIN, *words, BEGIN + 9, BEGIN + 9], 0)],
        18,
    )
    single = [BEGIN, *words, BEGIN + 4, BEGIN + 4, *words, BEGIN + 9]
    found, offset = whisper.segments(single, BEGIN, 3000, 2)
    assert [part.first for part in found] == [0, 5]
    assert offset == 3000
    assert whisper.segments(words, BEGIN, 700, 2) == ([whisper.Segment(words, 0)], 700)


def test_what_an_answer_begins_with():
    settings = {
        "decoder_start_token_id": 0,
        "lang_to_id": {"<|en|>": 1, "<|ja|>": 2},
        "task_to_id": {"transcribe": 5, "translate": 6},
        "no_timestamps_token_id": 9,
    }
    assert whisper.prompt_tokens(settings, None, None, False) == [0, None, 9]
    assert whisper.prompt_tokens(settings, "japanese", None, False) == [0, 2, 5, 9]
    assert whisper.prompt_tokens(settings, "en", "translate", True) == [0, 1, 6]
    forced = {**settings, "forced_decoder_ids": [[1, 2], [2, 6], [3, 9]]}
    assert whisper.prompt_tokens(forced, None, None, True) == [0, 2, 6]
    assert whisper.prompt_tokens({"decoder_start_token_id": 0}, None, None, True) == [0]
    with pytest.raises(InputError, match="no language 'klingon'; it has: en ja"):
        whisper.prompt_tokens(settings, "klingon", None, True)
    with pytest.raises(InputError, match="English only"):
        whisper.prompt_tokens({**settings, "is_multilingual": False}, "en", None, True)
