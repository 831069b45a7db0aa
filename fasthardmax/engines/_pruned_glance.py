"""How few keys groups of like queries share, by two small samples: whether a look may pay at all.

What :mod:`_pruned_keys` bounds for a cell of directions is bounded here for a ball of the nearest
directions of a sample, as full as a leaf would be, and for a sample of keys. Nothing is proved, and
no answer depends on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._problem import Problem
from ._arrays import at_most, rows_of

__all__ = ["glance"]

_QUERIES, _KEYS, _LEAVES = 512, 1 << 10, 12  # looked at
_LEAF = 128  # queries, about


def glance(problem: Problem) -> float:
    """About the share of query-key pairs of the first batch entry that would be screened.

    It takes some tenths of a millisecond. On 70 clouds (7 kinds, d = 3 to 16, n = 2e4 and 5e4) it
    was at least 0.19 of the estimate where that exceeded a tenth, least on spheres, and never
    exceeded it by more than 0.08.
    """
    query, key = problem.query[problem.query_of[0]], problem.key[problem.key_of[0]]
    unit = _directions(rows_of(query, at_most(_QUERIES, len(query))))
    keys = _at_most_one(rows_of(key, at_most(_KEYS, len(key))))
    centres = unit[:: max(1, len(unit) // _LEAVES)][:_LEAVES]
    likeness = centres @ unit.T
    n_near = min(len(unit), 1 + max(1, round(_LEAF * len(unit) / len(query))))
    near = np.argpartition(-likeness, n_near - 1, axis=1)[:, :n_near]
    least = (unit[near] @ keys.T).max(axis=2).min(axis=1)  # that some key scores, for all of a leaf
    cosine = np.clip(np.take_along_axis(likeness, near, 1).min(axis=1), 0, 1)[:, None]
    sine = np.sqrt(1 - cosine * cosine)
    size = np.sqrt(np.einsum("ij,ij->i", keys, keys))
    along = centres @ keys.T
    across = np.sqrt(np.maximum(size * size - along * along, 0))
    most = np.where(along >= cosine * size, size, along * cosine + across * sine)
    most += 4 * (key.shape[1] + 4) * np.finfo(key.dtype).eps * size  # rounding
    return float(np.mean(most >= least[:, None]))


def _directions(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    top = np.abs(rows).max(axis=1, keepdims=True)
    unit = np.divide(rows, top, out=np.zeros_like(rows), where=top > 0)
    size = np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    return np.divide(unit, size, out=unit, where=size > 0)


def _at_most_one(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Divided by their largest number, if it is not 0."""
    top = np.abs(rows).max(initial=0)
    return rows / top if top > 0 else rows
