from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.serving.process import Server, serving


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """A process that serves one small made-up model of each kind."""
    with serving() as started:
        yield started
