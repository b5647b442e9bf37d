"""Identities for detections over the frames of a video, one frame at a time.

The two-step association of ByteTrack (Zhang et al. 2021, https://arxiv.org/abs/2110.06864): detections with a good
score are given to tracks first, those with a poor score go to what is left over, for an object that is half hidden
still leaves a trace. Movement is predicted with constant velocity by a Kalman filter. Its four coordinates (centre,
width, height) do not depend on each other, so there are four small filters and no matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.ops import boxes as box_ops
from sensorium.ops.assignment import best_pairs

POSITION_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160  # in widths or heights of the box, per frame
POOR_OVERLAP = 0.5  # what a detection with a poor score must have in common with a track
BIRTH_MARGIN = 0.1  # over the threshold, to begin a track


@dataclass
class _Tracks:
    """All tracks that live; axis 0 is the track.

    Attributes:
        place, speed: (N, 4) centre, width, height, and their change in a frame.
        variance: (N, 3, 4) of the place, of place with speed, of the speed.
        age: (N,) frames since the last detection.
        hits: (N,) detections so far.
        shown: (N,) whether it has ever been confirmed.
    """

    ids: np.ndarray
    labels: np.ndarray
    place: np.ndarray
    speed: np.ndarray
    variance: np.ndarray
    age: np.ndarray
    hits: np.ndarray
    shown: np.ndarray

    def keep(self, which: np.ndarray) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[which])

    def append(self, other: _Tracks) -> None:
        for name, value in vars(self).items():
            setattr(self, name, np.concatenate([value, getattr(other, name)]))


class Tracker:
    """The tracks of one video.

    Args:
        threshold: least score of a good detection.
        low: least score of a detection at all.
        overlap: least intersection over union of a track, where it is expected, and its next good detection.
        max_age: frames for which a track that is not seen is remembered.
        min_hits: detections before a new track is believed (those of the first frame are at once).
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        low: float = 0.1,
        overlap: float = 0.2,
        max_age: int = 30,
        min_hits: int = 2,
    ) -> None:
        self.threshold, self.low, self.overlap = threshold, low, overlap
        self.max_age, self.min_hits = max_age, min_hits
        self.frames = 0
        self.born = 0
        self._tracks = _begin(np.zeros((0, 4)), np.zeros(0, dtype=object), 0, False)

    def update(
        self, boxes: np.ndarray, scores: np.ndarray, labels: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take the detections of the next frame.

        Args:
            boxes: (N, 4) corners in pixels. scores: (N,). labels: N classes; tracks never change theirs.

        Returns:
            which detections are on tracks that are believed: identities (M,) from 1 rising, the index (M,) of the
            detection of each, and its place (M, 4) as corners, smoothed over time.
        """
        found = box_ops.to_centres(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
        scores = np.asarray(scores, dtype=np.float64)
        classes = np.array(list(labels), dtype=object)
        tracks = self._tracks
        _predict(tracks)
        match = np.full(len(found), -1)  # the track of each detection
        sure = tracks.shown.copy()

        def associate(which: np.ndarray, candidates: np.ndarray, least: float, by_score: bool) -> None:
            """Give detections `which` to tracks among `candidates`."""
            chosen = np.flatnonzero(which & (match < 0))
            rows = np.flatnonzero(candidates & ~np.isin(np.arange(len(tracks.ids)), match))
            overlap = box_ops.iou(box_ops.to_corners(tracks.place[rows]), box_ops.to_corners(found[chosen]))
            overlap[(overlap < least) | (tracks.labels[rows][:, None] != classes[chosen])] = 0
            first, second = best_pairs(overlap * scores[chosen] if by_score else overlap)
            match[chosen[second]] = rows[first]

        good, seen = scores >= self.threshold, tracks.age == 1
        associate(good, sure, self.overlap, True)
        associate((scores >= self.low) & ~good, sure & seen, max(POOR_OVERLAP, self.overlap), False)
        associate(good, ~sure, self.overlap, True)

        on = match >= 0
        _correct(tracks, match[on], found[on])
        new = np.flatnonzero(good & ~on & (scores >= min(self.threshold + BIRTH_MARGIN, 1.0)))
        match[new] = len(tracks.ids) + np.arange(len(new))
        tracks.append(_begin(found[new], classes[new], self.born, self.frames == 0))
        self.born += len(new)
        self.frames += 1
        tracks.shown |= tracks.hits >= self.min_hits

        believed = np.flatnonzero(match >= 0)
        believed = believed[tracks.shown[match[believed]]]
        believed = believed[np.argsort(tracks.ids[match[believed]])]
        ids, places = tracks.ids[match[believed]], box_ops.to_corners(tracks.place[match[believed]])
        tracks.keep((tracks.age == 0) | (tracks.shown & (tracks.age <= self.max_age)))
        return ids, believed, places


def _begin(places: np.ndarray, labels: np.ndarray, born: int, shown: bool) -> _Tracks:
    count = len(places)
    size = places[:, [2, 3, 2, 3]]
    place, speed = (2 * POSITION_NOISE * size) ** 2, (10 * VELOCITY_NOISE * size) ** 2
    return _Tracks(
        ids=born + 1 + np.arange(count),
        labels=labels,
        place=places.copy(),
        speed=np.zeros_like(places),
        variance=np.stack([place, np.zeros_like(place), speed], 1),
        age=np.zeros(count, dtype=np.int64),
        hits=np.ones(count, dtype=np.int64),
        shown=np.full(count, shown),
    )


def _predict(tracks: _Tracks) -> None:
    """One frame on. What is not seen goes on moving, but neither grows nor shrinks."""
    tracks.speed[tracks.age > 0, 2:] = 0
    size = tracks.place[:, [2, 3, 2, 3]]
    tracks.place += tracks.speed
    place, both, speed = tracks.variance[:, 0], tracks.variance[:, 1], tracks.variance[:, 2]
    place += 2 * both + speed + (POSITION_NOISE * size) ** 2
    both += speed
    speed += (VELOCITY_NOISE * size) ** 2
    tracks.age += 1
    np.maximum(tracks.place[:, 2:], 1e-3, out=tracks.place[:, 2:])


def _correct(tracks: _Tracks, which: np.ndarray, found: np.ndarray) -> None:
    """Mix what was expected with what was found, each as much as it can be relied upon."""
    place, both, speed = (tracks.variance[which, i] for i in range(3))
    certain = place + (POSITION_NOISE * tracks.place[which][:, [2, 3, 2, 3]]) ** 2
    surprise = found - tracks.place[which]
    tracks.place[which] += place / certain * surprise
    tracks.speed[which] += both / certain * surprise
    tracks.variance[which] = np.stack(
        [place - place * place / certain, both - place * both / certain, speed - both * both / certain], 1
    )
    tracks.age[which] = 0
    tracks.hits[which] += 1
