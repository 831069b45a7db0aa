"""The direct engine: all pairs, screened by a fused vector kernel and decided canonically.

Threads take turns of a few panels of queries; each owns packed panels and the tables of block
maxima, so memory is fixed for each thread. A few queries against many keys would leave threads
idle: there the blocks of keys are shared out instead.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._crew import muster
from .._problem import Answer, Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _direct_kernels as kernels
from ._arrays import readonly
from ._canonical import fewest_keys
from ._decide import ADDED, ALLOWED, NO_MASK, TIES, block_size
from ._forecast import n_cores
from ._rough import HALF_RANGE, rounding_length
from ._vectors import MULTIPLIES_BYTES, geometry, panel_of_sums

# Multiply-adds of a turn: few enough to share out evenly, and beside which handing out is nothing.
_TURN_WORK = 1 << 28
_TURN_LEAST = 1 << 20
_THREAD_WORK = 1 << 20  # below this a second thread costs more than it brings
_AT_ONCE = 1 << 33  # and of a thread between two looks for an interruption: some tenths of a second
# Packed panels that share each run of keys, and the bytes of that run: best for every d measured.
_TOGETHER = 8
_KEY_BYTES = 1 << 16
_TABLE_BYTES = 1 << 21  # the tables of one range: written once, read twice
# Screening in bytes: features, rows of queries and keys, and bytes of keys, for which it pays; rows
# in one turn.
_BYTES_FROM, _BYTES_TO, _BYTES_ROWS, _BYTES_SIZE = 4, 1 << 16, 256, 1 << 16
_ROUNDED_ROWS = 512
_MORE_LOOKS = 3  # blocks scored again for each query, where there would be one
# What a call takes, in nanoseconds of one core (measured): for each pair, and for each pair and
# feature, in float64; for each query. Then the same in bytes, where those serve, whatever the
# dtype. And what all cores wait for.
_PAIR, _PAIR_FEATURE, _QUERY = 0.013, 0.016, 20.0
_BYTES_PAIR, _BYTES_PAIR_FEATURE, _BYTES_QUERY = 0.006, 0.0025, 220.0
_CALL = 5e4
# Masks that are absent: never read, of the type of those that are present.
_ALL_ALLOWED = np.broadcast_to(np.ones((1, 1, 1), bool), (2, 1, 1, 1))
_NONE_ADDED = {
    np.dtype(t): np.broadcast_to(np.zeros((1, 1, 1), t), (2, 1, 1, 1)) for t in ("f4", "f8")
}
# What a boolean mask adds, looked up and not branched on: masks are as unpredictable as they like.
_VERDICTS = {np.dtype(t): np.array([-np.inf, 0], t) for t in ("f4", "f8")}


def forecast(problem: Problem, bytes_serve: bool = True) -> float:
    """About how many nanoseconds :func:`run` takes on one core where few keys tie.

    Whether screening in bytes serves depends on the data: seldom where many keys are near ties.
    """
    d, n_rows = problem.n_features, problem.n_batch * problem.n_queries
    call = _CALL * n_cores(problem.num_threads)
    if bytes_serve and _in_bytes(problem):
        return (
            call + problem.n_pairs * (_BYTES_PAIR + _BYTES_PAIR_FEATURE * d) + n_rows * _BYTES_QUERY
        )
    each = (_PAIR + _PAIR_FEATURE * d) * problem.dtype.itemsize / 8
    return call + problem.n_pairs * each + n_rows * _QUERY


def bytes_serve(problem: Problem) -> bool:
    """Whether screening in bytes leaves a first panel of queries few keys to look at.

    Where it is tried at all; O(d) for each key and O(d) for each of some 50 n pairs.
    """
    if not _in_bytes(problem):
        return False
    first = _plan(problem)._replace(n_panels=1, panels=1, n_turns=1, at_once=1, threads=1)
    return _attend(problem, first, problem.empty_answer())[1]


def run(problem: Problem) -> Answer:
    """Means, first winners and winner counts of every query."""
    return run_counting(problem)[0]


def run_counting(problem: Problem) -> tuple[Answer, float]:
    """The answer, and the share of queries for which one block of keys did not decide."""
    n_rows = problem.n_batch * problem.n_queries
    if n_rows == 0 or problem.n_keys == 0:
        return problem.no_keys_answer(), 0.0
    answer = problem.empty_answer()
    return answer, _attend(problem, _plan(problem), answer)[0] / n_rows


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
    rows = max(1, _TURN_WORK // max(1, 16 * problem.n_keys * (problem.n_features + 2)))
    for_each_range(fill, n_rows, rows, problem.num_threads)
    return indices


class _Plan(NamedTuple):
    """Shapes of the work, chosen from the problem's shape alone.

    A turn is some panels with all blocks of keys or, where panels are few, the other way round.
    """

    width: int  # queries per panel
    vectors: tuple[int, ...]
    unroll: tuple[int, ...]
    n_panels: int  # over all batches
    panels: int  # per turn
    block: int  # keys per block
    n_blocks: int
    blocks: int  # per turn
    stride: int  # blocks per run of keys
    rough: bool  # screened in bytes first
    threads: int
    n_turns: int
    at_once: int  # turns shared out at once


def _plan(problem: Problem) -> _Plan:
    n_keys, d, itemsize = problem.n_keys, problem.n_features, problem.dtype.itemsize
    rough = _in_bytes(problem)
    width, vectors, unroll = (
        panel_of_sums(itemsize) if rough else geometry(d, problem.n_queries, itemsize)
    )
    n_panels = problem.n_batch * -(-problem.n_queries // width)
    block = block_size(n_keys, _MORE_LOOKS * d if rough else d, itemsize)
    n_blocks = -(-n_keys // block)
    panel_work = width * n_keys * (d + 2)
    threads = problem.num_threads if n_panels * panel_work > _THREAD_WORK else 1
    if 1 < threads > n_panels:
        panels, blocks = n_panels, -(-n_blocks // (4 * threads))
        n_turns = -(-n_blocks // blocks)
    else:
        panels, blocks = (
            _panels_per_turn(problem, threads, n_panels, panel_work, n_blocks * width * itemsize),
            n_blocks,
        )
        n_turns = -(-n_panels // panels)
    return _Plan(
        width=width,
        vectors=vectors,
        unroll=unroll,
        n_panels=n_panels,
        panels=panels,
        block=block,
        n_blocks=n_blocks,
        blocks=blocks,
        stride=max(1, _KEY_BYTES // (block * max(1, d) * (1 if rough else itemsize))),
        rough=rough,
        threads=threads,
        n_turns=n_turns,
        at_once=threads * max(1, _AT_ONCE * n_turns // (n_panels * panel_work)),
    )


def _panels_per_turn(
    problem: Problem, threads: int, n_panels: int, panel_work: int, table_bytes: int
) -> int:
    """Few enough to share out evenly, most of all where causal, and for the tables' sake."""
    most = (16 if problem.is_causal else 4) * threads
    worth = n_panels * panel_work // _TURN_LEAST
    n_turns = 1 if threads == 1 else max(threads, min(most, worth))
    panels = min(
        max(1, _TURN_WORK // panel_work),
        max(1, _TABLE_BYTES // table_bytes),
        -(-n_panels // n_turns),
    )
    if n_panels > 16 * threads * panels:
        return panels - panels % _TOGETHER if panels > _TOGETHER else panels

    def longest(panels: int) -> int:
        """Panels of the thread that has most turns."""
        n_turns = -(-n_panels // panels)
        return -(-n_turns // threads) * panels

    return min(range(panels, panels // 4, -1), key=longest)


def _attend(problem: Problem, plan: _Plan, answer: Answer) -> tuple[int, bool]:
    """Share the turns out, so many at a time that an interruption is heard between.

    Returns for how many queries one block did not decide, and whether bytes served to the end.
    """
    n_helpers = min(plan.threads, os.cpu_count() or 1, plan.n_turns) - 1
    masks = _masks(problem)
    places = _places(problem, plan, masked=masks[1] != NO_MASK, slots=n_helpers + 1)
    again, failures = np.zeros((2, n_helpers + 1), np.int64)
    run_job = muster(n_helpers)
    arguments: tuple[Any, ...] = (
        (*_inputs(problem), _slack(problem), readonly(problem.key_peak)),
        (*masks, _VERDICTS[problem.dtype]),
        (
            plan.n_panels,
            plan.n_turns,
            plan.panels,
            plan.blocks,
            plan.block,
            plan.stride,
            plan.vectors,
            plan.unroll,
        ),
        places,
        (TIES[problem.ties], answer.mean, answer.first, answer.count, again, failures),
    )
    kernel = kernels.attend_few
    if plan.blocks == plan.n_blocks:
        kernel = kernels.attend
        arguments += (_round(problem, plan, run_job, n_helpers) if plan.rough else None,)
    for begin in range(0, plan.n_turns, plan.at_once):
        end = min(begin + plan.at_once, plan.n_turns)
        kernel(run_job, n_helpers, begin, end, *arguments)
    return int(again.sum()), bool((failures <= 0).all())


def _places(problem: Problem, plan: _Plan, masked: bool, slots: int) -> tuple[NDArray[Any], ...]:
    """What each thread writes to; the tables are shared where keys are shared out."""
    dtype, width = problem.dtype, plan.width
    few = plan.blocks < plan.n_blocks
    return (
        np.empty((slots, min(_TOGETHER, plan.panels), problem.n_features * width), dtype),
        np.empty((slots, plan.block if masked else 0, width), dtype),
        np.empty((1 if few else slots, plan.panels, width), dtype),
        np.empty((1 if few else slots, plan.panels, plan.n_blocks, width), dtype),
        np.empty((slots, 5, width), dtype),
        np.empty((slots, 2, width), np.int64),
        np.empty((slots, plan.block + fewest_keys(dtype.itemsize)), dtype),
    )


def _in_bytes(problem: Problem) -> bool:
    """Whether screening in bytes is possible, and worth a try."""
    return (
        MULTIPLIES_BYTES
        and problem.mask is None
        and _BYTES_FROM <= problem.n_features <= _BYTES_TO
        and problem.n_queries >= _BYTES_ROWS
        and problem.n_keys >= _BYTES_ROWS
        and problem.n_keys * problem.n_features * problem.dtype.itemsize >= _BYTES_SIZE
        and float(problem.key_peak.max(axis=1).min()) > _least_peak(problem.dtype)
    )


def _least_peak(dtype: np.dtype[Any]) -> float:
    """What scales are far from underflow and overflow with."""
    return float(np.finfo(dtype).tiny) * 2.0**20


def _round(problem: Problem, plan: _Plan, run_job: int, n_helpers: int) -> tuple[NDArray[Any], ...]:
    """Keys in bytes, with their units and lengths; and the places for queries in bytes."""
    key, d, dtype, slots = problem.key, problem.n_features, problem.dtype, n_helpers + 1
    n_bytes = -(-d // 4) * 4
    peak = problem.key_peak.max(axis=1)
    inverse = dtype.type(HALF_RANGE) / peak
    unit = 1 / inverse
    rounded = np.empty((*key.shape[:2], n_bytes), np.uint8)
    rounded[..., d:] = 0
    per_entry = -(-problem.n_keys // _ROUNDED_ROWS)
    kept, missed = np.zeros((2, len(key) * per_entry), np.int64)
    kernels.round_all(
        run_job, n_helpers, len(kept), readonly(key), inverse, _ROUNDED_ROWS, rounded, kept, missed
    )
    lengths = _lengths(kept.reshape(len(key), -1), missed.reshape(len(key), -1), d, dtype)
    row = np.zeros((slots, 1, n_bytes), np.int8)
    together, words = min(_TOGETHER, plan.panels), n_bytes // 4
    return (
        rounded.view(np.int32),
        unit,
        np.maximum(1, HALF_RANGE / unit).astype(dtype) * dtype.type(_least_peak(dtype)),
        lengths,
        row,
        row.view(np.int32),
        np.zeros((slots, together, words * plan.width), np.int32),
        np.zeros((slots, together, plan.width), np.int32),
        np.zeros((slots, together, plan.width), dtype),
    )


def _lengths(
    kept: NDArray[np.int64], missed: NDArray[np.int64], d: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """``(near, far)`` of the keys of each entry of the batch, from sums of squares of parts."""
    near = np.array([rounding_length.py_func(m, d) for m in missed.max(axis=1).tolist()])
    far = np.sqrt(kept.max(axis=1)) + near
    return 1.0001 * np.stack([near, far], axis=1).astype(dtype)


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
