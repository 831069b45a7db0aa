"""Texts beside the largest clusters, as far as there is room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d import proj3d
from numpy.typing import NDArray

from ._draw import in_space

__all__ = ["label_largest"]

# In points, 1/72 inch.
_LETTER = np.array([5.0, 11.0])
_AWAY = 8.0  # from the middle of the marker


def label_largest(
    ax: Any, places: NDArray[Any], name: Callable[[int], str], sizes: NDArray[np.int64], most: int
) -> None:
    """Write ``name(i)`` at the largest of places (k, 2 or 3), on the side towards their middle.

    A text that would lie on an earlier one is left out.
    """
    on_paper = _on_paper(ax, places)
    if not len(places):
        return
    middle = (on_paper.max(axis=0) + on_paper.min(axis=0)) / 2
    # Texts in space turn with their place and know no offset but spaces.
    offset = np.array([1, 0 if in_space(ax) else 1])
    taken: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for which in np.argsort(-sizes, kind="stable")[:most]:
        side, up = np.where(on_paper[which] <= middle, 1, -1) * offset
        words = name(which)
        extent = _LETTER * [len(words), 1]
        centre = on_paper[which] + [side * (_AWAY + extent[0] / 2), up * _AWAY]
        if any(np.all(np.abs(centre - other) < (extent + its) / 2) for other, its in taken):
            continue
        taken.append((centre, extent))
        align: dict[str, Any] = {
            "ha": "left" if side > 0 else "right",
            "va": "center",
            "fontsize": 8,
            "zorder": 6,
            "path_effects": [withStroke(linewidth=2, foreground="white")],
        }
        if in_space(ax):
            gap = "   "
            text = gap + words if side > 0 else words + gap
            ax.text(*places[which], text, **align)
        else:
            ax.annotate(
                words,
                tuple(places[which]),
                xytext=(side * _AWAY, up * _AWAY),
                textcoords="offset points",
                **align,
            )


def _on_paper(ax: Any, places: NDArray[Any]) -> NDArray[Any]:
    """Where places (k, 2 or 3) are on the page, in points; before a layout, about."""
    if in_space(ax):
        x, y, _ = proj3d.proj_transform(*places.T, ax.get_proj())
        places = np.column_stack([x, y])
    on_paper: NDArray[Any] = ax.transData.transform(places) * (72 / ax.figure.dpi)
    return on_paper
