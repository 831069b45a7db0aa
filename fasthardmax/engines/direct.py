"""The direct engine: all pairs, screened by a fused vector kernel and decided canonically.

Panels of queries go to threads in ranges; a range owns a few packed panels and the tables of block
maxima, so memory is fixed for each thread. A few queries against many keys would leave threads
idle: there the blocks of keys are shared out instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _direct_kernels as kernels
from ._arrays import readonly
from ._decide import ADDED, ALLOWED, NO_MASK, TIES, block_size
from ._vectors import geometry

# A range of about 20 ms: short enough to share out evenly and to interrupt.
_RANGE_WORK = 1 << 28
_RANGE_LEAST = 1 << 23
# Below about a millisecond of work a second thread costs more than it brings.
_THREAD_WORK = 1 << 22
# Packed panels that share each run of keys, and the bytes of that run: best for every d measured.
_TOGETHER = 8
_KEY_BYTES = 1 << 16
_TABLE_BYTES = 1 << 21  # the tables of one range: written once, read twice
# Nanoseconds on one core for each pair, and for each pair and feature, in float64 (measured).
_PAIR, _PAIR_FEATURE = 0.01, 0.045
# Masks that are absent: never read, of the type of those that are present.
_ALL_ALLOWED = np.broadcast_to(np.ones((1, 1, 1), bool), (2, 1, 1, 1))
_NONE_ADDED = {
    np.dtype(t): np.broadcast_to(np.zeros((1, 1, 1), t), (2, 1, 1, 1)) for t in ("f4", "f8")
}


def forecast(problem: Problem) -> float:
    """About how many nanoseconds :func:`run` takes on one core where few keys tie."""
    each = (_PAIR + _PAIR_FEATURE * problem.n_features) * problem.dtype.itemsize / 8
    return problem.n_pairs * each


def run(problem: Problem) -> Answer:
    """Means, first winners and winner counts of every query."""
    return run_counting(problem)[0]


def run_counting(problem: Problem) -> tuple[Answer, float]:
    """The answer, and the share of queries for which one block of keys did not decide."""
    n_rows = problem.n_batch * problem.n_queries
    if n_rows == 0 or problem.n_keys == 0:
        return problem.no_keys_answer(), 0.0
    answer = problem.empty_answer()
    plan = _plan(problem)
    if plan.threads > 1 and plan.n_panels < plan.threads:
        again = _share_keys(problem, plan, answer)
    else:
        again = _share_queries(problem, plan, answer)
    return answer, again / n_rows


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order."""
    indices = np.empty(indptr[-1], np.int64)
    query, key, _, query_of, key_of, _, mask_of = _inputs(problem)
    masks = _masks(problem)

    def fill(start: int, stop: int) -> None:
        kernels.list_ties(
            query, key, query_of, key_of, mask_of, *masks,
            answer.first, answer.count, indptr, start, stop, indices,
        )  # fmt: skip

    n_rows = problem.n_batch * problem.n_queries
    rows = max(1, _RANGE_WORK // max(1, 16 * problem.n_keys * (problem.n_features + 2)))
    for_each_range(fill, n_rows, rows, problem.num_threads)
    return indices


class _Plan(NamedTuple):
    """Shapes of the work, chosen from the problem's shape alone."""

    width: int  # queries per panel
    vectors: tuple[int, ...]
    unroll: tuple[int, ...]
    n_panels: int  # over all batches
    block: int  # keys per block
    n_blocks: int
    stride: int  # blocks per run of keys
    threads: int


def _plan(problem: Problem) -> _Plan:
    n_keys, d, itemsize = problem.n_keys, problem.n_features, problem.dtype.itemsize
    width, vectors, unroll = geometry(d, problem.n_queries, itemsize)
    block = block_size(n_keys, d, itemsize)
    row_bytes = max(1, d) * itemsize
    return _Plan(
        width=width,
        vectors=vectors,
        unroll=unroll,
        n_panels=problem.n_batch * -(-problem.n_queries // width),
        block=block,
        n_blocks=-(-n_keys // block),
        stride=max(1, _KEY_BYTES // (block * row_bytes)),
        threads=problem.num_threads if problem.n_pairs * (d + 2) > _THREAD_WORK else 1,
    )


def _share_queries(problem: Problem, plan: _Plan, answer: Answer) -> int:
    """Ranges of panels over the threads."""
    screen, decide = _kernels(problem, plan, answer)
    table_bytes = plan.n_blocks * plan.width * problem.dtype.itemsize
    panel_work = plan.width * problem.n_keys * (problem.n_features + 2)
    # Enough ranges to share out evenly, the larger the later where causal, and none so small that
    # handing it out shows.
    most = (16 if problem.is_causal else 4) * plan.threads
    worth = plan.n_panels * panel_work // _RANGE_LEAST
    n_ranges = 1 if plan.threads == 1 else max(plan.threads, min(most, worth))
    panels = min(
        max(1, _RANGE_WORK // panel_work),
        max(1, _TABLE_BYTES // table_bytes),
        -(-plan.n_panels // n_ranges),
    )
    if panels > _TOGETHER:
        panels -= panels % _TOGETHER
    again = []

    def attend(start: int, stop: int) -> None:
        tables = np.empty((stop - start, plan.n_blocks, plan.width), problem.dtype)
        screen(start, stop, 0, plan.n_blocks, tables)
        again.append(decide(start, stop, tables))

    for_each_range(attend, plan.n_panels, panels, plan.threads)
    return sum(again)


def _share_keys(problem: Problem, plan: _Plan, answer: Answer) -> int:
    """Ranges of key blocks over the threads, all panels in each."""
    screen, decide = _kernels(problem, plan, answer)
    tables = np.empty((plan.n_panels, plan.n_blocks, plan.width), problem.dtype)
    for_each_range(
        lambda start, stop: screen(0, plan.n_panels, start, stop, tables),
        plan.n_blocks,
        -(-plan.n_blocks // (4 * plan.threads)),
        plan.threads,
    )
    return decide(0, plan.n_panels, tables)


def _kernels(
    problem: Problem, plan: _Plan, answer: Answer
) -> tuple[Callable[..., None], Callable[..., int]]:
    """The two kernels, with all that stays the same from range to range."""
    inputs, masks = _inputs(problem), _masks(problem)
    query, key, _, query_of, key_of, _, mask_of = inputs
    slack, key_peak, dtype = _slack(problem), readonly(problem.key_peak), problem.dtype

    def screen(
        start: int, stop: int, first_block: int, last_block: int, tables: NDArray[Any]
    ) -> None:
        packed = np.empty((_TOGETHER, problem.n_features * plan.width), dtype)
        bias = np.empty((plan.block, plan.width), dtype)
        kernels.screen(
            query, key, query_of, key_of, mask_of, *masks,
            start, stop, first_block, last_block, plan.block, plan.stride,
            packed, bias, tables, plan.vectors, plan.unroll,
        )  # fmt: skip

    def decide(start: int, stop: int, tables: NDArray[Any]) -> int:
        again: int = kernels.decide(
            *inputs, *masks, slack, key_peak, start, stop, plan.block, tables,
            TIES[problem.ties], answer.mean, answer.first, answer.count,
        )  # fmt: skip
        return again

    return screen, decide


def _slack(problem: Problem) -> NDArray[Any]:
    """Screening slack, and what a float mask's own rounding adds: 8 u |best|."""
    eps = np.finfo(problem.dtype).eps
    slack = (*screening_slack(problem.n_features, problem.dtype), 4 * eps)
    return np.array(slack, problem.dtype)


def _inputs(problem: Problem) -> tuple[NDArray[Any], ...]:
    """The problem's arrays, all read-only: Numba compiles anew for each mix of flags."""
    arrays = (
        problem.query, problem.key, problem.value,
        problem.query_of, problem.key_of, problem.value_of, problem.mask_of,
    )  # fmt: skip
    return tuple(readonly(array) for array in arrays)


def _masks(problem: Problem) -> tuple[bool, int, NDArray[np.bool_], NDArray[Any]]:
    """``(causal, rule, allowed, added)``.

    A leading axis of stride 0 gives every mask one type, strided and read-only.
    """
    rule, allowed, added = NO_MASK, _ALL_ALLOWED, _NONE_ADDED[problem.dtype]
    if problem.mask is not None:
        stacked = np.broadcast_to(problem.mask, (2, *problem.mask.shape))
        if problem.mask.dtype == bool:
            rule, allowed = ALLOWED, stacked
        else:
            rule, added = ADDED, stacked
    return problem.is_causal, rule, allowed, added
