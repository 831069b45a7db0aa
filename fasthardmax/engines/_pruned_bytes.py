"""Keys in bytes for the pruned engine, and the room in which a thread screens them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Problem
from .._threads import for_each_range
from . import _pruned_rough
from ._arrays import readonly
from ._byte_products import BYTES_GAIN, MULTIPLIES_BYTES
from ._decide import MOST_BLOCKS
from ._rough import least_peak, lengths_of, scales_of
from ._vectors import panel_of_sums

__all__ = ["Rough", "room_for_rough", "round_keys"]

# Whether bytes gain so much that gathering them pays; features and keys for which it does.
_PAYS = MULTIPLIES_BYTES and BYTES_GAIN >= 4
_FROM, _TO, _LEAST_KEYS = 12, 1 << 16, 1 << 11
_ROUNDED_ROWS, _TURNS = 512, 16


class Rough(NamedTuple):
    """Keys of a batch entry in multiples of a unit, as :mod:`_rough` rounds them."""

    words: NDArray[np.int32]  # four features in each
    bounds: tuple[Any, Any, Any, Any]  # unit, least peak of a query, largest |y| and |K + y|


def round_keys(problem: Problem, k: int) -> Rough | None:
    """The keys of entry ``k`` in bytes, where that may pay."""
    n, d = problem.n_keys, problem.n_features
    peak = problem.key_peak[k : k + 1].max(axis=1, initial=0)
    worth = _PAYS and _FROM <= d <= _TO and n >= _LEAST_KEYS
    if not (worth and peak[0] > least_peak(problem.dtype)):
        return None
    inverse, unit, least = scales_of(peak)
    rounded = np.empty((1, n, -(-d // 4) * 4), np.uint8)
    kept, missed = np.zeros((2, 1, -(-n // _ROUNDED_ROWS)), np.int64)
    key = readonly(problem.key[k : k + 1])

    def turns(start: int, stop: int) -> None:
        _pruned_rough.round_some(
            start, stop, key, inverse, _ROUNDED_ROWS, rounded, kept[0], missed[0]
        )

    for_each_range(turns, kept.size, _TURNS, problem.num_threads)
    near, far = lengths_of(kept, missed, d, problem.dtype)[0]
    return Rough(rounded.view(np.int32)[0], (unit[0], least[0], near, far))


def room_for_rough(rough: Rough, problem: Problem) -> tuple[Any, ...]:
    """What the kernels take: the keys, places for a panel of queries, its table and its winners."""
    n, dtype = problem.n_keys, problem.dtype
    width, vectors, _ = panel_of_sums(problem.n_features, dtype.itemsize)
    n_words = rough.words.shape[1]
    return (
        readonly(rough.words),
        rough.bounds,
        np.zeros((1, n_words * width), np.int32),
        np.zeros((1, width), np.int32),
        np.zeros((1, width), dtype),
        np.zeros((1, width), dtype),
        np.empty((1, MOST_BLOCKS, width), dtype),
        np.empty((n, n_words), np.int32),
        np.empty((5, width), dtype),
        np.empty((2, width), np.int64),
        np.zeros(MOST_BLOCKS, np.uint8),
        vectors,
    )
