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
from ._pruned_bytes import Rough
from ._vectors import geometry

__all__ = [
    "Candidates",
    "Groups",
    "Keys",
    "Prepared",
    "arrange_keys",
    "arrange_queries",
    "arrange_some_queries",
    "find_centres",
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
_SCATTER = 2654435769  # 2^32 over the golden ratio: its multiples fall evenly, by no period
_VECTORS = (0,) * 3  # of a panel that looks for its nearest centres
_ROWS_PER_RANGE = 1 << 13
# Lists of the longest keys, by the share of all, that may spare a look at the rest; none shorter
# than so many keys.
_LONGEST, _LEAST_LONGEST = (1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64), 256
_NORMS = 1 << 12  # norms looked at
# A sample groups one query in so many, of few queries and of many, and looks at so many leaves.
_ROWS_PER_ROW_SAMPLED, _MANY, _LEAVES_SAMPLED = (8, 16), 1 << 15, 12


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
    """Lists of a batch entry's keys, divided by ``scale``, a power of two: the longest, more, all.

    List c is the ``sizes[c]`` keys from place ``starts[c]`` on, as :class:`Candidates`.
    """

    tiles: NDArray[np.float32]
    norm: NDArray[np.float32]
    which: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    floors: NDArray[np.float32]
    scale: float
    rough: Rough | None = None  # the same keys in bytes

    @property
    def lists(self) -> list[Candidates]:
        """The shortest first."""
        d = len(self.tiles) // len(self.norm)
        return [
            Candidates(self.tiles[start * d :], self.norm[start:], self.which[start:], n, floor)
            for start, n, floor in zip(
                self.starts.tolist(), self.sizes.tolist(), self.floors, strict=True
            )
        ]


class Prepared(NamedTuple):
    """What a look at the first batch entry leaves for its search."""

    keys: Keys
    centres: NDArray[np.float32]  # of its queries


class _Cells(NamedTuple):
    """Queries cell after cell: original rows; directions and lengths in the original order."""

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


def _whole_tiles(n: int) -> int:
    return -(-n // _pruned_keys.TILE) * _pruned_keys.TILE


def arrange_keys(problem: Problem, k: int) -> Keys:
    n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
    info = np.finfo(dtype)
    exponent = math.frexp(float(problem.key_peak[k].max(initial=0)))[1]
    exponent = max(exponent, 1 - info.maxexp)  # its inverse must be a number
    n_longest = sum(1 for share in _LONGEST if share * n >= _LEAST_LONGEST)
    # Each list has at most 3/4 of the one before.
    places = (4 if n_longest else 1) * _whole_tiles(n) + n_longest * _pruned_keys.TILE
    tiles, norm = room(places, d)
    which = np.empty(places, np.int64)
    factor = dtype.type(math.ldexp(1.0, -exponent))
    single = np.finfo(np.float32)
    least = np.float32(math.sqrt(single.tiny) / single.eps)
    key = readonly(problem.key[k])

    def tile(start: int, stop: int) -> None:
        _pruned_keys.tile(key, factor, start, stop, tiles, norm, least)

    for_each_range(tile, n, _ROWS_PER_RANGE, problem.num_threads)
    which[:n] = np.arange(n)
    starts, sizes, floors = [0], [n], [np.float32(0)]
    few = np.sort(norm[: n : max(1, n // _NORMS)]) if n_longest else norm[:0]
    for share in _LONGEST[:n_longest]:
        floor = few[-max(1, int(share * len(few)))]
        at, size = starts[-1], sizes[-1]
        n_longer = int(np.count_nonzero(norm[at : at + size] > floor))
        if 2 * n_longer < share * n or 4 * n_longer > 3 * size:
            break  # norms hardly differ
        to = at + _whole_tiles(size)
        _pruned_keys.longer(
            key, factor, norm[at:], which[at:], size, floor, tiles[to * d :], norm[to:], which[to:]
        )
        starts.append(to)
        sizes.append(n_longer)
        floors.append(floor)
    return Keys(
        tiles, norm, which, np.array(starts[::-1]), np.array(sizes[::-1]), np.array(floors[::-1]),
        math.ldexp(1.0, exponent),
    )  # fmt: skip


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
    runs = np.arange(n // step)
    return runs * step + (runs * _SCATTER % (1 << 32) * step >> 32)


def _count_cells(problem: Problem) -> int:
    n = problem.n_queries
    return max(1, min(int(_CELLS * math.sqrt(n)), n // _shape(problem).leaf))


def find_centres(problem: Problem, q: int) -> NDArray[np.float32]:
    """Spread-out directions of queries of batch entry ``q``, one for each cell."""
    query, n_cells = problem.query[q], _count_cells(problem)
    centres = np.zeros((n_cells, problem.n_features), np.float32)
    if n_cells > 1:
        step = max(1, len(query) // (_ROWS_PER_CELL_SAMPLED * n_cells))
        unit, _ = _directions(query[_scattered(len(query), step)], 1.0, 1)
        _pruned_queries.spread(unit.astype(np.float32), centres, _VECTORS)
    return centres


def _arrange_cells(
    query: NDArray[Any], centres: NDArray[np.float32], scale: float, num_threads: int
) -> _Cells:
    """Queries sorted by the nearest of the centres."""
    unit, size = _directions(query, scale, num_threads)
    nearest = np.zeros(len(query), np.uint16)  # sorted by radix
    if len(centres) > 1:

        def assign(start: int, stop: int) -> None:
            _pruned_queries.assign(unit, centres, start, stop, nearest, _VECTORS)

        for_each_range(assign, len(query), _ROWS_PER_RANGE, num_threads)
    order = np.argsort(nearest, kind="stable")
    sizes = np.bincount(nearest)
    borders = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return _Cells(unit, size, order, borders)


def _split_cells(
    cells: _Cells, chosen: NDArray[np.int64], shape: Shape, num_threads: int
) -> Groups:
    """The rows of the ``chosen`` cells, so that each leaf is narrow; those of others are left."""
    unit, size, order = (np.empty_like(part) for part in cells[:3])
    borders = cells.borders.tolist()

    def split(start: int, stop: int) -> None:
        for cell in chosen[start:stop]:
            _pruned_queries.split(
                *cells[:3], shape.leaf, borders[cell], borders[cell + 1], unit, size, order
            )

    for_each_range(split, len(chosen), 1, num_threads)
    most = shape.leaf * _LEAVES
    tops = [row for begin, end in pairwise(borders) for row in range(begin, end, most)]
    return Groups(unit, size, order, np.array([*tops, len(unit)]), shape)


def arrange_queries(problem: Problem, q: int, centres: NDArray[np.float32], scale: float) -> Groups:
    """All queries of batch entry ``q``, for keys divided by ``scale``."""
    threads = problem.num_threads
    cells = _arrange_cells(problem.query[q], centres, scale, threads)
    return _split_cells(cells, np.arange(len(cells.borders) - 1), _shape(problem), threads)


def arrange_some_queries(
    problem: Problem, q: int, centres: NDArray[np.float32], scale: float
) -> tuple[Groups, list[tuple[int, int]]]:
    """Some of the queries, grouped like all, and the rows of a few leaves.

    Leaves are fuller than their share of the sample, for few rows have narrower caps.
    """
    shape, query = _shape(problem), problem.query[q]
    if len(centres) > 1:
        step = _ROWS_PER_ROW_SAMPLED[len(query) >= _MANY]
        query = query[_scattered(len(query), step)]
        shape = shape._replace(leaf=max(1, shape.leaf // math.isqrt(step)))
    cells = _arrange_cells(query, centres, scale, problem.num_threads)
    middles = (2 * np.arange(_LEAVES_SAMPLED) + 1) * len(query) // (2 * _LEAVES_SAMPLED)
    chosen = np.searchsorted(cells.borders, middles, side="right") - 1
    groups = _split_cells(cells, np.unique(chosen), shape, num_threads=1)  # few rows
    leaves = set()
    for middle, cell in zip(middles.tolist(), chosen, strict=True):
        begin, end = cells.borders[cell : cell + 2].tolist()
        start = begin + (middle - begin) // shape.leaf * shape.leaf
        leaves.add((start, min(start + shape.leaf, end)))
    return groups, sorted(leaves)
