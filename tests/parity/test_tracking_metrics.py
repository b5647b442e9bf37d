"""Equal to TrackEval, from its arrays and from MOTChallenge files."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.ops.tracking_metrics import ALPHAS, compare, count, metrics, overlaps


def quietly(function, *args):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)


def trackeval_metrics():
    from trackeval.metrics import CLEAR, HOTA, Identity

    return {"hota": HOTA(), "clear": quietly(CLEAR), "identity": quietly(Identity)}


def summary(results):
    """TrackEval's combined results in our names."""
    return {
        "hota": float(np.mean(results["hota"]["HOTA"])),
        "deta": float(np.mean(results["hota"]["DetA"])),
        "assa": float(np.mean(results["hota"]["AssA"])),
        "mota": float(results["clear"]["MOTA"]),
        "idf1": float(results["identity"]["IDF1"]),
        "switches": float(results["clear"]["IDSW"]),
    }


def reference(sequences):
    """TrackEval on sequences of frames (truth identities, predicted identities, overlap)."""
    per_sequence = {name: {} for name in ("hota", "clear", "identity")}
    for i, frames in enumerate(sequences):
        truths = np.unique(np.concatenate([f[0] for f in frames]))
        found = np.unique(np.concatenate([f[1] for f in frames]))
        data = {
            "num_timesteps": len(frames),
            "num_gt_ids": len(truths),
            "num_tracker_ids": len(found),
            "num_gt_dets": sum(len(f[0]) for f in frames),
            "num_tracker_dets": sum(len(f[1]) for f in frames),
            "gt_ids": [np.searchsorted(truths, f[0]) for f in frames],
            "tracker_ids": [np.searchsorted(found, f[1]) for f in frames],
            "similarity_scores": [f[2] for f in frames],
        }
        for name, metric in trackeval_metrics().items():
            per_sequence[name][str(i)] = quietly(metric.eval_sequence, data)
    return summary({name: m.combine_sequences(per_sequence[name]) for name, m in trackeval_metrics().items()})


def random_frames(generator, frames=40, objects=6, noise=4.0, switch=0.05, miss=0.1, extra=0.3):
    """Walking boxes, and what a mediocre tracker makes of them: truths and predictions as `compare` takes them."""
    place = generator.uniform(0, 150, (objects, 2))
    speed = generator.normal(scale=3, size=(objects, 2))
    sizes = generator.uniform(15, 50, (objects, 2))
    identity = np.arange(objects)
    truths, predictions = [], []
    for _ in range(frames):
        place = place + speed
        boxes = np.concatenate([place, place + sizes], 1)
        there = generator.random(objects) > 0.05
        if generator.random() < 0.1:
            there[:] = False
        truths.append([{"id": i, "label": "cat", "box": boxes[i].tolist()} for i in np.flatnonzero(there)])
        if generator.random() < switch * objects:
            i, j = generator.integers(objects, size=2)
            identity[[i, j]] = identity[[j, i]]
        if generator.random() < switch:
            identity[generator.integers(objects)] = identity.max() + 1
        found = [
            {"id": int(identity[i]), "label": "cat", "box": (boxes[i] + generator.normal(scale=noise, size=4)).tolist()}
            for i in np.flatnonzero(there & (generator.random(objects) > miss))
        ]
        for k in range(generator.poisson(extra)):
            x, y, w, h = generator.uniform(0, 100, 4)
            found.append({"id": 1000 + k, "label": "cat", "box": [x, y, x + w, y + h]})
        if generator.random() < 0.1:
            found = []
        predictions.append(found)
    return truths, predictions


def as_frames(truths, predictions):
    return [
        (
            np.array([o["id"] for o in t], dtype=np.int64),
            np.array([o["id"] for o in p], dtype=np.int64),
            overlaps(*(np.array([o["box"] for o in objects]).reshape(-1, 4) for objects in (t, p))),
        )
        for t, p in zip(truths, predictions)
    ]


@pytest.mark.parametrize("seed", range(15))
def test_random_sequences(seed):
    generator = np.random.default_rng(seed)
    sequences = [
        random_frames(generator, int(generator.integers(1, 60)), int(generator.integers(1, 12)), noise=seed / 2)
        for _ in range(3)
    ]
    got = metrics([c for t, p in sequences for c in compare(t, p, {"cat"})])
    assert got == pytest.approx(reference([as_frames(t, p) for t, p in sequences]), abs=1e-9)


@st.composite
def frame(draw):
    truths = draw(st.lists(st.integers(0, 4), unique=True, max_size=4))
    found = draw(st.lists(st.integers(0, 5), unique=True, max_size=4))
    values = st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.75, 0.9, 1.0])  # many ties, and values on the thresholds
    overlap = [[draw(values) for _ in found] for _ in truths]
    ids = (np.array(truths, dtype=np.int64), np.array(found, dtype=np.int64))
    return *ids, np.array(overlap, dtype=float).reshape(len(truths), len(found))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(frame(), min_size=1, max_size=6), min_size=1, max_size=3))
def test_degenerate_sequences(sequences):
    assert metrics([count(frames) for frames in sequences]) == pytest.approx(reference(sequences), abs=1e-9)


def test_nothing_at_all():
    assert metrics([]) == dict.fromkeys(("hota", "deta", "assa", "mota", "idf1", "switches"), 0.0)
    assert len(ALPHAS) == 19


def test_perfect_tracks():
    truths, _ = random_frames(np.random.default_rng(0))
    got = metrics(compare(truths, truths, {"cat"}))
    assert got == pytest.approx({"hota": 1, "deta": 1, "assa": 1, "mota": 1, "idf1": 1, "switches": 0})


def test_the_class_matters():
    box = [0, 0, 10, 10]
    truths = [[{"id": 1, "label": "cat", "box": box}]] * 3
    predictions = [[{"id": 1, "label": "dog", "box": box}]] * 3
    assert metrics(compare(truths, predictions, {"cat", "dog"}))["hota"] == 0
    # An identity is one within its class.
    both = [[*truths[0], *predictions[0]]] * 3
    assert metrics(compare(both, both, {"cat", "dog"}))["hota"] == 1


def test_what_cannot_be_compared():
    twice = [[{"id": 1, "label": "cat", "box": [0, 0, 9, 9]}] * 2]
    with pytest.raises(ValueError, match="frame 0: the same identity twice"):
        compare(twice, [[]], {"cat"})
    with pytest.raises(ValueError, match="1 frames with truths, but 2"):
        compare([[]], [[], []], {"cat"})


@pytest.mark.parametrize("seed", range(6))
def test_mot_challenge_files(tmp_path, seed):
    """With distractors, other classes and truths marked with a zero: the same files through both readers."""
    from trackeval.datasets import MotChallenge2DBox

    from sensorium.data import open_data

    generator = np.random.default_rng(seed)
    answers, lengths = {}, {}
    for number in range(2):
        name = f"MOT17-{number:02d}"
        truths, answers[name] = random_frames(generator, 30, 9, noise=3.0)
        lengths[name] = len(truths)
        numbers = [1, 1, 1, 1, 2, 3, 7, 8, 12]
        rows, found = [], []
        for t, (there, tracked) in enumerate(zip(truths, answers[name]), 1):
            for o in there:
                x, y, right, bottom = o["box"]
                marked, kind = int(generator.random() > 0.15), numbers[o["id"]]
                rows.append(f"{t},{o['id'] + 1},{x:.3f},{y:.3f},{right - x:.3f},{bottom - y:.3f},{marked},{kind},1.0")
            for o in tracked:
                o["label"] = "pedestrian"
                x, y, right, bottom = (float(v) for v in o["box"])
                found.append(f"{t},{o['id'] + 1},{x!r},{y!r},{right - x!r},{bottom - y!r},0.9,-1,-1,-1")
        for path, lines in ((f"gt/{name}/gt/gt.txt", rows), (f"found/ours/data/{name}.txt", found)):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n")
        (tmp_path / "gt" / name / "img1").mkdir()
        for t in range(1, len(truths) + 1):
            Image.new("RGB", (200, 200)).save(tmp_path / "gt" / name / "img1" / f"{t:06d}.png")
    config = {
        "GT_FOLDER": str(tmp_path / "gt"),
        "TRACKERS_FOLDER": str(tmp_path / "found"),
        "TRACKERS_TO_EVAL": ["ours"],
        "SEQ_INFO": lengths,
        "SKIP_SPLIT_FOL": True,
        "PRINT_CONFIG": False,
    }
    data = quietly(MotChallenge2DBox, config)
    results = {name: {} for name in ("hota", "clear", "identity")}
    for sequence in lengths:
        raw = quietly(data.get_raw_seq_data, "ours", sequence)
        prepared = quietly(data.get_preprocessed_seq_data, raw, "pedestrian")
        for name, metric in trackeval_metrics().items():
            results[name][sequence] = quietly(metric.eval_sequence, prepared)
    theirs = summary({name: m.combine_sequences(results[name]) for name, m in trackeval_metrics().items()})
    counts = [
        c
        for example in open_data(tmp_path / "gt").examples
        for c in compare(example.fields["tracks"], answers[example.id], {"pedestrian"})
    ]
    assert metrics(counts) == pytest.approx(theirs, abs=1e-6)
    assert 0.05 < theirs["hota"] < 0.95
    without = [
        c
        for example in open_data(tmp_path / "gt").examples
        for c in compare(example.fields["tracks"], answers[example.id], {"pedestrian"}, distractors=())
    ]
    assert metrics(without)["hota"] < theirs["hota"] - 0.01
