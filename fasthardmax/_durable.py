"""Files that a crash leaves whole, old or new, and directories with one writer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has neither this lock nor directories that can be opened
    fcntl = None  # type: ignore[assignment]  # it is a module elsewhere

__all__ = ["only_writer", "sync_directory", "write_aside"]


def write_aside(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write bytes, or let a function write, to a new file that then replaces ``path`` on the disk.

    The replacement itself is on the disk after :func:`sync_directory`.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to the disk."""
    if fcntl is None:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Refuse, with ``BlockingIOError``, a second process that writes to ``folder``.

    The lock goes with the process, however that ends.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"path: got '{folder}', to which a run is writing, expected one that has stopped"
            ) from None
        yield
    finally:
        os.close(handle)
