"""How far an array of finite numbers reaches, feature by feature."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._peaks import find_peaks, raise_peaks
from ._threads import for_each_range

__all__ = ["feature_peaks"]

_ELEMENTS_PER_RANGE = 1 << 19  # about half a millisecond
_ELEMENTS_COPIED = 1 << 17  # still in a core's cache when they are looked at


def feature_peaks(
    batch: NDArray[Any], num_threads: int, copy: NDArray[Any] | None = None
) -> tuple[NDArray[Any], float]:
    """Largest magnitudes (B, d) in ``batch`` (B, n, d), and the largest of all.

    The latter is NaN if any number is NaN or infinite; then the former mean nothing. The batch is
    copied to ``copy``, if given, with negative zeros as zeros; it may be the batch itself.
    """
    per_range = _ELEMENTS_PER_RANGE if copy is None else _ELEMENTS_COPIED
    if batch.size < 2 * per_range or num_threads == 1:
        return find_peaks(batch if copy is None else _copied(batch, copy, ...))
    n_batch, n, d = batch.shape
    peak = np.zeros((n_batch, d), batch.dtype)
    split_rows = n_batch == 1
    parts = []

    def scan(start: int, stop: int) -> None:
        if split_rows:
            part, rows = np.zeros_like(peak), (slice(None), slice(start, stop))
        else:
            part, rows = peak[start:stop], (slice(start, stop), slice(None))
        parts.append((part, raise_peaks(_copied(batch, copy, rows), part)))

    length = n if split_rows else n_batch
    for_each_range(scan, length, max(1, per_range * length // batch.size), num_threads)
    if split_rows:
        peak = np.max([part for part, _ in parts], axis=0)
    return peak, float(np.max([largest for _, largest in parts]))


def _copied(batch: NDArray[Any], copy: NDArray[Any] | None, rows: Any) -> NDArray[Any]:
    """Some rows, of the copy if there is one."""
    if copy is None:
        return batch[rows]
    np.add(batch[rows], batch.dtype.type(0), out=copy[rows])  # -0.0 becomes 0.0
    part: NDArray[Any] = copy[rows]
    return part
