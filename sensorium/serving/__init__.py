"""The HTTP service and its page.

`build_app` gives an ASGI application, `run` a process that serves it.
"""

from __future__ import annotations

from sensorium.serving.app import build_app
from sensorium.serving.limits import Limits
from sensorium.serving.server import run

__all__ = ["Limits", "build_app", "run"]
