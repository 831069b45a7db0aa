"""Where the points of a result begin and end, and in which cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dynamics import Trajectory
from ..equilibrium import Equilibrium
from ._common import GREY, PALETTE, check_one_cloud, colours_in_turn
from ._projection import Projection

__all__ = ["Clusters", "clusters_of", "rgb"]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The clusters that n points end up in, as far as they do; k clusters."""

    start: NDArray[Any]  # (n, d)
    end: NDArray[Any]  # (n, d)
    end_name: str
    labels: NDArray[np.int64]  # (n,): 0 to k-1, and -1 for points in no cluster
    place: NDArray[np.int64]  # (k,): a point that ends where the cluster does; the leader if any
    leads: NDArray[np.bool_]  # (k,): whether that point is a leader

    def sizes(self) -> NDArray[np.int64]:
        """How many points each cluster has (k,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.place))

    def colours(self, projection: Projection) -> NDArray[np.intp]:
        """For each cluster, and last for no cluster, its row in :func:`rgb` (k + 1,)."""
        return np.append(colours_in_turn(projection(self.end[self.place])), -1)


def rgb(colours: NDArray[np.intp]) -> NDArray[Any]:
    """Rows of the palette, of which -1 is grey, as colours."""
    return np.vstack([PALETTE, GREY])[colours]


def clusters_of(result: Trajectory | Equilibrium) -> Clusters:
    """The clusters of a result for one cloud; ``TypeError`` or ``ValueError`` for others."""
    check_one_cloud(result, "result")
    if isinstance(result, Trajectory):
        leaders = np.flatnonzero(result.leader_layer >= 0)
        number = np.full(len(result.labels) + 1, -1)  # the last stands for no leader, -1
        number[leaders] = np.arange(len(leaders))
        return Clusters(
            start=result.recorded[min(result.recorded)] if result.recorded else result.points,
            end=result.points,
            end_name=f"layer {result.n_layers}",
            labels=number[result.labels],
            place=leaders,
            leads=np.ones(len(leaders), bool),
        )
    settled = np.flatnonzero(result.labels >= 0)
    place = settled[np.unique(result.labels[settled], return_index=True)[1]]
    leads = result.leader_of[place] >= 0
    return Clusters(
        start=result._start[0],
        end=result.limit,
        end_name="limit",
        labels=result.labels,
        place=np.where(leads, result.leader_of[place], place),
        leads=leads,
    )
