"""The two or three coordinates in which a picture shows points, and the window around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Projection", "project"]

_ENOUGH = 100_000  # points for principal axes: more would not turn them visibly
_BLOCK = 65_536  # points that are projected at once
_WORDS = {2: "two", 3: "three"}


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """From points of d features to the k = 2 or 3 coordinates of a picture; fixed over layers."""

    origin: NDArray[Any]  # (d,)
    axes: NDArray[Any]  # (k, d)
    names: tuple[str, ...]  # of the axes
    note: str  # what the reader has to know; may be empty
    corner: NDArray[Any]  # (k,): lowest of the window, a square or cube that holds the start
    width: float

    def __call__(self, points: NDArray[Any]) -> NDArray[Any]:
        """Points (n, d) as they are drawn (n, k)."""
        drawn = np.empty((len(points), len(self.axes)), np.result_type(points, self.axes))
        for begin in range(0, len(points), _BLOCK):  # so that no copy of a large cloud is made
            rows = slice(begin, begin + _BLOCK)
            drawn[rows] = (points[rows] - self.origin) @ self.axes.T
        return drawn

    def cells(self, drawn: NDArray[Any], across: int) -> NDArray[np.int64]:
        """The numbers of the cells, ``across`` to a side of the window, that hold drawn points."""
        at = ((drawn - self.corner) * (across / self.width)).astype(np.int64)
        at = np.clip(at, 0, across - 1)
        return at @ across ** np.arange(at.shape[1])[::-1]

    def one_per_cell(self, drawn: NDArray[Any], across: int) -> NDArray[np.intp]:
        """Indices, in increasing order, of the first point in each cell."""
        return np.sort(np.unique(self.cells(drawn, across), return_index=True)[1])


def project(start: NDArray[Any], k: int) -> Projection:
    """The projection that suits a start (n, d): as it is for d <= k, else on principal axes."""
    d = start.shape[1]
    if d > k:
        origin, axes, share = _principal_axes(start, k)
        names = tuple(f"component {axis + 1}" for axis in range(k))
        note = f"First {_WORDS[k]} principal components, {share:.0%} of the variance in {d} "
        note += "dimensions"
    else:
        origin, axes, note = np.zeros(d), np.eye(k, d), ""
        names = tuple(f"$x_{axis + 1}$" if d > 1 and axis < d else "" for axis in range(k))
        names = ("$x_1$", *names[1:])
    projection = Projection(origin, axes, names, note, np.zeros(k), 1.0)
    drawn = projection(start)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    width = 1.1 * float((high - low).max()) or 1.0
    return replace(projection, corner=(low + high - width) / 2, width=width)


def _principal_axes(start: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any], float]:
    """The mean, the k axes (k, d) of largest variance, and their share of the variance."""
    if len(start) > _ENOUGH:
        start = start[np.random.default_rng(0).choice(len(start), _ENOUGH, replace=False)]
    origin = start.mean(axis=0)
    _, spread, axes = np.linalg.svd(start - origin, full_matrices=False)
    axes = np.vstack([axes, np.zeros((k, axes.shape[1]))])[:k]  # few points have few axes
    # An axis is defined up to its sign: make the largest coordinate positive.
    axes *= np.sign(axes[np.arange(k), np.abs(axes).argmax(axis=1)])[:, None]
    variance = spread**2
    return origin, axes, float(variance[:k].sum() / (variance.sum() or 1.0))
