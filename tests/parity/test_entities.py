"""Entities equal seqeval's."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from sensorium.ops import entities

metrics = pytest.importorskip("seqeval.metrics")
scheme = pytest.importorskip("seqeval.scheme")

PREFIXES = {"IOB1": "BI", "IOB2": "BI", "IOE1": "IE", "IOE2": "IE", "BIOES": "BIES", "BILOU": "BILU"}


def sequences(rng, prefixes, count=30):
    tags = ["O", "O", *(f"{p}-{kind}" for p in prefixes for kind in ("PER", "LOC", "a-b"))]
    return [list(rng.choice(tags, rng.integers(1, 9))) for _ in range(count)]


@pytest.mark.parametrize("name", PREFIXES)
@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_seqeval(name, seed):
    rng = np.random.default_rng(seed)
    truth, found = sequences(rng, PREFIXES[name]), sequences(rng, PREFIXES[name])
    found = [(f * 9)[: len(t)] if rng.random() < 0.7 else list(t) for t, f in zip(truth, found)]
    for strict in (False, True):
        if strict and name == "IOE1":
            continue  # seqeval says itself that it reads some of these wrongly
        read = (lambda tags: entities.strict_entities(tags, name)) if strict else entities.entities
        total = Counter()
        for t, f in zip(truth, found):
            total.update(entities.counts(read(t), read(f)))
        ours = entities.scores(total)
        given = {"mode": "strict", "scheme": getattr(scheme, "IOBES" if name == "BIOES" else name)} if strict else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for key, measure in (
                ("precision", metrics.precision_score),
                ("recall", metrics.recall_score),
                ("f1", metrics.f1_score),
            ):
                assert ours[key] == pytest.approx(measure(truth, found, zero_division=0, **given)), (key, strict)
            assert ours["macro_f1"] == pytest.approx(
                metrics.f1_score(truth, found, average="macro", zero_division=0, **given)
            )
