"""Points and matrix as the dynamics take them: checked, promoted, contiguous, always a batch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._extent import feature_peaks
from ._heap import keep_freed
from ._validate import check_finite, check_matrix, check_reach, check_shape
from .numerics import compute_dtype

__all__ = ["Clouds", "read_clouds"]


class Clouds(NamedTuple):
    """What :func:`read_clouds` reads."""

    points: NDArray[Any]  # (B, n, d), new
    matrix: NDArray[Any] | None  # (d, d)
    single: bool  # one cloud was given, without a batch
    peak: NDArray[Any]  # (B, d): largest magnitude of each feature


def read_clouds(points: ArrayLike, A: ArrayLike | None, num_threads: int = 1) -> Clouds:
    """Clouds and matrix in the compute dtype; negative zeros are zeros."""
    start = check_shape(points)
    matrix = None if A is None else check_matrix("A", A, start.shape[-1])
    dtype = compute_dtype(start.dtype, *(() if matrix is None else (matrix.dtype,)))
    given = start if start.ndim == 3 else start[None]
    ready = given.flags.c_contiguous and given.flags.aligned and given.dtype == dtype
    keep_freed(given.nbytes)
    clouds = np.empty(given.shape, dtype) if ready else np.array(given, dtype, order="C")
    peak, largest = feature_peaks(given if ready else clouds, num_threads, clouds)
    if math.isnan(largest):
        check_finite("points", start)
    if matrix is not None:
        matrix = np.ascontiguousarray(matrix, dtype=dtype)
    check_reach(clouds, matrix, peak.max(axis=0, initial=0))
    return Clouds(clouds, matrix, start.ndim == 2, peak)
