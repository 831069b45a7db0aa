"""The definition, in NumPy: what every other engine must equal bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from ..numerics import canonical_scores

_BLOCK = 1 << 16  # scores held at once, so that no L x S array ever exists


def run(problem: Problem) -> Answer:
    """Means, first winners and winner counts of every query."""
    answer = problem.empty_answer()
    for b, i, winners in _tie_sets(problem):
        answer.first[b, i] = winners[0] if len(winners) else -1
        answer.count[b, i] = len(winners)
        values = problem.value[problem.value_of[b]]
        answer.mean[b, i] = _mean(values, winners, problem.ties)
    return answer


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order."""
    tie_sets = [winners for _, _, winners in _tie_sets(problem)]
    return np.concatenate([np.empty(0, np.int64), *tie_sets])


def _tie_sets(problem: Problem) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    rows = max(1, _BLOCK // max(1, problem.n_keys))
    for b in range(problem.n_batch):
        query, key = problem.query[problem.query_of[b]], problem.key[problem.key_of[b]]
        for start in range(0, problem.n_queries, rows):
            stop = min(start + rows, problem.n_queries)
            scores = canonical_scores(query[start:stop], key)
            allowed = np.ones(scores.shape, dtype=bool)
            if problem.mask is not None:
                mask = problem.mask[problem.mask_of[b], start:stop]
                if mask.dtype == bool:
                    allowed &= mask
                else:
                    scores += mask
                    allowed &= mask != -np.inf
            if problem.is_causal:
                allowed &= np.arange(problem.n_keys) <= np.arange(start, stop)[:, None]
            for i in range(start, stop):
                keys = np.flatnonzero(allowed[i - start])
                row = scores[i - start, keys]
                yield b, i, keys[row == row.max(initial=-np.inf)]


def _mean(values: NDArray[Any], winners: NDArray[np.int64], ties: str) -> NDArray[Any]:
    if len(winners) == 0:
        return np.zeros(values.shape[1], values.dtype)
    if ties == "first":
        return values[winners[0]]
    if ties == "last":
        return values[winners[-1]]
    # cumsum adds in increasing index; sum() may add in pairs, which rounds differently.
    with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses an infinite sum
        total = np.cumsum(values[winners], axis=0)[-1]
    return total / values.dtype.type(len(winners))
