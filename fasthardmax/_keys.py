"""Keys whose check may wait for an engine that reads every one of them anyway."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._extent import feature_peaks

__all__ = ["LONG_ROW", "Keys", "may_wait"]

# Queries that few are, keys that many are beside them, and numbers from which reading them twice
# takes longer than all else.
_FEW, _MANY, _LARGE = 64, 1 << 10, 1 << 18
# Bytes of a row of keys that is read along: the longest vector of any processor.
LONG_ROW = 64


def may_wait(n_queries: int, keys: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether reading keys of shape (..., S, d) once less shows, for so many queries of each."""
    n_keys, d = keys[-2:]
    return (
        n_keys >= _MANY
        and n_queries <= _FEW
        and d * dtype.itemsize >= LONG_ROW
        and math.prod(keys) >= _LARGE
    )


class Keys:
    """Keys (B, S, d), C-contiguous, and their features' largest magnitudes.

    They are refused, if they must be, before anyone can have either: in a pass of their own, or in
    that of an engine that reads them :attr:`unchecked` and calls :meth:`settle`.
    """

    __slots__ = ("_check", "_num_threads", "_peak", "unchecked")

    def __init__(
        self,
        array: NDArray[Any],
        peak: NDArray[Any] | None = None,
        *,
        num_threads: int = 1,
        check: Callable[[NDArray[Any], float], None] | None = None,
    ) -> None:
        """Keys with magnitudes ``peak`` (B, d); without them, they wait for their ``check``.

        ``check(peak, largest)`` raises where ``largest`` is NaN, which stands for any NaN and
        infinity, and where scores could overflow.
        """
        self.unchecked = array
        self._peak = peak
        self._num_threads = num_threads
        self._check = check

    @property
    def wait(self) -> bool:
        """Whether they are still to be checked."""
        return self._peak is None

    @property
    def checked(self) -> NDArray[Any]:
        """The keys, all of them finite."""
        if self._peak is None:
            self._find_peak()
        return self.unchecked

    @property
    def peak(self) -> NDArray[Any]:
        """Largest magnitude of each feature, (B, d)."""
        return self._find_peak() if self._peak is None else self._peak

    def settle(self, peak: NDArray[Any]) -> None:
        """Check keys with these magnitudes (B, d), where those of NaN and infinity are such."""
        largest = float(peak.max()) if np.isfinite(peak).all() else math.nan
        self._settle(peak, largest)

    def _find_peak(self) -> NDArray[Any]:
        peak, largest = feature_peaks(self.unchecked, self._num_threads)
        self._settle(peak, largest)
        return peak

    def _settle(self, peak: NDArray[Any], largest: float) -> None:
        if self._check is not None:
            self._check(peak, largest)
        self._peak = peak
