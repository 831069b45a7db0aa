"""Pictures of a trajectory: the cloud layer by layer, and the clusters of images."""

try:
    import matplotlib  # noqa: F401  # the first import of it, to name the extra that brings it
except ImportError:
    raise ImportError(
        "plotting: the package matplotlib is missing: pip install 'fasthardmax[plot]'"
    ) from None

from ._images import plot_image_clusters
from ._layers import plot_layers

__all__ = ["plot_image_clusters", "plot_layers"]
