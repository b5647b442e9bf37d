from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.tasks.time_series_forecasting import Task

CONFIG = {"context_length": 6, "prediction_length": 2, "num_input_channels": 1}


class Net:
    """Goes on as it went from the last but one to the last."""

    inputs = None

    def __call__(self, feeds):
        last = feeds["past_values"][:, -1:]
        step = last - feeds["past_values"][:, -2:-1]
        mean = np.concatenate([last + step, last + 2 * step], axis=1)
        return {"mean_predictions": mean, "center": mean, "scale": np.ones_like(mean)}


def test_sources_of_every_kind(tmp_path):
    task = Task(CONFIG)
    table = tmp_path / "x.csv"
    table.write_text("date,value\n2026-01,1\n2026-02,2\n")
    for source in (
        [1, 2],
        [[1], [2]],
        "1 2".replace(" ", ","),
        "[1, 2]",
        "1\n2\n",
        str(table),
        {"past_values": [1, 2]},
    ):
        assert task.open(source).tolist() == [[1.0], [2.0]]
    for source in ([], "words", [[1], [2, 3]], [[1, 2]], ["a"]):
        with pytest.raises(InputError):
            task.open(source)
    with pytest.raises(InputError, match="needs context_length"):
        Task({})


def test_short_series_are_marked():
    prepared = Task(CONFIG).prepare(Task(CONFIG).open([1, None, 3]))
    assert prepared["past_values"].ravel().tolist() == [0, 0, 0, 1, 0, 3]
    assert prepared["past_observed_mask"].ravel().tolist() == [0, 0, 0, 1, 0, 1]


def test_it_goes_on():
    task = Task(CONFIG)
    nets = {"model": Net()}
    found = task.predict(nets, [task.open([1, 2, 3])], prediction_length=5)[0]
    assert found.mean == [4, 5, 6, 7, 8]
    assert found.quantiles["0.5"] == pytest.approx(found.mean)
    assert found.quantiles["0.9"][0] == pytest.approx(5.2815515655)
    held = task.predict(nets, [task.open([1, 2, 3, 4, 5])], hold_out=True)[0]
    tally = task.tally(held, [1, 2, 3, 4, 5], nets)
    assert task.score([tally])["mase"] == 0.0
    naive = task.baseline([], [])([1, 2, 3, 4, 5])
    assert task.score([task.tally(naive, [1, 2, 3, 4, 5], nets)])["mase"] == 1.5
    assert task.draw([1, 2, 3], found).mode == "RGB"
    with pytest.raises(InputError, match="held out"):
        task.predict(nets, [task.open([1, 2])], hold_out=True)


def test_how_far_it_may_go_on():
    task = Task(CONFIG)
    series = task.open([1.0, 2.0, 3.0])
    for wrong in (0, -1, 10**9):
        with pytest.raises(InputError, match=f"prediction_length is at .*, not {wrong}"):
            task.predict({}, [series], prediction_length=wrong)
