"""The figure of a single picture: its axes, where clusters end, and the legend."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ._clusters import Clusters, rgb
from ._common import GREY, HULL_STYLE
from ._draw import draw_outline, draw_places, visible
from ._hull import edges
from ._legend import add_legend, marker
from ._projection import Projection

__all__ = ["FIGURE_SIZE", "add_axes", "draw_ends", "explain_colours", "layout"]

FIGURE_SIZE = (5.6, 6.0)


def layout() -> ConstrainedLayoutEngine:
    """Room for titles and legends, clear of the figure's edges."""
    return ConstrainedLayoutEngine(h_pad=0.1)


def add_axes(figure: Figure, found: Clusters) -> Axes:
    """Axes in space for points of three features, else in the plane."""
    return figure.add_subplot(projection="3d" if found.start.shape[1] == 3 else None)


def draw_ends(
    ax: Axes, found: Clusters, projection: Projection, areas: NDArray[Any] | None = None
) -> None:
    """Leaders, their hull, and other limits; ``areas`` (k,) of markers if they differ."""
    places, colours = projection(found.end[found.place]), found.colours(projection)[:-1]
    leaders = places[found.leads]
    draw_outline(ax, edges(leaders[visible(projection, leaders)]))
    for stars in (False, True):  # leaders in front
        which = found.leads if stars else ~found.leads
        if which.any():
            draw_places(
                ax,
                projection,
                places[which],
                colours[which],
                leaders=stars,
                areas=None if areas is None else areas[which],
            )


def explain_colours(
    figure: Figure,
    found: Clusters,
    projection: Projection,
    more: list[tuple[Any, str]],
    *,
    points: bool = True,
) -> None:
    """A legend below the axes."""
    entries: list[tuple[Any, str]] = []
    if found.leads.any():
        entries.append((marker("white", "*", 11, "black"), "leader"))
    if points and len(found.place):
        used = np.unique(found.colours(projection)[:-1])[:3]
        dots = tuple(marker(tuple(colour), "o", 5) for colour in rgb(used))
        entries.append((dots, "point, in the colour of its cluster"))
    if not found.leads.all():
        entries.append((marker("white", "D", 6, "black"), "limit that is no leader"))
    if points and np.any(found.labels < 0):
        entries.append((marker(GREY, "o", 5), "point in no cluster"))
    if any(artist.get_label() == "hull" for artist in figure.axes[0].get_children()):
        line = Line2D([], [], color=HULL_STYLE["edgecolor"], linewidth=HULL_STYLE["linewidth"])
        entries.append(
            (
                line if len(projection.axes) == 3 else Patch(**HULL_STYLE),
                "convex hull of the leaders",
            )
        )
    add_legend(figure, entries + more, columns=2)
