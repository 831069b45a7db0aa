"""One file on disk that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["new_file"]


@contextlib.contextmanager
def new_file(out: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A path to write a file to, which becomes ``out`` if the block succeeds.

    It has the name of ``out``, in a directory beside it; if the block raises, ``out`` stays as it
    was. ``force`` replaces a file; ``OSError``, with one sentence, if ``out`` cannot be written.
    """
    target = Path(out).resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"out: got '{target}', expected its parent to be a directory")
    if target.is_dir():
        raise IsADirectoryError(f"out: got '{target}', which is a directory, expected a file")
    if target.exists() and not force:
        raise FileExistsError(
            f"out: got '{target}', which exists already, expected a new file or --force"
        )
    try:
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
            new = Path(aside, target.name)
            yield new
            new.replace(target)
    except OSError as error:
        if error.strerror is None:  # a sentence already
            raise
        raise type(error)(f"out: cannot write '{target}': {error.strerror}") from error
