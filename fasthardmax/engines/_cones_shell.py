"""From four features on: which keys lie outside of a body that fits into the hull of the others.

The bodies are those of ``_cones_outer.py``. So many boxes of directions as there would have to be
of equal size are too many: those where the keys reach least far are halved, one after the other.
"""

from __future__ import annotations

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
# Boxes looked at on each face, an eighth of them to choose a body. One that leaves nearly all keys
# is not measured further, one that leaves half is no use.
_BOXES = {4: 128, 5: 512, 6: 1024}
_HOPELESS, _WORTH_IT = 0.98, 0.5


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
    radii = _radii(far, frames, margin, _BOXES[d] // 8, (0, 1, 2), num_threads)
    bodies = [(0, radii[0], False), (2, radii[1], False), (2, radii[2], True)]
    shares = [len(outer.outside_one(some, frames, body, 1)) / len(some) for body in bodies]
    best = int(np.argmin(shares))
    body, left = bodies[best], shares[best]
    if left < _HOPELESS:
        radius = _radii(far, frames, margin, _BOXES[d], (best,), num_threads)[best]
        body = (body[0], radius, body[2])
        left = len(outer.outside_one(some, frames, body, 1)) / len(some)
    if left > _WORTH_IT:
        return outer.losing_nowhere(keys, exponent, relative, absolute / 2, slip, num_threads)
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
    # Rounding must not leave none.
    radius = norms[-max(1, len(some) * _SPANNING // len(keys))] * keys.dtype.type(1 - 2.0**-8)
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
        radius = _radius(columns, (middle, unit, relative, absolute, cubic, most), num_threads)
        radii[body] = outer.safe_radius(radius, middle, unit, relative, frames.dtype, cubic)
    frames[~np.isfinite(frames)] = 0
    return radii.astype(frames.dtype)


def _radius(columns: NDArray[Any], body: tuple[Any, ...], num_threads: int) -> float:
    n_faces = 2 * len(columns)
    found = np.empty(n_faces)

    def look(start: int, stop: int) -> None:
        for face in range(start, stop):
            found[face] = inner_radius(columns, face // 2, 1.0 - 2 * (face % 2), *body)

    for_each_range(look, n_faces, 1, num_threads)
    return float(found.min())
