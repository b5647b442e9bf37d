"""CIDEr and BLEU of captions against the formulas written out, and by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from sensorium.ops import captions

CAPTIONS = ["a man riding a wave on top of a surfboard", "two dogs play", "a plate of food", "", "a man riding a wave"]
REFERENCES = [
    ["a man surfs a wave", "a man riding a wave on a board", "surfer on top of a wave"],
    ["two dogs play in the snow", "dogs playing"],
    ["a plate of food on a table"],
    ["nothing to see"],
    ["a man riding a wave", "A man, riding a wave!"],
]


def measured() -> list[captions.Stats]:
    numbers: dict[tuple[str, ...], int] = {}
    return [captions.stats(c, r, numbers) for c, r in zip(CAPTIONS, REFERENCES)]


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    tokens = captions.words(text)
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def cider_written_out(place: int) -> float:
    """Equation 2 and 3 of the paper, with the clipping and the penalty of CIDEr-D."""
    values = []
    for reference in REFERENCES[place]:
        delta = sum(grams(CAPTIONS[place], 2).values()) - sum(grams(reference, 2).values())
        for n in range(1, 5):

            def weighted(text: str, n: int = n) -> dict[tuple[str, ...], float]:
                def rarity(gram: tuple[str, ...]) -> float:
                    known = sum(any(gram in grams(r, n) for r in refs) for refs in REFERENCES)
                    return math.log(len(CAPTIONS)) - math.log(max(1, known))

                return {gram: count * rarity(gram) for gram, count in grams(text, n).items()}

            own, other = weighted(CAPTIONS[place]), weighted(reference)
            product = sum(min(v, other.get(g, 0.0)) * other.get(g, 0.0) for g, v in own.items())
            size = math.sqrt(sum(v * v for v in own.values())) * math.sqrt(sum(v * v for v in other.values()))
            values.append((product / size if size else 0.0) * math.exp(-(delta**2) / 72))
    return 10 * sum(values) / len(values)


def test_cider_is_what_the_paper_says() -> None:
    found = captions.cider(measured())
    assert found == pytest.approx([cider_written_out(i) for i in range(len(CAPTIONS))], abs=1e-9)
    assert found[4] == max(found)


def test_cider_of_one_picture_is_nothing() -> None:
    assert captions.cider(measured()[:1]).tolist() == [0.0]
    assert captions.cider([]).tolist() == []


def test_bleu_by_hand() -> None:
    numbers: dict[tuple[str, ...], int] = {}
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 of four; the nearest reference has 6 words.
    one = captions.stats("the cat sat on the rug", ["the cat sat on a rug", "a cat"], numbers)
    assert one.matches.tolist() == [5, 3, 2, 1]
    assert captions.bleu([one]) == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, rel=1e-6)
    short = captions.stats("the cat sat on", ["the cat sat on a rug"], numbers)
    assert captions.bleu([short]) == pytest.approx(math.exp(1 - 6 / 4), rel=1e-6)


def test_words_are_those_of_the_treebank() -> None:
    assert " ".join(captions.words("A man's dog can't swim, it cannot!")) == "a man 's dog ca n't swim it can not"
    assert " ".join(captions.words("It costs 3.50 -- a well-known 'price'.")) == "it costs 3.50 a well-known price"


def test_likeness_needs_no_others() -> None:
    assert captions.likeness(measured()[4]) == pytest.approx(1.0)
    assert captions.likeness(measured()[3]) == 0.0
    assert np.all(np.diff([captions.likeness(measured()[i]) for i in (3, 0, 4)]) > 0)
