"""The pruned engine: groups of like queries, and for each the keys that may still win.

Queries are put in order so that runs of them point in like directions: nearest of some spread-out
centres, and each such cell cut in two again and again, down to leaves of a few panels. For a cell,
a bound on the best score of each key anywhere in the cell drops the keys that cannot win there; its
leaves do the same among the keys that are left; what then remains is screened and decided as in the
direct engine. All lists of keys are increasing, so ties need no care. Memory is O(n d) a thread.

*Scale.* A query's length changes no winner and a power of two changes no digit, so all bounds are
for v = q / |q| and for keys p divided by 2^e, so that no feature exceeds 1. Let s be the canonical
score, Q = |q| 2^e, u the unit roundoff, and eta half the smallest subnormal. Then

    | s / Q - <v, p> |  <=  (gamma_d + 3 u) |p| + d eta / Q                                   (1)

by the argument of ``screening_slack``, |v| = 1 and Cauchy-Schwarz; 3 u covers the two roundings in
each feature of v. An approximate <v, p> errs by at most gamma_d |p| more. So ``guard`` =
8 gamma_(d+4) is more than twice the sum of these factors, and ``floor`` = 8 d eta / Q more than
twice the last term: a key whose approximate score is less than another's by guard times the larger
norm, plus floor, cannot win.

*A bound for a group.* Let c be the group's mean direction, and t an angle that no v of the group
exceeds from it. For any x, with a = <c, x> and b = |x - a c|, the largest <v, x> is |x| if a is at
least |x| cos t (x itself points into the cap), and a cos t + b sin t otherwise. It does not
decrease when cos t falls, or b, sin t or |x| rises, so these are rounded that way: cos t by
``guard`` down; sin^2 t = 1 - cos^2 t and b^2 = |x|^2 - a^2 by ``guard`` (times |x|^2) up, because
their differences cancel with absolute errors of up to (2 d + 6) u; norms by their own rounding
bound. There remain the errors of a and of a few sums, (d + 12) u |x|, which together with (1) stay
below ``guard`` |x|.

*Dropping keys.* Some keys are scored with every query of the group; the largest of these scores,
less ``guard`` times the largest norm among them and less ``floor``, is a lower bound l(v) of the
best canonical score over Q. A key p is dropped if its bound plus ``guard`` |p| is less than every
l(v): it scores less than another key. The same holds for differences: with any w, p is dropped if
the bound of p - w plus ``guard`` (|p| + |w|) is less than every l(v) - <v, w>. The first test works
where norms or directions of keys differ, the second where keys lie closer together than they lie
to the origin.

The first test reads every key of a list, at the speed of memory, and so works in single precision
whatever the dtype: the same argument with its roundoff, one more for each rounded feature, and
norms with a small summand, so that no underflow can matter. Only the rest is done in full.

The bound for a cone of queries is that of Ram and Gray, "Maximum inner-product search using cone
trees", KDD 2012; norms and directions apart are the idea of Teflioudi and Gemulla, "Exact and
approximate maximum inner product search with LEMP", ACM TODS 42(1), 2017.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _pruned_kernels as kernels
from ._arrays import readonly

_TIES = {"mean": kernels.MEAN, "first": kernels.FIRST, "last": kernels.LAST}
# The bytes of packed queries and of keys that share the second-level cache.
_PANEL_BYTES = 1 << 17
_KEY_BYTES = 1 << 16
_MAX_PANELS = 8
_MAX_BLOCKS = 512
# A leaf is a few panels, a top group a cell or so many leaves of it.
_LEAVES = 32
# Cells for the square root of the number of queries.
_CELLS = 0.4
_ROWS_PER_CELL_SAMPLED = 16
# Keys scored early, for lower bounds: in large groups; in leaves half as many or more.
_PROBES, _KEYS_PER_PROBE, _MOST_PROBES = 128, 64, 1024
# Once a leaf keeps more than this share of its top group's keys, the leaves after it keep all.
_USELESS = 0.75
_ROWS_PER_RANGE = 1 << 13
# The two levels of groups.
_TOP, _LEAF = 0, 1
# Leaves behind an estimate.
_SAMPLED_LEAVES = 8

_NO_LIST = np.empty(0, np.int64)


def refusal(problem: Problem) -> str | None:
    """Why it cannot run ``problem``, or None."""
    if problem.is_causal:
        return "one list of keys serves many queries, and with is_causal each query has its own"
    if problem.mask is not None:
        return "one list of keys serves many queries, and a mask gives each query its own"
    return None


def run(problem: Problem) -> Answer:
    """Means, first winners and winner counts of every query."""
    return run_counting(problem)[0]


def run_counting(problem: Problem) -> tuple[Answer, float]:
    """The answer, and the share of query-key pairs that were screened."""
    answer = problem.empty_answer()
    if problem.n_keys == 0:
        answer.first[...] = -1
        answer.mean[...] = 0
    return answer, _search(problem, answer, _NO_LIST, _NO_LIST)


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order."""
    if (answer.count == 1).all():
        return answer.first.flatten()
    indices = np.empty(indptr[-1], np.int64)
    _search(problem, answer, indptr, indices)
    return indices


def estimate(problem: Problem) -> float:
    """The share of query-key pairs that :func:`run` would screen, from a few of its leaves.

    Only the first batch entry is looked at. All its queries are assigned to cells, in about a
    tenth of the time that :func:`run` takes where it is fastest.
    """
    if problem.n_pairs == 0:
        return 0.0
    keys = _arrange_keys(problem, int(problem.key_of[0]))
    cells = _arrange_cells(problem, int(problem.query_of[0]), keys.scale)
    middles = (np.arange(_SAMPLED_LEAVES) + 0.5) * problem.n_queries / _SAMPLED_LEAVES
    sampled = np.unique(np.searchsorted(cells.borders, middles, side="right") - 1)
    groups = _split_cells(problem, cells, sampled)
    best = np.full(problem.n_queries, -np.inf, problem.dtype)
    narrowing = _Narrowing(problem, 0, keys, groups, best)
    leaf, among, rows = groups.shape.leaf, 0, 0
    for middle in middles.astype(int):
        begin, end = cells.borders[np.searchsorted(cells.borders, middle, side="right") - 1 :][:2]
        start = begin + (middle - begin) // leaf * leaf
        stop = min(start + leaf, end)
        among += narrowing.narrow(_LEAF, start, stop, keys.all)[0].n * (stop - start)
        rows += stop - start
    return float(among / (rows * problem.n_keys))


class _Shape(NamedTuple):
    """How queries are packed: a leaf is some panels of ``width`` queries."""

    width: int
    leaf: int
    vectors: tuple[int, ...]
    unroll: tuple[int, ...]


class _Candidates(NamedTuple):
    """Keys that may win, in increasing order: tiled features, norms, indices, and their number."""

    tiles: NDArray[Any]
    norm: NDArray[Any]
    which: NDArray[np.int64]
    n: int


class _Keys(NamedTuple):
    """All keys of a batch entry, divided by ``scale``, a power of two."""

    all: _Candidates
    scale: float


class _Cells(NamedTuple):
    """Queries cell after cell: directions, original rows; floors in the original order."""

    unit: NDArray[Any]
    floor: NDArray[Any]
    order: NDArray[np.int64]
    borders: NDArray[np.int64]  # cell c holds rows borders[c]..borders[c + 1] - 1


class _Groups(NamedTuple):
    """Queries in order: directions, floors, original rows, and the borders of the top groups."""

    unit: NDArray[Any]
    floor: NDArray[Any]
    order: NDArray[np.int64]
    tops: list[tuple[int, int]]
    shape: _Shape


def _shape(problem: Problem) -> _Shape:
    # One specialisation for all shapes: where few queries or features would merit their own,
    # another engine is faster.
    d, itemsize = problem.n_features, problem.dtype.itemsize
    width, vectors, unroll = kernels.geometry(d + 4, 1 << 30, itemsize)
    panel_bytes = width * max(1, d) * itemsize
    leaf = width * min(_MAX_PANELS, max(1, _PANEL_BYTES // panel_bytes))
    return _Shape(width, leaf, vectors, unroll)


def _room(n: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tiles and norms of at most ``n`` keys."""
    return np.empty(-(-n // kernels.TILE) * kernels.TILE * d, np.float32), np.empty(n, np.float32)


def _arrange_keys(problem: Problem, k: int) -> _Keys:
    n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
    info = np.finfo(dtype)
    exponent = math.frexp(float(problem.key_peak[k].max(initial=0)))[1]
    exponent = max(exponent, 1 - info.maxexp)  # its inverse must be a number
    tiles, norm = _room(n, d)
    factor = dtype.type(math.ldexp(1.0, -exponent))
    single = np.finfo(np.float32)
    least = np.float32(math.sqrt(single.tiny) / single.eps)
    key = readonly(problem.key[k])

    def tile(start: int, stop: int) -> None:
        kernels.tile(key, factor, start, stop, tiles, norm, least)

    for_each_range(tile, n, _ROWS_PER_RANGE, problem.num_threads)
    return _Keys(_Candidates(tiles, norm, np.arange(n), n), math.ldexp(1.0, exponent))


def _directions(
    query: NDArray[Any], scale: float, num_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    n, d = query.shape
    unit, floor = np.empty_like(query), np.empty(n, query.dtype)
    absolute = screening_slack(d, query.dtype)[1]
    query = readonly(query)

    def turn(start: int, stop: int) -> None:
        kernels.directions(query[start:stop], unit[start:stop], floor[start:stop], absolute, scale)

    for_each_range(turn, n, _ROWS_PER_RANGE, num_threads)
    return unit, floor


def _arrange_cells(problem: Problem, q: int, scale: float) -> _Cells:
    """Queries sorted by the nearest of some spread-out centres."""
    n, d, dtype, threads = (
        problem.n_queries, problem.n_features, problem.dtype, problem.num_threads
    )  # fmt: skip
    unit, floor = _directions(problem.query[q], scale, threads)
    n_cells = max(1, min(int(_CELLS * math.sqrt(n)), n // _shape(problem).leaf))
    nearest = np.zeros(n, np.uint16)  # sorted by radix
    if n_cells > 1:
        centres = np.empty((n_cells, d), dtype)
        step = max(1, n // (_ROWS_PER_CELL_SAMPLED * n_cells))
        kernels.spread(np.ascontiguousarray(unit[::step]), centres)

        def assign(start: int, stop: int) -> None:
            kernels.assign(unit, centres, start, stop, nearest)

        for_each_range(assign, n, _ROWS_PER_RANGE, threads)
    order = np.argsort(nearest, kind="stable")
    sizes = np.bincount(nearest)
    borders = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return _Cells(unit[order], floor, order, borders)


def _split_cells(problem: Problem, cells: _Cells, chosen: NDArray[np.int64]) -> _Groups:
    """Cells with the rows of the ``chosen`` ones reordered, so that each leaf is narrow."""
    unit, order, borders = cells.unit, cells.order, cells.borders.tolist()
    n, shape = len(unit), _shape(problem)
    workspace = (
        np.empty_like(unit), np.empty_like(order), np.empty(n, unit.dtype), np.empty(n, unit.dtype)
    )  # fmt: skip

    def split(start: int, stop: int) -> None:
        for cell in chosen[start:stop]:
            kernels.split(unit, order, shape.leaf, borders[cell], borders[cell + 1], *workspace)

    for_each_range(split, len(chosen), 1, problem.num_threads)
    size = shape.leaf * _LEAVES
    tops = [
        (start, min(start + size, end))
        for begin, end in pairwise(borders)
        for start in range(begin, end, size)
    ]
    return _Groups(unit, cells.floor[order], order, tops, shape)


class _Narrowing:
    """Lists of the keys that may win in a top group and in a leaf; one thread's, with its room."""

    def __init__(
        self, problem: Problem, b: int, keys: _Keys, groups: _Groups, best: NDArray[Any]
    ) -> None:
        n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
        self.key = readonly(problem.key[problem.key_of[b]])
        self.guard = screening_slack(d, dtype)[0]
        self.coarse = screening_slack(d, np.dtype(np.float32))[0]
        self.factor = 1 / keys.scale
        self.groups, self.best = groups, best
        self.along = np.empty(n, np.float32)
        self.probes = np.empty((_MOST_PROBES, d), dtype)
        self.panel = np.empty(d * groups.shape.width, dtype)
        self.table = np.empty(groups.shape.width, dtype)
        # A top group's list longer than this is not copied: its leaves read all keys. Theirs need
        # no copy.
        self.rooms = {_TOP: _room(n // 2, d), _LEAF: _room(0, d)}
        self.lists = {level: np.empty(n, np.int64) for level in self.rooms}

    def narrow(
        self, level: int, start: int, stop: int, among: _Candidates
    ) -> tuple[_Candidates, float]:
        """The keys of ``among`` that may win for rows start..stop-1, and their largest norm."""
        groups, shape = self.groups, self.groups.shape
        room, index = self.rooms[level], self.lists[level]
        n_probes = _PROBES
        if level == _LEAF:
            n_probes = min(_MOST_PROBES, max(n_probes // 2, among.n // _KEYS_PER_PROBE))
        kept, largest = kernels.narrow(
            groups.unit, groups.floor, self.best, start, stop, self.key, self.factor,
            *among, self.along, self.guard, self.coarse, n_probes, self.probes,
            self.panel, self.table, shape.vectors, shape.unroll, *room, index,
        )  # fmt: skip
        return _Candidates(*room, index, kept), largest


class _Search:
    """One batch entry, one thread: narrow a top group, narrow its leaves, decide."""

    def __init__(
        self, problem: Problem, b: int, narrowing: _Narrowing, answer: Answer,
        indptr: NDArray[np.int64], indices: NDArray[np.int64],
    ) -> None:  # fmt: skip
        n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
        shape = narrowing.groups.shape
        self.narrowing = narrowing
        self.screened = 0
        most = max(4, math.isqrt(10 * n // (d + 3)), -(-n // _MAX_BLOCKS))
        n_rows = max(most, _KEY_BYTES // (max(1, d) * dtype.itemsize))
        n_panels = shape.leaf // shape.width
        self.inputs = (
            readonly(problem.query[problem.query_of[b]]),
            narrowing.key,
            readonly(problem.value[problem.value_of[b]]),
        )
        self.workspace = (
            np.empty((n_rows, d), dtype),
            np.empty((n_panels, d * shape.width), dtype),
            np.empty((n_panels, _MAX_BLOCKS, shape.width), dtype),
            np.empty(most, dtype),
        )
        self.outputs = (
            _TIES[problem.ties], answer.mean[b], answer.first[b], answer.count[b], indptr, indices,
        )  # fmt: skip

    def visit(self, start: int, stop: int, keys: _Candidates) -> None:
        """Answer rows start..stop-1, one top group, among all keys."""
        leaf = self.narrowing.groups.shape.leaf
        kept, largest = self.narrowing.narrow(_TOP, start, stop, keys)
        among = keys
        if kept.n <= len(kept.norm):
            among = kept
        else:
            largest = float(keys.norm.max())
        share = 0.0
        for begin in range(start, stop, leaf):
            end = min(begin + leaf, stop)
            if share > _USELESS:
                self._decide(begin, end, among, largest)
                continue
            fewer, fewer_largest = self.narrowing.narrow(_LEAF, begin, end, among)
            self._decide(begin, end, fewer, fewer_largest)
            share = fewer.n / among.n

    def _decide(self, start: int, stop: int, among: _Candidates, largest: float) -> None:
        self.screened += among.n * (stop - start)
        narrowing, groups = self.narrowing, self.narrowing.groups
        kernels.decide(
            *self.inputs, groups.unit, groups.floor, groups.order, start, stop,
            among.which, among.n, largest, narrowing.factor, narrowing.guard,
            *self.workspace, *self.outputs, groups.shape.vectors, groups.shape.unroll,
        )  # fmt: skip


def _search_entry(
    problem: Problem, b: int, keys: _Keys, groups: _Groups, answer: Answer,
    indptr: NDArray[np.int64], indices: NDArray[np.int64],
) -> int:  # fmt: skip
    best = np.full(problem.n_queries, -np.inf, problem.dtype)
    screened = []

    def attend(start: int, stop: int) -> None:
        narrowing = _Narrowing(problem, b, keys, groups, best)
        search = _Search(problem, b, narrowing, answer, indptr, indices)
        for begin, end in groups.tops[start:stop]:
            search.visit(begin, end, keys.all)
        screened.append(search.screened)

    n_tops = len(groups.tops)
    for_each_range(attend, n_tops, -(-n_tops // (16 * problem.num_threads)), problem.num_threads)
    return sum(screened)


def _search(
    problem: Problem, answer: Answer, indptr: NDArray[np.int64], indices: NDArray[np.int64]
) -> float:
    """Fill in the answer, or the lists of winners if ``indptr`` is not empty."""
    answer.count[...] = 0
    if problem.n_pairs == 0:
        return 0.0
    keys: dict[int, _Keys] = {}
    groups: dict[tuple[int, int], _Groups] = {}
    screened = 0
    for b in range(problem.n_batch):
        q, k = int(problem.query_of[b]), int(problem.key_of[b])
        # Only the latest are held: batch entries that share them are neighbours.
        if k not in keys:
            keys = {k: _arrange_keys(problem, k)}
        if (q, k) not in groups:
            cells = _arrange_cells(problem, q, keys[k].scale)
            every = np.arange(len(cells.borders) - 1)
            groups = {(q, k): _split_cells(problem, cells, every)}
        part = indptr[b * problem.n_queries :]
        screened += _search_entry(problem, b, keys[k], groups[q, k], answer, part, indices)
    return screened / problem.n_pairs
