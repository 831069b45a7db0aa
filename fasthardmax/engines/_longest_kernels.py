"""Kernels of the longest engine: how long keys are, and how long one must be to win."""

from __future__ import annotations

import math

import numpy as np

from ._jit import compiled

__all__ = ["find_lengths", "find_reach"]

# Squares of lengths between these are far from underflow and overflow.
_LEAST, _LARGEST = 1e-260, 1e260


@compiled
def find_lengths(key, centre, start, stop, length):
    """Distances of the keys start..stop-1 to ``centre``."""
    for j in range(start, stop):
        total = 0.0
        for f in range(key.shape[1]):
            x = np.float64(key[j, f]) - centre[f]
            total += x * x
        length[j] = math.sqrt(total)


@compiled
def find_reach(query, key, winner, centre, relative, absolute, start, stop, reach):
    """How far a key must be from ``centre``, at least, to do as well as the ``winner``.

    ``relative`` is slack for each unit of a query's length, ``absolute`` for each query. Nothing is
    said, by minus infinity, where squares could underflow or overflow.
    """
    for i in range(start, stop):
        j = winner[i]
        square = ahead = 0.0
        for f in range(query.shape[1]):
            x = np.float64(query[i, f])
            square += x * x
            ahead += x * (np.float64(key[j, f]) - centre[f])
        reach[i] = -np.inf
        if _LEAST < square < _LARGEST:
            reach[i] = (ahead - absolute) / math.sqrt(square) - relative
