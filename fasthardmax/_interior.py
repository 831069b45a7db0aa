"""A ball about the origin that a polytope holds: keys in it can win for no query but zero."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["inner_radius", "worthwhile"]

_CELLS = {1: 1, 2: 64, 3: 16}  # per axis of each face of a cube, by the number of features
_SCORES = 1 << 22  # at once; of more vertices a part is taken, which holds a smaller ball
_MARGIN = 2.0**-10  # of the radius: far more than rounding, so that no key in the ball can tie


def worthwhile(n: int, d: int) -> bool:
    """Whether a cloud is large enough, and its features few enough, to look for a ball."""
    return d in _CELLS and n > 4 * len(_directions(d)[0])


def inner_radius(vertices: NDArray[Any]) -> float:
    """The radius of a ball about the origin in the hull of ``vertices`` (m, d); 0 if none is found.

    The hull holds the ball of radius r if its support function is at least r in every direction.
    Every unit vector u is within delta of some direction g of a net, so that
    <u, w> >= <g, w> - delta |w| for each vertex w: r is the least over g of the greatest over w.
    It is reduced by a margin that is far above the rounding of scores.
    """
    scale = float(np.abs(vertices).max(initial=0))
    if scale == 0:
        return 0.0
    directions, delta = _directions(vertices.shape[1])
    some = vertices[:: -(-len(vertices) * len(directions) // _SCORES)].astype(np.float64) / scale
    norms = np.linalg.norm(some, axis=1)
    radius = float((directions @ some.T - delta * norms).max(axis=1).min())
    return scale * radius * (1 - _MARGIN) if radius > norms.max() / 16 else 0.0


@lru_cache(maxsize=3)
def _directions(d: int) -> tuple[NDArray[np.float64], float]:
    """Unit vectors, and how far from the nearest of them a unit vector can be.

    They are the centres of equal cells on the faces of the cube [-1, 1]^d, drawn to the sphere,
    which brings no two points further apart. A cell of side 2/k reaches sqrt(d - 1)/k.
    """
    k = _CELLS[d]
    centres = (2 * np.arange(k) + 1) / k - 1
    rows = [
        (*cell[:axis], sign, *cell[axis:])
        for axis in range(d)
        for sign in (-1.0, 1.0)
        for cell in itertools.product(centres, repeat=d - 1)
    ]
    net = np.array(rows)
    return net / np.linalg.norm(net, axis=1, keepdims=True), float(np.sqrt(d - 1)) / k
