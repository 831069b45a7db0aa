"""One picture of a result: its paths, its clusters, or its leaders."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..dynamics import Trajectory
from ..equilibrium import Equilibrium
from ._canvas import FIGURE_SIZE, add_axes, draw_ends, explain_colours, layout
from ._clusters import Clusters, clusters_of
from ._draw import draw_cloud, draw_paths, frame, in_space, sample
from ._frames import frame_layers
from ._labels import label_largest
from ._legend import marker
from ._projection import Projection, project

__all__ = ["clusters_figure", "plot_clusters", "plot_leaders", "plot_trajectory"]

_PATHS = 500  # more than this many cannot be followed
_NAMED = 12  # clusters with their numbers


def plot_trajectory(result: Trajectory | Equilibrium, ax: Axes | None = None) -> Axes:
    """Draw the paths of the points from where they start to where they end.

    Points are drawn where they end, with their path in the colour of their cluster, grey if they
    are in none. Leaders are stars, their convex hull is outlined, and limits that are no leaders
    are diamonds.

    Parameters
    ----------
    result : Trajectory or Equilibrium
        Of one cloud. A trajectory shows its recorded layers, so that paths need
        ``record="all"``; an equilibrium has no layers, and its paths are straight lines from
        start to limit.
    ax : matplotlib.axes.Axes, optional
        Where to draw: in the plane or, on axes with ``projection="3d"``, in space. By default a
        new pyplot figure with a legend, in space for points of three features, else in the plane.
        Points with more features than that are shown by their first principal components at the
        start.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        For a batch of clouds, or no points.
    TypeError
        For another kind of result, or of ``ax``.
    ImportError
        If matplotlib is missing, or scipy for a polytope in space.

    Notes
    -----
    Cost: O(n d), and O(min(n, 100,000) d min(n, d)) for principal components. At most 500 paths
    are drawn, a random choice that the title states, through at most 200 layers.

    References
    ----------
    Alcalde, Fantuzzi, Zuazua, "Clustering in pure-attention hardmax transformers and its role in
    sentiment analysis", SIAM J. Math. Data Sci. 7(3), 2025, arXiv:2407.01602, Figure 2 (the form).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from fasthardmax import simulate
    >>> from fasthardmax.plotting import plot_trajectory
    >>> start = [[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]]
    >>> run = simulate(start, alpha=0.5, n_layers=30, record="all")
    >>> _, ax = plt.subplots()
    >>> plot_trajectory(run, ax).get_title()
    'layers 0 to 30'
    >>> plt.close()
    """
    found = clusters_of(result)
    ax, projection, figure = _canvas(found, ax)
    n = len(found.start)
    chosen = sample(n, _PATHS)
    colours = found.colours(projection)[found.labels]
    if isinstance(result, Trajectory):
        layers = frame_layers(sorted(result.recorded))
        span = f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else found.end_name
        steps = [result.recorded[layer][chosen] for layer in layers]
    else:
        span = "from the start to the limit"
        steps = [found.start[chosen], found.end[chosen]]
    paths = np.stack([projection(step) for step in steps], axis=1)
    draw_paths(ax, paths, colours[chosen])
    draw_cloud(ax, projection, projection(found.end[chosen]), colours[chosen])
    draw_ends(ax, found, projection)
    if n > _PATHS:
        span += f"; {_PATHS} of {n:,} points, chosen at random"
    frame(ax, projection, [span, projection.note])
    if figure:
        line = (Line2D([], [], color="#555555", linewidth=0.9), "path")
        explain_colours(figure, found, projection, [line] if len(steps) > 1 else [])
    return ax


def plot_clusters(result: Trajectory | Equilibrium, ax: Axes | None = None) -> Axes:
    """Draw the points where they start, in the colours of the clusters in which they end.

    Grey points end in no cluster. Where the clusters end is drawn too: leaders as stars, limits
    that are no leaders as diamonds; the convex hull of the leaders is outlined. More than seven
    clusters share seven colours, in turn around their centre, so that neighbours differ.

    Parameters
    ----------
    result : Trajectory or Equilibrium
        Of one cloud. A trajectory's points are those of its first recorded layer.
    ax : matplotlib.axes.Axes, optional
        As for :func:`plot_trajectory`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        For a batch of clouds, or no points.
    TypeError
        For another kind of result, or of ``ax``.
    ImportError
        If matplotlib is missing, or scipy for a polytope in space.

    Notes
    -----
    Cost: as for :func:`plot_trajectory`. More than 20,000 points are drawn as a density in the
    plane (each pixel in the colour of most of its points, darker where they are more) and as a
    random sample in space; the title says so.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from fasthardmax import equilibrium
    >>> from fasthardmax.plotting import plot_clusters
    >>> square = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]
    >>> found = equilibrium([*square, [0.5, 0.0], [0.3, 0.2]], alpha=0.5)
    >>> _, ax = plt.subplots()
    >>> plot_clusters(found, ax).get_title()
    '5 clusters, 4 with a leader'
    >>> plt.close()
    """
    found = clusters_of(result)
    ax, projection, figure = _canvas(found, ax)
    _draw_clusters(ax, found, projection)
    if figure:
        explain_colours(figure, found, projection, [])
    return ax


def clusters_figure(result: Trajectory | Equilibrium) -> Figure:
    """The figure of :func:`plot_clusters` for programs without pyplot."""
    found = clusters_of(result)
    figure = Figure(figsize=FIGURE_SIZE, layout=layout())
    ax, projection, _ = _canvas(found, add_axes(figure, found))
    _draw_clusters(ax, found, projection)
    explain_colours(figure, found, projection, [])
    return figure


def _draw_clusters(ax: Axes, found: Clusters, projection: Projection) -> None:
    colours = found.colours(projection)[found.labels]
    _, note = draw_cloud(ax, projection, projection(found.start), colours)
    draw_ends(ax, found, projection)
    frame(ax, projection, [_counted(found, projection), note, projection.note])


def plot_leaders(result: Trajectory | Equilibrium, ax: Axes | None = None) -> Axes:
    """Draw the leaders and their convex hull, with the number of points that each leads.

    A leader's star, or the diamond of a limit that is no leader, is the larger the more points end
    there; the largest carry the leader's index and the size of the cluster, as far as the texts do
    not overlap.

    Parameters
    ----------
    result : Trajectory or Equilibrium
        Of one cloud.
    ax : matplotlib.axes.Axes, optional
        As for :func:`plot_trajectory`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        For a batch of clouds, or no points.
    TypeError
        For another kind of result, or of ``ax``.
    ImportError
        If matplotlib is missing, or scipy for a polytope in space.

    Notes
    -----
    Cost: as for :func:`plot_trajectory`. Of leaders that are too near to each other to be told
    apart, one is drawn; a polytope in space with more than 2000 edges is not.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from fasthardmax import equilibrium
    >>> from fasthardmax.plotting import plot_leaders
    >>> found = equilibrium([[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]], alpha=0.5)
    >>> _, ax = plt.subplots()
    >>> [text.get_text() for text in plot_leaders(found, ax).texts]
    ['0 (2)', '1 (1)']
    >>> plt.close()
    """
    found = clusters_of(result)
    ax, projection, figure = _canvas(found, ax)
    sizes = found.sizes()
    areas = 40 + 260 * np.sqrt(sizes / sizes.max(initial=1))
    areas *= np.where(found.leads, 1, 0.4) * np.clip(300 / max(len(sizes), 1), 0.1, 1)
    draw_ends(ax, found, projection, areas)
    frame(ax, projection, [_counted(found, projection), projection.note])

    def name(cluster: int) -> str:
        leader = f"{found.place[cluster]} " if found.leads[cluster] else ""
        return f"{leader}({sizes[cluster]:,})"

    label_largest(ax, projection(found.end[found.place]), name, sizes, _NAMED)
    if figure:
        text = (marker("black", "$12$", 9, "none"), "leader's index (points in its cluster)")
        explain_colours(figure, found, projection, [text], points=False)
    return ax


def _canvas(found: Clusters, ax: Axes | None) -> tuple[Axes, Projection, Figure | None]:
    """Where to draw, how points come there, and the figure if it is ours to put a legend in."""
    figure = None
    if ax is None:
        from matplotlib import pyplot  # starts a backend, which is for those who ask for a figure

        figure = pyplot.figure(figsize=FIGURE_SIZE, layout=layout())
        ax = add_axes(figure, found)
    return ax, project(found.start, 3 if in_space(ax) else 2), figure


def _counted(found: Clusters, projection: Projection) -> str:
    k, m = len(found.place), int(found.leads.sum())
    text = f"{k:,} cluster{'' if k == 1 else 's'}"
    if m < k:
        text += f", {m:,} with a leader"
    shared = len(np.unique(found.colours(projection)[:-1]))
    return f"{text}, in {shared} colours" if shared < k else text
