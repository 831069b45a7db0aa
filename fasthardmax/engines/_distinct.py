"""Keys that are equal, as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _cones_kernels as kernels
from ._arrays import rows_of

__all__ = ["distinct_keys"]

_SOME = 1 << 14


def distinct_keys(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32], int]:
    """Distinct keys, the number of each key among them, and how many they are.

    To tell equal keys apart is slower but not wrong: a sample shows whether they are many.
    """
    keys = keys + keys.dtype.type(0)  # -0 becomes 0, which scores the same
    n = len(keys)
    group, first = np.empty(n, np.int32), np.empty(n, np.int32)
    unsigned = f"u{keys.dtype.itemsize}"
    sample = np.ascontiguousarray(keys[:: max(1, n // _SOME)])
    if kernels.collapse(sample.view(unsigned), group, first) == len(sample):
        return keys, np.arange(n, dtype=np.int32), n
    n_groups = kernels.collapse(keys.view(unsigned), group, first)
    return rows_of(keys, first[:n_groups]), group, n_groups
