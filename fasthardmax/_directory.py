"""A directory for the files of a run that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["RUN_FILES", "new_directory"]

RUN_FILES = (
    "equilibrium.npz", "picture.png", "state-0.npz", "state-1.npz", "summary.json",
    "trajectory.npz", "trajectory.zarr",
)  # fmt: skip


@contextlib.contextmanager
def new_directory(
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    names: tuple[str, str] = ("out", "--force"),
) -> Iterator[Path]:
    """An empty directory to write a run's files in, which becomes ``out`` if the block succeeds.

    It is made beside ``out`` and renamed at the end, so that ``out`` is never half-written: if the
    block raises, ``out`` stays as it was.

    Parameters
    ----------
    out : path
        Must not exist, unless ``force``; its parent must.
    force : bool, default False
        Replace ``out`` if it exists and holds nothing but the files of an earlier run.
    names : pair of str
        What the caller's own caller knows ``out`` and ``force`` as.

    Raises
    ------
    OSError
        With one sentence, if ``out`` may not be replaced or cannot be written.
    """
    from tempfile import TemporaryDirectory  # slow to import

    target = Path(out).resolve()
    _check_target(target, force, names)
    try:
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
            new = Path(aside, "new")
            new.mkdir()  # with the usual permissions; those of a temporary directory are private
            yield new
            _check_target(target, force, names)  # again: others may have written there meanwhile
            _swap(new, target, Path(aside, "old"))
    except OSError as error:
        if error.strerror is None:  # a sentence already
            raise
        raise type(error)(f"{names[0]}: cannot write '{target}': {error.strerror}") from error


def _check_target(target: Path, force: bool, names: tuple[str, str]) -> None:
    out, replace = names
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{out}: got '{target}', expected its parent to be a directory")
    if not target.exists():
        return
    if not target.is_dir():
        raise NotADirectoryError(f"{out}: got '{target}', which is a file, expected a directory")
    if not force:
        raise FileExistsError(
            f"{out}: got '{target}', which exists already, expected a new directory or {replace}"
        )
    # A run that was killed may leave a file half-written under such a name.
    names_there = {entry.name.removesuffix(".partial") for entry in target.iterdir()}
    foreign = sorted(names_there - set(RUN_FILES))
    if foreign:
        raise FileExistsError(
            f"{out}: got '{target}', which holds '{foreign[0]}', expected a directory with nothing "
            "but the files of an earlier run to replace"
        )


def _swap(new: Path, target: Path, old: Path) -> None:
    """Rename ``new`` to ``target``; what was there goes to ``old``, or back if that fails."""
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
