"""The cloud layer by layer: points with their tails, leaders, and the leaders' convex hull."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..dynamics import Trajectory
from ._common import GREY, HULL_STYLE, PALETTE, check_one_cloud, colours_in_turn
from ._hull import polygon
from ._legend import add_legend, marker
from ._projection import Projection, project

__all__ = ["plot_layers"]

_SHOWN = (0, 1, 2, 5)  # of the recorded layers, by default, besides the last
_CELLS = 200  # across a panel; the smallest markers fill one, so a second in it would not be seen
_MANY = 500  # more than this many tails cannot be followed, and that many markers weigh as vectors


def plot_layers(trajectory: Trajectory, layers: Sequence[int] | None = None) -> Figure:
    """Draw one panel per layer: where the points are, and how they came there.

    Every point, with its tail (its path so far), has the colour of the leader it ends up with;
    grey points do not settle on a leader. The leaders that have emerged by a panel's layer are
    stars, and their convex hull is shaded. More than seven leaders share seven colours, in turn
    around their centre, so that neighbours differ.

    Parameters
    ----------
    trajectory : Trajectory
        Of one cloud. Points of two features are drawn as they are, others by their first two
        principal components at the first recorded layer.
    layers : sequence of int, optional
        Recorded layers. By default the first three, the sixth and the last of those that are
        recorded: 0, 1, 2, 5 and the last where all are.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a batch of clouds, no points, no layers, or a layer that is not recorded.
    TypeError
        For anything but a trajectory.
    ImportError
        On import of this module, if matplotlib is missing.

    Notes
    -----
    Cost: O(n) for each panel, and O(n d min(n, d)) for principal components. Where points, or
    leaders, are denser than about two pixels, one of them is drawn; at most 500 tails are.

    References
    ----------
    Alcalde, Fantuzzi, Zuazua, "Clustering in pure-attention hardmax transformers and its role in
    sentiment analysis", SIAM J. Math. Data Sci. 7(3), 2025, arXiv:2407.01602, Figure 2 (the form).

    Examples
    --------
    >>> from fasthardmax import simulate
    >>> from fasthardmax.plotting import plot_layers
    >>> start = [[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]]
    >>> run = simulate(start, alpha=0.5, n_layers=30, record="all")
    >>> [panel.get_title() for panel in plot_layers(run).axes]
    ['layer 0', 'layer 1', 'layer 2', 'layer 5', 'layer 30']
    """
    check_one_cloud(trajectory, layers=True)
    recorded = sorted(trajectory.recorded)
    if layers is None:
        shown = sorted({min(place, len(recorded) - 1) for place in _SHOWN} | {len(recorded) - 1})
        layers = [recorded[place] for place in shown]
    layers = list(layers)
    if not layers:
        raise ValueError(f"layers: got none, expected recorded layers ({_listed(recorded)})")
    for layer in layers:
        if layer not in trajectory.recorded:
            raise ValueError(
                f"layers: got {layer}, expected recorded layers only ({_listed(recorded)})"
            )
    scene = _scene(trajectory)
    columns = min(len(layers), 5)
    rows = math.ceil(len(layers) / columns)
    narrow = columns < 4  # then the legend takes two or three lines
    height = 2.4 * rows + (1.4 if narrow else 0.9) + (0.3 if scene.plane.note else 0)
    figure = Figure(figsize=(max(2.4 * columns, 5) + 0.4, height), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, layer in zip(panels, layers, strict=False):
        _draw_layer(panel, scene, layer)
    for panel in panels[len(layers) :]:
        panel.remove()
    if scene.plane.note:
        figure.suptitle(scene.plane.note, fontsize=10)
    _add_legend(figure, scene, narrow=narrow)
    return figure


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) if len(numbers) < 10 else f"{numbers[0]} to {numbers[-1]}"


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What all panels of one picture share: the plane, its window, and the points' colours."""

    recorded: Mapping[int, NDArray[Any]]
    plane: Projection
    leaders: NDArray[np.int64]
    leader_layer: NDArray[np.int64]
    colour: NDArray[np.intp]  # (n,): row of the palette, -1 for grey
    tailed: NDArray[np.intp]  # the points that are drawn with their path

    def at(self, layer: int, which: NDArray[np.intp] | slice = slice(None)) -> NDArray[Any]:
        """Points of a layer in the plane."""
        return self.plane(self.recorded[layer][which])

    def rgb(self, which: NDArray[np.intp]) -> NDArray[Any]:
        """The colours of points."""
        return np.vstack([PALETTE, GREY])[self.colour[which]]  # -1 is the last row


def _scene(trajectory: Trajectory) -> _Scene:
    n = len(trajectory.points)
    recorded = trajectory.recorded
    plane = project(recorded[min(recorded)], 2)
    labels, leaders = trajectory.labels, np.flatnonzero(trajectory.leader_layer >= 0)
    colour = np.full(n, -1)
    colour[leaders] = colours_in_turn(plane(trajectory.points[leaders]))
    settled = labels >= 0
    colour[settled] = colour[labels[settled]]
    return _Scene(
        recorded=recorded,
        plane=plane,
        leaders=leaders,
        leader_layer=trajectory.leader_layer,
        colour=colour,
        tailed=np.arange(0, n, math.ceil(n / _MANY)),
    )


def _draw_layer(panel: Axes, scene: _Scene, layer: int) -> None:
    points = scene.at(layer)
    emerged = scene.leaders[scene.leader_layer[scene.leaders] <= layer]
    stars = emerged[scene.plane.one_per_cell(points[emerged], _CELLS)]
    corners = polygon(points[stars])
    if len(corners) > 1:
        panel.add_patch(Polygon(corners, **HULL_STYLE, zorder=1))
    tails = [scene.at(past, scene.tailed) for past in sorted(scene.recorded) if past <= layer]
    panel.add_collection(
        LineCollection(
            list(np.stack(tails, axis=1)),
            colors=scene.rgb(scene.tailed),
            linewidths=0.9,
            alpha=0.6,
            zorder=2,
        )
    )
    dots = scene.plane.one_per_cell(points, _CELLS)
    panel.scatter(
        points[dots, 0],
        points[dots, 1],
        c=scene.rgb(dots),
        s=float(np.clip(1500 / len(points), 2, 26)),
        linewidths=0,
        zorder=3,
        label="points",
        rasterized=len(dots) > _MANY,
    )
    panel.scatter(
        points[stars, 0],
        points[stars, 1],
        c=scene.rgb(stars),
        s=float(np.clip(3000 / max(len(stars), 1), 14, 150)),
        marker="*",
        linewidths=float(np.clip(30 / max(len(stars), 1), 0.2, 0.6)),
        edgecolors="black",
        zorder=4,
        label="leaders",
        rasterized=len(stars) > _MANY,
    )
    panel.set_title(f"layer {layer}", fontsize=10)
    panel.set_xlim(scene.plane.corner[0], scene.plane.corner[0] + scene.plane.width)
    panel.set_ylim(scene.plane.corner[1], scene.plane.corner[1] + scene.plane.width)
    panel.set_box_aspect(1)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panel.tick_params(labelsize=8)
    panel.set_xlabel(scene.plane.names[0], fontsize=9)
    panel.set_ylabel(scene.plane.names[1], fontsize=9)
    panel.label_outer()


def _add_legend(figure: Figure, scene: _Scene, *, narrow: bool) -> None:
    entries: list[tuple[Any, str]] = []
    if len(scene.leaders):
        used = np.unique(scene.colour[scene.leaders])[:3]
        dots = tuple(marker(tuple(rgb), "o", 5) for rgb in PALETTE[used])
        entries.append((marker("white", "*", 11, "black"), "leader"))
        entries.append((dots, "point, in the colour of its leader"))
    if np.any(scene.colour < 0):
        entries.append((marker(GREY, "o", 5), "not settled on a leader"))
    if len(scene.recorded) > 1:
        entries.append((Line2D([], [], color="#555555", linewidth=0.9), "path so far"))
    if len(scene.leaders) > 1:
        entries.append((Patch(**HULL_STYLE), "convex hull of the leaders"))
    add_legend(figure, entries, columns=2 if narrow else len(entries))
