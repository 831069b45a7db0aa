"""Where a long run keeps its data: a directory from which it can be read, and resumed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._directory import new_directory
from ._durable import only_writer, sync_directory, write_aside
from ._state import Resumable
from ._stored_run import FORMAT, LAYERS, STATE, StoredRun, state_file
from ._validate import check_count
from .attention import Winners

__all__ = ["TrajectoryStore"]

# Attributes of the run itself.
_OWN = {
    "checkpoint",
    "every",
    "finished",
    "format",
    "layer",
    "options",
    "seconds",
    "turn",
    "version",
}


class TrajectoryStore:
    """A directory that ``simulate(..., record=TrajectoryStore(path))`` streams its layers to.

    Parameters
    ----------
    path : path
        The directory; made by the run, so it must not exist, but its parent must.
    every : int, at least 1, or None, default 1
        Record layers 0, ``every``, 2 ``every``, ... and the last; None: only the last.
    checkpoint : int, at least 1, default 100
        Save all that the run needs to go on after at least so many layers.
    overwrite : bool, default False
        Replace the directory if it holds an earlier run, and nothing else.
    attrs : mapping, optional
        Notes to keep with the run, of JSON's types; names of the run's own are not allowed.

    Raises
    ------
    ValueError
        For numbers out of range, or notes that cannot be kept.
    OSError
        From the run: if the directory may not be made or replaced, or cannot be written.
    ImportError
        From the run: if zarr is missing.

    Notes
    -----
    The directory holds a Zarr group, ``trajectory.zarr``, and two states of the computation that
    take turns, ``state-0.npz`` and ``state-1.npz``. The group has the arrays ``layer`` (K,),
    ``points`` (K, n, d), ``first`` and ``count`` (K, n), ``start`` (n, d) and, if given, ``A``
    (d, d), with named dimensions (for batches K, B, n, d), chunked by layer and compressed without
    loss; its attributes tell the ``options`` of the run (alpha and more), the ``layer`` of the last
    checkpoint, whether it is ``finished``, and the package's ``version``.

    A checkpoint makes the layers before it visible and replaces the state it goes on from, both in
    one step: a file is written aside, flushed, and renamed. So whenever the run is killed, what is
    there is whole, and at most the layers since the last checkpoint are lost.
    :func:`~fasthardmax.resume` goes on and ends with the same bits as a run that was not
    interrupted. :func:`~fasthardmax.storage.load_trajectory` reads, also while the run goes on.

    Cost: a checkpoint takes some milliseconds and writes the state, a few arrays of O(n d). Memory
    is O(n d), however many layers there are: waiting layers take 1 MiB, or one layer. Needs the
    extra ``store``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from fasthardmax import TrajectoryStore, simulate
    >>> square = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0], [0.5, 0.25]]
    >>> with TemporaryDirectory() as folder:
    ...     store = TrajectoryStore(Path(folder, "run"), every=10, checkpoint=1000)
    ...     run = simulate(square, alpha=1.0, n_layers=10_000, record=store)
    ...     len(run.recorded), run.recorded[10][4]
    (1001, array([0.99951172, 0.99926758]))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int | None = 1,
        checkpoint: int = 100,
        overwrite: bool = False,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path).resolve()
        self.every = None if every is None else check_count("every", every, 1)
        self.checkpoint = check_count("checkpoint", checkpoint, 1)
        self.attrs = dict(attrs or {})
        own = sorted(_OWN & self.attrs.keys())
        if own:
            raise ValueError(f"attrs: got {own[0]!r}, expected other names than the run's own")
        try:
            json.dumps(self.attrs, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"attrs: cannot be written as JSON: {error}") from None
        self._overwrite = overwrite
        self._written: StoredRun | None = None  # what a resumed run goes on from
        self._own: dict[str, Any] = {}  # attributes of the run
        self._running = False

    @classmethod
    def reopened(cls, written: StoredRun) -> TrajectoryStore:
        """The store of a run that was interrupted, to go on with."""
        own = written.attrs
        attrs = {name: value for name, value in written.attrs.items() if name not in _OWN}
        store = cls(written.path, every=own["every"], checkpoint=own["checkpoint"], attrs=attrs)
        store._written = written
        store._own = {name: value for name, value in written.attrs.items() if name in _OWN}
        return store

    @property
    def layer(self) -> int:
        """The layer of the last checkpoint."""
        return int(self._own["layer"])

    def stored(self) -> StoredRun | None:
        """What is on the disk; None before the run has begun."""
        return StoredRun(self.path) if self._running else None

    # --- What simulate asks of it ---------------------------------------------------------------

    def keeps(self, layer: int) -> bool:
        """Whether a layer before the last is recorded."""
        return self.every is not None and layer % self.every == 0

    def is_due(self, layer: int) -> bool:
        """Whether a layer that is not searched yet is to be saved."""
        return layer >= self.layer + self.checkpoint

    @contextlib.contextmanager
    def running(
        self,
        layers: Resumable,
        start: NDArray[Any],
        matrix: NDArray[Any] | None,
        options: Mapping[str, Any],
        result: Mapping[str, NDArray[Any]],
    ) -> Iterator[None]:
        """Begin a run, or restore what was saved of it into ``layers``; nobody else may write then.

        ``start`` and ``matrix`` are the run's, ``options`` what else :func:`resume` gives to
        ``simulate``, of JSON's types but for infinities; ``result`` is as for :meth:`save`.
        """
        from . import __version__
        from ._zarr_layers import LayerWriter

        self._begun = time.perf_counter()
        if self._written is not None:
            layers.restore(self._written.state())
            self._begun -= self._own["seconds"]
            self._writer = LayerWriter(self.path / LAYERS, start, matrix, self._written.group)
            self._running = True
            yield  # its opener keeps others out
            return
        self._own = {
            "format": FORMAT,
            "version": __version__,
            "options": {name: _to_json(value) for name, value in options.items()},
            "every": self.every,
            "checkpoint": self.checkpoint,
            "turn": 0,
        }
        names = ("path", "overwrite=True")
        with (
            only_writer(self.path) if self.path.is_dir() else contextlib.nullcontext(),
            new_directory(self.path, force=self._overwrite, names=names) as folder,
        ):
            self._writer = LayerWriter(folder / LAYERS, start, matrix)
            self._write(folder, 0, result, layers.state(), finished=False)
        self._writer.folder = self.path / LAYERS
        sync_directory(self.path.parent)
        with only_writer(self.path):
            self._running = True
            yield

    def add(self, layer: int, points: NDArray[Any], winners: Winners) -> None:
        """Record a layer; its arrays must not change later."""
        with self._refusing():
            self._writer.append(layer, points, winners.first, winners.count)

    def save(
        self,
        layer: int,
        result: Mapping[str, NDArray[Any]],
        state: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        """Make all layers so far visible, and ``state`` what the run goes on from, if it goes on.

        ``result`` is what a trajectory tells of the points at ``layer``.
        """
        with self._refusing():
            self._write(self.path, layer, result, state or {}, finished=state is None)

    def _write(
        self,
        folder: Path,
        layer: int,
        result: Mapping[str, NDArray[Any]],
        state: Mapping[str, NDArray[Any]],
        *,
        finished: bool,
    ) -> None:
        own = self._own | {
            "layer": layer,
            "turn": 1 - self._own["turn"],
            "finished": finished,
            "seconds": time.perf_counter() - self._begun,
        }
        arrays: dict[str, Any] = {"layer": np.array(layer), **result}
        arrays |= {STATE + name: array for name, array in state.items()}
        write_aside(folder / state_file(own["turn"]), lambda file: np.savez(file, **arrays))
        sync_directory(folder)
        self._writer.commit(self.attrs | own)
        self._own = own

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise type(error)(
                f"path: cannot write '{self.path}': {error.strerror or error}; it can be resumed "
                f"from layer {self.layer}"
            ) from error


def _to_json(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
