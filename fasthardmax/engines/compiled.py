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
    arguments = (
        problem.query,
        problem.key,
        problem.value,
        problem.query_of,
        problem.key_of,
        problem.value_of,
        problem.mask_of,
        *_allowed_and_bias(problem.mask),
        problem.is_causal,
        problem.ties,
        answer.mean,
        answer.first,
        answer.count,
    )
    attend, n_rows, rows = _compiled.attend[_c_type(problem)], answer.count.size, _rows(problem)
    if n_rows <= rows:
        attend(*arguments, 0, n_rows)
    else:
        for_each_range(partial(attend, *arguments), n_rows, rows, problem.num_threads)
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
        *_allowed_and_bias(problem.mask),
        problem.is_causal,
        answer.first,
        answer.count,
        indptr,
        indices,
    )
    for_each_range(work, answer.count.size, _rows(problem), problem.num_threads)
    return indices


def _c_type(problem: Problem) -> str:
    return "float" if problem.dtype.itemsize == 4 else "double"


def _allowed_and_bias(
    mask: NDArray[Any] | None,
) -> tuple[NDArray[np.uint8] | None, NDArray[Any] | None]:
    """The two kinds of mask, apart: a C function takes one type for each argument."""
    if mask is not None and mask.dtype == bool:
        return mask.view(np.uint8), None
    return None, mask


def _rows(problem: Problem) -> int:
    """Rows per range."""
    row = max(1, problem.n_keys * (problem.n_features + 2))
    return max(1, _WORTH_A_THREAD // row, min(_compiled.QUERIES_IN_BLOCK, _TOO_LONG // row))
