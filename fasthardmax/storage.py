"""Results on disk, written and read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._directory import RUN_FILES, new_directory
from ._stored_run import StoredRun
from .attention import Winners
from .dynamics import Trajectory
from .equilibrium import Equilibrium

__all__ = ["RUN_FILES", "load_trajectory", "new_directory", "save_equilibrium", "save_trajectory"]

# The arrays of a saved trajectory that are read.
_TRAJECTORY = {
    "layers", "points", "first", "count", "leader_layer", "labels", "alpha", "beta", "engine",
    "n_passes",
}  # fmt: skip


def save_trajectory(
    path: str | os.PathLike[str], trajectory: Trajectory, A: NDArray[Any] | None = None
) -> None:
    """Write a trajectory of one cloud as an .npz file that needs no pickling.

    Its arrays: ``layers`` (K,), the recorded layer numbers; ``points`` (K, n, d); ``first`` and
    ``count`` (K, n), the winners; ``leaders`` (m,); ``leader_layer`` and ``labels`` (n,);
    ``alpha``; ``beta``; ``engine``; ``n_passes``; and ``A`` (d, d) if it is given. ``OSError`` if
    it cannot be written; :func:`load_trajectory` reads it.
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
        "beta": trajectory.beta,
        "engine": trajectory.engine,
        "n_passes": trajectory.n_passes,
    }
    if A is not None:
        arrays["A"] = A
    np.savez(path, **arrays)


def load_trajectory(path: str | os.PathLike[str]) -> Trajectory:
    """Read back what :func:`save_trajectory` wrote, to analyse or draw it again.

    Parameters
    ----------
    path : path
        The .npz file, or the directory of a run with checkpoints. That gives the run as it was at
        its last checkpoint, its layers read from the disk at each look; it may go on meanwhile.

    Returns
    -------
    Trajectory

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is damaged, or holds something else.
    ImportError
        For a directory, if zarr is missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from fasthardmax import simulate
    >>> from fasthardmax.storage import load_trajectory, save_trajectory
    >>> with TemporaryDirectory() as folder:
    ...     save_trajectory(Path(folder, "run.npz"), simulate([[1.0, 0.0]], alpha=1.0, n_layers=3))
    ...     load_trajectory(Path(folder, "run.npz")).n_layers
    3
    """
    from zipfile import BadZipFile  # slow to import

    if Path(path).is_dir():
        return _load_run(StoredRun(path))
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
            missing = sorted(_TRAJECTORY - data.keys())
    except OSError as error:
        raise type(error)(f"path: cannot read '{path}': {error.strerror or error}") from None
    except (ValueError, EOFError, TypeError, BadZipFile):
        raise ValueError(f"path: '{path}' is damaged, or no .npz file") from None
    if missing:
        raise ValueError(f"path: '{path}' has no array {missing[0]!r}, expected a saved trajectory")
    layers = [int(layer) for layer in data["layers"]]
    winners = map(Winners, data["first"], data["count"])
    return Trajectory(
        points=data["points"][-1],
        alpha=float(data["alpha"]),
        engine=str(data["engine"]),
        leader_layer=data["leader_layer"],
        labels=data["labels"],
        n_layers=layers[-1],
        n_passes=float(data["n_passes"]),
        recorded=dict(zip(layers, data["points"], strict=True)),
        winners=dict(zip(layers, winners, strict=True)),
        beta=float(data["beta"]),
    )


def _load_run(stored: StoredRun) -> Trajectory:
    result = stored.result()
    return Trajectory(
        points=result["points"],
        alpha=stored.options["alpha"],
        beta=stored.options["beta"],
        engine=str(result["engine"]),
        leader_layer=result["leader_layer"],
        labels=result["labels"],
        n_layers=int(result["layer"]),
        n_passes=float(result["n_passes"]),
        recorded=stored.recorded,
        winners=stored.winners,
    )


def save_equilibrium(
    path: str | os.PathLike[str], found: Equilibrium, A: NDArray[Any] | None = None
) -> None:
    """Write an equilibrium of one cloud as an .npz file that needs no pickling.

    Its arrays: ``limit`` (n, d); ``kind``, ``labels``, ``settled_at``, ``residual`` and
    ``leader_of`` (n,); ``leaders`` (m,); ``n_layers``; ``n_passes``; ``alpha``; ``engine``; and
    ``A`` (d, d) if it is given. ``OSError`` if it cannot be written; ``numpy.load`` reads it.
    """
    names = (
        "limit", "kind", "labels", "settled_at", "residual", "leader_of", "leaders", "n_layers",
        "n_passes", "alpha", "engine",
    )  # fmt: skip
    arrays: dict[str, Any] = {name: getattr(found, name) for name in names}
    if A is not None:
        arrays["A"] = A
    np.savez(path, **arrays)
