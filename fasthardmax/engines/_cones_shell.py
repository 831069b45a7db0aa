"""From four features on: which keys lie outside of a body that fits into the hull of the others.

The bodies are those of ``_cones_outer.py``. So many boxes of directions as there would have to be
of equal size are too many: those where the keys reach least far are halved, one after the other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_outer as outer
from ._arrays import rows_of, scaled
from ._cones_radius import inner_radius
from ._cones_vectors import LANES

__all__ = ["outer_keys"]

# Fewer keys are divided at once.
_WORTH_REDUCING = 2048
_SAMPLE = {4: 1 << 10, 5: 1 << 12, 6: 1 << 12}
# So many of the keys farthest from the middle span the hull.
_SPANNING = 256
# Boxes looked at on each face: to choose a body, and to find out how large it is.
_FEW_BOXES, _BOXES = 16, {4: 128, 5: 512, 6: 1024}


def outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """As of ``_cones_outer.py``."""
    n, d = keys.shape
    if n <= _WORTH_REDUCING:
        return np.arange(n)
    some = np.ascontiguousarray(keys[:: max(1, n // _SAMPLE[d])])
    frames = _frames(some)
    far = _far(keys, some, frames, num_threads)
    margin = (exponent, relative, absolute)
    radii = _radii(far, frames, margin, _FEW_BOXES, (0, 1, 2), num_threads)
    bodies = [(0, radii[0], False), (2, radii[1], False), (2, radii[2], True)]
    held = [len(some) - len(outer.outside_one(some, frames, body, 1)) for body in bodies]
    best = int(np.argmax(held))
    radii = _radii(far, frames, margin, _BOXES[d], (best,), num_threads)
    body = (bodies[best][0], radii[best], bodies[best][2])
    if 2 * len(outer.outside_one(some, frames, body, 1)) > len(some):
        return outer.losing_nowhere(
            keys, exponent, relative, absolute / 2, slip, num_threads
        )  # fmt: skip
    return outer.outside_one(keys, frames, body, num_threads)


def _frames(some: NDArray[Any]) -> NDArray[Any]:
    """As in ``_cones_outer.py``, by a sample of the keys."""
    rows = np.sort(some, axis=0)
    n = len(rows)
    frames = np.empty((4, rows.shape[1]), rows.dtype)
    with np.errstate(all="ignore"):
        frames[0], frames[1] = rows[n // 2], 1 / (rows[3 * n // 4] - rows[n // 4])
        frames[2], frames[3] = rows[0] / 2 + rows[-1] / 2, 1 / (rows[-1] - rows[0])
    return frames


def _far(
    keys: NDArray[Any], some: NDArray[Any], frames: NDArray[Any], num_threads: int
) -> NDArray[Any]:
    """About ``_SPANNING`` keys, the farthest from the middle of the first frame."""
    with np.errstate(all="ignore"):
        away = (some - frames[0]) * frames[1]
        norms = np.sort(np.einsum("ij,ij->i", away, away))
    radius = norms[-max(1, len(some) * _SPANNING // len(keys))]
    far = outer.outside_one(keys, frames, (0, radius, False), num_threads)
    return rows_of(keys, far[:: max(1, len(far) // _SPANNING)])


def _radii(
    far: NDArray[Any], frames: NDArray[Any], margin: tuple[int, float, float], most: int,
    which: tuple[int, ...], num_threads: int,
) -> NDArray[Any]:  # fmt: skip
    """How large bodies fit, those ``which``, as ``outside`` takes it; 0 where none is known to."""
    d = far.shape[1]
    exponent, relative, absolute = margin
    columns = np.empty((d, -(-len(far) // LANES) * LANES))
    exact = scaled(far, -exponent)
    columns[:, : len(far)], columns[:, len(far) :] = exact.T, exact[:1].T
    radii = np.zeros(3)
    for body in which:
        frame, cubic = 2 * min(body, 1), body == 2
        scale = frames[frame + 1]
        if not np.all(np.isfinite(scale) & (scale > 0)):
            continue
        middle = scaled(frames[frame], -exponent)
        unit = scaled(1 / scale.astype(np.float64), -exponent)
        found = np.empty(2 * d)

        def look(start: int, stop: int) -> None:
            for face in range(start, stop):
                found[face] = inner_radius(
                    columns, face // 2, 1.0 - 2 * (face % 2), middle, unit, relative, absolute,
                    cubic, math.inf, most,
                )  # fmt: skip

        for_each_range(look, 2 * d, 1 if most > _FEW_BOXES else 2 * d, num_threads)
        radii[body] = outer.safe_radius(found.min(), middle, unit, relative, frames.dtype, cubic)
    frames[~np.isfinite(frames)] = 0
    return radii.astype(frames.dtype)
