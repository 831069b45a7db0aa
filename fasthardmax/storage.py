"""Results on disk: a directory that appears complete or not at all, and arrays as .npz."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attention import Winners
from .dynamics import Trajectory
from .equilibrium import Equilibrium

__all__ = ["RUN_FILES", "load_trajectory", "new_directory", "save_equilibrium", "save_trajectory"]

RUN_FILES = ("equilibrium.npz", "picture.png", "summary.json", "trajectory.npz")


@contextlib.contextmanager
def new_directory(out: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """An empty directory to write a run's files in, which becomes ``out`` if the block succeeds.

    It is made beside ``out`` and renamed at the end, so that ``out`` is never half-written: if the
    block raises, ``out`` stays as it was.

    Parameters
    ----------
    out : path
        Must not exist, unless ``force``; its parent must.
    force : bool, default False
        Replace ``out`` if it exists and holds nothing but the files of an earlier run.

    Raises
    ------
    OSError
        With one sentence, if ``out`` may not be replaced or cannot be written.
    """
    target = Path(out).resolve()
    _check_target(target, force)
    try:
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
            new = Path(aside, "new")
            new.mkdir()  # with the usual permissions; those of a temporary directory are private
            yield new
            _check_target(target, force)  # again: others may have written there meanwhile
            _swap(new, target, Path(aside, "old"))
    except OSError as error:
        if error.strerror is None:  # a sentence already
            raise
        raise type(error)(f"out: cannot write '{target}': {error.strerror}") from error


def _check_target(target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"out: got '{target}', expected its parent to be a directory")
    if not target.exists():
        return
    if not target.is_dir():
        raise NotADirectoryError(f"out: got '{target}', which is a file, expected a directory")
    if not force:
        raise FileExistsError(
            f"out: got '{target}', which exists already, expected a new directory or --force"
        )
    foreign = sorted({entry.name for entry in target.iterdir()} - set(RUN_FILES))
    if foreign:
        raise FileExistsError(
            f"out: got '{target}', which holds '{foreign[0]}', expected a directory with nothing "
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


def save_trajectory(
    path: str | os.PathLike[str], trajectory: Trajectory, A: NDArray[Any] | None = None
) -> None:
    """Write a trajectory of one cloud as an .npz file that needs no pickling.

    Its arrays: ``layers`` (K,), the recorded layer numbers; ``points`` (K, n, d); ``first`` and
    ``count`` (K, n), the winners; ``leaders`` (m,); ``leader_layer`` and ``labels`` (n,);
    ``alpha``; ``engine``; and ``A`` (d, d) if it is given.
    """
    layers = sorted(trajectory.recorded)
    arrays: dict[str, Any] = {
        "layers": np.array(layers, np.int64),
        "points": np.stack([trajectory.recorded[layer] for layer in layers]),
        "first": np.stack([trajectory.winners[layer].first for layer in layers]),
        "count": np.stack([trajectory.winners[layer].count for layer in layers]),
        "leaders": trajectory.leaders,
        "leader_layer": trajectory.leader_layer,
        "labels": trajectory.labels,
        "alpha": trajectory.alpha,
        "engine": trajectory.engine,
    }
    if A is not None:
        arrays["A"] = A
    np.savez(path, **arrays)


def load_trajectory(path: str | os.PathLike[str]) -> Trajectory:
    """Read back what :func:`save_trajectory` wrote, to analyse or draw it again."""
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    layers = [int(layer) for layer in data["layers"]]
    winners = map(Winners, data["first"], data["count"])
    return Trajectory(
        points=data["points"][-1],
        alpha=float(data["alpha"]),
        engine=str(data["engine"]),
        leader_layer=data["leader_layer"],
        labels=data["labels"],
        n_layers=layers[-1],
        recorded=dict(zip(layers, data["points"], strict=True)),
        winners=dict(zip(layers, winners, strict=True)),
    )


def save_equilibrium(
    path: str | os.PathLike[str], found: Equilibrium, A: NDArray[Any] | None = None
) -> None:
    """Write an equilibrium of one cloud as an .npz file that needs no pickling.

    Its arrays: ``limit`` (n, d); ``kind``, ``labels``, ``settled_at``, ``residual`` and
    ``leader_of`` (n,); ``leaders`` (m,); ``n_layers``; ``n_passes``; ``alpha``; ``engine``; and
    ``A`` (d, d) if it is given.
    """
    names = (
        "limit", "kind", "labels", "settled_at", "residual", "leader_of", "leaders", "n_layers",
        "n_passes", "alpha", "engine",
    )  # fmt: skip
    arrays: dict[str, Any] = {name: getattr(found, name) for name in names}
    if A is not None:
        arrays["A"] = A
    np.savez(path, **arrays)
