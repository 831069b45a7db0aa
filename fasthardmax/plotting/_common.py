"""What all pictures share: the colours, and the check of the cloud they are drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from ..dynamics import Trajectory
from ..equilibrium import Equilibrium

__all__ = ["GREY", "HULL_STYLE", "PALETTE", "check_one_cloud", "colours_in_turn"]

# Okabe and Ito's colours, which readers with any colour vision can tell apart, without black.
PALETTE = np.array(
    [
        to_rgb(name)
        for name in ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
    ]
)
GREY = to_rgb("#999999")
HULL_STYLE: dict[str, Any] = {
    "facecolor": "#00000012",
    "edgecolor": "#00000060",
    "linewidth": 0.8,
}


def check_one_cloud(
    result: Trajectory | Equilibrium, name: str = "trajectory", *, layers: bool = False
) -> None:
    """``TypeError`` for other kinds, ``ValueError`` for a batch of clouds, or no points.

    ``layers``: whether what is drawn are layers, which an equilibrium has none of.
    """
    if layers and isinstance(result, Equilibrium):
        raise TypeError(f"{name}: got an Equilibrium, which has no layers, expected a Trajectory")
    if not isinstance(result, (Trajectory, Equilibrium)):
        expected = "a Trajectory" if layers else "a Trajectory or an Equilibrium"
        raise TypeError(f"{name}: got {type(result).__name__}, expected {expected}")
    shape = (result.points if isinstance(result, Trajectory) else result.limit).shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name}: got points of shape {shape}, expected one cloud (n, d)")


def colours_in_turn(places: NDArray[Any]) -> NDArray[np.intp]:
    """Rows of the palette for places (m, k), in turn by their angle around their mean."""
    m = len(places)
    x, y = (places - places.mean(axis=0)).T[:2] if m else places.T[:2]
    rank = np.empty(m, np.intp)
    rank[np.argsort(np.arctan2(y, x), kind="stable")] = np.arange(m)
    # The last and the first are neighbours too: shorten the cycle if it would end on its start.
    cycle = max(range(5, len(PALETTE) + 1), key=lambda k: (m <= k or m % k != 1, k))
    return rank % cycle
