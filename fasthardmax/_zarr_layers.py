"""Layers of a run as a Zarr group: chunked by layer, compressed, appended to without a torn state.

Zarr encodes into memory, and from there this module moves the pieces to the disk in the order that
a crash at any moment needs: chunks first, which nobody looks at yet, then the metadata that make
them visible. The group's own ``zarr.json`` holds the metadata of its arrays as well (consolidated)
and the attributes of the run, so that all of them change at once when it is replaced.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._durable import sync_directory, write_aside

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer
try:
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import MemoryStore
except ImportError:
    raise ImportError(
        "record: the package zarr is missing: pip install 'fasthardmax[store]'"
    ) from None

__all__ = ["LayerWriter", "open_group"]

_CHUNK_BYTES = 1 << 20  # of the points of one chunk, where it holds several layers
_CHUNK_LAYERS = 4096  # at most
_PART_BYTES = 1 << 24  # of one chunk of a single layer
_ROOT = "zarr.json"


def open_group(folder: Path) -> Any:
    """The group in ``folder``, to read."""
    return zarr.open_group(str(folder), mode="r")


class LayerWriter:
    """Appends layers to a Zarr group; what it was given is seen by others after :meth:`commit`.

    The arrays: ``layer`` (K,), the numbers of the recorded layers; ``points`` (K, n, d); ``first``
    and ``count`` (K, n), their winners; ``start`` (n, d), the points of layer 0; ``A`` (d, d) if
    there is one. For batches (K, B, n, d) and so on. Memory is a chunk's: a layer, or 1 MiB.
    """

    def __init__(
        self,
        folder: Path,
        start: NDArray[Any],
        matrix: NDArray[Any] | None,
        written: Any | None = None,
    ) -> None:
        """A new group, or one that goes on after the layers of ``written``, as it was opened."""
        self.folder = folder
        self._pieces: dict[str, Buffer] = {}
        self._group = zarr.create_group(MemoryStore(self._pieces))
        self._waiting: list[tuple[int, NDArray[Any], NDArray[np.int64], NDArray[np.int64]]] = []
        dims = ("cloud", "point", "feature")[-start.ndim :]
        many = min(max(1, _CHUNK_BYTES // max(1, start.nbytes)), _CHUNK_LAYERS)
        self._per_chunk = {"layer": _CHUNK_LAYERS, "points": many, "first": many, "count": many}
        index, rows = np.dtype(np.int64), start.shape[:-1]
        self._grown = (
            self._array("layer", (), index, ("layer",)),
            self._array("points", start.shape, start.dtype, ("layer", *dims)),
            self._array("first", rows, index, ("layer", *dims[:-1])),
            self._array("count", rows, index, ("layer", *dims[:-1])),
        )
        self._given = [self._array("start", start.shape, start.dtype, dims)]
        self._given[0][...] = start
        if matrix is not None:
            names = ("query_feature", "feature")
            self._given.append(self._array("A", matrix.shape, matrix.dtype, names))
            self._given[1][...] = matrix
        self._n_rows = 0
        if written is None:
            for name in self._names():
                (folder / name).mkdir(parents=True)
        else:
            self._go_on_after(written)

    def append(
        self,
        layer: int,
        points: NDArray[Any],
        first: NDArray[np.int64],
        count: NDArray[np.int64],
    ) -> None:
        """Add a layer; the arrays must not change later."""
        self._waiting.append((layer, points, first, count))
        if (self._n_rows + len(self._waiting)) % self._per_chunk["points"] == 0:
            self._encode()
            self._move(key for key in list(self._pieces) if self._is_complete(key))

    def commit(self, attributes: Mapping[str, Any]) -> None:
        """Show all layers so far, together with ``attributes``, once they are on the disk."""
        self._encode()
        self._move(key for key in list(self._pieces) if not key.endswith(_ROOT))
        names = self._names()
        for name in names:
            sync_directory(self.folder / name)
        self._move(f"{name}/{_ROOT}" for name in names)
        root = self._json(_ROOT) | {
            "attributes": dict(attributes),
            "consolidated_metadata": {
                "kind": "inline",
                "must_understand": False,
                "metadata": {name: self._json(f"{name}/{_ROOT}") for name in names},
            },
        }
        write_aside(self.folder / _ROOT, json.dumps(root, indent=2).encode())
        sync_directory(self.folder)

    def _names(self) -> list[str]:
        return [array.basename for array in (*self._grown, *self._given)]

    def _array(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], dims: tuple[str, ...]
    ) -> Any:
        """A new array; the one called "layer" and those by layer have no layers yet."""
        part = list(shape)
        if shape:
            row = max(1, dtype.itemsize * math.prod(shape[1:]))
            part[0] = min(shape[0], max(1, _PART_BYTES // row))
        if name in self._per_chunk:
            shape, part = (0, *shape), [self._per_chunk[name], *part]
        return self._group.create_array(
            name,
            shape=shape,
            chunks=tuple(max(1, size) for size in part),
            dtype=dtype,
            dimension_names=dims,
            chunk_key_encoding={"name": "default", "separator": "."},  # one folder an array
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
            config={"write_empty_chunks": True},  # some versions take -0.0 for empty
        )

    def _go_on_after(self, written: Any) -> None:
        """Take up the layers that are there; an incomplete chunk will be written again."""
        self._n_rows = written["layer"].shape[0]
        for array in self._grown:
            name = array.basename
            begin = self._n_rows - self._n_rows % self._per_chunk[name]
            array.resize((self._n_rows, *array.shape[1:]))
            array[begin:] = written[name][begin:]

    def _encode(self) -> None:
        """Bring the waiting layers into chunks."""
        if not self._waiting:
            return
        begin = self._n_rows
        self._n_rows += len(self._waiting)
        for array, rows in zip(self._grown, zip(*self._waiting, strict=True), strict=True):
            array.resize((self._n_rows, *array.shape[1:]))
            array[begin:] = np.stack(rows)
        self._waiting.clear()

    def _is_complete(self, key: str) -> bool:
        """Whether no later layer can change what is encoded under ``key``."""
        name, _, chunk = key.partition("/c.")
        if name not in self._per_chunk:
            return bool(chunk)
        return (
            bool(chunk) and (int(chunk.split(".")[0]) + 1) * self._per_chunk[name] <= self._n_rows
        )

    def _move(self, keys: Iterable[str]) -> None:
        """Write pieces to the disk; chunks that are complete are forgotten."""
        for key in keys:
            write_aside(self.folder / key, self._pieces[key].to_bytes())
            if self._is_complete(key):
                del self._pieces[key]

    def _json(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._pieces[key].to_bytes())
        return found
