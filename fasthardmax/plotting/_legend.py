"""The legend of a picture, below everything else, so that it covers nothing."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

__all__ = ["add_legend", "marker"]


def marker(colour: Any, shape: str, size: float, edge: str | None = None) -> Line2D:
    """What stands for markers in a legend."""
    return Line2D(
        [], [], color=colour, marker=shape, markersize=size, markeredgecolor=edge, ls="none"
    )


def add_legend(figure: Figure, entries: list[tuple[Any, str]], columns: int) -> None:
    """A legend of handles and texts; a tuple of handles is drawn side by side."""
    handles, texts = zip(*entries, strict=True)
    figure.legend(
        handles,
        texts,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.3)},
    )
