"""From four features on: which keys lie outside of a body that fits into the hull of the others.

The bodies are those of ``_cones_outer.py``. So many boxes of directions as there would have to be
of equal size are too many: those where the keys reach least far are halved, one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from ._arrays import rows_of, scaled
from ._cones_frames import BALL, BOX, WIDE_BALL, Body, Frames, distances, find_frames, outside
from ._cones_outer import losing_nowhere
from ._cones_radius import inner_radius
from ._cones_shear import find_slant
from ._cones_vectors import LANES

__all__ = ["outer_keys"]

# Fewer keys are divided at once.
_WORTH_REDUCING = 2048
_SAMPLE = 1 << 12
# So many of the keys farthest from the middle span the hull.
_SPANNING = 512
# Boxes looked at on each face, a quarter of them to choose a body. The first that leaves few keys
# is chosen; one that leaves half is no use.
_BOXES = {4: 192, 5: 512, 6: 1024}
_FEW, _WORTH_IT = 0.2, 0.5


def outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """As of ``_cones_outer.py``."""
    n, d = keys.shape
    if n <= _WORTH_REDUCING:
        return np.arange(n)
    some = np.ascontiguousarray(keys[:: max(1, n // _SAMPLE)])
    slant = find_slant(some)
    moved = slant.moved(some)
    frames = find_frames(moved, slant)
    far = _far(keys, moved, frames, num_threads)
    margin = (exponent, *slant.margins(relative, absolute))
    kind, least = BALL, 1.0
    for other in (BALL, WIDE_BALL, BOX):
        body = _body(far, frames, other, margin, _BOXES[d] // 4, num_threads)
        left = len(outside(some, body, 1)) / len(some)
        if left < least:
            kind, least = other, left
        if least < _FEW:
            break
    body = _body(far, frames, kind, margin, _BOXES[d], num_threads)
    if len(outside(some, body, 1)) > _WORTH_IT * len(some):
        return losing_nowhere(keys, exponent, relative, absolute / 2, slip, num_threads)
    return outside(keys, body, num_threads)


def _far(
    keys: NDArray[Any], moved: NDArray[np.float64], frames: Frames, num_threads: int
) -> NDArray[np.float64]:
    """About ``_SPANNING`` keys, the farthest from the middle of the first frame, moved."""
    norms = np.sort(distances(moved, *frames.place(BALL, 0)))
    # Rounding must not leave none.
    radius = norms[-max(1, len(moved) * _SPANNING // len(keys))] * (1 - 2.0**-8)
    far = outside(keys, Body(frames, BALL, keys.dtype.type(radius)), num_threads)
    return frames.slant.moved(rows_of(keys, far[:: max(1, len(far) // _SPANNING)]))


def _body(
    far: NDArray[np.float64], frames: Frames, kind: int, margin: tuple[int, float, float],
    most: int, num_threads: int,
) -> Body:  # fmt: skip
    """A body as large as is known to fit; of radius 0 where none is."""
    exponent, relative, absolute = margin
    columns = np.empty((far.shape[1], -(-len(far) // LANES) * LANES))
    exact = scaled(far, -exponent)
    columns[:, : len(far)], columns[:, len(far) :] = exact.T, exact[:1].T
    radius = 0.0
    if frames.fits(kind):
        body = (*frames.place(kind, -exponent), relative, absolute, kind == BOX, most)
        radius = frames.safe_radius(_radius(columns, body, num_threads), kind, -exponent, relative)
    return Body(frames, kind, frames.rows.dtype.type(radius))


def _radius(columns: NDArray[Any], body: tuple[Any, ...], num_threads: int) -> float:
    n_faces = 2 * len(columns)
    found = np.empty(n_faces)

    def look(start: int, stop: int) -> None:
        for face in range(start, stop):
            found[face] = inner_radius(columns, face // 2, 1.0 - 2 * (face % 2), *body)

    for_each_range(look, n_faces, 1, num_threads)
    return float(found.min())
