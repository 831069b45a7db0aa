"""Exact settling: which points' whole future is known, and where it takes them.

The *settling lemma*. Let s(x, y) = <A x, y> for any matrix A and 0 < c <= 1. A location w is a
leader where C_w holds the points at w alone. If C_i holds the points at a leader w alone, then so
it does at every later layer, and w stays a leader.

*Proof.* w does not move, and x_i' = (1-c) x_i + c w. For every current y != w,

    s(x_i', w) - s(x_i', y) = (1-c) (s(x_i, w) - s(x_i, y)) + c (s(w, w) - s(w, y)) > 0.

A point of the next layer is a convex combination of such y and w, so the inequality carries over to
it, strictly unless it is w; with w in place of x_i the same line says that w stays a leader. QED.

*Ties.* Let C_i be points that never move again, with mean m and C_i a subset of the argmax set of
m. The same lines, with >= for the second bracket and c < 1, say that C_i never changes: x_i goes to
m. And if x_i = m for each point of a set F whose ties hold only points that never move and points
of F, then F never moves, because no point leaves and (c < 1) none enters a tie.

A point that settled at layer k is at m + (1-c)^(l-k) (x_i(k) - m) at layer l: this module keeps m
and the offset x_i(k) - m, and searches only for the winners of the others.

*Rounding.* Settled points reach their leader bit for bit after some layers, and would then tie with
it; exact dynamics (c < 1) never does this. A settled point is a convex combination of its limit
and where it settled, so it ties beside its limit's points exactly where <q, offset> = 0, and that
decides. Where it alone wins although it is within rounding of its leader, it is its leader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._interior import inner_radius, worthwhile
from ._state import Resumable
from ._subset import Search, TieSets, pair_scores, same_rows
from ._ties import Ties, grouped
from .engines import Runner
from .numerics import step_size

__all__ = ["Settling"]

Index = NDArray[np.int64]


class Settling(Resumable):
    """Clouds (B, n, d) at one layer, with all that is known of their points' future.

    Call :meth:`search` once at each layer, then :meth:`go_to` the next, or any later one once no
    point is left to search for. What is asked of it in between has shape (B, n) or (B, n, d), and
    is not changed later.
    """

    NOT_SAVED = ("_shape", "_search")

    def __init__(
        self,
        clouds: NDArray[Any],
        alpha: float,
        matrix: NDArray[Any] | None,
        engine: Runner,
        threads: int,
    ) -> None:
        self._shape = clouds.shape
        n_batch, n, d = clouds.shape
        total = n_batch * n
        self._alpha = alpha
        self._c = step_size(alpha, clouds.dtype)
        self._lands = math.isinf(alpha)  # points reach their limits, and count in ties there
        self._search = Search(clouds, matrix, engine, threads)
        extent = np.ptp(clouds, axis=1).max(axis=1, initial=0) if n else np.zeros(n_batch)
        self._rounding = (extent * (np.finfo(clouds.dtype).eps / 8)).astype(clouds.dtype)
        self.layer = 0
        self._position = clouds.reshape(total, d).copy()
        self._limit = self._position.copy()
        self._settled_at, self._root, self._leader_layer, self._first, self._companion = np.full(
            (5, total), -1, np.int64
        )
        self._count = np.zeros(total, np.int64)
        self._offset = np.zeros_like(self._position)
        self._fixed = np.zeros(total, bool)  # at its limit, to within rounding
        self._moving = np.arange(total)
        self._placed_all = True
        self._dropped = np.zeros(total, bool)  # from the keys
        self._error = np.zeros_like(self._position)  # of the rounding so far, where still moving
        self._goal = self._position.copy()  # the mean of the winners, where still moving
        self._goal_error = np.zeros_like(self._position)

    @property
    def n_moving(self) -> int:
        """How many points are not settled."""
        return len(self._moving)

    @property
    def n_dropped(self) -> int:
        """How many points are no longer looked at as keys."""
        return int(np.count_nonzero(self._dropped))

    @property
    def n_queries(self) -> int:
        """How many queries have been searched for so far."""
        return self._search.n_queries

    @property
    def points(self) -> NDArray[Any]:
        """The clouds at this layer."""
        if not self._placed_all:  # those that matter to no search were left behind
            self._position, self._fixed = self._placed(self.layer, np.array(True))
            self._placed_all = True
        return self._position.reshape(self._shape)

    @property
    def limit(self) -> NDArray[Any]:
        """Where settled points go; it says nothing of the others."""
        return self._limit.reshape(self._shape).copy()

    @property
    def settled_at(self) -> Index:
        """The layer at which each point settled; -1 for the others."""
        return self._settled_at.reshape(self._shape[:2]).copy()

    @property
    def leader_layer(self) -> Index:
        """The layer at which each point emerged as a leader, with C_i = {i}; -1 if it did not."""
        return self._leader_layer.reshape(self._shape[:2]).copy()

    @property
    def first(self) -> Index:
        """The lowest winner of each point; of settled points, that with which they settled."""
        return self._first.reshape(self._shape[:2]).copy()

    @property
    def count(self) -> Index:
        """The number of winners of each point; of settled points, as they settled."""
        return self._count.reshape(self._shape[:2]).copy()

    @property
    def roots(self) -> Index:
        """The leader that each point goes to, the lowest of several at its place; or -1."""
        led = self._root >= 0
        return np.where(led, self._within(self._root), -1).reshape(self._shape[:2])

    @property
    def labels(self) -> Index:
        """The leader that each point goes to; -1 for those that go to none, or to several."""
        led = self._root >= 0
        led[led] = self._leader_layer[self._root[led]] >= 0
        return np.where(led, self._within(self._root), -1).reshape(self._shape[:2])

    @property
    def residual(self) -> NDArray[Any]:
        """How far each point is from the mean of its winners; 0 for settled points."""
        distance = np.zeros(len(self._position), self._position.dtype)
        rows = self._moving
        distance[rows] = np.linalg.norm(self._goal[rows] - self._position[rows], axis=1)
        return distance.reshape(self._shape[:2])

    # --- The winners of one layer ---------------------------------------------------------------

    def search(self) -> None:
        """Find the winners of the points that are not settled, and settle those that can be."""
        rows = self._moving
        if len(rows) == 0:
            return
        cloud = self._cloud(rows)
        query = self._search.queries(self._position[rows])
        if self.n_dropped and not same_rows(query, np.zeros_like(query)).any():
            self._search.look_at(
                self._position.reshape(self._shape), np.flatnonzero(~self._dropped)
            )
        else:
            self._search.look_at(self.points)
        first, count = self._search.winners(cloud, query)
        self._first[rows], self._count[rows] = first, count
        winner = cloud * self._shape[1] + first  # of several at one place, who stands for them
        together = count == 1
        several = np.flatnonzero(count > 1)
        if len(several):
            ties = grouped(rows[several], cloud, query, first, count, several)
            winner[several], together[several] = self._meet(ties)
        self._goal[rows] = np.where(together[:, None], self._position[winner], self._goal[rows])
        self._goal_error[rows] = np.where(together[:, None], self._error[winner], 0)

        home = together & same_rows(self._goal[rows], self._position[rows])
        self._settle_at_home(rows[home], winner[home])
        follows = together & ~home & self._fixed[winner] & (self._root[winner] >= 0)
        leader = self._root[winner[follows]]
        self._settle(rows[follows], self._limit[leader], leader, leader)
        self._first[rows[follows]] = self._within(leader)
        if not together.all():
            self._settle_ties(ties)
        self._moving = rows[self._settled_at[rows] < 0]
        self._drop()

    def _drop(self) -> None:
        """Leave settled points inside the leaders' polytope out of the keys, for good.

        Their way to their limits stays inside, where no point wins or ties but for a zero query.
        """
        n_batch, n, d = self._shape
        due = len(self._moving) and self.layer & (self.layer - 1) == 0  # at 0, 1, 2, 4, 8, ...
        if n_batch != 1 or not due or not worthwhile(n, d):
            return
        radius = inner_radius(self._position[np.unique(self._root[self._root >= 0])])
        if radius:
            share = sum((feature.astype(np.float64) / radius) ** 2 for feature in self._position.T)
            self._dropped |= (share < 1) & (self._settled_at >= 0)

    def _meet(self, ties: Ties) -> tuple[Index, NDArray[np.bool_]]:
        """The goals of tied points; who stands for the winners, and whether one place holds all."""
        goal = np.zeros((len(ties.cloud), self._shape[2]), self._position.dtype)
        who, first, size = np.empty((3, len(ties.cloud)), np.int64)
        together = np.empty(len(ties.cloud), bool)
        for groups, indptr, members in self._tie_sets(ties):
            starts, size[groups] = indptr[:-1], np.diff(indptr)
            lead = members[starts]
            place, there = self._position[members], self._position[lead]
            same = (place == np.repeat(there, size[groups], axis=0)).all(axis=1)
            together[groups] = np.logical_and.reduceat(same, starts)
            # One whose limit is known tells most about the place, if there is such a one.
            known = np.maximum.reduceat(np.where(self._root[members] >= 0, members, -1), starts)
            who[groups] = np.where(known >= 0, known, lead)
            first[groups] = lead
            for g, begin, end in zip(groups, starts, indptr[1:], strict=True):
                if not together[g]:
                    goal[g] = self._mean(members[begin:end])
        self._goal[ties.points] = goal[ties.group]
        self._first[ties.points] = self._within(first[ties.group])
        self._count[ties.points] = size[ties.group]
        return who[ties.group], together[ties.group]

    def _mean(self, members: Index) -> list[float]:
        """The mean of positions: a sum rounded once, so that what should cancel does."""
        terms = np.concatenate([self._position[members], self._error[members]])
        return [math.fsum(column) / len(members) for column in terms.T.tolist()]

    def _tie_sets(self, ties: Ties) -> Iterator[TieSets]:
        """Tie sets of groups as flat indices, without those who tie by rounding alone."""
        for groups, indptr, indices in self._search.tie_sets(
            ties.cloud, ties.query, ties.first, ties.size
        ):
            entry = np.repeat(np.arange(len(groups)), np.diff(indptr))
            members = ties.cloud[groups][entry] * self._shape[1] + indices
            if not self._lands:
                entry, members = self._without_rounding(entry, members, ties.query[groups])
            yield TieSets(groups, np.searchsorted(entry, np.arange(len(groups) + 1)), members)

    def _without_rounding(
        self, entry: Index, members: Index, query: NDArray[Any]
    ) -> tuple[Index, Index]:
        """Decide how settled points tie with their limit: see *Rounding* above."""
        total = len(self._position)
        follower = (self._settled_at[members] >= 0) & (self._offset[members] != 0).any(axis=1)
        beside = np.isin(entry * total + self._companion[members], entry * total + members)
        judged = np.flatnonzero(follower & beside)
        apart = pair_scores(query[entry[judged]], self._offset[members[judged]]) != 0
        keep = np.ones(len(members), bool)
        keep[judged[apart]] = False
        arrived = follower & ~beside & self._fixed[members] & (self._root[members] >= 0)
        members = np.where(arrived, self._root[members], members)
        codes = np.unique((entry * total + members)[keep])
        return codes // total, codes % total

    def _settle_at_home(self, rows: Index, winner: Index) -> None:
        """Points that win at their own place, alone or with others that are there as well."""
        single = (self._count[rows] == 1) & (winner == rows)
        self._leader_layer[rows[single]] = self.layer
        lowest = np.where(self._root[winner] >= 0, self._root[winner], self._lowest(rows))
        self._settle(rows, self._position[rows], lowest, lowest)
        self._fixed[rows] = True

    def _settle_ties(self, ties: Ties) -> None:
        """Ties of points that never move, where the mean keeps them tied: see *Ties* above."""
        unsettled = np.zeros(len(ties.cloud), bool)
        unsettled[ties.group[self._settled_at[ties.points] < 0]] = True
        ties = ties.only(unsettled)
        still = np.zeros(len(self._position), bool)
        still[ties.points] = (self._goal[ties.points] == self._position[ties.points]).all(axis=1)
        still &= self._settled_at < 0
        if self._lands:  # anyone on the way could still land in a tie
            resting = (self._fixed | still).reshape(self._shape[:2]).all(axis=1)
            still &= np.repeat(resting, self._shape[1])
        while still.any():
            leaves = ~self._all_members(ties, self._fixed | still)[ties.group]
            leaves &= still[ties.points]
            if not leaves.any():
                break
            still[ties.points[leaves]] = False
        rest = ties.points[still[ties.points]]
        self._settle(rest, self._position[rest], -1, self._lowest(rest))
        self._fixed[rest] = True
        if not self._lands:
            stays = self._stationary(ties)[ties.group] & (self._settled_at[ties.points] < 0)
            rows = ties.points[stays]
            self._settle(rows, self._goal[rows], -1, self._lowest(rows))

    def _all_members(self, ties: Ties, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which groups' winners are wanted, all of them."""
        every = np.empty(len(ties.cloud), bool)
        for groups, indptr, members in self._tie_sets(ties):
            every[groups] = np.logical_and.reduceat(wanted[members], indptr[:-1])
        return every

    def _stationary(self, ties: Ties) -> NDArray[np.bool_]:
        """Which groups' winners never move and all win at their mean."""
        fixed = self._all_members(ties, self._fixed)
        ties = ties.only(fixed)
        lead = np.empty(len(ties.cloud), np.int64)
        lead[ties.group] = ties.points
        query = self._search.queries(self._goal[lead])
        best, _ = self._search.winners(ties.cloud, query)
        highest = pair_scores(query, self._position[ties.cloud * self._shape[1] + best])
        stays = np.empty(len(ties.cloud), bool)
        for groups, indptr, members in self._tie_sets(ties):
            entry = np.repeat(groups, np.diff(indptr))
            wins = pair_scores(query[entry], self._position[members]) == highest[entry]
            stays[groups] = np.logical_and.reduceat(wins, indptr[:-1])
        fixed[fixed] = stays
        return fixed

    def _settle(
        self, rows: Index, limit: NDArray[Any], root: Index | int, companion: Index
    ) -> None:
        self._limit[rows] = limit
        self._offset[rows] = (self._position[rows] - limit) + self._error[rows]
        self._offset[rows[same_rows(self._position[rows], limit)]] = 0
        self._error[rows] = 0
        self._root[rows] = root
        self._companion[rows] = companion
        self._settled_at[rows] = self.layer

    def _cloud(self, rows: Index) -> Index:
        return rows // max(1, self._shape[1])

    def _within(self, rows: Index) -> Index:
        return rows % max(1, self._shape[1])

    def _lowest(self, rows: Index) -> Index:
        """The lowest winner of each point."""
        return self._cloud(rows) * self._shape[1] + self._first[rows]

    # --- To other layers ------------------------------------------------------------------------

    def go_to(self, layer: int) -> None:
        """Move to a later layer: the next one, or any if no point is moving."""
        error, rows = self._error, self._moving
        searched = np.zeros(self._shape[0], bool)
        searched[self._cloud(rows)] = True
        matters = np.repeat(searched, self._shape[1]) & ~self._dropped
        position, fixed = self._placed(layer, matters)
        if len(rows):
            error = error.copy()
            position[rows], error[rows] = _compensated_step(
                position[rows], error[rows], self._goal[rows], self._goal_error[rows], self._c
            )
        # One statement: an interrupt sees the old layer or the new one.
        self._position, self._error, self._fixed, self.layer = position, error, fixed, layer
        self._placed_all = bool(matters.all())

    def _placed(
        self, layer: int, some: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Positions with those of some settled points at a layer, and who is at its limit."""
        position, fixed = self._position.copy(), self._fixed.copy()
        rows = np.flatnonzero(some & (self._settled_at >= 0) & (self._settled_at < layer) & ~fixed)
        if len(rows) and self._c:
            age = layer - self._settled_at[rows]
            offset = self._offset[rows] * _remaining(self._alpha, age, position.dtype)[:, None]
            bound = self._rounding[self._cloud(rows)]
            near = np.all([np.abs(column) <= bound for column in offset.T], axis=0)
            position[rows] = np.where(near[:, None], self._limit[rows], self._limit[rows] + offset)
            fixed[rows[near]] = True
        return position, fixed


def _compensated_step(
    x: NDArray[Any],
    error: NDArray[Any],
    goal: NDArray[Any],
    goal_error: NDArray[Any],
    c: np.floating[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """One update ``x + c (goal - x)`` of numbers with their errors, and its own error.

    Knuth's two-sum: the error of the last addition is exact, so roundings do not add up over the
    layers; what is lost is relative to the way gone.
    """
    move = c * ((goal - x) + (goal_error - error)) + error
    moved = x + move
    part = moved - x
    return moved, (x - (moved - part)) + (move - part)


def _remaining(alpha: float, age: Index, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``(1 - c) ** age`` from ``alpha`` itself, to about an ulp of 1 whatever the age."""
    if math.isinf(alpha):
        return np.zeros(len(age), dtype)
    return np.exp(-math.log1p(alpha) * age).astype(dtype)
