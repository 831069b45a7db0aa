"""A run on disk, to read: its layers one at a time, and the state that it goes on from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .attention import Winners

__all__ = ["FORMAT", "LAYERS", "STATE", "StoredLayers", "StoredRun", "state_file"]

FORMAT = 1  # of the files; another number is another meaning
LAYERS = "trajectory.zarr"
STATE = "state."  # before the names of a computation's own arrays

T = TypeVar("T")


def state_file(turn: int) -> str:
    """The name of a saved state: two take turns, so that one is always whole."""
    return f"state-{turn % 2}.npz"


class StoredLayers(Mapping[int, T], Generic[T]):
    """Layer number to what a layer has, read from the disk at each look."""

    def __init__(self, layers: NDArray[np.int64], read: Callable[[int], T]) -> None:
        self._layers = layers
        self._read = read

    def __getitem__(self, layer: int) -> T:
        row = int(np.searchsorted(self._layers, layer))
        if row == len(self._layers) or self._layers[row] != layer:
            raise KeyError(layer)
        return self._read(row)

    def __iter__(self) -> Iterator[int]:
        return map(int, self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def only(self, wanted: Container[int]) -> StoredLayers[T]:
        """Those of some layers, as far as they are there."""
        rows = [row for row, layer in enumerate(self) if layer in wanted]
        return StoredLayers(self._layers[rows], lambda row: self._read(rows[row]))


class StoredRun:
    """What a :class:`~fasthardmax.TrajectoryStore` wrote to a directory, up to its last checkpoint.

    A run that is still being written can be read: layers that appear later are not seen.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        if not (self.path / LAYERS / "zarr.json").is_file():
            raise FileNotFoundError(
                f"path: got '{self.path}', which holds no run, expected the directory of a run "
                "with checkpoints"
            )
        from ._zarr_layers import open_group

        self.group = open_group(self.path / LAYERS)
        self.attrs: dict[str, Any] = dict(self.group.attrs)
        if self.attrs.get("format") != FORMAT:
            raise ValueError(
                f"path: got '{self.path}', written by fasthardmax {self.attrs.get('version')}, "
                "expected a run of a version that this one understands"
            )
        layers = self.group["layer"][...]
        points, first, count = (self.group[name] for name in ("points", "first", "count"))
        self.recorded = StoredLayers(layers, lambda row: np.asarray(points[row]))
        self.winners = StoredLayers(layers, lambda row: Winners(first[row], count[row]))

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``simulate`` beside the points, the matrix and the record."""
        options: dict[str, Any] = self.attrs["options"]
        return {name: float(x) if x == "inf" else x for name, x in options.items()}

    @property
    def start(self) -> NDArray[Any]:
        """The points of layer 0."""
        return np.asarray(self.group["start"][...])

    @property
    def matrix(self) -> NDArray[Any] | None:
        """The matrix A, if there is one."""
        return np.asarray(self.group["A"][...]) if "A" in self.group else None

    def result(self) -> dict[str, NDArray[Any]]:
        """The points, labels, leader layers and engine at the last checkpoint, and its layer."""
        with self._saved() as file:
            return {name: file[name] for name in file.files if not name.startswith(STATE)}

    def state(self) -> dict[str, NDArray[Any]]:
        """What a computation is restored from."""
        with self._saved() as file:
            names = [name for name in file.files if name.startswith(STATE)]
            return {name.removeprefix(STATE): file[name] for name in names}

    @contextlib.contextmanager
    def _saved(self) -> Iterator[Any]:
        from zipfile import BadZipFile  # slow to import

        path = self.path / state_file(self.attrs["turn"])
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                yield arrays
        except (ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f"path: '{path}' is damaged: {error}") from None
