"""The pruned engine: groups of like queries, and for each the keys that may still win.

Queries are put in order so that runs of them point in like directions: nearest of some spread-out
centres, and where many keys may win in such a cell, cut in two again and again, down to leaves of a
few panels. Keys lie in tiles of neighbours. For a cell, a bound on the best score of any key of a
tile, and then of each key, anywhere in the cell drops those that cannot win there; its leaves do
the same among the keys that are left; what then remains is screened and decided as in the direct
engine. All lists of what remains are increasing, so ties need no care. Memory is O(n d) a thread.

``_pruned_keys.py`` derives every margin and names the sources.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _pruned_keys, _pruned_leaf
from ._arrays import readonly
from ._decide import MOST_BLOCKS, TIES
from ._forecast import Forecast
from ._pruned_bytes import room_for_rough, round_keys
from ._pruned_glance import glance
from ._pruned_groups import (
    Groups,
    Keys,
    Prepared,
    arrange_keys,
    arrange_queries,
    arrange_some_queries,
    find_centres,
    room_for_list,
)

# Keys scored early, for lower bounds: in top groups, and in leaves at most.
_PROBES, _MOST_PROBES = 256, 1024
# Of so few keys a top group keeps all.
_SHORT = 1 << 9

# What a call takes, in nanoseconds of a core that scores pairs as ``direct.forecast`` says: for
# itself, for each query, and for each number in it; and, by item size, what narrowing costs beside
# all pairs. Fitted by hand to 11 measurements on 6 kinds of points, d = 8..64, n = 2e4 to 1e5.
_CALL, _ASK, _FEATURE = 5e5, 130.0, 3.3
_NARROW = {8: 0.35, 4: 0.6}
# From how many multiply-adds on a glance takes less than some 3 % of them; and from how many of a
# batch entry on grouping its queries may pay: 30 entries of 4000 clustered points took 1.9 times
# all pairs for d = 8, and 0.8 to 1.1 for d = 16.
_WORTH_A_LOOK, _WORTH_GROUPING = 1.5e9, 2.5e8
# A look ends after so many leaves if by then another engine plainly takes half as long, or even so
# many times the share of pairs would leave it the slower one.
_FEWEST_LEAVES, _PLAINLY = 4, 64
_ERRORS = 2  # standard errors of the share that are added to it

_NO_LIST = np.empty(0, np.int64)


def refusal(problem: Problem) -> str | None:
    """Why it cannot run ``problem``, or None."""
    if problem.is_causal:
        return "one list of keys serves many queries, and with is_causal each query has its own"
    if problem.mask is not None:
        return "one list of keys serves many queries, and a mask gives each query its own"
    return None


def run(problem: Problem, prepared: Prepared | None = None) -> Answer:
    """Means, first winners and winner counts of every query; see :func:`forecast`."""
    return run_counting(problem, prepared)[0]


def run_counting(problem: Problem, prepared: Prepared | None = None) -> tuple[Answer, float]:
    """The answer, and how many keys were screened per query."""
    answer = problem.empty_answer()
    if problem.n_keys == 0:
        answer.first[...] = -1
        answer.count[...] = 0
        answer.mean[...] = 0
    return answer, problem.n_keys * _search(problem, answer, _NO_LIST, _NO_LIST, prepared)


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order."""
    if (answer.count == 1).all():
        return answer.first.flatten()
    indices = np.empty(indptr[-1], np.int64)
    _search(problem, answer, indptr, indices)
    return indices


def forecast(problem: Problem, all_pairs: float, rival: float = math.inf) -> Forecast:
    """About how many nanoseconds :func:`run` takes on one core, if all pairs take ``all_pairs``.

    Another engine may take only ``rival``. Infinite where even grouping the queries would take as
    long, and where all pairs are few. A look takes some 1 to 3 ms: see :func:`promise` first.
    """
    grouping, narrow = _grouping(problem), _NARROW[problem.dtype.itemsize]
    if grouping >= min(all_pairs, rival) or not _worth_a_look(problem):
        return Forecast(math.inf)
    # The share s at which s + narrow sqrt(s) is what twice the rival's time leaves.
    left = (2 * rival - grouping) / all_pairs
    enough = (math.sqrt(narrow * narrow / 4 + left) - narrow / 2) ** 2
    share, prepared = estimate(problem, enough)
    return Forecast(grouping + all_pairs * (share + narrow * math.sqrt(share)), (prepared,))


def promise(problem: Problem, all_pairs: float, rival: float) -> tuple[float, float]:
    """What :func:`forecast` may come to, by a glance that takes a tenth of its time or less.

    Infinite where that would be infinite. And the second of what :func:`glance` tells, if asked.
    """
    grouping = _grouping(problem)
    if grouping >= min(all_pairs, rival) or not _worth_a_look(problem):
        return math.inf, 0.0
    share, close = glance(problem)
    narrowing = share + _NARROW[problem.dtype.itemsize] * math.sqrt(share)
    return grouping + all_pairs * narrowing, close


def _grouping(problem: Problem) -> float:
    """Nanoseconds of a call that needs hardly any pair."""
    n_rows, d = problem.n_batch * problem.n_queries, problem.n_features
    return _CALL + n_rows * (_ASK + _FEATURE * d * problem.dtype.itemsize)


def _worth_a_look(problem: Problem) -> bool:
    work = problem.n_pairs * (problem.n_features + 2)
    return work >= max(_WORTH_A_LOOK, problem.n_batch * _WORTH_GROUPING)


def estimate(problem: Problem, enough: float = 1.0) -> tuple[float, Prepared | None]:
    """The share of query-key pairs that :func:`run` would screen, from a few leaves of a sample.

    Only the first batch entry is looked at. An eighth of its queries, or a sixteenth of many, is
    grouped as all of them would be, into leaves a half or a quarter as full. The keys that may win
    are counted for a dozen of these, or for fewer where the share is soon more than ``enough`` or a
    small part of it.

    Where leaves differ, few keep most keys, and a sample misses those and the outermost queries of
    others: two standard errors are added, by which most estimates come within a third of the share.
    Arranging the keys, in O(S d), is most of the cost, and is handed on to the search; grouping
    takes O(L**1.5 d), each leaf one pass over the longest keys, or all.
    """
    if problem.n_pairs == 0:
        return 0.0, None
    k, q = int(problem.key_of[0]), int(problem.query_of[0])
    prepared = Prepared(arrange_keys(problem, k), find_centres(problem, q))
    keys = prepared.keys
    groups, leaves = arrange_some_queries(problem, q, prepared.centres, keys.scale)
    best = np.full(len(groups.unit), -np.inf, problem.dtype)
    narrowing = _Narrowing(problem, 0, keys, groups, best)
    shares: list[float] = []
    for start, stop in leaves:
        shares.append(narrowing.count_for_leaf(start, stop, keys) / problem.n_keys)
        if len(shares) >= _FEWEST_LEAVES and not enough / _PLAINLY < fmean(shares) < enough:
            break
    mean, squares = fmean(shares), fmean(share * share for share in shares)
    error = math.sqrt(max(0.0, squares - mean * mean) / len(shares))
    return min(1.0, mean + _ERRORS * error), prepared


class _Narrowing:
    """Lists of the keys that may win in a leaf; one thread's, with its room."""

    def __init__(
        self, problem: Problem, b: int, keys: Keys, groups: Groups, best: NDArray[Any]
    ) -> None:
        n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
        self.key = readonly(problem.key[problem.key_of[b]])
        guard, self.absolute = screening_slack(d, dtype)
        self.guards = guard, screening_slack(d, np.dtype(np.float32))[0]
        self.scaled = self.key, 1 / keys.scale, keys.norm
        self.groups, self.best = groups, best
        self.probing = (
            np.empty((_MOST_PROBES, d), dtype), np.empty((1, d * groups.shape.width), dtype),
            np.empty(groups.shape.width, dtype),
        )  # fmt: skip
        self.room = np.empty(len(keys.lists.norm), np.float32), np.zeros(n // 64 + 1, np.uint64)
        # What a leaf keeps needs no copy.
        self.leaf = np.empty(0, np.float32), np.empty(n, np.float32), np.empty(n, np.int64)

    def count_for_leaf(self, start: int, stop: int, keys: Keys) -> int:
        """About how many keys may win for the rows of a leaf."""
        groups, shape = self.groups, self.groups.shape
        for c in range(len(keys.lists.sizes)):
            tiles, norm, which, balls, n_keys, floor = keys.pick(c)
            kept: int = _pruned_keys.narrow(
                groups.unit, groups.size, self.best, start, stop, *self.scaled, tiles, norm, which,
                tuple(balls), n_keys, floor, 0, False,
                *self.guards, self.absolute, _pruned_leaf.count_probes(n_keys, _MOST_PROBES),
                *self.probing, shape.vectors, shape.unroll, 0, self.room, *self.leaf,
            )[0]  # fmt: skip
            if kept >= 0:
                break
        return kept


class _Search:
    """One batch entry, one thread: narrow top groups, narrow their leaves, decide."""

    def __init__(
        self, problem: Problem, b: int, narrowing: _Narrowing, keys: Keys, answer: Answer,
        indptr: NDArray[np.int64], indices: NDArray[np.int64],
    ) -> None:  # fmt: skip
        n, d, dtype = problem.n_keys, problem.n_features, problem.dtype
        groups = narrowing.groups
        shape = groups.shape
        self.screened = self._likely = 0
        n_panels = shape.leaf // shape.width
        rows = np.empty((n, d), dtype)
        key, *scaled = narrowing.scaled
        self._before = (
            readonly(problem.query[problem.query_of[b]]), groups.unit, groups.size, groups.order,
            narrowing.best, groups.tops,
        )  # fmt: skip
        self._after = (
            shape.leaf, key, *scaled, readonly(problem.value[problem.value_of[b]]), keys.lists,
            *narrowing.guards, narrowing.absolute, _PROBES, _SHORT, *narrowing.probing,
            narrowing.room,
            # Leaves of a top group that keeps more read all keys.
            room_for_list(n, d, n // 2),
            *narrowing.leaf, rows, readonly(rows),
            np.empty((shape.leaf, d), dtype),
            np.empty((n_panels, d * shape.width), dtype),
            np.empty((n_panels, MOST_BLOCKS, shape.width), dtype),
            np.empty((0, 0), bool),
            TIES[problem.ties], answer.mean[b], answer.first[b], answer.count[b], indptr, indices,
            shape.vectors, shape.unroll,
            room_for_rough(keys.rough, problem) if keys.rough is not None else None,
        )  # fmt: skip

    def visit(self, start: int, stop: int) -> None:
        """Answer the queries of top groups start..stop-1."""
        screened, self._likely = _pruned_leaf.answer(
            *self._before, start, stop, self._likely, *self._after
        )
        self.screened += screened


def _search_entry(
    problem: Problem, b: int, keys: Keys, groups: Groups, answer: Answer,
    indptr: NDArray[np.int64], indices: NDArray[np.int64],
) -> int:  # fmt: skip
    best = np.full(problem.n_queries, -np.inf, problem.dtype)
    idle: list[_Search] = []  # with their room, which takes a while to get
    screened = []

    def attend(start: int, stop: int) -> None:
        if idle:
            search = idle.pop()
        else:
            narrowing = _Narrowing(problem, b, keys, groups, best)
            search = _Search(problem, b, narrowing, keys, answer, indptr, indices)
        before = search.screened
        search.visit(start, stop)
        screened.append(search.screened - before)
        idle.append(search)

    n_tops = len(groups.tops) - 1
    for_each_range(attend, n_tops, -(-n_tops // (16 * problem.num_threads)), problem.num_threads)
    return sum(screened)


def _search(
    problem: Problem, answer: Answer, indptr: NDArray[np.int64], indices: NDArray[np.int64],
    prepared: Prepared | None = None,
) -> float:  # fmt: skip
    """Fill in the answer, or the lists of winners if ``indptr`` is not empty."""
    if problem.n_pairs == 0:
        return 0.0
    keys: dict[int, Keys] = {}
    centres: dict[int, NDArray[np.float32]] = {}
    groups: dict[tuple[int, int], Groups] = {}
    if prepared is not None:
        keys[int(problem.key_of[0])] = prepared.keys
        centres[int(problem.query_of[0])] = prepared.centres
    screened = 0
    for b in range(problem.n_batch):
        q, k = int(problem.query_of[b]), int(problem.key_of[b])
        # Only the latest are held: batch entries that share them are neighbours.
        if k not in keys:
            keys = {k: arrange_keys(problem, k)}
        if keys[k].rough is None:
            keys = {k: keys[k]._replace(rough=round_keys(problem, k))}
        if q not in centres:
            centres = {q: find_centres(problem, q)}
        if (q, k) not in groups:
            groups = {(q, k): arrange_queries(problem, q, centres[q], keys[k].scale)}
        part = indptr[b * problem.n_queries :]
        screened += _search_entry(problem, b, keys[k], groups[q, k], answer, part, indices)
    return screened / problem.n_pairs
