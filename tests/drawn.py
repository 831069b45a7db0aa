"""What a picture shows, read back from its axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from numpy.typing import NDArray

from fasthardmax import Equilibrium, Trajectory, equilibrium, simulate
from fasthardmax.plotting import (
    plot_clusters,
    plot_leaders,
    plot_trajectory,
)

FIGURE_2 = ["emerging-leader", "triangle", "square", "non-leader-clusters"]
PLOTS: list[Callable[..., Axes]] = [plot_trajectory, plot_clusters, plot_leaders]


def run(start: Any, n_layers: int = 30, record: Any = "all", **options: Any) -> Trajectory:
    return simulate(
        start, alpha=0.5, n_layers=n_layers, record=record, engine="reference", **options
    )


def limits(start: Any, **options: Any) -> Equilibrium:
    return equilibrium(start, alpha=0.5, engine="reference", **options)


def labelled(ax: Axes, label: str) -> Any:
    found = [a for a in (*ax.collections, *ax.images, *ax.patches) if a.get_label() == label]
    assert len(found) <= 1, label
    return found[0] if found else None


def places(ax: Axes, label: str) -> NDArray[Any]:
    markers = labelled(ax, label)
    if markers is None:
        return np.empty((0, 3 if ax.name == "3d" else 2))
    assert isinstance(markers, PathCollection)
    if ax.name == "3d":
        return np.column_stack(markers._offsets3d)  # type: ignore[attr-defined]  # not public
    return np.asarray(markers.get_offsets())


def colours(ax: Axes, label: str) -> NDArray[Any]:
    return np.asarray(labelled(ax, label).get_facecolor())[:, :3]


def as_set(points: NDArray[Any]) -> set[tuple[float, ...]]:
    return {tuple(point) for point in np.asarray(points).tolist()}


def in_order(points: NDArray[Any]) -> NDArray[Any]:
    return points[np.lexsort(points.T)]


def legend(ax: Axes) -> list[str]:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return [text.get_text() for text in figure.legends[0].get_texts()]
