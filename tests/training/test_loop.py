"""The loop: it learns, it resumes exactly, it survives being killed, and it never saves a value that is not finite."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sensorium.errors import InputError, Refused
from sensorium.runs import Run
from sensorium.training import checkpoints, loop
from tests.training import toy


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns(tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=20)
    validations = [line["validation"] for line in Run(tmp_path).metrics() if "validation" in line]
    assert len(validations) == 20
    assert max(v["accuracy"] for v in validations) > 0.9


def test_pytorch_is_left_as_it_was(tmp_path: Path) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    toy.train(tmp_path, epochs=1)
    assert before == (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)


def test_same_seed_same_weights_for_any_number_of_workers(tmp_path: Path) -> None:
    for workers in (0, 1, 3):
        toy.train(tmp_path / str(workers), workers=workers)
    assert equal(final(tmp_path / "0"), final(tmp_path / "1"))
    assert equal(final(tmp_path / "0"), final(tmp_path / "3"))
    toy.train(tmp_path / "other", seed=1)
    assert not equal(final(tmp_path / "0"), final(tmp_path / "other"))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("stop_at", [2, 20, 37])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, accumulate: int, stop_at: int) -> None:
    """Stopped in the first, second, third epoch, in the middle of it: weights bitwise equal, every sample once."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    seen: dict[str, list[str]] = {"whole": [], "parts": []}

    def recording(name: str, stop: int | None) -> Any:
        calls = 0

        def batch(plan: Any, examples: Any, rng: Any) -> Any:
            return toy.batch(plan, examples, rng) | {"ids": np.array([int(e.id) for e in examples])}

        def loss(network: Any, batch: Any) -> Any:
            nonlocal calls
            if network.training and torch.is_grad_enabled():
                seen[name] += batch["ids"].tolist()
                calls += 1
                if calls == stop:
                    # As the signal would; sent to this process, it ends the whole test run where nobody catches it.
                    handler = signal.getsignal(signal.SIGTERM)
                    assert callable(handler)
                    handler(signal.SIGTERM, None)
            return toy.loss(network, batch)

        return SimpleNamespace(batch=batch, loss=loss, sample=toy.sample)

    toy.train(tmp_path / "whole", recipe=recording("whole", None), accumulate=accumulate)
    with pytest.raises(loop.Stopped, match="--resume"):
        toy.train(tmp_path / "parts", recipe=recording("parts", stop_at), accumulate=accumulate)
    toy.train(tmp_path / "parts", recipe=recording("parts", None), accumulate=accumulate, resume=True)
    assert equal(final(tmp_path / "whole"), final(tmp_path / "parts"))
    assert Counter(seen["whole"]) == Counter(seen["parts"])
    assert seen["whole"] == seen["parts"]
    logged = [line["step"] for line in Run(tmp_path / "parts").metrics() if "loss" in line]
    assert logged == list(range(1, len(logged) + 1))


def run_toy(folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy", str(folder), *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def killed_runs(tmp_path: Path, count: int) -> None:
    assert run_toy(tmp_path / "whole").wait() == 0
    generator = random.Random(0)
    for number in range(count):
        folder = tmp_path / str(number)
        process = run_toy(folder)
        while not (folder / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 1.0))
        process.kill()
        process.wait()
        assert run_toy(folder, "--resume").wait() == 0
        assert equal(final(tmp_path / "whole"), final(folder)), f"kill {number}"
        logged = [line["step"] for line in Run(folder).metrics() if "loss" in line]
        assert logged == list(range(1, len(logged) + 1))


def test_killed_at_random_instants(tmp_path: Path) -> None:
    killed_runs(tmp_path, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_random_instants(tmp_path: Path) -> None:
    killed_runs(tmp_path, 20)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, damage: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.train(tmp_path)
    newest, before = checkpoints.steps(tmp_path / "checkpoints")
    content = (newest / name).read_bytes()
    if damage == "remove":
        (newest / name).unlink()
    else:
        (newest / name).write_bytes(
            content[: len(content) // 2] if damage == "truncate" else bytes([content[0] ^ 1]) + content[1:]
        )
    found = checkpoints.newest(tmp_path / "checkpoints")
    assert found is not None
    assert found[1]["step"] == int(before.name.removeprefix("step-"))
    assert newest.name in capsys.readouterr().err


def test_rotation_leaves_the_newest_the_best_and_strangers(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    (root / "step-99999999999").parent.mkdir()
    (root / "step-mine").mkdir()
    checkpoints.save(root / "best", {"a": torch.ones(1)}, {})
    for step in (9998, 9999, 10000, 99999999, 100000000):
        checkpoints.save_step(root, step, {"a": torch.ones(1)}, {"step": step})
    names = {p.name for p in root.iterdir()}
    assert names == {"best", "step-mine", "step-99999999", "step-100000000"}
    found = checkpoints.newest(root)
    assert found is not None
    assert found[1]["step"] == 100000000


def test_values_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="not finite"):
        checkpoints.save(tmp_path / "a", {"weight": torch.tensor([1.0, math.nan])}, {})
    assert list(tmp_path.iterdir()) == []


def failing(kind: str, at: range) -> Any:
    calls = 0

    def loss(network: Any, batch: Any) -> Any:
        nonlocal calls
        value = toy.loss(network, batch)
        if torch.is_grad_enabled():
            calls += 1
            if calls in at:
                return value * math.nan if kind == "loss" else value + (network[0].weight * 0).sqrt().sum()
        return value

    return SimpleNamespace(batch=toy.batch, loss=loss, sample=toy.sample)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_one_bad_step_is_left_out_and_reported(tmp_path: Path, kind: str) -> None:
    network = toy.train(tmp_path, recipe=failing(kind, range(5, 6)))
    assert all(bool(torch.isfinite(p).all()) for p in network.parameters())
    events = [line for line in Run(tmp_path).metrics() if "event" in line]
    assert [e["step"] for e in events] == [5]


def test_bad_steps_without_end_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not finite"):
        toy.train(tmp_path, recipe=failing("loss", range(5, 10000)))


def test_the_layer_that_made_it_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = toy.build(toy.plan())
    with torch.no_grad():
        network[4].weight.fill_(3e38)
    amp = torch.autocast("cpu", torch.bfloat16, enabled=False)
    batch = loop.tensors_of(toy.batch(toy.plan(), toy.examples(8, 0), None), toy.plan())
    assert "'4' (Linear)" in loop.culprit(toy, network, batch, amp)  # type: ignore[arg-type]


def test_a_metric_that_is_not_finite_never_wins_nor_blocks(tmp_path: Path) -> None:
    values = iter([math.nan, 0.3, math.nan, 0.5])

    class Task(toy.Task):
        def score(self, tallies: Any) -> dict[str, float]:
            return {"accuracy": next(values)}

    recipe = SimpleNamespace(batch=toy.batch, loss=toy.loss, sample=lambda p, n: toy.sample(p, n))
    original = toy.Task
    toy.Task = Task  # type: ignore[misc]
    try:
        toy.train(tmp_path, recipe=recipe)
    finally:
        toy.Task = original  # type: ignore[misc]
    _, state = checkpoints.load(tmp_path / "checkpoints" / "best")
    assert state["best"] == 0.5


def test_a_budget_is_kept(tmp_path: Path) -> None:
    started = time.monotonic()
    toy.train(tmp_path, epochs=100_000, budget=3)
    assert time.monotonic() - started < 4


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    one, two = Run(tmp_path / "run"), Run(tmp_path / "run")
    one.lock()
    with pytest.raises(InputError, match="another process"):
        two.lock()
    one.unlock()
    two.lock()
    two.unlock()


def test_two_processes_reach_the_same(tmp_path: Path) -> None:
    """`torchrun` with two gloo processes ends with the same weights in both and learns as one does."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nimport torch\nfrom tests.training import toy\n"
        "import os\ntorch.set_num_threads(1)\n"
        "toy.train(Path(sys.argv[1]) / os.environ['RANK'], epochs=15)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
    done = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    validations = [line["validation"] for line in Run(tmp_path / "0").metrics() if "validation" in line]
    assert max(v["accuracy"] for v in validations) > 0.85
