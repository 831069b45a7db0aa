"""Kernel of a glance: how many keys may win in balls of like directions, or in bytes."""

from __future__ import annotations

import math

import numpy as np

from ._jit import compiled, part
from ._rounding import HALF_RANGE

__all__ = ["share_near"]

_ASKERS = 16  # of a ball, at most, that tell what some key scores for all of it
_ROUNDED = math.sqrt(1 / 12)  # by how much a number is on average, as the root of squares


@compiled
def share_near(query, key, peak, n_near, n_balls, rounding):
    """The share of the keys (m, d) that may win in balls of the directions of ``query`` (n, d).

    A ball holds the ``n_near`` directions nearest to one of them. ``rounding`` is how much scores
    may be off for each unit of a key's length. And the share of the keys that bytes do not tell
    from a direction's best one, on average, if the largest magnitude in all keys is ``peak``.
    """
    n, m, d = len(query), len(key), query.shape[1]
    unit, keys = np.empty((d, n)), np.empty((d, m))
    size, likeness, scores = np.zeros(m), np.empty(n), np.empty(m)
    for j in range(n):
        top = total = 0.0
        for f in range(d):
            top = max(top, abs(np.float64(query[j, f])))
        for f in range(d):
            unit[f, j] = query[j, f] / top if top > 0 else 0.0
            total += unit[f, j] * unit[f, j]
        for f in range(d):
            unit[f, j] /= math.sqrt(total) if total > 0 else 1.0
    largest = 0.0
    for i in range(m):
        for f in range(d):
            largest = max(largest, abs(np.float64(key[i, f])))
    for i in range(m):
        for f in range(d):
            keys[f, i] = key[i, f] / largest if largest > 0 else 0.0
            size[i] += keys[f, i] * keys[f, i]
        size[i] = math.sqrt(size[i])
    n_balls = min(n, n_balls)
    may_win = asked = close = 0
    blur = 2 * _ROUNDED * math.sqrt(d) / HALF_RANGE
    coarse, longest = peak / largest if largest > 0 else 0.0, size.max()
    for ball in range(n_balls):
        middle = ball * (n // n_balls)
        _products(unit, middle, unit, likeness)
        farthest = np.partition(likeness, n - n_near)[n - n_near]
        least, met = np.inf, 0
        for j in range(n):
            if likeness[j] >= farthest and met < n_near:
                if met % (1 + n_near // _ASKERS) == 0:
                    _products(unit, j, keys, scores)
                    best, top = scores.max(), np.abs(unit[:, j]).max()
                    least = min(least, best)
                    within = best - blur * (coarse + top * longest)
                    for i in range(m):
                        close += scores[i] >= within
                    close -= 1
                    asked += 1
                met += 1
        cosine = min(max(farthest, 0.0), 1.0)
        sine = math.sqrt(1 - cosine * cosine)
        _products(unit, middle, keys, scores)
        for i in range(m):
            along = scores[i]
            across = math.sqrt(max(size[i] * size[i] - along * along, 0.0))
            most = along * cosine + across * sine if along < cosine * size[i] else size[i]
            may_win += most + rounding * size[i] >= least
    return may_win / (n_balls * m), close / max(1, asked * m)


@part
def _products(unit, j, columns, products):
    """Inner products of a direction, column ``j`` of ``unit``, with all ``columns``."""
    products[:] = 0
    for f in range(len(columns)):
        for i in range(len(products)):
            products[i] += unit[f, j] * columns[f, i]
