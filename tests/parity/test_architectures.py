"""Answers equal Hugging Face's, for tiny random checkpoints of many architectures; most are slow."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.parity.architectures import Architecture, areas, check

CASES = [
    pytest.param(case, id=f"{area}-{case.model_type}-{case.task}", marks=[] if case.quick else [pytest.mark.slow])
    for area, cases in areas().items()
    for case in cases
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_same(case: Architecture, tmp_path: Path) -> None:
    check(case, tmp_path / "case")
