"""Points with several winners, in groups with one query and so with one tie set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ties", "grouped"]

Index = NDArray[np.int64]


class Ties(NamedTuple):
    """t points in g groups."""

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


def grouped(
    points: Index, cloud: Index, query: NDArray[Any], first: Index, count: Index, rows: Index
) -> Ties:
    """The points of some rows by their queries."""
    order = rows[np.lexsort((*query[rows].T, cloud[rows]))]
    differs = np.ones(len(order), bool)
    differs[1:] = (np.diff(cloud[order]) != 0) | (query[order[1:]] != query[order[:-1]]).any(axis=1)
    group = np.empty(len(cloud), np.int64)
    group[order] = np.cumsum(differs) - 1
    lead = order[differs]
    return Ties(points, group[rows], cloud[lead], query[lead], first[lead], count[lead])
