"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

import sensorium
from tests.cases import CASES, Trained

# Tests run beside each other: more threads than cores make every one of them wait for the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Tiny models by the name of their task; each is trained, or converted, once, when it is first asked for."""
    made: dict[str, Trained] = {}

    def model(name: str) -> Trained:
        if name not in made:
            case = CASES[name]
            root = tmp_path_factory.mktemp(name)
            data = case.data(root / "data")
            if case.checkpoint is None:
                record = sensorium.train(name, data, out=root / "run", quiet=True, **case.parameters)
            else:
                (root / "checkpoint").mkdir()
                case.checkpoint(root / "checkpoint")
                (root / "run").mkdir()
                record = sensorium.convert(root / "checkpoint", out=root / "run" / "model", task=name)
            made[name] = Trained(name, case, data, root / "run", record)
        return made[name]

    return model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the same trained model run in the same process, so that each is trained once."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        task = parameters.get("trained") or parameters.get("task")
        if task in CASES:
            item.add_marker(pytest.mark.xdist_group(task))
        elif "models" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("image-classification"))
