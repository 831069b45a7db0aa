"""The cells of the plane: a sweep over each face, and candidates that lie as their lists run.

On a face the keys that may win in a cell are a run of those that may win at all, by slope. So
candidates are numbered face by face: what a query reads lies side by side, and nothing has to be
looked up. A key that may win on several faces is a candidate on each.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_kernels as kernels
from . import _cones_sweep as sweeping
from ._arrays import powers, readonly
from ._cones_entries import LONGEST_RUN, MOST_CANDIDATES

__all__ = ["Cells", "Room", "spread", "sweep", "tree"]

_FEW = 1 << 12  # keys that are not worth another thread


class Cells(NamedTuple):
    """Nodes as ``_cones_divide.divide`` describes them, and what their lists run over."""

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    at: NDArray[Any]
    named: NDArray[np.int32]  # key of each candidate
    candidates: NDArray[Any]  # (c, 2): those keys


def sweep(
    keys: NDArray[Any], margin: tuple[int, float, float], grid: int, table: NDArray[np.int32],
    limits: tuple[Any, ...], once: bool, num_threads: int,
) -> Cells:  # fmt: skip
    """Go over each face once, by the slopes of the keys; ``table`` (4, grid) names candidates.

    It names runs of several only if no two keys are equal, each of them there but ``once``.
    """
    exponent, *margins = margin
    slip, least, _, outer, most, budget, _ = limits
    end = 1 + slip
    longest = 0 if 4 * len(keys) > MOST_CANDIDATES else LONGEST_RUN if once else 1
    parts: list[Any] = [None] * 4
    rooms: list[Room] = []  # one a thread
    together = 4 if len(keys) <= _FEW else 1

    def split(start: int, stop: int) -> None:
        try:
            room = rooms.pop()
        except IndexError:
            room = Room(keys)
        for face in range(start, stop):
            f = face // 2
            frame = (1.0 - 2 * (face % 2), *powers(-exponent), *margins)
            named, rows, first, last = room.runs(keys, f, frame, end)
            nodes = sweeping.cells(
                first, last, grid, table[face], longest, slip, least, outer, most, int(budget)
            )
            parts[face] = (*nodes, named, rows)
        rooms.append(room)

    for_each_range(split, 4, together, num_threads)
    nodes = np.cumsum([0, *(len(part[0]) for part in parts)])
    listed = np.cumsum([0, *(len(part[3]) for part in parts)])
    named, candidates = np.empty(listed[4], np.int32), np.empty((listed[4], 2), keys.dtype)

    def join(start: int, stop: int) -> None:
        for face in range(start, stop):
            node, first = np.int32(nodes[face]), np.int32(listed[face])
            low, high, _, *run = parts[face]
            low[:] += np.where(high < 0, node, first)
            table[face] += np.where(table[face] < 0, -LONGEST_RUN * first, node)
            here = slice(first, listed[face + 1])
            named[here], candidates[here] = run

    for_each_range(join, 4, together, num_threads)
    low, high, at = (np.concatenate([part[p] for part in parts]) for p in range(3))
    return Cells(low, high, at, named, candidates)


class Room:
    """Where a thread finds the runs of one face after another, in pages that it has used before."""

    def __init__(self, keys: NDArray[Any]) -> None:
        n = len(keys)
        self._rows, self._kept = np.empty_like(keys), np.empty((2, n), np.int32)
        self._numbers, self._order = np.empty((4, n)), np.empty(n, np.int64)

    def runs(
        self, keys: NDArray[Any], f: int, frame: tuple[float, ...], end: float
    ) -> tuple[NDArray[Any], ...]:
        """Numbers and rows of the keys that may win on a face, by slope; where each may."""
        first, last, lines = self._numbers[0], self._numbers[1], self._numbers[2:]
        slopes, order, (kept, hull) = first, self._order, self._kept
        # What lies far apart in memory is read once: rows are copied as they are met.
        n = sweeping.flank(keys, f, frame, end, self._rows, kept, slopes)
        bits = n.bit_length()
        order, rows = order[:n], np.empty_like(keys)  # in large pages, if there are many keys
        sweeping.mark(slopes[:n], bits, order)
        order.sort()
        arrange = partial(sweeping.arrange, self._rows, f, frame, bits, order, rows, lines, hull)
        on_top = arrange()
        if on_top < 0:
            slopes = self._rows[order, 1 - f].astype(np.float64)
            order[:] = order[np.argsort(slopes, kind="stable")]  # nearly sorted: fast
            on_top = arrange()
        n = sweeping.intervals(lines, frame, hull[:on_top], end, order, rows, first, last)
        return np.take(kept, order[:n]), rows[:n], first[:n], last[:n]


def spread(
    cells: Cells, keys: NDArray[Any], outer: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any]]:
    """The key that each candidate stands for, lists, and boxes where cells have none.

    For ``keys`` of which no two are equal, so that each candidate stands for one of them. Lists are
    empty if they would run over all candidates, as :func:`sweep` numbers them.
    """
    named, n = cells.named, len(cells.named)
    all_keys = outer[-1] == len(outer) - 1
    members = named if all_keys else np.take(outer, named).astype(np.int32)
    lists, boxes = np.empty(0, np.int32), np.empty((0, 2, 2), keys.dtype)
    if not cells.high.all():
        # In the boxes every key stands once.
        number = np.full(len(keys), -1, np.int32)
        lists = np.arange(n, dtype=np.int32)
        number[named] = lists
        once = number[number >= 0]
        order, boxes = tree(np.take(cells.candidates, once, axis=0))
        cells.low[cells.high == 0] = n
        lists = np.concatenate([lists, once[order]])
    return members, lists, boxes


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
