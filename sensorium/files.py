"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.errors import InputError


def user_cache() -> Path:
    """The folder in which programs of this user keep what can be made anew; it may not be there yet.

    Raises:
        InputError: the user has no home, as in some containers.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        raise InputError("this user has no home folder: say with XDG_CACHE_HOME where caches are kept") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, limit: int = 64 << 20) -> Any:
    """A JSON file's value.

    Raises:
        InputError: missing, larger than `limit` bytes, not UTF-8 or not JSON.
    """
    try:
        if path.stat().st_size > limit:
            raise InputError(f"{path}: larger than {limit >> 20} MB; not a file of a model or run folder")
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def dump_json(value: Any) -> str:
    """JSON text of a value, indented, ending in a newline; a value that is not finite is refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sync(path: Path) -> None:
    """Bring a file or folder from the system's cache to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name in the same folder, sync it, rename it into place.

    Raises:
        InputError: it cannot be written there.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """A new folder that appears complete or not at all.

    Yields a temporary folder beside `folder`. When the block ends well, everything in it is synced and it is renamed
    to `folder` (a folder that stood there is replaced); when the block raises, it is removed.

    Raises:
        InputError: it cannot be written there.
    """
    folder = Path(os.path.abspath(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield temporary
        for path in sorted(temporary.rglob("*"), reverse=True):
            sync(path)
        os.chmod(temporary, 0o755)
        sync(temporary)
        old = None
        if folder.exists() or folder.is_symlink():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            os.replace(folder, old / "was")
        os.replace(temporary, folder)
        sync(folder.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
