"""Pictures of trajectories and equilibria: paths, clusters, leaders, layer by layer, moving."""

try:
    import matplotlib  # noqa: F401  # the first import of it, to name the extra that brings it
except ImportError:
    raise ImportError(
        "plotting: the package matplotlib is missing: pip install 'fasthardmax[plot]'"
    ) from None

from ._animation import save_animation
from ._images import plot_image_clusters
from ._layers import plot_layers
from ._pictures import plot_clusters, plot_leaders, plot_trajectory

__all__ = [
    "plot_clusters",
    "plot_image_clusters",
    "plot_layers",
    "plot_leaders",
    "plot_trajectory",
    "save_animation",
]
