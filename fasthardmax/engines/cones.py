"""The cones engine: for up to six features, an index over the keys and one pass over the queries.

Each batch entry's keys get a :class:`ConeIndex`; a query looks up its cell there and scores the
few keys that may win in it, canonically.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from .._threads import for_each_range
from . import _cones_open as opened
from . import _cones_packs as packing
from . import _cones_search as search
from . import _cones_ties as tied
from ._arrays import at_most, readonly, rows_of
from ._cones_index import MAX_FEATURES, ConeIndex, Look, build, look, share_not_lost
from ._forecast import Forecast, n_cores

__all__ = [
    "attend", "build", "forecast", "list_ties", "list_winners", "refusal", "run", "run_counting",
]  # fmt: skip

_TIES = {"mean": tied.MEAN, "first": tied.FIRST, "last": tied.LAST}
# Queries per range, about a millisecond, and at least; fewer where there are few.
_ROWS, _FEWEST_ROWS = 1 << 15, 1 << 13
_STREAMED = 1 << 22  # bytes: larger answers go past the caches
# So many queries, or one in so many, show where an index need not be fine.
_SOME_ASKED, _EVERY = 1 << 11, 1 << 7

# What a call takes, in nanoseconds of a core that scores pairs as ``direct.forecast`` says, by the
# number of features: what all cores wait for in each index; for each key and for each query where
# most keys are soon left out, and for each key times the share that is outside of a body; or, where
# that is half, times the square of the share that may win, or less where that is small (measured).
# With five features or six another engine is faster.
_CALL = {1: 4e5, 2: 5e5, 3: 1.1e6, 4: 2e6}
_BUILD = {1: 20.0, 2: 8.0, 3: 10.0, 4: 5.0}
_ASK = {1: 10.0, 2: 10.0, 3: 15.0, 4: 10.0}
_BUILD_ROUND, _HALF = {3: 450.0, 4: 850.0}, 0.5
_BUILD_HARD = {2: 120.0, 3: 1300.0, 4: 1000.0}
# In space a sample is divided to tell, as finely as for so many times its share of the queries.
# Where its boxes together have fewer than so many times its keys, all are divided faster, by about
# the third power of the quotient: 2 to 5 times on curves for d = 3, 7 for d = 4, from 10 and 20
# times on in clusters and on surfaces.
_SOME_DIVIDED, _FINER = 1 << 9, 16
_CROWDED = {3: 9.0, 4: 12.0}
# Where some of them cannot win, as those between far clusters, many of all may lose everywhere:
# with three features the same sample tells. What all cores then wait for, and for each key; and for
# each times the square of the share that is left.
_FEW_LEFT, _SURE = 0.3, 0.98
_CALL_LOSING, _BUILD_LOSING, _BUILD_LEFT = 1.2e6, 100.0, 2000.0


def refusal(problem: Problem) -> str | None:
    """Why the engine cannot run ``problem``, or None if it can."""
    if problem.mask is not None or problem.is_causal:
        return "it takes no mask and is not causal"
    if not 1 <= problem.n_features <= MAX_FEATURES:
        return f"it takes 1 to {MAX_FEATURES} features, not {problem.n_features}"
    return None


def run(problem: Problem, seen: Look | None = None) -> Answer:
    """Means, first winners and winner counts of every query; see :func:`forecast`."""
    return run_counting(problem, seen)[0]


def run_counting(problem: Problem, seen: Look | None = None) -> tuple[Answer, float]:
    """The answer, and how many candidates were scored per query."""
    n_rows = problem.n_batch * problem.n_queries
    if n_rows == 0 or problem.n_keys == 0:
        return problem.no_keys_answer(), 0.0
    answer = problem.empty_answer()
    scored = 0
    for k in np.unique(problem.key_of):
        index = _index(problem, k, seen if k == problem.key_of[0] else None)
        for b in np.flatnonzero(problem.key_of == k):
            scored += attend(
                index, problem.query[problem.query_of[b]], problem.key[k],
                problem.value[problem.value_of[b]], problem.ties, problem.num_threads,
                answer.mean[b], answer.first[b], answer.count[b],
            )  # fmt: skip
    return answer, scored / n_rows


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order.

    Where queries tie, the index is built again: one kept from :func:`run` would hold its memory
    for as long as the problem lives, and few callers ask for the lists.
    """
    if (answer.count == 1).all():
        return answer.first.flatten()
    indices = np.empty(indptr[-1], np.int64)
    if problem.n_keys == 0:
        return indices
    n = problem.n_queries
    for k in np.unique(problem.key_of):
        index = _index(problem, k)
        for b in np.flatnonzero(problem.key_of == k):
            list_ties(
                index, problem.query[problem.query_of[b]], problem.key[k], answer.first[b],
                indptr[b * n : (b + 1) * n + 1], problem.num_threads, indices,
            )  # fmt: skip
    return indices


def forecast(problem: Problem, all_pairs: float, rival: float = math.inf) -> Forecast:
    """About how many nanoseconds :func:`run` takes on one core, infinite where it may be too many.

    By the numbers of keys and queries, whatever all pairs take. From two features on some of the
    keys are looked at, unless another engine takes ``rival``, which is less than the least: the
    more of them are left over, the longer the cells are divided. Where most are, some are divided,
    and may tell that many of all lose everywhere.
    """
    d = problem.n_features
    if d not in _BUILD:
        return Forecast(math.inf)
    n_indices = len(np.unique(problem.key_of))
    n_keys, n_rows = n_indices * problem.n_keys, problem.n_batch * problem.n_queries
    builds = n_indices * _CALL[d] * n_cores(problem.num_threads)
    least = builds + n_keys * _BUILD[d] + n_rows * _ASK[d]
    if d not in _BUILD_HARD or least > min(all_pairs, rival) or problem.n_keys == 0:
        return Forecast(least)
    k = problem.key_of[0]
    key = problem.key[k]
    seen = look(key, problem.key_peak[k], problem.num_threads)
    left = 1.0 if seen is None else seen.left
    crowd, not_lost = 1.0, 1.0
    if d > 2:
        if left < _HALF:
            return Forecast(least + n_keys * _BUILD_ROUND[d] * left, (seen,))
        few = rows_of(key, at_most(_SOME_DIVIDED, len(key)))
        left, crowd = _divide_some(problem, k, few)
        if d == 3 and left < _SURE:
            not_lost = share_not_lost(few, problem.key_peak[k], problem.num_threads)
    hard = n_keys * _BUILD_HARD[d] * left * left * min(1, 2 * left) * min(1, crowd) ** 3
    if not_lost < _FEW_LEFT:
        waiting = n_indices * _CALL_LOSING * n_cores(problem.num_threads)
        hard = waiting + n_keys * (_BUILD_LOSING + _BUILD_LEFT * not_lost**2)
    return Forecast(least + hard, (seen,))


def attend(
    index: ConeIndex, query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], ties: str,
    num_threads: int, mean: NDArray[Any], first: NDArray[np.int64], count: NDArray[np.int64],
) -> int:  # fmt: skip
    """Answer the queries (L, d) of one batch entry; returns how many candidates were scored."""
    n, d = query.shape
    query, key, value = readonly(query), readonly(key), readonly(value)
    alone = len(index.members) == len(index.candidates)
    firsts = index.members if alone else index.members[index.spans[:-1]]
    source, rows = value, firsts
    if ties == "last":
        rows = index.members[index.spans[1:] - 1]
    elif not alone and ties == "mean" and value.shape[1]:
        source = _average(index, value, num_threads)
        rows = np.arange(len(source), dtype=np.int32)
    scored = []
    rooms: list[Any] = []  # one a thread: tie sets found in one range serve the next
    parts = (*_searched(index), index.zero)
    answer = search.attend
    how: tuple[Any, ...] = (mean.nbytes + first.nbytes + count.nbytes > _STREAMED,)
    if d >= packing.FEATURES:
        parts = (*parts, readonly(index.packs), readonly(index.slack))
        answer, how = packing.attend, ()

    parts = (*parts[:3], readonly(firsts), readonly(source), readonly(rows), *parts[3:])

    def work(start: int, stop: int) -> None:
        try:
            room = rooms.pop()
        except IndexError:
            room = opened.new_room(parts[0], mean)
        scored.append(
            answer(
                query, key, value, *parts, _TIES[ties], room, *how, start, stop, mean, first,
                count, (0,) * d,
            )
        )  # fmt: skip
        rooms.append(room)

    for_each_range(work, n, max(_FEWEST_ROWS, min(_ROWS, n // 12)), num_threads)
    return sum(scored)


def list_ties(
    index: ConeIndex, query: NDArray[Any], key: NDArray[Any], first: NDArray[np.int64],
    indptr: NDArray[np.int64], num_threads: int, indices: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write all winners of the queries (L, d) of one batch entry."""

    def work(start: int, stop: int) -> None:
        search.list_ties(
            readonly(query), readonly(key), *_searched(index), readonly(first),
            readonly(indptr), start, stop, indices, (0,) * query.shape[1],
        )  # fmt: skip

    for_each_range(work, len(query), _ROWS, num_threads)


def _index(problem: Problem, k: int, seen: Look | None = None) -> ConeIndex:
    n_queries, some = _asking(problem, k)
    peak, num_threads = problem.key_peak[k], problem.num_threads
    return build(problem.key[k], peak, num_threads, n_queries, some, seen)


def _asking(problem: Problem, k: int) -> tuple[int, NDArray[Any] | None]:
    """How many queries ask the keys ``k``; and some of them, where that helps."""
    askers = problem.query_of[problem.key_of == k]
    n_queries = problem.n_queries * len(askers)
    if problem.n_features < 3 or n_queries == 0:
        return n_queries, None
    every = max(1, n_queries // max(_SOME_ASKED, n_queries // _EVERY))
    return n_queries, np.concatenate([problem.query[b, ::every] for b in askers])


def _divide_some(problem: Problem, k: int, few: NDArray[Any]) -> tuple[float, float]:
    """The share of a few keys that may win, and how crowded their boxes are; in some 0.7 ms."""
    n_queries, some = _asking(problem, k)
    n_expected = _FINER * n_queries * len(few) / problem.n_keys
    index = build(few, problem.key_peak[k], problem.num_threads, n_expected, some)
    return len(index.candidates) / len(few), index.work / len(few) / _CROWDED[problem.n_features]


def _average(index: ConeIndex, value: NDArray[Any], num_threads: int) -> NDArray[Any]:
    """The mean value of each candidate's members."""
    means = np.empty((len(index.candidates), value.shape[1]), value.dtype)

    def work(start: int, stop: int) -> None:
        tied.average(
            value, readonly(index.spans), readonly(index.members), tied.MEAN, start, stop, means
        )

    for_each_range(work, len(means), _ROWS, num_threads)
    return means


def _searched(index: ConeIndex) -> tuple[Any, ...]:
    """What the search reads of an index, arrays read-only: Numba compiles anew for other flags."""
    parts = [readonly(part) if isinstance(part, np.ndarray) else part for part in index]
    return (*parts[:9], tuple(parts[9:13]), parts[13])
