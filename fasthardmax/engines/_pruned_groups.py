"""Queries in groups of like directions, and keys in tiles: what the pruned engine searches in."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Problem
from .._threads import for_each_range
from . import _pruned_keys, _pruned_queries
from ._arrays import readonly
from ._vectors import geometry

__all__ = [
    "Candidates",
    "Groups",
    "Keys",
    "arrange_keys",
    "arrange_queries",
    "arrange_some_queries",
    "room",
]

# The bytes of packed queries that share the second-level cache with keys.
_PANEL_BYTES = 1 << 17
_MAX_PANELS = 8
# A leaf is a few panels, a top group a cell or so many leaves of it.
_LEAVES = 32
# Cells for the square root of the number of queries.
_CELLS = 0.4
_ROWS_PER_CELL_SAMPLED = 16
_VECTORS = (0,) * 3  # of a panel that looks for its nearest centres
_ROWS_PER_RANGE = 1 << 13
# Lists of the longest keys, by the share of all, that may spare a look at the rest; none shorter
# than so many keys.
_LONGEST, _LEAST_LONGEST = (1 / 64, 1 / 16, 1 / 4), 256
_NORMS = 1 << 12  # norms looked at
# A sample groups one query in so many, and looks at so many leaves.
_ROWS_PER_ROW_SAMPLED, _LEAVES_SAMPLED = 4, 8


class Shape(NamedTuple):
    """How queries are packed: a leaf is some panels of ``width`` queries."""

    width: int
    leaf: int
    vectors: tuple[int, ...]
    unroll: tuple[int, ...]


class Candidates(NamedTuple):
    """Keys that may win, in increasing order: tiled features, norms, indices, and their number.

    No other key's norm exceeds ``floor``, if that is positive; else no other may win.
    """

    tiles: NDArray[Any]
    norm: NDArray[Any]
    which: NDArray[np.int64]
    n: int
    floor: Any


class Keys(NamedTuple):
    """Keys of a batch entry, divided by ``scale``, a power of two: the longest ones, more, all."""

    lists: list[Candidates]
    scale: float


class _Cells(NamedTuple):
    """Queries cell after cell: directions, original rows; lengths in the original order."""

    unit: NDArray[Any]
    size: NDArray[Any]
    order: NDArray[np.int64]
    borders: NDArray[np.int64]  # cell c holds rows borders[c]..borders[c + 1] - 1


class Groups(NamedTuple):
    """Queries in order: directions, lengths, original rows, and the borders of the top groups."""

    unit: NDArray[Any]
    size: NDArray[Any]
    order: NDArray[np.int64]
    tops: NDArray[np.int64]
    shape: Shape


def _shape(problem: Problem) -> Shape:
    # One specialisation for all shapes: where few queries or features would merit their own,
    # another engine is faster.
    d, itemsize = problem.n_features, problem.dtype.itemsize
    width, vectors, unroll = geometry(d + 4, 1 << 30, itemsize)
    panel_bytes = width * max(1, d) * itemsize
    leaf = width * min(_MAX_PANELS, max(1, _PANEL_BYTES // panel_bytes))
    return Shape(width, leaf, vectors, unroll)


def room(n: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tiles and norms of at most ``n`` keys."""
    return np.empty(-(-n // _pruned_keys.TILE) * _pruned_keys.TILE * d, np.float32), np.empty(
        n, np.float32
    )


def arrange_keys(problem: Problem, k: int) -> Keys:
    n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
    info = np.finfo(dtype)
    exponent = math.frexp(float(problem.key_peak[k].max(initial=0)))[1]
    exponent = max(exponent, 1 - info.maxexp)  # its inverse must be a number
    tiles, norm = room(n, d)
    factor = dtype.type(math.ldexp(1.0, -exponent))
    single = np.finfo(np.float32)
    least = np.float32(math.sqrt(single.tiny) / single.eps)
    key = readonly(problem.key[k])

    def tile(start: int, stop: int) -> None:
        _pruned_keys.tile(key, factor, start, stop, tiles, norm, least)

    for_each_range(tile, n, _ROWS_PER_RANGE, problem.num_threads)
    every = Candidates(tiles, norm, np.arange(n), n, np.float32(0))
    return Keys([*_longest(key, factor, every), every], math.ldexp(1.0, exponent))


def _longest(key: NDArray[Any], factor: Any, every: Candidates) -> list[Candidates]:
    """Lists of the longest keys, shortest list first, where norms differ enough."""
    few = np.sort(every.norm[:: max(1, every.n // _NORMS)])
    lists, norm, which = [], every.norm, every.which
    for share in reversed(_LONGEST):
        if share * every.n < _LEAST_LONGEST:
            break
        floor = few[-max(1, int(share * len(few)))]
        longer = np.flatnonzero(norm > floor)
        if not 0 < 2 * len(longer) < len(norm):
            break
        norm, which = norm[longer], which[longer]
        tiles, _ = room(len(which), key.shape[1])
        _pruned_keys.retile(key, factor, which, tiles)
        lists.append(Candidates(tiles, norm, which, len(which), floor))
    return lists[::-1]


def _directions(
    query: NDArray[Any], scale: float, num_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    unit, size = np.empty_like(query), np.empty(len(query), query.dtype)
    query = readonly(query)

    def turn(start: int, stop: int) -> None:
        _pruned_queries.directions(query[start:stop], unit[start:stop], size[start:stop], scale)

    for_each_range(turn, len(query), _ROWS_PER_RANGE, num_threads)
    return unit, size


def _scattered(n: int, step: int) -> NDArray[np.int64]:
    """One row, anywhere, of each ``step``: order in the data is no bias."""
    first = np.arange(0, n - step + 1, step)
    return first + np.random.default_rng(0).integers(step, size=len(first))


def _count_cells(problem: Problem) -> int:
    n = problem.n_queries
    return max(1, min(int(_CELLS * math.sqrt(n)), n // _shape(problem).leaf))


def _arrange_cells(query: NDArray[Any], n_cells: int, scale: float, num_threads: int) -> _Cells:
    """Queries sorted by the nearest of some spread-out centres."""
    n, d = query.shape
    unit, size = _directions(query, scale, num_threads)
    nearest = np.zeros(n, np.uint16)  # sorted by radix
    if n_cells > 1:
        centres = np.empty((n_cells, d), np.float32)
        step = max(1, n // (_ROWS_PER_CELL_SAMPLED * n_cells))
        sample = unit[_scattered(n, step)].astype(np.float32)
        _pruned_queries.spread(sample, centres, _VECTORS)

        def assign(start: int, stop: int) -> None:
            _pruned_queries.assign(unit, centres, start, stop, nearest, _VECTORS)

        for_each_range(assign, n, _ROWS_PER_RANGE, num_threads)
    order = np.argsort(nearest, kind="stable")
    sizes = np.bincount(nearest)
    borders = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return _Cells(np.take(unit, order, axis=0), size, order, borders)


def _split_cells(
    cells: _Cells, chosen: NDArray[np.int64], shape: Shape, num_threads: int
) -> Groups:
    """Cells with the rows of the ``chosen`` ones reordered, so that each leaf is narrow."""
    unit, order, borders = cells.unit, cells.order, cells.borders.tolist()
    n = len(unit)
    workspace = (
        np.empty_like(unit), np.empty_like(order), np.empty(n, unit.dtype), np.empty(n, unit.dtype)
    )  # fmt: skip

    def split(start: int, stop: int) -> None:
        for cell in chosen[start:stop]:
            _pruned_queries.split(
                unit, order, shape.leaf, borders[cell], borders[cell + 1], *workspace
            )

    for_each_range(split, len(chosen), 1, num_threads)
    most = shape.leaf * _LEAVES
    tops = [row for begin, end in pairwise(borders) for row in range(begin, end, most)]
    return Groups(unit, cells.size[order], order, np.array([*tops, n]), shape)


def arrange_queries(problem: Problem, q: int, scale: float) -> Groups:
    """All queries of batch entry ``q``, for keys divided by ``scale``."""
    threads = problem.num_threads
    cells = _arrange_cells(problem.query[q], _count_cells(problem), scale, threads)
    return _split_cells(cells, np.arange(len(cells.borders) - 1), _shape(problem), threads)


def arrange_some_queries(
    problem: Problem, q: int, scale: float
) -> tuple[Groups, list[tuple[int, int]]]:
    """A quarter of the queries, grouped like all, and the rows of a few leaves, half as full."""
    shape, n_cells, query = _shape(problem), _count_cells(problem), problem.query[q]
    if n_cells > 1:
        query = query[_scattered(len(query), _ROWS_PER_ROW_SAMPLED)]
        shape = shape._replace(leaf=max(1, shape.leaf // 2))
    cells = _arrange_cells(query, n_cells, scale, problem.num_threads)
    middles = (2 * np.arange(_LEAVES_SAMPLED) + 1) * len(query) // (2 * _LEAVES_SAMPLED)
    chosen = np.searchsorted(cells.borders, middles, side="right") - 1
    groups = _split_cells(cells, np.unique(chosen), shape, problem.num_threads)
    leaves = []
    for middle, cell in zip(middles.tolist(), chosen, strict=True):
        begin, end = cells.borders[cell : cell + 2].tolist()
        start = begin + (middle - begin) // shape.leaf * shape.leaf
        leaves.append((start, min(start + shape.leaf, end)))
    return groups, leaves
