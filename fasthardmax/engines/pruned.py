"""The pruned engine: groups of like queries, and for each the keys that may still win.

Queries are put in order so that runs of them point in like directions: nearest of some spread-out
centres, and each such cell cut in two again and again, down to leaves of a few panels. For a cell,
a bound on the best score of each key anywhere in the cell drops the keys that cannot win there; its
leaves do the same among the keys that are left; what then remains is screened and decided as in the
direct engine. All lists of keys are increasing, so ties need no care. Memory is O(n d) a thread.

``_pruned_keys.py`` derives every margin and names the sources.
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
from . import _pruned_keys, _pruned_leaf
from ._arrays import readonly
from ._decide import MOST_BLOCKS, TIES, block_size
from ._pruned_groups import (
    Candidates,
    Groups,
    Keys,
    arrange_keys,
    arrange_queries,
    arrange_some_queries,
    room,
)

# The bytes of keys that share the second-level cache with packed queries.
_KEY_BYTES = 1 << 16
# Top groups that share one pass over the keys.
_TOGETHER = 4
# Keys scored early, for lower bounds: in large groups; in leaves half as many or more.
_PROBES, _KEYS_PER_PROBE, _MOST_PROBES = 128, 64, 1024
# Once a leaf keeps more than this share of its top group's keys, the leaves after it keep all.
_USELESS = 0.75

# By item size. What grouping and narrowing cost beside all pairs, fitted to 113 measurements on 14
# kinds of points at d = 2..64, n = 2e4..1e5; and from how many multiply-adds on an estimate takes
# less than some 3 % of them.
_COSTS = {8: (1.0, 0.35), 4: (1.75, 0.45)}
_WORTH_A_LOOK = {8: 1.5e9, 4: 3e9}

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
    """The answer, and how many keys were screened per query."""
    answer = problem.empty_answer()
    if problem.n_keys == 0:
        answer.first[...] = -1
        answer.count[...] = 0
        answer.mean[...] = 0
    return answer, problem.n_keys * _search(problem, answer, _NO_LIST, _NO_LIST)


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order."""
    if (answer.count == 1).all():
        return answer.first.flatten()
    indices = np.empty(indptr[-1], np.int64)
    _search(problem, answer, indptr, indices)
    return indices


def forecast(problem: Problem, all_pairs: float) -> float:
    """About how many nanoseconds :func:`run` takes on one core, if all pairs take ``all_pairs``.

    Infinite where even grouping the queries would take as long, and where :func:`estimate` would
    cost more than a few per cent of all pairs.
    """
    d = problem.n_features
    overhead, slope = _COSTS[problem.dtype.itemsize]
    grouping = overhead * (8 + 130 / (d + 2)) / math.sqrt(max(1, problem.n_queries))
    if grouping >= 1 or problem.n_pairs * (d + 2) < _WORTH_A_LOOK[problem.dtype.itemsize]:
        return math.inf
    share = estimate(problem)
    return all_pairs * (grouping + share + slope * math.sqrt(share))


def estimate(problem: Problem) -> float:
    """The share of query-key pairs that :func:`run` would screen, from a few leaves of a sample.

    Only the first batch entry is looked at. A quarter of its queries is grouped as all of them
    would be, into leaves half as full, and for eight of those the keys that may win are counted.
    Narrower leaves keep fewer keys: where the share exceeds 0.05 the estimate is mostly up to a
    third too low, and it may miss the few leaves that lie across clusters. It takes 1 to 3 % of
    the time of all pairs where ``n_pairs * (n_features + 2)`` is 1e10, 0.3 to 0.8 % where it is
    1e11: each leaf is one pass over the keys, in O(S d), the grouping in O(L**1.5 d).
    """
    if problem.n_pairs == 0:
        return 0.0
    keys = arrange_keys(problem, int(problem.key_of[0]))
    groups, leaves = arrange_some_queries(problem, int(problem.query_of[0]), keys.scale)
    best = np.full(len(groups.unit), -np.inf, problem.dtype)
    narrowing = _Narrowing(problem, 0, keys, groups, best)
    among = sum((b - a) * narrowing.count_for_leaf(a, b, keys.lists) for a, b in leaves)
    return among / (sum(b - a for a, b in leaves) * problem.n_keys)


class _Level(NamedTuple):
    """Room for what is kept of the keys at one level of groups."""

    tiles: NDArray[np.float32]
    norm: NDArray[np.float32]
    which: NDArray[np.int64]
    centres: NDArray[Any]
    caps: NDArray[Any]
    along: NDArray[np.float32]


class _Narrowing:
    """Lists of the keys that may win in a top group and in a leaf; one thread's, with its room."""

    def __init__(
        self, problem: Problem, b: int, keys: Keys, groups: Groups, best: NDArray[Any]
    ) -> None:
        n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
        self.key = readonly(problem.key[problem.key_of[b]])
        self.guard, self.absolute = screening_slack(d, dtype)
        self.coarse = screening_slack(d, np.dtype(np.float32))[0]
        self.factor = 1 / keys.scale
        self.groups, self.best = groups, best
        self.probes = np.empty((_MOST_PROBES, d), dtype)
        self.panel = np.empty((1, d * groups.shape.width), dtype)
        self.table = np.empty(groups.shape.width, dtype)

        def level(n_groups: int, n_copied: int) -> _Level:
            return _Level(
                *room(n_copied, d), np.empty(n, np.int64), np.empty((n_groups, d), dtype),
                np.empty((n_groups, 2), dtype), np.empty((n_groups, n), np.float32),
            )  # fmt: skip

        # A top group's list longer than this is not copied: its leaves read all keys. Theirs need
        # no copy.
        self.top, self.leaf = level(_TOGETHER, n // 2), level(1, 0)

    def aim(self, level: _Level, groups: list[tuple[int, int]], among: Candidates) -> None:
        """Score ``among`` at the centres of the ``groups``, each from a row to a row."""
        _pruned_keys.aim(
            self.groups.unit, np.array(groups), self.guard, among.tiles, among.n,
            level.centres, level.caps, level.along,
        )  # fmt: skip

    def narrow(
        self, level: _Level, g: int, start: int, stop: int, among: Candidates, n_probes: int
    ) -> tuple[Candidates, float]:
        """The keys of ``among`` that may win for rows start..stop-1, and their largest norm.

        Their number is -1 where keys that are not in ``among`` may win too.
        """
        groups, kept_in = self.groups, (level.tiles, level.norm, level.which)
        kept, largest = _pruned_keys.narrow(
            groups.unit, groups.size, self.best, start, stop, self.key, self.factor, *among,
            level.centres, level.caps, level.along, g, self.guard, self.coarse, self.absolute,
            n_probes, self.probes, self.panel, self.table,
            groups.shape.vectors, groups.shape.unroll, *kept_in,
        )  # fmt: skip
        return Candidates(*kept_in, kept, np.float32(0)), largest

    def narrow_leaf(self, start: int, stop: int, among: Candidates) -> tuple[Candidates, float]:
        """The same for a leaf."""
        n_probes = min(_MOST_PROBES, max(_PROBES // 2, among.n // _KEYS_PER_PROBE))
        self.aim(self.leaf, [(start, stop)], among)
        return self.narrow(self.leaf, 0, start, stop, among, n_probes)

    def count_for_leaf(self, start: int, stop: int, lists: list[Candidates]) -> int:
        """How many keys may win for a leaf."""
        counts = (self.narrow_leaf(start, stop, among)[0].n for among in lists)
        return next(n for n in counts if n >= 0)


class _Search:
    """One batch entry, one thread: narrow top groups, narrow their leaves, decide."""

    def __init__(
        self, problem: Problem, b: int, narrowing: _Narrowing, answer: Answer,
        indptr: NDArray[np.int64], indices: NDArray[np.int64],
    ) -> None:  # fmt: skip
        n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
        shape = narrowing.groups.shape
        self.narrowing = narrowing
        self.screened = 0
        n_panels = shape.leaf // shape.width
        self.query = readonly(problem.query[problem.query_of[b]])
        self.value = readonly(problem.value[problem.value_of[b]])
        self.rows = np.empty((n, d), dtype)
        self.workspace = (
            np.empty((shape.leaf, d), dtype),
            np.empty((n_panels, d * shape.width), dtype),
            np.empty((n_panels, MOST_BLOCKS, shape.width), dtype),
            np.empty((0, 0), bool),
        )
        self.outputs = (
            TIES[problem.ties], answer.mean[b], answer.first[b], answer.count[b], indptr, indices,
        )  # fmt: skip

    def visit(self, tops: list[tuple[int, int]], lists: list[Candidates]) -> None:
        """Answer the queries of the groups ``tops`` among the shortest list that is proven to do."""
        for keys in lists:
            self.narrowing.aim(self.narrowing.top, tops, keys)
            tops = [top for g, top in enumerate(tops) if not self._visit(g, *top, keys)]
            if not tops:
                break

    def _visit(self, g: int, start: int, stop: int, keys: Candidates) -> bool:
        """Answer the queries of group g of those aimed at, if a look at ``keys`` is enough."""
        narrowing, leaf = self.narrowing, self.narrowing.groups.shape.leaf
        among, largest = narrowing.narrow(narrowing.top, g, start, stop, keys, _PROBES)
        if among.n < 0:
            return False
        if among.n > len(among.norm):
            among, largest = keys._replace(floor=np.float32(0)), float(keys.norm.max())
        share = 0.0
        for begin in range(start, stop, leaf):
            end = min(begin + leaf, stop)
            if share > _USELESS:
                self._answer(begin, end, among, largest)
                continue
            fewer, fewer_largest = narrowing.narrow_leaf(begin, end, among)
            self._answer(begin, end, fewer, fewer_largest)
            share = fewer.n / among.n
        return True

    def _answer(self, start: int, stop: int, among: Candidates, largest: float) -> None:
        self.screened += among.n * (stop - start)
        narrowing, groups = self.narrowing, self.narrowing.groups
        rows, d = narrowing.key, self.rows.shape[1]
        if among.n < len(rows):
            _pruned_leaf.gather(rows, among.which, among.n, self.rows)
            rows = readonly(self.rows)
        block = block_size(among.n, d, rows.itemsize)
        stride = max(1, _KEY_BYTES // (block * max(1, d) * rows.itemsize))
        _pruned_leaf.answer_leaf(
            self.query, groups.size, groups.order, start, stop, rows, among.which, among.n,
            self.value, narrowing.guard * largest, narrowing.absolute, block, stride,
            *self.workspace, *self.outputs, groups.shape.vectors, groups.shape.unroll,
        )  # fmt: skip


def _search_entry(
    problem: Problem, b: int, keys: Keys, groups: Groups, answer: Answer,
    indptr: NDArray[np.int64], indices: NDArray[np.int64],
) -> int:  # fmt: skip
    best = np.full(problem.n_queries, -np.inf, problem.dtype)
    screened = []

    def attend(start: int, stop: int) -> None:
        narrowing = _Narrowing(problem, b, keys, groups, best)
        search = _Search(problem, b, narrowing, answer, indptr, indices)
        for first in range(start, stop, _TOGETHER):
            tops = groups.tops[first : min(first + _TOGETHER, stop) + 1].tolist()
            search.visit(list(pairwise(tops)), keys.lists)
        screened.append(search.screened)

    n_tops = len(groups.tops) - 1
    for_each_range(attend, n_tops, -(-n_tops // (16 * problem.num_threads)), problem.num_threads)
    return sum(screened)


def _search(
    problem: Problem, answer: Answer, indptr: NDArray[np.int64], indices: NDArray[np.int64]
) -> float:
    """Fill in the answer, or the lists of winners if ``indptr`` is not empty."""
    if problem.n_pairs == 0:
        return 0.0
    keys: dict[int, Keys] = {}
    groups: dict[tuple[int, int], Groups] = {}
    screened = 0
    for b in range(problem.n_batch):
        q, k = int(problem.query_of[b]), int(problem.key_of[b])
        # Only the latest are held: batch entries that share them are neighbours.
        if k not in keys:
            keys = {k: arrange_keys(problem, k)}
        if (q, k) not in groups:
            groups = {(q, k): arrange_queries(problem, q, keys[k].scale)}
        part = indptr[b * problem.n_queries :]
        screened += _search_entry(problem, b, keys[k], groups[q, k], answer, part, indices)
    return screened / problem.n_pairs
