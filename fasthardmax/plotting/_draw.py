"""Drawing on axes in the plane or in space: clouds, paths, leaders, and their polytope.

Each function returns what it drew, so that an animation can take it away again. Axes are untyped
here, because those in space take coordinates that others do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from numpy.typing import NDArray

from ._clusters import rgb
from ._common import HULL_STYLE
from ._projection import Projection

__all__ = [
    "MOST_EDGES", "draw_cloud", "draw_outline", "draw_paths", "draw_places", "frame", "in_space",
    "sample", "visible",
]  # fmt: skip

_MARKERS = 20_000  # more points than this are a density in the plane, and a sample in space
_CELLS = {2: 200, 3: 40}  # to a side of the window: of several leaders in a cell one is seen
_PIXELS = 240  # to a side of a density
_VECTORS = 500  # more markers than this weigh too much as vectors
MOST_EDGES = 2_000  # of a polytope: more hide what is inside


def in_space(ax: Any) -> bool:
    """Whether these are axes of three dimensions; ``TypeError`` if they are no axes."""
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: got {type(ax).__name__}, expected Matplotlib axes")
    return ax.name == "3d"


def sample(n: int, most: int) -> NDArray[np.intp]:
    """At most so many of n points, in increasing order: all, or a random choice without favour."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def visible(projection: Projection, places: NDArray[Any]) -> NDArray[np.intp]:
    """Of places (m, k) those that are not hidden behind another."""
    return projection.one_per_cell(places, _CELLS[places.shape[1]])


def draw_cloud(
    ax: Any, projection: Projection, points: NDArray[Any], colours: NDArray[np.intp]
) -> tuple[list[Any], str]:
    """Points (n, k) as markers, a density, or a sample; and what the reader has to know of it."""
    n, k = points.shape
    note = ""
    if n > _MARKERS:
        if k == 2:
            return [_density(ax, projection, points, colours)], f"{n:,} points, shaded by density"
        chosen = sample(n, _MARKERS)
        points, colours = points[chosen], colours[chosen]
        note = f"{_MARKERS:,} of {n:,} points, chosen at random"
    depth = {"depthshade": False} if k == 3 else {}
    drawn = ax.scatter(
        *points.T,
        c=rgb(colours),
        s=float(np.clip(4000 / len(points), 1.5, 26)),
        linewidths=0,
        zorder=3,
        label="points",
        rasterized=len(points) > _VECTORS,
        **depth,
    )
    return [drawn], note


def _density(
    ax: Any, projection: Projection, points: NDArray[Any], colours: NDArray[np.intp]
) -> Any:
    """A pixel has the colour of most of its points, the darker the more they are."""
    palette = rgb(np.arange(-1, colours.max(initial=-1) + 1))
    pixels = _PIXELS**2
    index = (colours + 1) * pixels + projection.cells(points, _PIXELS)
    count = np.bincount(index, minlength=len(palette) * pixels).reshape(len(palette), pixels)
    total = count.sum(axis=0)
    alpha = np.where(total > 0, 0.2 + 0.8 * np.log1p(total) / np.log1p(total.max()), 0.0)
    shade = np.column_stack([palette[count.argmax(axis=0)], alpha]).reshape(_PIXELS, _PIXELS, 4)
    (left, low), width = projection.corner, projection.width
    return ax.imshow(
        shade.transpose(1, 0, 2),  # cells count along the first axis, images along the second
        extent=(left, left + width, low, low + width),
        origin="lower",
        interpolation="nearest",
        zorder=0.5,
        label="points",
    )


def draw_paths(ax: Any, paths: NDArray[Any], colours: NDArray[np.intp]) -> list[Any]:
    """Paths (s, K, k) of s points through K places."""
    kind = Line3DCollection if in_space(ax) else LineCollection
    lines = kind(
        list(paths), colors=rgb(colours), linewidths=0.9, alpha=0.6, zorder=2, label="paths"
    )
    add = ax.add_collection3d if in_space(ax) else ax.add_collection
    return [add(lines, autolim=False)]


def draw_places(
    ax: Any,
    projection: Projection,
    places: NDArray[Any],
    colours: NDArray[np.intp],
    *,
    leaders: bool,
    areas: NDArray[Any] | None = None,
) -> list[Any]:
    """Leaders (m, k) as stars, or other limits as diamonds; the hidden ones are left out."""
    shown = visible(projection, places)
    m = max(len(shown), 1)
    most, least = (150, 8) if leaders else (50, 6)
    depth = {"depthshade": False} if in_space(ax) else {}
    drawn = ax.scatter(
        *places[shown].T,
        c=rgb(colours[shown]),
        s=areas[shown] if areas is not None else float(np.clip(40 * most / m, least, most)),
        marker="*" if leaders else "D",
        linewidths=float(np.clip(30 / m, 0.2, 0.6)),
        edgecolors="black",
        zorder=4,
        label="leaders" if leaders else "limits",
        rasterized=m > _VECTORS,
        **depth,
    )
    return [drawn]


def draw_outline(ax: Any, lines: NDArray[Any]) -> list[Any]:
    """The edges (e, 2, k) of the leaders' convex hull; nothing if there are too many."""
    if not 0 < len(lines) <= MOST_EDGES:
        return []
    if in_space(ax):
        style = {"colors": HULL_STYLE["edgecolor"], "linewidths": HULL_STYLE["linewidth"]}
        outline = Line3DCollection(list(lines), label="hull", **style)
        return [ax.add_collection3d(outline, autolim=False)]
    corners = lines[:, 0] if len(lines) > 1 else lines[0]
    return [ax.add_patch(Polygon(corners, **HULL_STYLE, zorder=1, label="hull"))]


def frame(ax: Any, projection: Projection, notes: Sequence[str] = ()) -> None:
    """The window, its axes, and notes as the title."""
    names = ("x", "y", "z") if in_space(ax) else ("x", "y")
    for axis, name, low in zip(names, projection.names, projection.corner, strict=True):
        getattr(ax, f"set_{axis}lim")(low, low + projection.width)
        getattr(ax, f"set_{axis}label")(name, fontsize=9)
        getattr(ax, f"{axis}axis").set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize=8)
    if in_space(ax):
        ax.set_box_aspect((1, 1, 1))
    else:
        ax.set_box_aspect(1)
    ax.set_title("\n".join(note for note in notes if note), fontsize=9)
