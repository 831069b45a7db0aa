"""The direct engine: all pairs, screened by a fused vector kernel and decided canonically.

Threads take turns of a few panels of queries; each owns packed panels and the tables of block
maxima, so memory is fixed for each thread. A few queries against many keys would leave threads
idle, and reading keys takes longer than scoring them: there blocks of keys are shared out instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._crew import muster
from .._keys import LONG_ROW
from .._problem import Answer, Problem
from .._threads import for_each_range
from ..numerics import screening_slack
from . import _direct_kernels as kernels
from . import _few_queries as few_queries
from ._arrays import readonly
from ._byte_products import BYTES_GAIN, MULTIPLIES_BYTES
from ._canonical import fewest_keys
from ._decide import ADDED, ALLOWED, NO_MASK, TIES
from ._direct_plan import Plan, Shape, plan_for
from ._forecast import n_cores
from ._processor import VECTOR_BYTES
from ._rough import least_peak, lengths_of, most_blocks, scales_of

_LIST_WORK = 1 << 24  # multiply-adds of a turn that lists winners
# Screening in bytes: features, rows of queries and keys, and bytes of keys, for which it pays
# (measured); how many queries as dear the preparation of a call is; rows of keys in a turn of it.
_BYTES_FROM, _BYTES_TO, _BYTES_ROWS, _BYTES_CALL = 4, 1 << 16, 256, 1000
_BYTES_SIZE = (96 << 10) // BYTES_GAIN
_ROWS_PREPARED = 512
_PANELS_ASKED = 4  # whether bytes serve
# Queries of one entry of keys that are scored one by one, along the keys.
_BY_ROWS = 4
# What a call takes, in nanoseconds of one core with AVX-512 (measured): for each pair, and for each
# pair and feature, in float64; for each query. Then the same in bytes, where those serve, whatever
# the dtype. And what all cores wait for. With narrower vectors all takes longer, alike.
_PAIR, _PAIR_FEATURE, _QUERY = 0.013, 0.016, 20.0
_BYTES_PAIR, _BYTES_PAIR_FEATURE, _BYTES_QUERY = 0.024 / BYTES_GAIN, 0.01 / BYTES_GAIN, 100.0
_CALL = 5e4
# Masks that are absent: never read, of the type of those that are present.
_ALL_ALLOWED = np.broadcast_to(np.ones((1, 1, 1), bool), (2, 1, 1, 1))
_NONE_ADDED = {
    np.dtype(t): np.broadcast_to(np.zeros((1, 1, 1), t), (2, 1, 1, 1)) for t in ("f4", "f8")
}
# What a boolean mask adds, looked up and not branched on: masks are as unpredictable as they like.
_VERDICTS = {np.dtype(t): np.array([-np.inf, 0], t) for t in ("f4", "f8")}

# Keys turned; and in bytes, or None.
_Prepared = tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]


def forecast(problem: Problem, bytes_serve: bool = True) -> float:
    """About how many nanoseconds :func:`run` takes on one core where few keys tie.

    Whether screening in bytes serves depends on the data: seldom where many keys are near ties.
    """
    n_rows = problem.n_batch * problem.n_queries
    pair, query = costs(problem, bytes_serve)
    return _CALL * n_cores(problem.num_threads) + problem.n_pairs * pair + n_rows * query


def costs(problem: Problem, bytes_serve: bool = True) -> tuple[float, float]:
    """Nanoseconds of one core for each pair, and for each query beside them; see forecast."""
    d = problem.n_features
    if bytes_serve and _in_bytes(problem):
        return _BYTES_PAIR + _BYTES_PAIR_FEATURE * d, _BYTES_QUERY
    return (_PAIR + _PAIR_FEATURE * d) * problem.dtype.itemsize / 8, _QUERY


def bytes_serve(problem: Problem) -> tuple[bool, tuple[Any, ...]]:
    """Whether screening in bytes leaves the first panels of queries few keys to look at.

    Where it is tried at all; O(d) for each key and O(d) for each of some 200 n pairs. The keys in
    bytes, which take much of that, come with it for :func:`run` of the same problem.
    """
    plan = _plan(problem)
    if plan.few or not plan.rough:
        return False, ()
    n_helpers = _count_helpers(plan)
    prepared = _prepare(problem, plan, muster(n_helpers), n_helpers)
    few = min(_PANELS_ASKED, plan.n_panels)
    together = min(few, plan.together)
    first = plan._replace(
        n_panels=few, panels=few, together=together, n_turns=1, at_once=1, threads=1
    )
    failures = _attend(problem, first, problem.empty_answer(), prepared)[1]
    return bool((failures <= 0).all()), (None, prepared)


def bytes_may_serve(problem: Problem, close: float) -> bool:
    """Whether screening in bytes may, where it leaves that share of keys, in any order."""
    plan = _plan(problem)
    n_blocks = plan.n_blocks * (1 - (1 - close) ** plan.block)
    most: float = most_blocks.py_func(
        plan.n_blocks, plan.block * problem.n_features, problem.dtype.itemsize
    )
    return n_blocks <= most


def run(
    problem: Problem, answer: Answer | None = None, prepared: _Prepared | None = None
) -> Answer:
    """Means, first winners and winner counts of every query, in ``answer`` if given.

    ``prepared`` is from :func:`bytes_serve` of this very problem.
    """
    if 0 in problem.query.shape[:2] or problem.n_batch * problem.n_keys == 0:
        return problem.no_keys_answer()
    if answer is None:
        answer = problem.empty_answer()
    _attend(problem, _plan(problem), answer, prepared)
    return answer


def run_counting(problem: Problem) -> tuple[Answer, float]:
    """The answer, and the share of queries for which one block of keys did not decide."""
    n_rows = problem.n_batch * problem.n_queries
    if n_rows == 0 or problem.n_keys == 0:
        return problem.no_keys_answer(), 0.0
    answer = problem.empty_answer()
    return answer, int(_attend(problem, _plan(problem), answer)[0].sum()) / n_rows


def keys_per_block(problem: Problem) -> int:
    """How many keys share a rough score; one block or more is scored again for each query."""
    return _plan(problem).block


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
    rows = max(1, _LIST_WORK // max(1, problem.n_keys * (problem.n_features + 2)))
    for_each_range(fill, n_rows, rows, problem.num_threads)
    return indices


def _plan(problem: Problem) -> Plan:
    (_, n_queries, d), (n_entries, n_keys, _) = problem.query.shape, problem.keys.unchecked.shape
    shape = Shape(
        len(problem.query_of),
        n_entries,
        n_queries,
        n_keys,
        d,
        problem.query.itemsize,
        problem.is_causal,
        problem.num_threads,
        _in_bytes(problem),
        problem.keys.wait,
        problem.mask is not None,
    )
    return plan_for(shape)


def _count_helpers(plan: Plan) -> int:
    return min(n_cores(plan.threads), plan.n_turns) - 1


def _attend(
    problem: Problem, plan: Plan, answer: Answer, prepared: _Prepared | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Share the turns out, so many at a time that an interruption is heard between.

    Returns for each thread for how many queries one block did not decide, and a number above 0
    where bytes did not serve to the end.
    """
    n_helpers = _count_helpers(plan)
    masks = _masks(problem)
    room = _Room(
        plan, problem.query.dtype, problem.query.shape[2], masks[1] != NO_MASK, n_helpers + 1
    )
    kept, places = _take_room(room)
    again, failures = np.zeros(n_helpers + 1, np.int64), np.zeros(n_helpers + 1, np.int64)
    run_job = muster(n_helpers)
    how = (
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
    )
    outputs = (TIES[problem.ties], answer.mean, answer.first, answer.count, again, failures)
    if plan.few:
        _screen_few(problem, plan, run_job, n_helpers, how)
    slack = _slack(problem.query.shape[2], problem.query.dtype)
    turned, rough = prepared or _prepare(problem, plan, run_job, n_helpers)
    unturned = 0
    if plan.turned and rough is None:
        unturned = len(turned) * -(-problem.n_keys // _ROWS_PREPARED)
    inputs = (*_inputs(problem), slack, readonly(problem.key_peak), turned)
    if plan.few:
        for begin, end in _shares(problem.n_batch, plan):
            few_queries.decide_all(run_job, n_helpers, begin, end, inputs, *how, outputs)
    else:
        for begin, end in _shares(plan.n_turns, plan):
            kernels.attend(
                run_job, n_helpers, begin, end, inputs, *how, outputs, rough, unturned,
                _ROWS_PREPARED,
            )  # fmt: skip
            unturned = 0
    kept.append(places)
    return again, failures


def _shares(n_turns: int, plan: Plan) -> Iterator[tuple[int, int]]:
    """Ranges of turns, with an ear for interruptions between."""
    for begin in range(0, n_turns, plan.at_once):
        yield begin, min(begin + plan.at_once, n_turns)


def _screen_few(
    problem: Problem, plan: Plan, run_job: int, n_helpers: int, how: tuple[Any, ...]
) -> None:
    """Screen all keys, block by block, and check those that are still to be checked."""
    dtype, keys = problem.dtype, problem.keys
    users = np.argsort(problem.key_of, kind="stable")
    begins = np.searchsorted(problem.key_of[users], np.arange(len(keys.unchecked) + 1))
    by_rows = (
        problem.mask is None
        and not problem.is_causal
        and problem.n_queries <= _BY_ROWS
        and problem.n_features * dtype.itemsize >= LONG_ROW
    )
    sizes = (n_helpers + 1, len(keys.unchecked), problem.n_features)
    peaks = np.zeros(sizes, f"i{dtype.itemsize}")
    among = (users, begins, by_rows, keys.wait, peaks)
    inputs = _inputs(problem, keys.unchecked)
    for begin, end in _shares(plan.n_turns, plan):
        few_queries.screen_all(run_job, n_helpers, begin, end, inputs, *how, among)
    if keys.wait:
        keys.settle(peaks.max(axis=0).view(dtype))


class _Room(NamedTuple):
    """What the places that a call writes to depend on."""

    plan: Plan
    dtype: np.dtype[Any]
    n_features: int
    masked: bool
    slots: int


# Places of earlier calls: to make them anew takes a small call as long as all its checks.
_left: dict[_Room, list[tuple[NDArray[Any], ...]]] = {}
_LEFT_KINDS, _LEFT_BYTES = 8, 1 << 18


def _take_room(room: _Room) -> tuple[list[tuple[NDArray[Any], ...]], tuple[NDArray[Any], ...]]:
    """Places that no other call has, and where to leave them; several threads may ask at once."""
    kept = _left.get(room)
    if kept is not None:
        try:
            return kept, kept.pop()
        except IndexError:
            return kept, _places(*room)
    kept, places = [], _places(*room)
    if sum(place.nbytes for place in places) <= _LEFT_BYTES:
        if len(_left) >= _LEFT_KINDS:
            _left.clear()
        _left[room] = kept
    return kept, places


def _places(
    plan: Plan, dtype: np.dtype[Any], d: int, masked: bool, slots: int
) -> tuple[NDArray[Any], ...]:
    """What each thread writes to, in whole vectors; where few ask, tables belong to entries."""
    width = plan.width
    owners = plan.n_panels // plan.panels if plan.few else slots
    shapes: tuple[tuple[tuple[int, ...], Any], ...] = (
        ((slots, plan.together, d * width), dtype),
        ((slots, plan.block if masked else 0, width), dtype),
        ((owners, 2, plan.panels, width), dtype),
        ((owners, plan.panels, plan.n_blocks, width), dtype),
        ((slots, 5, width), dtype),
        ((slots, 2, width), np.dtype(np.int64)),
        ((slots, plan.block + fewest_keys(dtype.itemsize)), dtype),
    )
    sizes = [math.prod(shape) * kind.itemsize for shape, kind in shapes]
    ends = np.cumsum([-(-size // VECTOR_BYTES) * VECTOR_BYTES for size in sizes]).tolist()
    raw = np.empty(ends[-1] + VECTOR_BYTES, np.uint8)
    begin = -raw.ctypes.data % VECTOR_BYTES
    return tuple(
        raw[begin + end : begin + end + size].view(kind).reshape(shape)
        for (shape, kind), size, end in zip(shapes, sizes, [0, *ends], strict=False)
    )


def _in_bytes(problem: Problem) -> bool:
    """Whether screening in bytes is possible, and worth a try."""
    return (
        MULTIPLIES_BYTES
        and problem.mask is None
        and _BYTES_FROM <= problem.n_features <= _BYTES_TO
        and problem.n_queries >= _BYTES_ROWS
        and problem.n_keys >= _BYTES_ROWS
        and problem.n_keys * problem.n_features * problem.dtype.itemsize
        >= _BYTES_SIZE * (1 + _BYTES_CALL / (problem.n_batch * problem.n_queries))
        and float(problem.key_peak.max(axis=1).min()) > least_peak(problem.dtype)
    )


def _prepare(problem: Problem, plan: Plan, run_job: int, n_helpers: int) -> _Prepared:
    """Room for keys turned, where the plan says so; where it says bytes, both filled.

    With the latter their units and lengths, and the places for queries in bytes.
    """
    (n_entries, n_keys, d), dtype = problem.keys.unchecked.shape, problem.dtype
    lanes = fewest_keys(dtype.itemsize)
    n_vectors = plan.n_blocks * plan.block // lanes if plan.turned else 0
    turned = np.empty((n_entries, n_vectors, d, lanes), dtype)
    if plan.few or not plan.rough:
        return turned, None
    n_bytes = -(-d // 4) * 4
    rounded = np.empty((n_entries, n_keys, n_bytes), np.uint8)
    inverse, unit, least = scales_of(problem.key_peak.max(axis=1))
    kept, missed = np.zeros((2, n_entries, -(-n_keys // _ROWS_PREPARED)), np.int64)
    kernels.prepare(
        run_job, n_helpers, kept.size, readonly(problem.key), inverse, _ROWS_PREPARED,
        rounded, kept.reshape(-1), missed.reshape(-1), turned,
    )  # fmt: skip
    slots, together, words = n_helpers + 1, plan.together, n_bytes // 4
    return turned, (
        rounded.view(np.int32),
        unit,
        least,
        lengths_of(kept, missed, d, dtype),
        np.empty((slots, together, words * plan.width), np.int32),
        np.empty((slots, together, plan.width), np.int32),
        np.empty((slots, together, plan.width), dtype),
    )


@lru_cache(maxsize=64)
def _slack(d: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Screening slack, and what a float mask's own rounding adds: 8 u |best|."""
    return readonly(np.array((*screening_slack(d, dtype), 4 * np.finfo(dtype).eps), dtype))


def _inputs(problem: Problem, key: NDArray[Any] | None = None) -> tuple[NDArray[Any], ...]:
    """The problem's arrays, or another ``key``, all read-only: Numba compiles for each mix anew."""
    return (
        readonly(problem.query),
        readonly(problem.key if key is None else key),
        readonly(problem.value),
        readonly(problem.query_of),
        readonly(problem.key_of),
        readonly(problem.value_of),
        readonly(problem.mask_of),
    )  # fmt: skip


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
