"""Queries in groups of like directions, and keys in tiles: what the pruned engine searches in."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _pruned_queries, _pruned_tiles
from ._arrays import readonly, scattered
from ._pruned_bytes import Rough
from ._vectors import geometry

__all__ = [
    "Balls",
    "Candidates",
    "Groups",
    "Keys",
    "Lists",
    "Prepared",
    "arrange_keys",
    "arrange_queries",
    "arrange_some_queries",
    "find_centres",
    "room_for_list",
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
_ROWS_PER_RANGE, _TILES_PER_RANGE = 1 << 13, 1 << 5
# Clusters of keys for the square root of their number, and how many keys are worth one; and so many
# suffice for a tile, if the next key is of another cluster.
_CLUSTERS, _KEYS_PER_CLUSTER, _LEAST_IN_TILE = 0.2, 512, 128
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


class Balls(NamedTuple):
    """Balls around the keys of tiles: middles (feature-major), their lengths, radii.

    With the number of keys in each tile, and the cluster of the first.
    """

    middle: NDArray[np.float32]
    length: NDArray[np.float32]
    radius: NDArray[np.float32]
    filled: NDArray[np.int64]
    owner: NDArray[np.int64]


class Candidates(NamedTuple):
    """Keys that may win: tiled features, norms, indices, balls of the tiles, and their number.

    No other key's norm exceeds ``floor``, if that is positive; else no other may win.
    """

    tiles: NDArray[np.float32]
    norm: NDArray[np.float32]
    which: NDArray[np.int64]
    balls: Balls
    n: int
    floor: Any


class Lists(NamedTuple):
    """Lists of keys: c has tiles ``starts[c]`` to ``ends[c] - 1``, as :class:`Candidates`."""

    tiles: NDArray[np.float32]
    norm: NDArray[np.float32]
    which: NDArray[np.int64]
    balls: Balls
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    floors: NDArray[np.float32]


class Keys(NamedTuple):
    """A batch entry's keys, divided by ``scale``, a power of two: the longest, more, all."""

    lists: Lists
    norm: NDArray[np.float32]  # of each key
    scale: float
    rough: Rough | None = None  # the same keys in bytes

    def pick(self, c: int) -> Candidates:
        """The c-th of the lists, the shortest first."""
        tiles, norm, which, balls, starts, ends, sizes, floors = self.lists
        middle, length, radius, filled, owner = balls
        begin, end = int(starts[c]), int(ends[c])
        d = len(middle) // len(length)
        at = begin * _pruned_tiles.TILE
        return Candidates(
            tiles[at * d :], norm[at:], which[at:],
            Balls(
                middle[begin * d : end * d], length[begin:end], radius[begin:end],
                filled[begin:end], owner[begin:end],
            ),
            int(sizes[c]), floors[c],
        )  # fmt: skip


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


def room_for_list(n: int, d: int, most: int) -> Lists:
    """One list of keys that lie anywhere, ``most`` of them in tiles."""
    n_tiles = max(1, -(-most // _pruned_tiles.TILE))
    zeros = np.zeros(n_tiles, np.float32)
    anywhere = np.full(n_tiles, np.finfo(np.float32).max / 4)
    one = np.zeros(1, np.int64)
    return Lists(
        np.empty(n_tiles * _pruned_tiles.TILE * d, np.float32), np.empty(n, np.float32),
        np.empty(n, np.int64),
        Balls(
            np.zeros(n_tiles * d, np.float32), zeros, anywhere, np.zeros(n_tiles, np.int64),
            np.zeros(n_tiles, np.int64),
        ),
        one, one.copy(), one.copy(), np.zeros(1, np.float32),
    )  # fmt: skip


def _cluster_keys(
    key: NDArray[Any], factor: Any, norm: NDArray[np.float32], num_threads: int
) -> NDArray[np.uint16]:
    """A number for each key that it shares with keys nearby."""
    n, d = key.shape
    nearest = np.zeros(n, np.uint16)  # sorted by radix
    n_clusters = min(int(_CLUSTERS * math.sqrt(n)), n // _KEYS_PER_CLUSTER)
    if n_clusters < 2:
        return nearest
    some = scattered(n, max(1, n // (_ROWS_PER_CELL_SAMPLED * n_clusters)))
    far = 2 * np.median(norm[some])
    sample = np.empty((len(some), d + 1), np.float32)
    _pruned_tiles.lift(key, factor, some, norm, far, sample)
    centres = np.zeros((n_clusters, d + 1), np.float32)
    _pruned_queries.spread(sample, centres, _VECTORS)

    def assign(start: int, stop: int) -> None:
        lifted = np.empty((stop - start, d + 1), np.float32)
        _pruned_tiles.lift(key, factor, np.arange(start, stop), norm, far, lifted)
        _pruned_queries.assign(lifted, centres, 0, stop - start, nearest[start:stop], _VECTORS)

    for_each_range(assign, n, _ROWS_PER_RANGE, num_threads)
    return nearest


def arrange_keys(problem: Problem, k: int) -> Keys:
    n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
    threads, info = problem.num_threads, np.finfo(dtype)
    exponent = math.frexp(float(problem.key_peak[k].max(initial=0)))[1]
    exponent = max(exponent, 1 - info.maxexp)  # its inverse must be a number
    factor = dtype.type(math.ldexp(1.0, -exponent))
    single = np.finfo(np.float32)
    least = np.float32(math.sqrt(single.tiny) / single.eps)
    key, lengths = readonly(problem.key[k]), np.empty(n, np.float32)

    def measure(start: int, stop: int) -> None:
        _pruned_tiles.measure(key, factor, start, stop, lengths, least)

    for_each_range(measure, n, _ROWS_PER_RANGE, threads)
    cluster = _cluster_keys(key, factor, lengths, threads)
    orders, floors = [np.argsort(cluster, kind="stable")], [np.float32(0)]
    n_longest = sum(1 for share in _LONGEST if share * n >= _LEAST_LONGEST)
    few = np.sort(lengths[:: max(1, n // _NORMS)]) if n_longest else lengths[:0]
    for share in _LONGEST[:n_longest]:
        floor = few[-max(1, int(share * len(few)))]
        longer = orders[-1][lengths[orders[-1]] > floor]
        if 2 * len(longer) < share * n or 4 * len(longer) > 3 * len(orders[-1]):
            break  # norms hardly differ
        orders.append(longer)
        floors.append(floor)
    places = []
    for order in reversed(orders):
        firsts = np.empty(len(order) // _LEAST_IN_TILE + 2, np.int64)
        n_tiles = _pruned_tiles.place(order, cluster, _LEAST_IN_TILE, firsts)
        places.append((order, firsts[: n_tiles + 1]))
    borders = np.cumsum([0, *(len(firsts) - 1 for _, firsts in places)])
    n_tiles = int(borders[-1])
    positions = n_tiles * _pruned_tiles.TILE
    tiles, norm = np.empty(positions * d, np.float32), np.empty(positions, np.float32)
    which = np.empty(positions, np.int64)
    length, radius = np.empty((2, n_tiles), np.float32)
    filled, owner = np.empty((2, n_tiles), np.int64)
    balls = Balls(np.empty(n_tiles * d, np.float32), length, radius, filled, owner)
    lists = Lists(
        tiles, norm, which, balls, borders[:-1], borders[1:],
        np.array([len(order) for order, _ in places]), np.array(floors[::-1]),
    )  # fmt: skip
    keys = Keys(lists, lengths, math.ldexp(1.0, exponent))
    coarse = np.float32(screening_slack(d, np.dtype(np.float32))[0])
    for c, (order, firsts) in enumerate(places):
        among = keys.pick(c)

        def fill(
            start: int,
            stop: int,
            order: Any = order,
            firsts: Any = firsts,
            among: Candidates = among,
        ) -> None:
            _pruned_tiles.fill(
                key, factor, order, cluster, firsts, start, stop, lengths, coarse, *among[:3],
                *among.balls,
            )  # fmt: skip

        for_each_range(fill, len(firsts) - 1, _TILES_PER_RANGE, threads)
    return keys


def _directions(
    query: NDArray[Any], scale: float, num_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    unit, size = np.empty_like(query), np.empty(len(query), query.dtype)
    query = readonly(query)

    def turn(start: int, stop: int) -> None:
        _pruned_queries.directions(query[start:stop], unit[start:stop], size[start:stop], scale)

    for_each_range(turn, len(query), _ROWS_PER_RANGE, num_threads)
    return unit, size


def _count_cells(problem: Problem) -> int:
    n = problem.n_queries
    return max(1, min(int(_CELLS * math.sqrt(n)), n // _shape(problem).leaf))


def find_centres(problem: Problem, q: int) -> NDArray[np.float32]:
    """Spread-out directions of queries of batch entry ``q``, one for each cell."""
    query, n_cells = problem.query[q], _count_cells(problem)
    centres = np.zeros((n_cells, problem.n_features), np.float32)
    if n_cells > 1:
        step = max(1, len(query) // (_ROWS_PER_CELL_SAMPLED * n_cells))
        unit, _ = _directions(query[scattered(len(query), step)], 1.0, 1)
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
    cells: _Cells, chosen: NDArray[np.int64], leaf: int, shape: Shape, num_threads: int
) -> Groups:
    """The rows of the ``chosen`` cells, each run of ``leaf`` narrow; those of others are left."""
    unit, size, order = (np.empty_like(part) for part in cells[:3])
    borders = cells.borders.tolist()

    def split(start: int, stop: int) -> None:
        for cell in chosen[start:stop]:
            _pruned_queries.split(
                *cells[:3], leaf, borders[cell], borders[cell + 1], unit, size, order
            )

    for_each_range(split, len(chosen), 1, num_threads)
    most = shape.leaf * _LEAVES
    tops = [row for begin, end in pairwise(borders) for row in range(begin, end, most)]
    return Groups(unit, size, order, np.array([*tops, len(unit)]), shape)


def arrange_queries(problem: Problem, q: int, centres: NDArray[np.float32], scale: float) -> Groups:
    """All queries of batch entry ``q``, for keys divided by ``scale``, in top groups."""
    threads, shape = problem.num_threads, _shape(problem)
    cells = _arrange_cells(problem.query[q], centres, scale, threads)
    chosen = np.arange(len(cells.borders) - 1)
    return _split_cells(cells, chosen, shape.leaf * _LEAVES, shape, threads)


def arrange_some_queries(
    problem: Problem, q: int, centres: NDArray[np.float32], scale: float
) -> tuple[Groups, list[tuple[int, int]]]:
    """Some of the queries, grouped like all, and the rows of a few leaves.

    Leaves are fuller than their share of the sample, for few rows have narrower caps.
    """
    shape, query = _shape(problem), problem.query[q]
    if len(centres) > 1:
        step = _ROWS_PER_ROW_SAMPLED[len(query) >= _MANY]
        query = query[scattered(len(query), step)]
        shape = shape._replace(leaf=max(1, shape.leaf // math.isqrt(step)))
    cells = _arrange_cells(query, centres, scale, problem.num_threads)
    middles = (2 * np.arange(_LEAVES_SAMPLED) + 1) * len(query) // (2 * _LEAVES_SAMPLED)
    chosen = np.searchsorted(cells.borders, middles, side="right") - 1
    groups = _split_cells(cells, np.unique(chosen), shape.leaf, shape, num_threads=1)  # few rows
    leaves = set()
    for middle, cell in zip(middles.tolist(), chosen, strict=True):
        begin, end = cells.borders[cell : cell + 2].tolist()
        start = begin + (middle - begin) // shape.leaf * shape.leaf
        leaves.add((start, min(start + shape.leaf, end)))
    return groups, sorted(leaves)
