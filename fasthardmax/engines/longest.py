"""The longest engine: the direct one on the longest keys, and a proof that no other key wins.

At a query q no key k scores more than |q| |k|. So queries are asked among the keys that are longer
than some radius; where the best of them is out of reach of all shorter keys, that is the answer,
and the few queries left are asked again among more keys. Lengths are taken from the middle of the
keys, as moving all keys alike moves all scores of a query alike. Memory is O(n d).

The bound is that of Teflioudi, Gemulla and Mykytiuk, *LEMP: Fast Retrieval of Large Entries in a
Matrix Product* (SIGMOD 2015), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._extent import feature_peaks
from .._keys import Keys
from .._problem import Answer, Problem, zeros
from . import direct
from ._arrays import at_most, rows_of
from ._forecast import Forecast, n_cores
from ._longest_keys import Lengths, Middle, find_middle, find_reach, measure

__all__ = ["forecast", "list_winners", "refusal", "run", "run_counting"]

# Queries and keys of a sample, and how often it is asked; rounds for all queries before the last.
_QUERIES, _KEYS, _LOOKS, _ROUNDS = 128, 1 << 11, 3, 3
# Where more than this share of the keys would be asked, all are.
_MOST = 0.75
# What a call takes, in nanoseconds of one core (measured): what all cores wait for, and in each
# further round; for each number in the keys; and for each query and round beside its pairs.
_CALL, _ROUND, _NUMBER, _ASK = 3e5, 1e5, 1.0, 40.0
# All pairs of fewer multiply-adds take less than some 15 looks.
_WORTH_A_LOOK = 2e9

# Given what is promised if bytes do not serve: the rival, which those may change, and whether they
# may serve.
Others = Callable[[float], tuple[float, bool]]


class Start(NamedTuple):
    """What a look at an entry leaves: how long its keys are, and a radius to begin with."""

    lengths: Lengths
    radius: float


class _Asked(NamedTuple):
    """Some queries that were asked among some keys, and which of them that decided."""

    rows: NDArray[np.int64]
    which: NDArray[np.int64] | None  # keys; None for all
    problem: Problem
    answer: Answer
    reach: NDArray[np.float64]
    decided: NDArray[np.bool_]

    def named(self, winners: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers among all keys of these that were asked."""
        return winners if self.which is None else rows_of(self.which, winners)


def refusal(problem: Problem) -> str | None:
    """Why it cannot run ``problem``, or None."""
    if problem.is_causal:
        return "one list of keys serves all queries, and with is_causal each has its own"
    if problem.mask is not None:
        return "one list of keys serves all queries, and a mask gives each its own"
    return None


def run(problem: Problem, start: Start | None = None) -> Answer:
    """Means, first winners and winner counts of every query; see :func:`forecast`."""
    return run_counting(problem, start)[0]


def run_counting(problem: Problem, start: Start | None = None) -> tuple[Answer, float]:
    """The answer, and how many keys were scored per query."""
    if problem.n_pairs == 0:
        return problem.no_keys_answer(), 0.0
    answer = problem.empty_answer()
    scored = 0
    for b in range(problem.n_batch):
        if b > 0 or start is None:
            start = _look(problem, b)[1]
        whole = Answer(*(part[b : b + 1] for part in (answer.mean, answer.first, answer.count)))
        for asked in _ask_all(problem, b, np.arange(problem.n_queries), start, whole):
            scored += asked.problem.n_pairs
            rows, found = asked.rows, asked.answer
            if found is whole:
                whole.first[0] = asked.named(whole.first[0])
            else:
                whole.mean[0, rows], whole.count[0, rows] = found.mean[0], found.count[0]
                whole.first[0, rows] = asked.named(found.first[0])
    return answer, scored / (problem.n_batch * problem.n_queries)


def list_winners(problem: Problem, answer: Answer, indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """All winners, query after query, in increasing order; queries with several are asked again."""
    indices = np.empty(indptr[-1], np.int64)
    begins = indptr[:-1].reshape(answer.count.shape)
    alone = answer.count == 1
    indices[begins[alone]] = answer.first[alone]
    for b in np.flatnonzero((answer.count > 1).any(axis=1)).tolist():
        rows = np.flatnonzero(~alone[b])
        for asked in _ask_all(problem, b, rows, _look(problem, b)[1]):
            decided, found = asked.decided, asked.answer
            found = Answer(found.mean, found.first[:, decided], found.count[:, decided])
            ends = np.concatenate([[0], np.cumsum(found.count)])
            part = asked.problem._replace(query=asked.problem.query[:, decided])
            winners = direct.list_winners(part, found, ends)
            shift = begins[b, asked.rows[decided]] - ends[:-1]
            places = np.repeat(shift, found.count[0]) + np.arange(len(winners))
            indices[places] = asked.named(winners)
    return indices


def forecast(
    problem: Problem, all_pairs: float, rival: float = math.inf,
    others: Others | None = None,
) -> Forecast:  # fmt: skip
    """About how many nanoseconds :func:`run` takes on one core, infinite where it may be too many.

    Some queries of the first batch entry are asked among some keys and, if that promises to take
    less than ``rival``, among the longest. That costs O(S d). In between ``others`` is asked for
    what is the rival from there on.
    """
    if problem.n_pairs * (problem.n_features + 2) < _WORTH_A_LOOK:
        return Forecast(math.inf)
    n = problem.n_batch

    def ask(in_floats: float) -> tuple[float, bool]:
        fastest, serve = others(n * in_floats) if others else (rival, True)
        return min(fastest, all_pairs) / n, serve

    nanoseconds, start = _look(problem, 0, min(rival, all_pairs) / n, ask)
    return Forecast(nanoseconds * n, (start,) if start else ())


def _look(
    problem: Problem, b: int, rival: float = math.inf, others: Others | None = None
) -> tuple[float, Start | None]:
    """How many nanoseconds entry ``b`` takes on one core, and where to start.

    Infinite, and None, where it may take longer than ``rival`` or ``others``, or where lengths say
    nothing.
    """
    k, n_queries, n_keys = int(problem.key_of[b]), problem.n_queries, problem.n_keys
    key, some, rows = problem.key[k], at_most(_KEYS, n_keys), at_most(_QUERIES, n_queries)
    cores = n_cores(problem.num_threads)
    fixed = _CALL * cores + key.size * _NUMBER
    costs, in_floats = direct.costs(problem), direct.costs(problem, bytes_serve=False)
    work = _Work(n_queries, n_keys, costs, costs, _ROUND * cores)
    if fixed + n_queries * (_ASK + costs[1]) > rival:
        return math.inf, None
    sample = rows_of(key, some)
    middle = find_middle(problem, k, sample)
    if middle is None:
        return math.inf, None
    bare = problem._replace(value=problem.value[..., :0])
    lengths = measure(sample, middle, 1)
    reach = _ask(bare, b, rows, some, middle).reach
    if n_keys > len(some):
        # The best of n draws grows like the root of log n, as it does for normal ones, if there is
        # room for it.
        growth = math.sqrt(math.log(n_keys) / math.log(len(some)))
        reach = np.minimum(growth * reach, (reach + lengths.some[-1]) / 2)
    radius, rest = _aim(reach, lengths, work)
    if others and fixed + rest <= rival:
        # Where bytes serve at all, they may not for queries that must be asked again.
        rest = _aim(reach, lengths, work._replace(again=in_floats))[1]
        slower = work._replace(once=in_floats, again=in_floats)
        aim = _aim(reach, lengths, slower)
        rival, serve = others(fixed + aim[1])
        if not serve:
            work, (radius, rest) = slower, aim
    if fixed + rest > rival:
        return math.inf, None
    lengths = measure(key, middle, problem.num_threads)
    for _ in range(_LOOKS):
        before, which = radius, _longer(lengths, radius)
        if which is None:
            return math.inf, None
        reach = _ask(bare, b, rows, which, middle).reach
        radius, rest = _aim(reach, lengths, work)
        if fixed + rest > rival:
            return math.inf, None
        if radius >= before:
            break
    part = _part(bare, b, None, _longer(lengths, radius))
    work = work._replace(again=in_floats)
    if work.once != in_floats and not direct.bytes_serve(part)[0]:
        work = work._replace(once=in_floats)
    radius, rest = _aim(reach, lengths, work)
    return fixed + rest, Start(lengths, radius)


class _Work(NamedTuple):
    """What is to be done for some queries, in nanoseconds of a core."""

    n_queries: int
    n_keys: int
    once: tuple[float, float]  # for each pair, and for each query beside
    again: tuple[float, float]  # the same for those asked again
    another: float  # for another round


def _aim(reach: NDArray[np.float64], lengths: Lengths, work: _Work) -> tuple[float, float]:
    """The best radius, and nanoseconds of a core from there on, if queries reach like some.

    A query that needs shorter keys is asked once more, among all that any of them needs.
    """
    radius = np.sort(reach)[::-1]
    share = 1 - np.searchsorted(lengths.some, radius) / len(lengths.some)
    share[share > _MOST] = 1
    n = len(reach)
    left = np.arange(n - 1, -1, -1) / n
    if n < work.n_queries:
        left += 0.5 / n  # beyond the sample some will need more
    left[share == 1] = 0
    (pair, query), (pair_again, query_again) = work.once, work.again
    once = _ASK + query + pair * work.n_keys * share
    again = _ASK + query_again + pair_again * work.n_keys * share[-1]
    cost = work.n_queries * (once + left * again) + work.another * (left > 0)
    best = int(np.argmin(cost))
    return float(radius[best]), float(cost[best])


def _longer(lengths: Lengths, radius: float) -> NDArray[np.int64] | None:
    """The keys that are no shorter than ``radius``, one at least; None for all."""
    if lengths.share(radius) > _MOST:
        return None
    return np.flatnonzero(lengths.all >= min(radius, lengths.some[-1]))


def _ask_all(
    problem: Problem, b: int, rows: NDArray[np.int64], start: Start | None,
    whole: Answer | None = None,
) -> Iterator[_Asked]:  # fmt: skip
    """Ask ``rows`` of entry ``b`` among more and more keys, until each is decided.

    ``whole`` is where all rows are answered, if these are all.
    """
    if start is None:
        yield _ask(problem, b, rows, None, None, whole)
        return
    lengths, radius = start
    costs, another = direct.costs(problem), _ROUND * n_cores(problem.num_threads)
    work = _Work(0, problem.n_keys, costs, costs, another)
    for turn in range(_ROUNDS + 1):
        asked = _ask(problem, b, rows, _longer(lengths, radius), lengths.middle, whole, radius)
        yield asked
        left = np.flatnonzero(~asked.decided)
        if len(left) == 0:
            return
        rows, whole, reach = rows[left], None, asked.reach[left]
        radius = float(reach.min())
        if turn + 1 < _ROUNDS:
            few = reach[:: -(-len(reach) // _QUERIES)]
            radius = _aim(few, lengths, work._replace(n_queries=len(rows)))[0]


def _part(
    problem: Problem, b: int, rows: NDArray[np.int64] | None, which: NDArray[np.int64] | None
) -> Problem:
    """Of entry ``b`` the queries ``rows`` and the keys ``which``; None for all."""
    query = problem.query[problem.query_of[b]]
    key = problem.key[problem.key_of[b]]
    value = problem.value[problem.value_of[b]]
    if rows is not None:
        query = rows_of(query, rows)
    if which is not None:
        key, value = rows_of(key, which), rows_of(value, which)
    keys = Keys(key[None], feature_peaks(key[None], problem.num_threads)[0])
    only = zeros(1)
    return problem._replace(
        query=query[None], keys=keys, value=value[None],
        query_of=only, key_of=only, value_of=only, mask_of=only,
    )  # fmt: skip


def _ask(
    problem: Problem, b: int, rows: NDArray[np.int64], which: NDArray[np.int64] | None,
    middle: Middle | None, whole: Answer | None = None, radius: float = -math.inf,
) -> _Asked:  # fmt: skip
    """Ask ``rows`` of entry ``b`` among the keys ``which``; others are shorter than ``radius``."""
    part = _part(problem, b, rows if whole is None else None, which)
    answer = direct.run(part, whole)
    if which is None or middle is None:
        reach = np.full(len(rows), math.inf)
    else:
        reach = find_reach(part, answer.first[0], middle)
    return _Asked(rows, which, part, answer, reach, reach >= radius)
