from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sensorium import inference, tasks
from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.tasks.image_generation import Generated, Task, follow, preprocessor, sheet, times

SAMPLE = {"sample": (["batch", 1, 8, 8], np.float32)}
PIXELS = {"pixel_values": (["batch", 1, 8, 8], np.float32)}
IMAGES = {"images": (["batch", 3, 20, 20], np.float32)}


def make_task(labels=("a", "b"), size=8, channels=1, **fields):
    config = {"model_type": "unet2d", "sample_size": size, "in_channels": channels}
    return Task(list(labels), preprocessor(size), config, {"shift": 1.0}, {"description": "three means"}, **fields)


class Flow:
    """The exact velocity where every class is one picture of one brightness: a = -0.5, b = 0.5, any = 0."""

    inputs = SAMPLE
    outputs = ("velocity",)

    def __init__(self):
        self.sizes = []

    def __call__(self, feeds):
        self.sizes.append(len(feeds["sample"]))
        assert feeds["timestep"].dtype == np.float32
        assert feeds["class_labels"].dtype == np.int64
        target = np.array([-0.5, 0.5, 0.0], np.float32)[feeds["class_labels"]][:, None, None, None]
        time = feeds["timestep"][:, None, None, None] / 1000
        return {"velocity": (feeds["sample"] - target) / time}


class Means:
    inputs = PIXELS
    outputs = ("features",)

    def __call__(self, feeds):
        x = feeds["pixel_values"]
        return {"features": np.stack((x.mean((1, 2, 3)), x[:, 0, :4].mean((1, 2)), x[:, 0, :, :4].mean((1, 2))), 1)}


def nets():
    return {"model": Flow(), "features": Means()}


def brightness(generated):
    return np.asarray(generated.image).mean() / 127.5 - 1


@pytest.mark.parametrize("solver", ["heun", "adams", "euler"])
def test_draws_what_is_asked_for(solver):
    made = make_task().predict(nets(), ["a", "b", None], solver=solver)
    assert [g.label for g in made] == ["a", "b", None]
    assert [brightness(g) for g in made] == pytest.approx([-0.5, 0.5, 0.0], abs=0.01)
    assert all(g.image.size == (8, 8) and g.image.mode == "L" for g in made)


def test_a_picture_depends_on_its_seed_alone():
    class Noise(Flow):
        def __call__(self, feeds):
            return {"velocity": 0.5 * feeds["sample"]}

    task, some = make_task(), {"model": Noise()}
    together = task.predict(some, ["a", "b", "a", "b"], seed=5)
    for i, source in enumerate(["a", "b", "a", "b"]):
        alone = task.predict(some, [source], seed=5 + i)[0]
        assert together[i].seed == alone.seed == 5 + i
        assert np.array_equal(together[i].image, alone.image)
    assert not np.array_equal(together[0].image, together[2].image)
    many = task.predict(some, ["a", "b"], seed=5, count=70)
    assert [len(m) for m in many] == [70, 70]
    assert np.array_equal(many[1][0].image, together[1].image)
    assert len({m.image.tobytes() for m in many[0]}) == 70


def test_streams_do_not_repeat_themselves():
    class Noise(Flow):
        def __call__(self, feeds):
            return {"velocity": 0.5 * feeds["sample"]}

    task = make_task(labels=())
    pictures = [g.image.tobytes() for _, g in inference.stream(task, {"model": Noise()}, [None] * 20, batch_size=8)]
    assert len(set(pictures)) == 20
    whole = task.predict({"model": Noise()}, [None] * 20)
    assert pictures == [g.image.tobytes() for g in whole]


def test_guidance_goes_beyond_the_class():
    flow = Flow()
    assert brightness(make_task().predict({"model": flow}, ["b"], guidance_scale=1.5)[0]) == pytest.approx(
        0.75, abs=0.01
    )
    assert flow.sizes[0] == 2
    assert brightness(make_task().predict({"model": flow}, ["b"], guidance_scale=0.0)[0]) == pytest.approx(0, abs=0.01)
    flow.sizes.clear()
    make_task().predict({"model": flow}, [None], guidance_scale=3.0)  # nothing to be guided to
    make_task().predict({"model": flow}, ["a"])
    assert set(flow.sizes) == {1}


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("adams", 2)])
def test_order_of_the_solvers(solver, order):
    """Halving the steps' length divides the error by 2 to the power of the order."""

    def error(steps):
        end = follow(lambda x, t: x * np.cos(3 * t), np.ones(1), times(steps), solver)
        return abs(end[0] - np.exp(-np.sin(3) / 3))

    # (Heun's last step is Euler's, which costs it no order: it is one step of length 1/steps.)
    assert np.log2(error(80) / error(160)) == pytest.approx(order, abs=0.15)


def test_times():
    assert times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    shifted = times(4, 3.0)
    assert shifted[0] == 1
    assert shifted[-1] == 0
    assert shifted[2] == pytest.approx(0.75)


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 2000}, {"count": 0}, {"guidance_scale": -1.0}, {"solver": "magic"}, {"seed": -1}],
)
def test_options_out_of_range(options):
    with pytest.raises(InputError):
        make_task().predict(nets(), ["a"], **options)


def test_sources():
    task = make_task(("cat", "dog", "7"))
    assert task.open("cat") == "cat"
    assert task.open(7) == "7"
    assert task.open(None) is None
    assert task.open("") is None
    assert task.open(task.open("")) is None
    assert task.prepare("dog")["class_labels"] == 1
    assert task.prepare(None)["class_labels"] == 3
    with pytest.raises(InputError, match="did you mean 'dog'"):
        task.open("dgo")
    with pytest.raises(InputError, match="knows no classes"):
        make_task(()).open("cat")


def test_files_come_back():
    task = make_task()
    files = task.files()
    assert files["config.json"]["id2label"] == {"0": "a", "1": "b"}
    again = Task.load(files)
    assert again == task
    assert again.files() == files


@pytest.mark.parametrize(
    "config", [{}, {"sample_size": 8}, {"sample_size": "8", "in_channels": 1}, {"sample_size": 8, "in_channels": 2}]
)
def test_bad_configurations(config):
    with pytest.raises(InputError, match=r"config\.json"):
        Task.load({"config.json": config})


def test_pictures_and_pixels():
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    task = make_task()
    assert np.array_equal(task.picture(task.pixels(grey)), grey)
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    task = make_task(channels=3)
    assert task.pixels(colour).shape == (3, 8, 8)
    assert np.array_equal(task.picture(task.pixels(colour)), colour)
    wide = make_task().pixels(Image.new("RGB", (40, 20)))
    assert wide.shape == (1, 8, 8)


def examples(tmp_path, count=24):
    """Pictures of two classes, of about the brightnesses that `Flow` draws."""
    draw = np.random.default_rng(0)
    found = []
    for i in range(count):
        label = "ab"[i % 2]
        level = {"a": 64, "b": 191}[label] + draw.integers(-20, 21)
        path = tmp_path / f"{i}.png"
        Image.fromarray((level + draw.integers(-30, 31, (8, 8))).astype(np.uint8)).save(path)
        found.append(Example(path.name, {"image": str(path), "label": label}, path.name))
    return found


def test_evaluation(tmp_path):
    data = examples(tmp_path)
    found = inference.evaluate(make_task(), nets(), data, learn=data, resamples=100)
    kid = found.metrics["kid"]
    assert kid["low"] <= kid["value"] <= kid["high"]
    assert found.metrics["fid"]["value"] > 0
    assert np.isnan(found.metrics["fid"]["low"])
    assert set(found.baseline) == {"kid", "fid"}
    assert all(-1 <= t.quality <= 1 + 1e-9 for t in found.tallies)
    assert make_task().score(found.tallies[:1])["kid"] != make_task().score(found.tallies[:1])["kid"]  # NaN


def test_without_labels(tmp_path):
    data = [Example(e.id, {"image": e.fields["image"]}, e.where) for e in examples(tmp_path)]
    found = inference.evaluate(
        make_task(()), {"model": Unlabelled(), "features": Means()}, data, learn=data, resamples=0
    )
    assert np.isfinite(found.metrics["kid"]["value"])
    assert np.isfinite(found.baseline["kid"])


class Unlabelled(Flow):
    def __call__(self, feeds):
        assert (feeds["class_labels"] == 0).all()
        return super().__call__({**feeds, "class_labels": feeds["class_labels"] + 2})


def test_other_features(tmp_path):
    """A network with another input, another size and colours, as Inception has."""

    class Inception(Means):
        inputs = IMAGES

        def __call__(self, feeds):
            assert feeds["images"].shape == (2, 3, 20, 20)
            return super().__call__({"pixel_values": feeds["images"]})

    task = make_task()
    task.features = {"description": "Inception", "preprocessor": {"size": {"height": 20, "width": 20}}}
    tally = task.tally(
        Generated(Image.new("L", (8, 8), 90), "a", 0),
        examples(tmp_path, 1)[0].fields["image"],
        {"features": Inception()},
    )
    assert tally.stats[0].shape == (3,)


def test_answers_as_json_and_pictures():
    task = make_task()
    one = task.predict(nets(), ["a"])[0]
    document = tasks.to_json(one)
    assert document["image"].startswith("data:image/png;base64,")
    assert document["label"] == "a"
    assert document["seed"] == 0
    assert task.draw("a", one).width >= 240
    several = task.predict(nets(), ["a"], count=5)[0]
    assert task.draw("a", several).width > 3 * 96
    assert sheet(several, 5).width > sheet(several, 2).width
    assert task.draw(None, task.truth_result(Image.new("RGB", (30, 30)))).width >= 240


def test_options_are_told():
    told = {o.name: o for o in tasks.options(Task)}
    assert list(told) == ["steps", "guidance_scale", "solver", "seed", "count"]
    assert all(o.help for o in told.values())
