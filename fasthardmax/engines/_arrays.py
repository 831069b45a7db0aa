"""Arrays as the Numba kernels take them: read-only, some rows, scaled by powers of two."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["at_most", "columns_of", "powers", "readonly", "rows_of", "scaled", "scattered"]

_SCATTER = 2654435769  # 2^32 over the golden ratio: its multiples fall evenly, by no period


def readonly(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: Numba compiles anew for each mix of writable and read-only arguments."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.setflags(write=False)
    return view


def rows_of(keys: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """``keys[rows]``, several times as fast."""
    return np.take(keys, rows, axis=0)


def columns_of(rows: NDArray[Any], lanes: int) -> NDArray[np.float64]:
    """``rows`` (n, d), n positive, as columns (d, m): whole vectors, filled up with the first."""
    n, d = rows.shape
    columns = np.empty((d, -(-n // lanes) * lanes))
    columns[:, :n], columns[:, n:] = rows.T, rows[:1].T
    return columns


@lru_cache(maxsize=16)
def at_most(most: int, n: int) -> NDArray[np.int64]:
    """So many of ``n`` rows or fewer, scattered; read-only."""
    return readonly(scattered(n, max(1, -(-n // most))))


def scattered(n: int, step: int) -> NDArray[np.int64]:
    """One row, anywhere, of each ``step``: order in the data is no bias."""
    runs = np.arange(n // step)
    return runs * step + (runs * _SCATTER % (1 << 32) * step >> 32)


def scaled(x: NDArray[Any], exponent: int) -> NDArray[Any]:
    """``x`` times a power of two, in float64."""
    half, rest = powers(exponent)
    return x.astype(np.float64) * half * rest


def powers(exponent: int) -> tuple[float, float]:
    """Two numbers whose product is a power of two, which alone might overflow."""
    half = exponent // 2
    return 2.0**half, 2.0 ** (exponent - half)
