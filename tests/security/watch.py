"""Watches what a block of code does outside: files it opens, sockets, processes, imports."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_seen: list[list[tuple[str, str]]] = []
WATCHED = (
    "open",
    "socket.connect",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "import",
    "exec",
    "compile",
    "pickle.find_class",
)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _seen and event in WATCHED:
        _seen[-1].append((event, str(arguments[0]) if arguments else ""))


sys.addaudithook(_hook)


@contextmanager
def watching() -> Iterator[list[tuple[str, str]]]:
    """Yields the list that events are added to: (event, its first argument)."""
    _seen.append([])
    try:
        yield _seen[-1]
    finally:
        _seen.pop()


def outside(events: list[tuple[str, str]], *folders: Path) -> list[tuple[str, str]]:
    """The events that are none of a reader's business: other files than those in the folders and of installed code."""
    allowed = [str(f.resolve()) for f in folders] + [
        str(Path(p).resolve()) for p in (*sys.path, sys.prefix, sys.base_prefix) if p
    ]
    bad = []
    for event, name in events:
        if (
            event == "open"
            and name != tempfile.gettempdir()  # a temporary file without a name
            and not name.isdigit()
            and not name.startswith(("/proc/", "/sys/", "/dev/null", "/usr/share/zoneinfo"))
        ):
            if not any(str(Path(name).resolve()).startswith(a) for a in allowed):
                bad.append((event, name))
        elif event in ("socket.connect", "os.system", "os.exec", "pickle.find_class"):
            bad.append((event, name))
    return bad
