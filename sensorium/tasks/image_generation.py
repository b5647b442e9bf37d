"""Image generation: a new picture like those it learned from, of a class or of any."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import drawing
from sensorium.media import image as media
from sensorium.ops.frechet import fid, mmd, paired_mmd
from sensorium.tasks import Arrays, Nets, Tally

TOGETHER = 64  # pictures computed in one batch


@dataclass
class Generated:
    """A picture that has never been taken.

    Attributes:
        image: the picture, grey or RGB.
        label: the class that was asked for; None for any.
        seed: with which the same model makes the same picture of the same class again.
    """

    image: Image.Image
    label: str | None
    seed: int


@dataclass
class Task:
    """Pictures from noise: a network says in which direction to move, and a solver follows it (flow matching).

    The noisy picture at time t in 0..1 is (1 - t) · picture + t · noise, the velocity noise - picture, as for the
    `FlowMatch...` schedulers of diffusers; `timestep` is 1000 t. FID and KID compare feature vectors, which
    `onnx/features.onnx` computes. `features` says what these are: numbers measured with different features cannot be
    compared. A folder with another network in that place (Inception, say), and `features` saying how it takes
    pictures (as in `preprocessor_config.json`, under `preprocessor`), is measured with that one.

    Attributes:
        labels: the classes; none for a model that draws any.
        preprocessor: how a picture becomes an array, `preprocessor_config.json`.
        config: of the network, with the names of diffusers' `UNet2DModel`.
        scheduler: `shift` moves the steps towards the noise, as in diffusers.
        features: what pictures are compared by: `description`, and `preprocessor` where it is another.
    """

    name: ClassVar[str] = "image-generation"
    source: ClassVar[str] = "label"
    truth: ClassVar[str] = "image"
    metric: ClassVar[str] = "kid"  # unbiased, where FID depends on the number of pictures
    lower_is_better: ClassVar[bool] = True
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}

    labels: list[str] = field(default_factory=list)
    preprocessor: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = {label: i for i, label in enumerate(self.labels)}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        """From `config.json`, `preprocessor_config.json` and `scheduler_config.json`.

        Raises:
            InputError: the configuration lacks the size or the channels of a picture.
        """
        config = dict(files.get("config.json") or {})
        for key in ("sample_size", "in_channels"):
            if not isinstance(config.get(key), int):
                raise InputError(f"config.json: '{key}' is a whole number, not {config.get(key)!r}")
        if config["in_channels"] not in (1, 3):
            raise InputError(f"config.json: 'in_channels' is 1 (grey) or 3 (RGB), not {config['in_channels']}")
        names = config.pop("id2label", None) or {}
        config.pop("label2id", None)
        features = config.pop("features", None) or {}
        return cls(
            [str(names[key]) for key in sorted(names, key=int)],
            dict(files.get("preprocessor_config.json") or preprocessor(config["sample_size"])),
            config,
            dict(files.get("scheduler_config.json") or {}),
            dict(features),
        )

    def files(self) -> dict[str, Any]:
        """The model folder's files."""
        config = {
            **self.config,
            "id2label": {str(i): label for i, label in enumerate(self.labels)},
            "label2id": dict(self._numbers),
            "features": self.features,
        }
        return {
            "config.json": config,
            "preprocessor_config.json": self.preprocessor,
            "scheduler_config.json": self.scheduler,
        }

    @property
    def size(self) -> int:
        """Side of a picture, in pixels."""
        return int(self.config["sample_size"])

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for RGB."""
        return int(self.config["in_channels"])

    def open(self, source: Any) -> str | None:
        """The label asked for; None (from None or an empty text) for any.

        Raises:
            InputError: the model knows no such class.
        """
        if source is None or source == "":
            return None
        label = str(source)
        if label in self._numbers:
            return label
        if not self.labels:
            raise InputError(f"'{label}': this model knows no classes; give an empty text for a picture of any kind")
        near = difflib.get_close_matches(label, self.labels, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"it draws {', '.join(self.labels[:5])} ..."
        raise InputError(f"there is no class '{label}' in this model: {hint}")

    def prepare(self, source: str | None) -> Arrays:
        """`class_labels`, int64, without axes; the number after the last class stands for any."""
        label = self.open(source)
        return {"class_labels": np.array(len(self.labels) if label is None else self._numbers[label], np.int64)}

    def pixels(self, image: Any) -> np.ndarray:
        """A picture as the network sees it: (C, H, W) float32 in -1..1."""
        array = media.preprocess(self.preprocessor, media.load(image))
        return array if self.channels == 3 else array[:1]

    def picture(self, pixels: np.ndarray) -> Image.Image:
        """(C, H, W) in -1..1 to a picture."""
        values = np.clip(np.rint((pixels + 1) * 127.5), 0, 255).astype(np.uint8)
        return Image.fromarray(values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0)))

    def decode(self, outputs: Arrays, source: str | None) -> Generated:
        """The picture of a finished `sample`, (C, H, W)."""
        return Generated(self.picture(outputs["sample"]), source, 0)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[str | None],
        *,
        steps: int = 12,
        guidance_scale: float = 1.0,
        solver: str = "heun",
        seed: int = 0,
        count: int = 1,
    ) -> list[Any]:
        """One `Generated` for each source, or a list of them where `count` is more than 1.

        A picture depends on its source, the options and its own seed, which is `seed` plus the number of its source;
        not on what else is in the batch.

        Options:
            steps: steps from noise to picture; more is slower and more exact
            guidance_scale: how much more of the class than the network would give by itself; 1 is as it is
            solver: heun (two evaluations a step), adams (one, remembers the last) or euler (one)
            seed: the same seed gives the same picture
            count: pictures of each source

        Raises:
            InputError: an option is out of range, or the model knows no such class.
        """
        if not 1 <= steps <= 1000:
            raise CallError(f"steps is 1 to 1000, not {steps}")
        if not 1 <= count <= 1000:
            raise CallError(f"count is 1 to 1000, not {count}")
        if not 0 <= guidance_scale <= 100:
            raise CallError(f"guidance_scale is 0 to 100, not {guidance_scale}")
        if solver not in ("heun", "adams", "euler"):
            raise CallError(f"solver is heun, adams or euler, not '{solver}'")
        if seed < 0:
            raise CallError(f"seed is 0 or more, not {seed}")
        labels = [self.open(source) for source in sources]
        wanted = [(seed + i, j, label) for i, label in enumerate(labels) for j in range(count)]
        made: list[Generated] = []
        for start in range(0, len(wanted), TOGETHER):
            chunk = wanted[start : start + TOGETHER]
            shape = (self.channels, self.size, self.size)
            noise = [np.random.default_rng([s, j]).standard_normal(shape, np.float32) for s, j, _ in chunk]
            velocity = self._velocity(nets, [label for _, _, label in chunk], guidance_scale)
            samples = follow(velocity, np.stack(noise), times(steps, float(self.scheduler.get("shift", 1.0))), solver)
            made += [Generated(self.picture(sample), label, s) for sample, (s, _, label) in zip(samples, chunk)]
        if count == 1:
            return made
        return [made[i : i + count] for i in range(0, len(made), count)]

    def _velocity(
        self, nets: Nets, labels: Sequence[str | None], guidance: float
    ) -> Callable[[np.ndarray, float], np.ndarray]:
        """The guided velocity of a batch, as a function of the noisy pictures and the time."""
        net = nets["model"]
        classes = np.array([self.prepare(label)["class_labels"] for label in labels], np.int64)
        # Without guidance, and where any picture will do, the network need not say what it would do without a class.
        guided = guidance != 1 and any(label is not None for label in labels)
        if guided:
            classes = np.concatenate((classes, np.full(len(labels), len(self.labels), np.int64)))

        def velocity(sample: np.ndarray, time: float) -> np.ndarray:
            if guided:
                sample = np.concatenate((sample, sample))
            feeds: Arrays = {
                "sample": sample.astype(np.float32),
                "timestep": np.full(len(sample), 1000 * time, np.float32),
                "class_labels": classes,
            }
            found: np.ndarray = net(feeds)["velocity"]
            if not guided:
                return found
            with_class, without = found[: len(labels)], found[len(labels) :]
            mixed: np.ndarray = without + guidance * (with_class - without)
            return mixed

        return velocity

    def tally(self, prediction: Generated, truth: Any, nets: Nets) -> Tally:
        """The features of the picture made and of the real one; the quality is the cosine between them."""
        net = nets["features"]
        how = self.features.get("preprocessor") or self.preprocessor
        # The real one is brought to the network's size first: detail that it cannot draw is not held against it.
        pair = [media.load(p) for p in (prediction.image, self.picture(self.pixels(truth)))]
        name, (shape, _) = next(iter(net.inputs.items()))
        arrays = np.stack([media.preprocess(how, p) for p in pair])
        if shape[1] == 1:
            arrays = arrays[:, :1]
        one, two = (f.astype(np.float64).ravel() for f in net({name: arrays})[net.outputs[0]])
        norms = float(np.linalg.norm(one) * np.linalg.norm(two))
        return Tally(float(one @ two) / norms if norms > 0 else 0.0, (one, two))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """`kid` and `fid`; not defined for fewer than two pictures.

        A bootstrap resample, in which tallies occur more than once, has no `fid`: it is biased upwards by fewer
        distinct pictures, so that its interval would lie above its value. `kid` has none of that.
        """
        distinct = {id(t): t for t in tallies}
        if len(distinct) < 2:
            return {"kid": float("nan"), "fid": float("nan")}
        made, real = (np.stack([t.stats[side] for t in distinct.values()]) for side in (0, 1))
        if len(distinct) == len(tallies):
            return {"kid": mmd(made, real), "fid": fid(made, real)}
        rows = {key: row for row, key in enumerate(distinct)}
        return {"kid": paired_mmd(made, real, np.bincount([rows[id(t)] for t in tallies]))}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Generated]:
        """Draws from the Gaussian with the mean and the covariance of the pixels of each class."""
        kept: dict[str | None, list[np.ndarray]] = defaultdict(list)
        for source, truth in zip(sources, truths):
            if len(kept[self.open(source)]) < 100:
                kept[self.open(source)].append(self.pixels(truth))
        everything = [p for pictures in kept.values() for p in pictures[: max(1, 1000 // len(kept))]]
        draw = np.random.default_rng(0)

        def one(source: Any) -> Generated:
            pictures = np.stack(kept.get(self.open(source)) or everything)
            mean = pictures.mean(0)
            weights = draw.standard_normal(len(pictures)) / np.sqrt(max(1, len(pictures) - 1))
            sample = mean + np.tensordot(weights, pictures - mean, 1)
            return Generated(self.picture(sample), self.open(source), 0)

        return one

    def truth_result(self, truth: Any) -> Generated:
        """A real picture, as the network sees it."""
        return Generated(self.picture(self.pixels(truth)), None, 0)

    def draw(self, source: Any, result: Generated | list[Generated]) -> Image.Image:
        """The picture, enlarged, with its label; several as a sheet."""
        if isinstance(result, list):
            return sheet(result)
        return drawing.caption(result.image, result.label) if result.label else drawing.enlarge(result.image, 240)[0]


def sheet(results: Sequence[Generated], columns: int | None = None, cell: int = 96) -> Image.Image:
    """Many pictures beside each other, each with its label."""
    pictures = [drawing.enlarge(r.image, cell)[0] for r in results]
    captions = [r.label or "" for r in results] if any(r.label for r in results) else []
    return drawing.grid(pictures, captions, columns, cell=cell)


def preprocessor(size: int) -> dict[str, Any]:
    """`preprocessor_config.json` for square pictures of this size, with values in -1..1."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def times(steps: int, shift: float = 1.0) -> np.ndarray:
    """The times from 1 (noise) to 0 (picture), (steps + 1,); a shift above 1 spends more of them near the noise."""
    even = np.linspace(1, 0, steps + 1)
    return shift * even / (1 + (shift - 1) * even)


def follow(
    velocity: Callable[[np.ndarray, float], np.ndarray], sample: np.ndarray, grid: np.ndarray, solver: str
) -> np.ndarray:
    """Solve d(sample)/dt = velocity(sample, t) along a grid of times, from its first to its last.

    Args:
        solver: `euler`; `heun`, its average with the velocity at the other end, and plain Euler in the last step,
            where nothing is left to see at the other end; `adams`, which extrapolates from the last two velocities.
    """
    before: tuple[np.ndarray, float] | None = None
    for here, there in pairwise(grid):
        step = float(there - here)
        slope = velocity(sample, float(here))
        if solver == "heun" and there > 0:
            slope = (slope + velocity(sample + step * slope, float(there))) / 2
        elif solver == "adams":
            kept = (slope, step)
            if before is not None:
                slope = slope + (slope - before[0]) * (step / (2 * before[1]))
            before = kept
        sample = sample + step * slope
    return sample
