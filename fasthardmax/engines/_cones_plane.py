"""The cells of the plane: a sweep over each face, and candidates that lie as their lists run.

On a face the keys that may win in a cell are a run of those that may win at all, by slope. So
candidates are numbered face by face: what a query reads lies side by side, and nothing has to be
looked up. A key that may win on several faces is a candidate on each.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_kernels as kernels
from . import _cones_sweep as sweeping
from ._arrays import powers, readonly

__all__ = ["Cells", "side_by_side", "sweep", "tree"]

_FEW = 1 << 12  # keys that are not worth another thread
_COPIED = 1 << 16


class Cells(NamedTuple):
    """Nodes as ``_cones_divide.divide`` describes them, and what their lists run over."""

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    at: NDArray[Any]
    named: NDArray[np.int32]  # key of each candidate


def sweep(
    keys: NDArray[Any], margin: tuple[int, float, float], grid: int, table: NDArray[np.int32],
    limits: tuple[Any, ...], num_threads: int,
) -> Cells:  # fmt: skip
    """Go over each face once, by the slopes of the keys; ``table`` (4, grid) names candidates."""
    n = len(keys)
    exponent, *margins = margin
    slip, least, _, outer, most, budget, _ = limits
    end = 1 + slip
    runs: list[Any] = [None] * 4
    parts: list[Any] = [None] * 4
    together = 4 if n <= _FEW else 1

    def split(start: int, stop: int) -> None:
        for face in range(start, stop):
            f = face // 2
            frame = (1.0 - 2 * (face % 2), *powers(-exponent), *margins)
            kept, slopes = np.empty(n, np.int32), np.empty(n)
            found = sweeping.flank(keys, f, frame, end, kept, slopes)
            order = kept[np.argsort(slopes[:found])]
            first, last = slopes[:found], np.empty(found)
            which = kept[:found]
            found = sweeping.intervals(keys, f, frame, end, order, which, first, last)
            runs[face] = which[:found], first[:found], last[:found]

    for_each_range(split, 4, together, num_threads)
    begins = np.cumsum([0, *(len(run[0]) for run in runs)]).tolist()
    named = np.empty(begins[4], np.int32)

    def cut(start: int, stop: int) -> None:
        for face in range(start, stop):
            which, first, last = runs[face]
            named[begins[face] : begins[face + 1]] = which
            parts[face] = sweeping.cells(
                begins[face], first, last, grid, table[face],
                slip, least, outer, most, int(budget),
            )  # fmt: skip

    for_each_range(cut, 4, together, num_threads)
    nodes = 0
    for face, (low, high, _) in enumerate(parts):
        if nodes:
            low[high < 0] += nodes
            table[face][table[face] >= 0] += nodes
        nodes += len(low)
    low, high, at = (np.concatenate([part[p] for part in parts]) for p in range(3))
    return Cells(low, high, at, named)


def side_by_side(
    keys: NDArray[Any], outer: NDArray[np.int64], low: NDArray[np.int32], high: NDArray[np.int32],
    named: NDArray[np.int32], num_threads: int,
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:  # fmt: skip
    """The candidates, the key that each stands for, their lists, and boxes where there are none.

    For keys of which no two are equal, so that each candidate stands for one of them.
    """
    n = len(named)
    candidates, members = np.empty((n, 2), keys.dtype), np.empty(n, np.int64)

    def copy(start: int, stop: int) -> None:
        some = named[start:stop]
        np.take(keys, some, axis=0, out=candidates[start:stop], mode="clip")
        np.take(outer, some, out=members[start:stop], mode="clip")

    for_each_range(copy, n, _COPIED, num_threads)
    lists, boxes = np.empty(0, np.int32), np.empty((0, 2, 2), keys.dtype)
    if not high.all():
        # In the boxes every key stands once.
        number = np.full(len(keys), -1, np.int32)
        lists = np.arange(n, dtype=np.int32)
        number[named] = lists
        once = number[number >= 0]
        order, boxes = tree(np.take(candidates, once, axis=0))
        low[high == 0] = n
        lists = np.concatenate([lists, once[order]])
    return candidates, members, lists, boxes


def tree(keys: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Boxes around ``keys`` (n, 2), sorted by one feature and then, in slabs, by the other.

    Box i of level l, number 2^l + i, holds the keys ``order[n * i >> l : n * (i + 1) >> l]``,
    between its corners ``boxes[number, 0]`` and ``boxes[number, 1]``.
    """
    n = len(keys)
    levels = (n // 16).bit_length()
    columns = np.ascontiguousarray(keys.T)  # much faster to reduce
    longer = int(np.ptp(columns, axis=1).argmax())
    order = np.argsort(columns[longer]).astype(np.int32)
    across = columns[1 - longer][order]
    half = (levels + 1) // 2
    for begin, end in pairwise((n * np.arange((1 << half) + 1) >> half).tolist()):
        order[begin:end] = order[begin:end][np.argsort(across[begin:end])]
    boxes = np.empty((2 << levels, 2, 2), keys.dtype)
    kernels.boxes_around(readonly(keys), levels, order, boxes)
    return order, boxes
