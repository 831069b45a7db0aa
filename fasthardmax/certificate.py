"""A second look at limits: the layers stepped again, and every claim held to what proves it.

It shares the public operator and the update with the rest, and nothing of how limits are found.
At the layer at which a point is said to have settled, all its winners are listed, and

- a leader must win alone, or with points at its own place;
- a point that goes to a leader must have no winner but points at the place of a leader that has
  been verified by then;
- a point that goes to a mean must tie between points that have been verified to rest for ever; the
  mean must be the claimed limit, and all of them must win for the query at the limit as well;
- a point that rests in a tie must be the mean of points that rest, or are said to from then on.

The proofs that this is enough are in :mod:`fasthardmax.settling`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attention import hardmax_winners
from .numerics import canonical_scores, step, step_size

__all__ = ["Certificate", "certify"]

_ULPS = 4  # one place may be seen so far apart, and one more for each layer; of the cloud's size


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """Which claims of an equilibrium passed the check from scratch.

    Attributes
    ----------
    verified : ndarray of bool, shape (n,) or (B, n)
        The settled points whose limit is proven by what was found again.
    settled : ndarray of bool, of that shape
        The points for which a limit was claimed.
    n_layers : int
        How many layers were stepped.
    """

    verified: NDArray[np.bool_]
    settled: NDArray[np.bool_]
    n_layers: int

    @property
    def n_not_verified(self) -> int:
        """How many claims were not verified."""
        return int(np.count_nonzero(self.settled & ~self.verified))

    @property
    def holds(self) -> bool:
        """Whether every claim was verified."""
        return self.n_not_verified == 0


def certify(
    start: NDArray[Any],
    matrix: NDArray[Any] | None,
    alpha: float,
    limit: NDArray[Any],
    settled_at: NDArray[np.int64],
    leader_of: NDArray[np.int64],
    *,
    single: bool,
) -> Certificate:
    """Check the limits of clouds (B, n, d), cloud by cloud."""
    verified = np.zeros(settled_at.shape, bool)
    for b, cloud in enumerate(start):
        claim = _Claim(matrix, alpha, limit[b], settled_at[b], leader_of[b])
        verified[b] = claim.check(cloud)
    settled = settled_at >= 0
    n_layers = int(settled_at.max(initial=0))
    if single:
        return Certificate(verified[0], settled[0], n_layers)
    return Certificate(verified, settled, n_layers)


class _Claim:
    """The limits of one cloud, and those verified so far."""

    def __init__(
        self,
        matrix: NDArray[Any] | None,
        alpha: float,
        limit: NDArray[Any],
        settled_at: NDArray[np.int64],
        leader_of: NDArray[np.int64],
    ) -> None:
        self._matrix = matrix
        self._c = step_size(alpha, limit.dtype)
        self._limit = limit
        self._settled_at = settled_at
        self._leader_of = leader_of
        self._verified = np.zeros(len(limit), bool)
        self._resting = np.zeros(len(limit), bool)  # verified, and at their limits
        self._came_from = np.zeros_like(limit)  # where verified points were when they settled

    def check(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        x = points
        if x.size == 0:
            return self._settled_at >= 0  # all points are one place, or there are none
        ulp = np.finfo(x.dtype).eps * max(np.ptp(x, axis=0).max(), np.abs(x).max())
        self._tolerance = _ULPS * ulp
        for layer in range(int(self._settled_at.max()) + 1):
            query = self._queries(x)
            self._resting |= self._verified & self._near(x, self._limit)
            due = np.flatnonzero(self._settled_at == layer)
            if len(due):
                self._check_due(x, query, due)
            moved = step(x, _means(query, x), self._c)
            # What rests for ever rests: the rounded mean of a tie would make it drift.
            x = np.where(self._resting[:, None], x, moved)
            self._tolerance += ulp
        return self._verified

    def _check_due(self, x: NDArray[Any], query: NDArray[Any], due: NDArray[np.int64]) -> None:
        ties = [
            self._counted(i, q, w)
            for i, q, w in zip(due, query[due], _lists(query[due], x), strict=True)
        ]
        home = self._near(x[due], self._limit[due])
        at_rest = np.zeros(len(x), bool)
        at_rest[due[home]] = True
        # Leaders and others at rest first, because the rest follows them.
        while True:
            wrong = [
                i
                for i, winners, at_home in zip(due, ties, home, strict=True)
                if at_home and at_rest[i] and not self._rests(i, winners, x, at_rest)
            ]
            if not wrong:
                break
            at_rest[wrong] = False
        self._resting |= at_rest
        self._verified |= at_rest
        for i, winners, at_home in zip(due, ties, home, strict=True):
            if not at_home:
                self._verified[i] = self._goes(i, winners, x)
        self._came_from[due] = x[due]

    def _rests(
        self, i: int, winners: NDArray[np.int64], x: NDArray[Any], at_rest: NDArray[np.bool_]
    ) -> bool:
        """Whether a point at its limit stays: it leads, or is the mean of points that rest."""
        if self._near(x[winners], x[i]).all():
            return True
        resting = (self._resting | at_rest)[winners].all()
        return bool(resting and self._near(_mean(x[winners]), x[i]))

    def _goes(self, i: int, winners: NDArray[np.int64], x: NDArray[Any]) -> bool:
        """Whether a point goes to its limit for ever."""
        leader = self._leader_of[i]
        if leader >= 0:
            at_leader = self._near(x[winners], x[leader]).all()
            claimed = self._near(self._limit[i], x[leader])
            return bool(self._resting[leader] and at_leader and claimed)
        limit = self._limit[i]
        if self._c == 1 or not self._resting[winners].all():
            return False
        if not self._near(_mean(x[winners]), limit):
            return False
        return bool(np.isin(winners, _lists(self._queries(limit[None]), x)[0]).all())

    def _counted(
        self, i: int, query: NDArray[Any], winners: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Winners, but for points that went to a leader among them and tie only by rounding."""
        if self._c == 1:
            return winners
        leader = self._leader_of[winners]
        went = self._verified[winners] & (leader != winners) & (winners != i)
        beside = np.isin(leader, winners) & (leader >= 0)
        offset = self._came_from[winners] - self._limit[winners]
        apart = canonical_scores(query[None], offset)[0] != 0
        return winners[~(went & beside & apart)]

    def _near(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        near: NDArray[np.bool_] = (np.abs(a - b) <= self._tolerance).all(axis=-1)
        return near

    def _queries(self, x: NDArray[Any]) -> NDArray[Any]:
        return x if self._matrix is None else canonical_scores(x, self._matrix)


def _means(query: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """The mean of each query's winners; of several, rounded once, so that what cancels does."""
    found = hardmax_winners(query, x)
    mean = x[found.first]
    tied = np.flatnonzero(found.count > 1)
    for i, winners in zip(tied, _lists(query[tied], x), strict=True):
        mean[i] = _mean(x[winners])
    return mean


def _mean(points: NDArray[Any]) -> NDArray[Any]:
    if (points == points[0]).all():
        return points[0]
    return np.array([math.fsum(c) / len(c) for c in points.T.tolist()], points.dtype)


def _lists(query: NDArray[Any], key: NDArray[Any]) -> list[NDArray[np.int64]]:
    """The winners of each query."""
    found: Any = hardmax_winners(query, key, return_all=True)
    return [found.indices[begin:end] for begin, end in itertools.pairwise(found.indptr)]
