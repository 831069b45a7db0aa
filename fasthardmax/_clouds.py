"""Points and matrix as the dynamics take them: checked, promoted, contiguous, always a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._extent import feature_peaks
from ._validate import check_matrix, check_points, check_reach
from .numerics import compute_dtype

__all__ = ["read_clouds"]


def read_clouds(
    points: ArrayLike, A: ArrayLike | None, num_threads: int = 1
) -> tuple[NDArray[Any], NDArray[Any] | None, bool]:
    """New clouds (B, n, d), the matrix (d, d) or None, and whether ``points`` was one cloud."""
    start = check_points(points)
    matrix = None if A is None else check_matrix("A", A, start.shape[-1])
    dtype = compute_dtype(start.dtype, *(() if matrix is None else (matrix.dtype,)))
    clouds = np.array(start, dtype=dtype, order="C", ndmin=3)
    clouds += dtype.type(0)  # -0.0 becomes 0.0
    if matrix is not None:
        matrix = np.ascontiguousarray(matrix, dtype=dtype)
    check_reach(clouds, matrix, feature_peaks(clouds, num_threads)[0].max(axis=0, initial=0))
    return clouds, matrix, start.ndim == 2
