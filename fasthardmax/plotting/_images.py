"""The clusters of images: each leader beside some of the images that follow it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from .._validate import as_array, check_count
from ..dynamics import Trajectory
from ..equilibrium import Equilibrium
from ._clusters import clusters_of
from ._common import PALETTE, check_one_cloud

__all__ = ["plot_image_clusters"]


def plot_image_clusters(
    trajectory: Trajectory | Equilibrium,
    images: NDArray[Any],
    *,
    n_clusters: int = 12,
    n_followers: int = 8,
) -> Figure:
    """Draw the leaders of the largest clusters as images, each beside some of its followers.

    Parameters
    ----------
    trajectory : Trajectory or Equilibrium
        Of one cloud.
    images : ndarray, shape (n, height, width)
        What the points looked like at the start.
    n_clusters, n_followers : int, at least 1 and at least 0
        At most this many clusters, and followers of each. The followers shown are spread evenly
        over all followers in the order of the data, not chosen by likeness.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a batch of clouds, no points, numbers out of range, or images that are not one
        for each point.
    TypeError
        For another kind of result, or images that are no numbers.
    ImportError
        On import of this module, if matplotlib is missing.

    Notes
    -----
    Cost: O(n) beside the images that are drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthardmax import simulate
    >>> from fasthardmax.plotting import plot_image_clusters
    >>> images = np.array([[[9.0, 0.0]], [[8.0, 1.0]], [[0.0, 9.0]]])
    >>> run = simulate(images.reshape(3, 2), alpha=0.5, n_layers=5)
    >>> [panel.get_title("left") for panel in plot_image_clusters(run, images).axes]
    ['leader 0: 1 follower', 'leader 2: 0 followers']
    """
    check_one_cloud(trajectory)
    images = as_array("images", images)
    n_clusters = check_count("n_clusters", n_clusters, 1)
    n_followers = check_count("n_followers", n_followers, 0)
    found = clusters_of(trajectory)
    if images.ndim != 3 or len(images) != len(found.start):
        raise ValueError(
            f"images: got shape {images.shape}, expected ({len(found.start)}, height, width)"
        )
    leaders = found.place[found.leads]
    labels = np.append(np.where(found.leads, found.place, -1), -1)[found.labels]
    sizes = np.bincount(labels[labels >= 0], minlength=len(labels))[leaders]
    shown = leaders[np.argsort(-sizes, kind="stable")][:n_clusters]
    columns = 2 if len(shown) > 1 else 1
    rows = max(1, math.ceil(len(shown) / columns))
    figure = Figure(figsize=(4.2 * columns, 0.72 * rows + 0.5), layout="constrained")
    figure.suptitle(
        f"Leaders (framed) of the {len(shown)} largest of {len(leaders)} clusters, "
        f"and some of the points that follow them",
        fontsize=10,
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, leader in zip(panels, shown, strict=False):
        followers = np.flatnonzero(labels == leader)
        followers = followers[followers != leader]
        _draw_cluster(panel, images, int(leader), followers, n_followers)
    for panel in panels[len(shown) :]:
        panel.remove()
    return figure


def _draw_cluster(
    panel: Axes,
    images: NDArray[Any],
    leader: int,
    followers: NDArray[np.intp],
    n_followers: int,
) -> None:
    spread = np.linspace(0, len(followers) - 1, min(n_followers, len(followers)))
    chosen = [leader, *followers[spread.round().astype(np.intp)]]
    aspect = images.shape[2] / images.shape[1]
    step, gap = 1.12 * aspect, 0.35 * aspect  # a wider gap after the leader
    low, high = images.min(), images.max()
    for place, index in enumerate(chosen):
        left = place * step + (gap if place else 0.0)
        panel.imshow(
            images[index],
            extent=(left, left + aspect, 0, 1),
            cmap="gray_r",
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
    panel.add_patch(
        Rectangle((0, 0), aspect, 1, fill=False, edgecolor=PALETTE[1], linewidth=2, zorder=3)
    )
    panel.set_xlim(-0.06, n_followers * step + gap + aspect)
    panel.set_ylim(-0.06, 1.06)
    panel.set_axis_off()
    plural = "" if len(followers) == 1 else "s"
    panel.set_title(f"leader {leader}: {len(followers)} follower{plural}", loc="left", fontsize=8)
