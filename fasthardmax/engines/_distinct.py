"""Keys that are equal, as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _cones_kernels as kernels
from ._arrays import rows_of

__all__ = ["distinct_keys"]

_SOME = 1 << 14


def distinct_keys(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32] | None, int]:
    """Distinct keys, the number of each key among them, None for its own, and how many they are.

    To tell equal keys apart is slower but not wrong: a sample shows whether they are many.
    """
    n = len(keys)
    group, first = np.empty(n, np.int32), np.empty(n, np.int32)
    sample = _bits(keys[:: max(1, n // _SOME)])
    if kernels.collapse(sample, group, first) == len(sample):
        return keys, None, n
    n_groups = kernels.collapse(_bits(keys), group, first)
    return rows_of(keys, first[:n_groups]), group, n_groups


def _bits(keys: NDArray[Any]) -> NDArray[Any]:
    """The bits of each number, but those of -0 as of 0, which scores the same."""
    zero = keys.dtype.type(0)
    return np.ascontiguousarray(keys + zero).view(f"u{keys.dtype.itemsize}")
