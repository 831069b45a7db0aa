"""Points with several winners: which of those count, and which ties last for ever.

The rules are those of :mod:`fasthardmax.settling`, where they are proved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._settled import Index, Settled
from ._subset import Search, TieSets, pair_scores

__all__ = ["Meeting", "Tied", "Ties", "grouped"]


class Ties(NamedTuple):
    """t points in g groups with one query, and so with one tie set, each."""

    points: Index  # (t,)
    group: Index  # (t,)
    cloud: Index  # (g,)
    query: NDArray[Any]  # (g, d)
    first: Index  # (g,), as the engine found them
    size: Index

    def only(self, groups: NDArray[np.bool_]) -> Ties:
        """Some of the groups."""
        number = np.cumsum(groups) - 1
        among = groups[self.group]
        arrays = (array[groups] for array in self[2:])
        return Ties(self.points[among], number[self.group[among]], *arrays)


class Meeting(NamedTuple):
    """What the winners of each of t points amount to."""

    goal: NDArray[Any]  # (t, d), their mean where they are apart
    who: Index  # stands for them where they are together
    together: NDArray[np.bool_]  # at one place


def grouped(points: Index, cloud: Index, query: NDArray[Any], first: Index, count: Index) -> Ties:
    """Points with their clouds, queries, and winners, by their queries."""
    order = np.lexsort((*query.T, cloud))
    differs = np.ones(len(order), bool)
    differs[1:] = (np.diff(cloud[order]) != 0) | (query[order[1:]] != query[order[:-1]]).any(axis=1)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(differs) - 1
    lead = order[differs]
    return Ties(points, group, cloud[lead], query[lead], first[lead], count[lead])


class Tied(Settled):
    """Settled points, and those that tie."""

    _search: Search

    def _meet(self, ties: Ties) -> Meeting:
        """Who the winners of tied points are, and where: their lowest and their number are kept."""
        goal = np.zeros((len(ties.cloud), self._shape[2]), self._start.dtype)
        who, first, size = np.empty((3, len(ties.cloud)), np.int64)
        together = np.empty(len(ties.cloud), bool)
        for groups, indptr, members in self._tie_sets(ties):
            starts, size[groups] = indptr[:-1], np.diff(indptr)
            lead, place = members[starts], self._here(members)
            same = (place == np.repeat(place[starts], size[groups], axis=0)).all(axis=1)
            together[groups] = np.logical_and.reduceat(same, starts)
            # One whose limit is known tells most about the place, if there is such a one.
            known = np.maximum.reduceat(np.where(self._goes[members] >= 0, members, -1), starts)
            who[groups] = np.where(known >= 0, known, lead)
            first[groups] = lead
            terms = np.stack([place, self._errors(members)], axis=2)
            for g, begin, end in zip(groups, starts, indptr[1:], strict=True):
                if not together[g]:
                    goal[g] = _mean(terms[begin:end])
        self._first[ties.points] = self._within(first[ties.group])
        self._count[ties.points] = size[ties.group]
        return Meeting(goal[ties.group], who[ties.group], together[ties.group])

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
        """Decide how settled points tie with their limit."""
        total = len(self._start)
        follows = (self._began(members) >= 0) & (self._goes[members] != members)
        offset = np.zeros((len(members), self._shape[2]), self._start.dtype)
        offset[follows] = self._offsets(members[follows])
        follows &= (offset != 0).any(axis=1)
        beside = follows & np.isin(
            entry * total + self._companions(members), entry * total + members
        )
        judged = np.flatnonzero(beside)
        apart = pair_scores(query[entry[judged]], offset[judged]) != 0
        keep = np.ones(len(members), bool)
        keep[judged[apart]] = False
        root = self._roots(members)
        arrived = follows & ~beside & (root >= 0) & self._is_fixed(members)
        members = np.where(arrived, root, members)
        codes = np.unique((entry * total + members)[keep])
        return codes // total, codes % total

    def _settle_ties(self, ties: Ties, goal: NDArray[Any]) -> None:
        """Ties of points that never move, where the mean ``goal`` (t, d) keeps them tied."""
        unsettled = np.zeros(len(ties.cloud), bool)
        unsettled[ties.group[self._began(ties.points) < 0]] = True
        goal = goal[unsettled[ties.group]]
        ties = ties.only(unsettled)
        still = np.zeros(len(self._start), bool)
        still[ties.points] = (goal == self._stood(ties.points)).all(axis=1)
        still[ties.points] &= self._began(ties.points) < 0
        if self._lands and still.any():  # anyone on the way could still land in a tie
            resting = (self._placed()[1] | still).reshape(self._shape[:2]).all(axis=1)
            still &= np.repeat(resting, self._shape[1])
        while still.any():
            leaves = ~self._all_rest(ties, still)[ties.group]
            leaves &= still[ties.points]
            if not leaves.any():
                break
            still[ties.points[leaves]] = False
        rest = ties.points[still[ties.points]]
        self._settle_on_means(rest, self._stood(rest))
        if not self._lands:
            stays = self._stationary(ties, goal)[ties.group] & (self._began(ties.points) < 0)
            self._settle_on_means(ties.points[stays], goal[stays])

    def _all_rest(self, ties: Ties, still: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which groups' winners never move, all of them, if those who are ``still`` do not."""
        every = np.empty(len(ties.cloud), bool)
        for groups, indptr, members in self._tie_sets(ties):
            rests = self._is_fixed(members) | still[members]
            every[groups] = np.logical_and.reduceat(rests, indptr[:-1])
        return every

    def _stationary(self, ties: Ties, goal: NDArray[Any]) -> NDArray[np.bool_]:
        """Which groups' winners never move and all win at their mean."""
        fixed = self._all_rest(ties, np.zeros(len(self._start), bool))
        lead = np.empty(len(ties.cloud), np.int64)
        lead[ties.group] = np.arange(len(goal))
        ties, lead = ties.only(fixed), lead[fixed]
        query = self._search.queries(goal[lead])
        best, _ = self._search.winners(ties.cloud, query)
        highest = pair_scores(query, self._here(ties.cloud * self._shape[1] + best))
        stays = np.empty(len(ties.cloud), bool)
        for groups, indptr, members in self._tie_sets(ties):
            entry = np.repeat(groups, np.diff(indptr))
            wins = pair_scores(query[entry], self._here(members)) == highest[entry]
            stays[groups] = np.logical_and.reduceat(wins, indptr[:-1])
        fixed[fixed] = stays
        return fixed


def _mean(terms: NDArray[Any]) -> list[float]:
    """The mean of positions with errors (k, d, 2), rounded once: what should cancel does."""
    features = terms.transpose(1, 0, 2).reshape(terms.shape[1], -1).tolist()
    return [math.fsum(numbers) / len(terms) for numbers in features]
