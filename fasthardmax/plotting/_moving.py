"""A figure that shows one frame of a film after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ._clusters import rgb
from ._common import GREY, HULL_STYLE
from ._draw import draw_cloud, draw_outline, draw_paths, draw_places, frame, in_space, sample
from ._frames import Film
from ._legend import add_legend, marker

__all__ = ["MovingPicture"]

_PATHS = 300  # more than this many hide the points
_TURN = 1.2  # degrees a frame, in space: depth shows in motion


class MovingPicture:
    """The axes and legend of a film, and on them one frame."""

    def __init__(self, figure: Figure, film: Film) -> None:
        self._film = film
        k = film.points.shape[2]
        self._ax = figure.add_subplot(projection="3d" if k == 3 else None)
        self._drawn: list[Any] = []
        self._tailed = sample(film.points.shape[1], _PATHS)
        _explain(figure, film, space=k == 3)
        self.show(0)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # or axes would move with the texts

    def show(self, number: int) -> None:
        """Draw frame ``number`` in place of the last."""
        film, ax, projection = self._film, self._ax, self._film.projection
        for artist in self._drawn:
            artist.remove()
        layer = film.layers[number]
        emerged = film.emerged(layer)
        drawn = draw_outline(ax, self._in_data(film.outline(layer)))
        drawn += draw_paths(
            ax,
            self._in_data(film.points[: number + 1, self._tailed]).swapaxes(0, 1),
            film.colours[self._tailed],
        )
        drawn += draw_cloud(ax, projection, self._in_data(film.points[number]), film.colours)[0]
        if len(emerged):
            places = self._in_data(film.leaders[emerged])
            drawn += draw_places(ax, projection, places, film.leader_colours[emerged], leaders=True)
        frame(ax, projection, [f"layer {layer}", *film.notes()])
        if in_space(ax):
            azimuth = -60 + _TURN * number
            ax.view_init(elev=25, azim=azimuth)  # type: ignore[attr-defined]  # axes in space
        self._drawn = drawn

    def _in_data(self, unit: NDArray[np.float32]) -> NDArray[Any]:
        projection = self._film.projection
        return projection.corner + projection.width * unit.astype(np.float64)


def _explain(figure: Figure, film: Film, *, space: bool) -> None:
    entries: list[tuple[Any, str]] = []
    if len(film.leaders):
        used = np.unique(film.leader_colours)[:3]
        dots = tuple(marker(tuple(colour), "o", 5) for colour in rgb(used))
        entries.append((marker("white", "*", 11, "black"), "leader"))
        entries.append((dots, "point, in the colour of its leader"))
    if np.any(film.colours < 0):
        entries.append((marker(GREY, "o", 5), "not settled on a leader"))
    if film.outlines:
        line = Line2D([], [], color=HULL_STYLE["edgecolor"], linewidth=HULL_STYLE["linewidth"])
        entries.append((line if space else Patch(**HULL_STYLE), "convex hull of the leaders"))
    if entries:
        add_legend(figure, entries, columns=2)
