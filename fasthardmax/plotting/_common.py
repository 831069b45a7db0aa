"""What all pictures share: the colours, and the check of the trajectory they are drawn from."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from ..dynamics import Trajectory

__all__ = ["GREY", "PALETTE", "check_one_cloud"]

# Okabe and Ito's colours, which readers with any colour vision can tell apart, without black.
PALETTE = np.array(
    [
        to_rgb(name)
        for name in ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
    ]
)
GREY = to_rgb("#999999")


def check_one_cloud(trajectory: Trajectory) -> None:
    """``ValueError`` for a batch of clouds, or no points."""
    shape = trajectory.points.shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"trajectory: got points of shape {shape}, expected one cloud (n, d)")
