"""Cython, ahead of time: no warm-up, microseconds a call, and one pass over the keys."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from .._threads import for_each_range
from . import _compiled

# Multiply-adds in one range of rows: enough to be worth a thread, and few enough (about 0.1 s)
# that a keyboard interrupt is heard between two of them.
_WORTH_A_THREAD = 1 << 20
_TOO_LONG = 1 << 28


def run(problem: Problem) -> Answer:
    """Means, first winners and winner counts of every query."""
    answer = problem.empty_answer()
    work = partial(
        _compiled.attend[_c_type(problem)],
        problem.query,
        problem.key,
        problem.value,
        problem.query_of,
        problem.key_of,
        problem.value_of,
        problem.mask_of,
        *_allowed_and_bias(problem),
        problem.is_causal,
        problem.ties,
        answer.mean,
        answer.first,
        answer.count,
    )
    for_each_range(work, answer.count.size, _rows_per_range(problem), problem.num_threads)
    return answer


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order."""
    indices = np.empty(indptr[-1], np.int64)
    work = partial(
        _compiled.collect[_c_type(problem)],
        problem.query,
        problem.key,
        problem.query_of,
        problem.key_of,
        problem.mask_of,
        *_allowed_and_bias(problem),
        problem.is_causal,
        answer.first,
        answer.count,
        indptr,
        indices,
    )
    for_each_range(work, answer.count.size, _rows_per_range(problem), problem.num_threads)
    return indices


def _c_type(problem: Problem) -> str:
    return {4: "float", 8: "double"}[problem.dtype.itemsize]


def _allowed_and_bias(problem: Problem) -> tuple[NDArray[np.uint8] | None, NDArray[Any] | None]:
    """The two kinds of mask, apart: a C function takes one type for each argument."""
    if problem.mask is not None and problem.mask.dtype == bool:
        return problem.mask.view(np.uint8), None
    return None, problem.mask


def _rows_per_range(problem: Problem) -> int:
    row = max(1, problem.n_keys * (problem.n_features + 2))
    return max(1, _WORTH_A_THREAD // row, min(_compiled.QUERIES_IN_BLOCK, _TOO_LONG // row))
