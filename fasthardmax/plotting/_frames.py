"""The frames of an animation: which layers and points it shows, kept while the layers go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attention import Winners
from ..dynamics import Trajectory
from ._clusters import clusters_of
from ._draw import MOST_EDGES, sample, visible
from ._hull import edges, hull_in_space
from ._projection import Projection, project

__all__ = ["Film", "Recorder", "film_of", "frame_layers"]

_MOST_FRAMES = 200  # of them the first half as they are, where most happens
_MOST_POINTS = 10_000
_MOST_NUMBERS = 1_700_000  # coordinates of points: at two bytes each, 4.5 MB as base64
_MOST_OUTLINE = 20_000  # edges of all outlines together


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """K frames of s points and m leaders, in k = 2 or 3 coordinates from 0 to 1, the window."""

    projection: Projection
    layers: list[int]  # (K,)
    points: NDArray[np.float32]  # (K, s, k)
    colours: NDArray[np.intp]  # (s,): rows of the palette
    leaders: NDArray[np.float32]  # (m, k): where they are once they have emerged
    leader_colours: NDArray[np.intp]  # (m,)
    leader_layer: NDArray[np.int64]  # (m,)
    outlines: dict[int, NDArray[np.float32]]  # by the layer from which on: edges (e, 2, k)
    alpha: float
    shape: tuple[int, int]  # of the cloud

    def emerged(self, layer: int) -> NDArray[np.intp]:
        """The leaders there are at a layer."""
        return np.flatnonzero(self.leader_layer <= layer)

    def outline(self, layer: int) -> NDArray[np.float32]:
        """The edges of the leaders' convex hull at a layer."""
        since = [first for first in self.outlines if first <= layer]
        none = np.empty((0, 2, self.leaders.shape[1]), np.float32)
        return self.outlines[max(since)] if since else none

    def notes(self) -> list[str]:
        """What the reader has to know."""
        n, s = self.shape[0], self.points.shape[1]
        shown = f"{s:,} of {n:,} points, chosen at random" if s < n else ""
        return [note for note in (shown, self.projection.note) if note]


def frame_layers(layers: Sequence[int]) -> list[int]:
    """At most 200 of increasing layers: the first hundred, and then evenly spread to the last."""
    half = _MOST_FRAMES // 2
    if len(layers) <= _MOST_FRAMES:
        return list(layers)
    later = np.linspace(half, len(layers) - 1, _MOST_FRAMES - half)
    return [*layers[:half], *(layers[int(place)] for place in later.round())]


class Recorder:
    """Keeps what a film needs of each layer; give it to ``simulate`` as ``record``.

    ``layers`` are those that will come, increasing, and ``k`` is the number of coordinates. No more
    is kept than the film shows, whatever the size of the cloud.
    """

    def __init__(self, layers: Sequence[int], k: int) -> None:
        if k == 3:
            hull_in_space()  # before the layers, because they would be lost without it
        self._k = k
        self._layers = frame_layers(layers)
        self._wanted = set(self._layers)
        self._frames: list[NDArray[np.float32]] = []

    def __call__(self, layer: int, points: NDArray[Any], winners: Winners | None) -> None:
        """Look at a layer."""
        if not self._frames:
            n = len(points)
            self._projection = project(points, self._k)
            most = min(_MOST_POINTS, _MOST_NUMBERS // (self._k * len(self._layers)))
            self._chosen = sample(n, most)
        if layer in self._wanted:
            self._frames.append(self._unit(points[self._chosen]))

    def film(self, trajectory: Trajectory) -> Film:
        """The film, once the trajectory that passed by is known."""
        found, projection = clusters_of(trajectory), self._projection
        colours = found.colours(projection)
        emerged = trajectory.leader_layer[found.place]
        first = np.argsort(emerged, kind="stable")  # of two at a place the earlier is shown
        leaders = projection(found.end[found.place[first]])
        first = first[visible(projection, leaders)]
        leaders = projection(found.end[found.place[first]])
        emerged = emerged[first]
        return Film(
            projection=projection,
            layers=self._layers,
            points=np.stack(self._frames),
            colours=colours[found.labels[self._chosen]],
            leaders=self._unit(found.end[found.place[first]]),
            leader_colours=colours[:-1][first],
            leader_layer=emerged,
            outlines=self._outlines(leaders, emerged),
            alpha=trajectory.alpha,
            shape=(found.start.shape[0], found.start.shape[1]),
        )

    def _outlines(
        self, leaders: NDArray[Any], emerged: NDArray[np.int64]
    ) -> dict[int, NDArray[np.float32]]:
        place = np.searchsorted(self._layers, emerged)  # the frame at which each is first seen
        outlines = {
            self._layers[at]: self._in_window(edges(leaders[place <= at]))
            for at in np.unique(place)
        }
        outlines = {layer: lines for layer, lines in outlines.items() if len(lines) <= MOST_EDGES}
        if sum(map(len, outlines.values())) > _MOST_OUTLINE:
            outlines = dict(list(outlines.items())[-1:])
        return outlines

    def _unit(self, points: NDArray[Any]) -> NDArray[np.float32]:
        return self._in_window(self._projection(points))

    def _in_window(self, drawn: NDArray[Any]) -> NDArray[np.float32]:
        projection = self._projection
        unit: NDArray[np.float32] = np.asarray(
            (drawn - projection.corner) / projection.width, np.float32
        )
        return unit


def film_of(trajectory: Trajectory, k: int) -> Film:
    """The film of a trajectory's recorded layers."""
    layers = sorted(trajectory.recorded)
    recorder = Recorder(layers, k)
    for layer in frame_layers(layers):
        recorder(layer, trajectory.recorded[layer], None)
    return recorder.film(trajectory)
