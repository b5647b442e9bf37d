from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sensorium.ops.tracker import Tracker
from sensorium.ops.tracking_metrics import compare, metrics
from tests.digits_video import motion, noisy


def follow(detections, **options):
    """Predictions as `compare` takes them."""
    tracker = Tracker(**options)
    found = []
    for boxes, scores, labels in detections:
        ids, which, places = tracker.update(boxes, scores, labels)
        found.append([{"id": int(i), "label": labels[k], "box": p.tolist()} for i, k, p in zip(ids, which, places)])
    return found


def walk(frames, speed=2.0, start=10.0):
    """One box going right, as detections."""
    for i in range(frames):
        x = start + speed * i
        yield np.array([[x, 10, x + 20, 40]]), np.array([0.9]), ["cat"]


NOTHING = (np.zeros((0, 4)), np.zeros(0), [])


@pytest.mark.parametrize("seed", range(4))
def test_noisy_boxes_of_moving_digits(seed):
    tracks = motion(300, seed=seed)
    got = metrics(compare(tracks, follow(noisy(tracks, seed)), {"digit"}))
    assert got["idf1"] >= 0.9
    assert got["mota"] >= 0.9
    # A new identity for every detection is what has to be beaten.
    new = iter(range(10**6))
    strangers = [
        [{"id": next(new), "label": "digit", "box": b.tolist()} for b in boxes] for boxes, _, _ in noisy(tracks, seed)
    ]
    assert got["hota"] > 5 * metrics(compare(tracks, strangers, {"digit"}))["hota"]


def test_one_identity_through_a_gap():
    detections = list(walk(60))
    detections[20:35] = [NOTHING] * 15
    found = follow(detections)
    assert {o["id"] for objects in found for o in objects} == {1}
    assert [len(objects) for objects in found] == [1] * 20 + [0] * 15 + [1] * 25


def test_what_is_gone_for_too_long_is_another():
    detections = [*walk(10), *[NOTHING] * 6, *walk(10, start=42)]
    ids = [o["id"] for objects in follow(detections, max_age=5) for o in objects]
    assert set(ids) == {1, 2}


def test_a_new_object_must_be_seen_twice_but_not_in_the_first_frame():
    assert [len(objects) for objects in follow([*walk(3)])] == [1, 1, 1]
    late = follow([NOTHING, *walk(3)])
    assert [len(objects) for objects in late] == [0, 0, 1, 1]
    assert [len(objects) for objects in follow([NOTHING, *walk(4)], min_hits=3)] == [0, 0, 0, 1, 1]
    assert [len(objects) for objects in follow([NOTHING, *walk(1), NOTHING, *walk(1)])] == [0, 0, 0, 0]


def test_faint_detections_carry_on_a_track_but_begin_none():
    def faint(items):
        return [(boxes, scores * 0 + 0.3, labels) for boxes, scores, labels in items]

    assert [len(o) for o in follow(faint(walk(5)))] == [0] * 5
    detections = list(walk(20))
    found = follow([*detections[:10], *faint(detections[10:])])
    assert {o["id"] for objects in found for o in objects} == {1}
    assert [len(o) for o in found] == [1] * 20


def test_tracks_keep_to_their_class():
    boxes, scores = np.array([[0, 0, 20, 20.0], [0, 0, 20, 20.0]]), np.array([0.9, 0.8])
    frames = [(boxes, scores, ["cat", "dog"]), (boxes[::-1], scores, ["dog", "cat"])] * 5
    found = follow(frames)
    assert {(o["id"], o["label"]) for objects in found for o in objects} == {(1, "cat"), (2, "dog")}


def test_places_are_smoother_than_the_detections():
    tracks = motion(200, count=1, seed=1)
    generator = np.random.default_rng(0)
    errors = []
    tracker = Tracker()
    for objects in tracks:
        box = np.array([objects[0]["box"]])
        said = box + generator.normal(scale=1.5, size=box.shape)
        _, _, places = tracker.update(said, np.array([0.9]), ["digit"])
        errors.append((np.abs(places - box).mean(), np.abs(said - box).mean()))
    ours, theirs = np.mean(errors[10:], 0)
    assert ours < 0.8 * theirs


def test_nothing_ever():
    assert follow([NOTHING] * 3) == [[], [], []]


def test_boxes_without_area_and_absurd_ones():
    strange = np.array([[5, 5, 5, 5], [30, 30, 10, 10], [0, 0, 1e9, 1e9], [-50, -50, -10, -10.0]])
    found = follow([(strange, np.full(4, 0.9), ["a"] * 4)] * 4)
    assert np.isfinite([o["box"] for objects in found for o in objects]).all()


def test_memory_does_not_grow_with_time():
    tracker = Tracker()
    generator = np.random.default_rng(0)

    def step():
        corner = generator.uniform(0, 500, (20, 2))
        tracker.update(np.concatenate([corner, corner + 20], 1), generator.random(20), ["a"] * 20)

    for _ in range(100):
        step()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(1000):
        step()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100_000
