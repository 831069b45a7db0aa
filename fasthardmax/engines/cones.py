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
from . import _cones_search as search
from ._arrays import readonly
from ._cones_index import MAX_FEATURES, ConeIndex, build, expected_scores

__all__ = [
    "attend", "build", "estimate", "list_ties", "list_winners", "refusal", "run", "run_counting",
]  # fmt: skip

_TIES = {"mean": search.MEAN, "first": search.FIRST, "last": search.LAST}
_ROWS = 1 << 15  # queries per range: about a millisecond

# What :func:`estimate` reckons with. Samples: at least and at most so many keys, one for so much
# work, and no steeper growth than this power.
_SAMPLE_LEAST, _SAMPLE_MOST, _WORK_PER_KEY, _STEEPEST = 256, 2048, 1 << 25, 1.15
# Nanoseconds: to reduce the keys (by their features), for each key and feature, each key compared
# in a box, each query and feature, each candidate scored from a list or in the tree.
_REDUCING = {2: 1.5e6, 3: 1.2e7, 4: 3e7}
_KEY, _COMPARED, _QUERY, _SCORE, _SCORE_IN_TREE = 8.0, 35.0, 8.0, 9.0, 18.0
# The share of the keys that is left, once reduced, at d = 2: there alone it is small and sure.
_KEPT = 0.1
# Keys that boxes may list for each key, and the share of all keys that a search of the tree scores.
_ROOM, _SHARE_IN_TREE = 16, 0.05


def refusal(problem: Problem) -> str | None:
    """Why the engine cannot run ``problem``, or None if it can."""
    if problem.mask is not None or problem.is_causal:
        return "it takes no mask and is not causal"
    if not 1 <= problem.n_features <= MAX_FEATURES:
        return f"it takes 1 to {MAX_FEATURES} features, not {problem.n_features}"
    return None


def run(problem: Problem) -> Answer:
    """Means, first winners and winner counts of every query."""
    return run_counting(problem)[0]


def run_counting(problem: Problem) -> tuple[Answer, float]:
    """The answer, and how many candidates were scored per query."""
    n_rows = problem.n_batch * problem.n_queries
    if n_rows == 0 or problem.n_keys == 0:
        return problem.no_keys_answer(), 0.0
    answer = problem.empty_answer()
    scored = 0
    for k in np.unique(problem.key_of):
        index = _index(problem, k)
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


def estimate(problem: Problem) -> float:
    """About how long :func:`run` takes, in nanoseconds of one core of a common machine.

    Two samples of the first batch entry's keys, one within the other, are indexed: how the number
    of comparisons, candidates and listed keys grows from one to the other is how they are taken to
    go on. The samples grow with the work, so that this costs a percent or two of what looking at
    all pairs would. The constants are fitted to measurements, within a factor of two of most.
    """
    n, d = problem.n_keys, problem.n_features
    if problem.n_pairs == 0:
        return 0.0
    work = problem.n_pairs // problem.n_batch * (d + 2)
    size = min(n, _SAMPLE_MOST, max(_SAMPLE_LEAST, work // _WORK_PER_KEY))
    chosen = np.random.default_rng(0).integers(n, size=size)
    growth = []
    for few in (-(-size // 4), size):
        keys = problem.key[problem.key_of[0]][chosen[:few]]
        index = build(keys, np.abs(keys).max(axis=0), 1)
        growth.append((index.compared, len(index.candidates), len(index.lists)))
    factor = n / size
    # Lists grow as candidates do.
    (compared, candidates, listed), powers = (
        growth[1],
        [
            min(_STEEPEST, max(0.0, math.log(max(1, after) / max(1, before), 4)))
            for before, after in zip(*growth, strict=True)
        ],
    )
    compared *= factor ** powers[0]
    few = candidates * factor ** powers[1] < n / 8
    room, listed = _ROOM * n, listed * factor ** powers[1]
    scored, each = expected_scores(d, few), _SCORE
    if few and d == 2:
        compared *= _KEPT
    if listed > room:
        # Then many boxes are left whole, and their queries search a tree.
        compared *= room / listed
        scored, each = _SHARE_IN_TREE * n, _SCORE_IN_TREE
    base = _REDUCING.get(d, 0.0) if n > _SAMPLE_LEAST else 0.0
    key_sets = len(np.unique(problem.key_of))
    building = key_sets * (base + _KEY * n * d + _COMPARED * compared)
    return building + problem.n_batch * problem.n_queries * (_QUERY * d + each * scored)


def attend(
    index: ConeIndex, query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], ties: str,
    num_threads: int, mean: NDArray[Any], first: NDArray[np.int64], count: NDArray[np.int64],
) -> int:  # fmt: skip
    """Answer the queries (L, d) of one batch entry; returns how many candidates were scored."""
    n, d = query.shape
    query, key, value = readonly(query), readonly(key), readonly(value)
    source, rows = value, index.members
    if ties == "last":
        rows = index.members[index.spans[1:] - 1]
    elif len(index.members) > len(index.candidates):
        rows = index.members[index.spans[:-1]]
        if ties == "mean" and value.shape[1]:
            source, rows = _average(index, value, num_threads), np.arange(len(index.candidates))
    scored = []

    def work(start: int, stop: int) -> None:
        scored.append(
            search.attend(
                query, key, value, *_searched(index)[:3], readonly(source), readonly(rows),
                *_searched(index)[3:], index.zero, _TIES[ties], start, stop,
                mean, first, count, (0,) * d,
            )
        )  # fmt: skip

    for_each_range(work, n, _ROWS, num_threads)
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


def _index(problem: Problem, k: int) -> ConeIndex:
    return build(problem.key[k], problem.key_peak[k], problem.num_threads)


def _average(index: ConeIndex, value: NDArray[Any], num_threads: int) -> NDArray[Any]:
    """The mean value of each candidate's members."""
    means = np.empty((len(index.candidates), value.shape[1]), value.dtype)

    def work(start: int, stop: int) -> None:
        search.average(
            value, readonly(index.spans), readonly(index.members), search.MEAN, start, stop, means
        )

    for_each_range(work, len(means), _ROWS, num_threads)
    return means


def _searched(index: ConeIndex) -> tuple[Any, ...]:
    """What the search reads of an index, arrays read-only: Numba compiles anew for other flags."""
    parts = index[:-2]
    return tuple(readonly(part) if isinstance(part, np.ndarray) else part for part in parts)
