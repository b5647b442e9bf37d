"""Work that a stranger's file could crash, stall or exhaust is done in a child process with limits.

The child is given one function by name and JSON values, and answers with JSON: nothing that it sends is unpickled. It
leads a process group of its own, which is killed as a whole when its time is over.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sensorium import errors
from sensorium.errors import InputError, SensoriumError

ANSWER_LIMIT = 64 << 20  # bytes of the JSON that a child may answer with


def run(function: str, *, seconds: float, memory: int, what: str, **arguments: Any) -> Any:
    """Call a function in a child process.

    Args:
        function: `package.module:name`, of this package; it takes and returns JSON values.
        seconds: within which it has to end, by the clock; as many of computing are allowed for each core.
        memory: bytes of address space that it may use.
        what: the file it works on, for messages.
        arguments: of the function; paths should be absolute, for the child works in an empty folder.

    Returns:
        What the function returned.

    Raises:
        SensoriumError: the one that the function raised.
        InputError: it crashed, or needed more time or memory than it was given.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    request = json.dumps({"function": function, "seconds": seconds, "memory": memory, "arguments": arguments})
    with tempfile.TemporaryDirectory(prefix="sensorium-child-") as folder, open(os.devnull, "wb") as nowhere:
        answer = Path(folder) / "answer.json"
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "sensorium.children", str(answer)],
            stdin=subprocess.PIPE,
            stdout=nowhere,
            stderr=sys.stderr if os.environ.get("SENSORIUM_CHILD_STDERR") else nowhere,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        try:
            child.communicate(request.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise InputError(f"{what}: was given up after {seconds:g} s in a process of its own") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if not answer.is_file() or answer.stat().st_size > ANSWER_LIMIT:
            code = child.returncode
            how = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended without an answer ({code})"
            raise InputError(f"{what}: the process that read it {how}: corrupt, or too large")
        found = json.loads(answer.read_text("utf-8"))
    if "error" in found:
        kind = getattr(errors, str(found["error"]), InputError)
        raise kind(str(found["message"])) if issubclass(kind, SensoriumError) else InputError(str(found["message"]))
    return found["value"]


def limit(seconds: float, memory: int) -> None:
    """Bound this process: no core files, so much computing, so much address space."""
    try:
        import resource
    except ImportError:  # Windows: the clock alone limits
        return
    cores = os.cpu_count() or 1
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(seconds * cores) + 1,
        resource.RLIMIT_AS: memory,
    }
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (value, value))


def main(answer: Path) -> None:
    """The child's side: read the request, do it, write the answer."""
    request = json.loads(sys.stdin.buffer.read())
    limit(request["seconds"], request["memory"])
    module, _, name = request["function"].partition(":")
    try:
        value: dict[str, Any] = {"value": getattr(importlib.import_module(module), name)(**request["arguments"])}
    except SensoriumError as error:
        value = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        value = {"error": "InputError", "message": "needs more memory than it was given"}
    except Exception as error:  # of a library that a file of unknown origin confused: this is what the child is for
        reason = " ".join(str(error).split())[:300]
        value = {"error": "InputError", "message": f"{type(error).__name__}: {reason}"}
    temporary = answer.with_suffix(".part")
    temporary.write_text(json.dumps(value), "utf-8")
    temporary.rename(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
