"""What a run has become: leaders, clusters, the leaders' polytope, spread, groups, agreement.

Everything here looks at finished runs and at clouds; nothing changes how a run goes. A tolerance is
always an argument, and only ever says which points are to count as one.
"""

from ._agreement import Agreement, compare_clusterings
from ._groups import coincident, directions
from ._leaders import ClusterSizes, Spread, cluster_sizes, leader_counts, spread
from ._polytope import Polytope, leader_polytope

__all__ = [
    "Agreement",
    "ClusterSizes",
    "Polytope",
    "Spread",
    "cluster_sizes",
    "coincident",
    "compare_clusterings",
    "directions",
    "leader_counts",
    "leader_polytope",
    "spread",
]
