"""Going on with a run that was interrupted."""

from __future__ import annotations

import os

from ._durable import only_writer
from ._stored_run import StoredRun
from .dynamics import Trajectory, simulate
from .storage import load_trajectory
from .trajectory_store import TrajectoryStore

__all__ = ["resume"]


def resume(
    path: str | os.PathLike[str], *, num_threads: int | None = None, progress: bool = False
) -> Trajectory:
    """Go on with a run of ``simulate(..., record=TrajectoryStore(path))`` from its last checkpoint.

    Parameters
    ----------
    path : path
        The directory of the run.
    num_threads, progress
        As for :func:`~fasthardmax.simulate`; everything else is as it was.

    Returns
    -------
    Trajectory
        Bit for bit what the run would have returned without the interruption, its layers read from
        the directory at each look. Of a finished run: what it returned.

    Raises
    ------
    OSError
        If ``path`` holds no run, another process is writing to it, or it cannot be written.
    ValueError
        If the run is of a version of fasthardmax that this one does not understand, or damaged.

    Notes
    -----
    Cost: that of the layers since the last checkpoint, and O(n d) to read the state.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fasthardmax import TrajectoryStore, resume, simulate
    >>> with TemporaryDirectory() as folder:
    ...     store = TrajectoryStore(f"{folder}/run")
    ...     run = simulate([[1.0], [-1.0], [0.5]], alpha=1.0, n_layers=2, record=store)
    ...     resume(f"{folder}/run").points.tolist()  # it is finished, so that nothing is left to do
    [[1.0], [-1.0], [0.875]]
    """
    StoredRun(path)  # is it one?
    with only_writer(path):
        written = StoredRun(path)
        if written.attrs["finished"]:
            return load_trajectory(path)
        return simulate(
            written.start,
            A=written.matrix,
            record=TrajectoryStore.reopened(written),
            num_threads=num_threads,
            progress=progress,
            **written.options,
        )
