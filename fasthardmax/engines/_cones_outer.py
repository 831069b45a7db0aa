"""Keys that may win at all: most inner ones are left out before any cone is divided.

Two ways. Two balls and a box in the middle of the keys, stretched as the keys are, are blown up to
inside the convex hull of some outermost keys; what lies inside never wins. Where keys do not lie
around a middle, those go that lose to some key of a sample in each of a few boxes of directions.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_kernels as kernels
from . import _cones_walls as walling
from ._arrays import powers, readonly, rows_of, scaled
from ._cones_margins import margins
from ._cones_vectors import LANES
from ._distinct import distinct_keys

__all__ = ["losing_nowhere", "outer_keys", "outside_one", "safe_radius", "share_left"]

_SOME_OUTER = 1 << 12
_SOME_TRIED = 1 << 10
# Keys looked at first, to find bodies that spare most of the others a closer look.
_SAMPLE = {1: 1 << 10, 3: 1 << 14}
# Fewer keys are divided at once.
_WORTH_REDUCING = 2048
# And fewer than these left over, once reduced, are not reduced again.
_WORTH_ANOTHER = 1 << 14
# Boxes per side of a face that a sample is reduced with, coarse ones first.
_FANS = {1: (1,), 3: (2, 4, 12)}
_FAN_AGAIN = {1: 1, 3: 4}  # and once more, for what is left over
_FAN_SCORES = 1 << 21  # at most so many, to find the keys that span the hull
_SCORES_PER_RANGE = 1 << 17  # about 50 us
_SOME_WALLS = 1 << 11
# Boxes per side in which keys must lose.
_LOSING = {3: (1, 2, 4), 4: (1, 2), 5: (1,), 6: (1,)}
# Smaller boxes are tried where up to this share of a sample may win, all keys where up to that.
_HOPELESS, _WORTH_LOSING = 0.97, 0.75
_ROWS = 1 << 16


def outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Increasing indices of keys, all that may win among them; inner ones are left out if possible.

    The margins are those of ``_cones_margins.margins``, ``absolute`` times P.
    """
    n, d = keys.shape
    if n <= _WORTH_REDUCING:
        return np.arange(n)
    margin = (exponent, relative, absolute, num_threads)
    kept = _outside_bodies(keys, *margin) if d in _FANS else None
    if kept is not None:
        return kept
    return losing_nowhere(keys, exponent, relative, absolute / 2, slip, num_threads)


def _outside_bodies(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, num_threads: int
) -> NDArray[np.int64] | None:
    """Indices of the keys outside of bodies in the hull, None where those hold few of a sample."""
    n, d = keys.shape
    margin = (exponent, relative, absolute, num_threads)
    outer = keys[:: max(1, n // _SAMPLE[d])]
    enough = len(outer) // 2
    for per_side in _FANS[d]:
        bodies = _bodies(outer, per_side, *margin)
        outer = rows_of(outer, _outside(outer, *bodies, num_threads))
    if len(outer) > enough:
        return None
    kept = _outside(keys, *bodies, num_threads)
    if len(kept) > _WORTH_ANOTHER:
        left = rows_of(keys, kept)
        far = _farthest(left, bodies[0], num_threads)
        some = np.concatenate([left[:: -(-len(left) // _SOME_OUTER)], rows_of(left, far)])
        bodies = _bodies(some, _FAN_AGAIN[d], *margin)
        kept = kept[_outside(left, *bodies, num_threads)]
    return kept


def share_left(keys: NDArray[Any]) -> float:
    """The share of a sample of ``keys`` that may win in some of a few boxes. It takes some 0.2 ms.

    Where it is small, few cells are divided for long.
    """
    n, d = keys.shape
    some = np.ascontiguousarray(keys[:: max(1, n // _SOME_TRIED)])
    n_looked_at, top = len(some), float(np.abs(some).max())
    some, _, n_distinct = distinct_keys(some)
    if d not in _LOSING or n_distinct == 1:
        return n_distinct / n_looked_at
    relative, _, slip = margins(d, keys.dtype)
    exponent = math.frexp(top)[1]
    shares = []
    for per_side in _LOSING[d][:2]:
        boxes = _boxes(some, per_side, exponent, relative, 0.0, slip)
        shares.append(len(_may_win(some, boxes, 1)) / n_looked_at)
    return min(shares)


def losing_nowhere(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Indices of the keys that may win in a box, the walls of which are those of a sample."""
    n, d = keys.shape
    kept = np.arange(n)
    for per_side in _LOSING.get(d, ()):
        left = keys if len(kept) == n else rows_of(keys, kept)
        walls_of = left[:: max(1, len(left) // _SOME_WALLS)]
        boxes = _boxes(walls_of, per_side, exponent, relative, absolute, slip)
        some = np.ascontiguousarray(left[:: max(1, len(left) // _SOME_TRIED)])
        share = len(_may_win(some, boxes, 1)) / len(some)
        if share > _HOPELESS and per_side > 1:
            break
        if share > _WORTH_LOSING:
            continue
        kept = kept[_may_win(left, boxes, num_threads)]
    return kept


def _boxes(
    keys: NDArray[Any], per_side: int, exponent: int, relative: float, absolute: float,
    slip: float,
) -> tuple[Any, ...]:  # fmt: skip
    """Equal boxes on all faces with their walls among ``keys``, as ``may_win`` takes them."""
    d = keys.shape[1]
    steps = (2 * np.arange(per_side) + 1) / per_side - 1
    centres = np.zeros((per_side ** (d - 1), d))
    centres[:, :-1] = list(itertools.product(steps, repeat=d - 1))
    half = np.full(d, 1 / per_side)
    exact = scaled(keys, -exponent)
    fan = np.empty((2 * d, len(centres), 2 * d, d))
    walling.fan_walls(exact, relative * np.abs(exact).sum(axis=1) + absolute, centres, half, fan)
    return powers(-exponent), relative, absolute, slip, centres, half, fan


def _may_win(keys: NDArray[Any], boxes: tuple[Any, ...], num_threads: int) -> NDArray[np.int64]:
    n, d = keys.shape
    keys = readonly(keys)
    kept = np.empty(n, np.int64)
    found: dict[int, int] = {}

    def look(start: int, stop: int) -> None:
        found[start] = walling.may_win(keys, *boxes, start, stop, kept, (0,) * d)

    for_each_range(look, n, _ROWS // 8, num_threads)
    return np.concatenate([kept[start : start + found[start]] for start in sorted(found)])


def _bodies(
    keys: NDArray[Any], per_side: int, exponent: int, relative: float, absolute: float,
    num_threads: int,
) -> tuple[NDArray[Any], NDArray[Any]]:  # fmt: skip
    """Frames (4, d) and radii (3,) of a ball, another ball and a box in the hull of ``keys``.

    The first frame is the median and the inverse distance of the quartiles, for heavy tails; the
    second the middle and the inverse width of the range, for keys that fill their box.

    For a query t in a box of directions and any key w, the hull reaches to <t, w>, and a body of
    radius r to <t, middle> + r |t / scale|, in the dual norm. The quotient of the linear
    <t, w - middle> and the convex |t / scale| is quasi-concave where positive: over a box of
    directions it is least at a corner. The margin of w is taken off first. That of an inner key p,
    with |p|_1 <= |middle|_1 + r sum 1/scale, is taken off afterwards, by the least |t / scale|.
    """
    d = keys.shape[1]
    dtype = keys.dtype
    few = np.sort(keys[:: max(1, len(keys) // 1024)], axis=0)
    columns = np.ascontiguousarray(keys.T)  # much faster to reduce
    low, high = columns.min(axis=1), columns.max(axis=1)
    frames = np.empty((4, d), dtype)
    with np.errstate(all="ignore"):
        frames[0] = few[len(few) // 2]
        frames[1] = 1 / (few[3 * len(few) // 4] - few[len(few) // 4])
        frames[2] = low / 2 + high / 2
        frames[3] = 1 / (high - low)
    centres, corners = _fan(d, per_side)
    keys = _some_outer(keys, frames[0], frames[1], _FAN_SCORES // len(centres))
    exact = scaled(keys, -exponent)
    outermost = np.empty_like(centres)
    heads = np.empty(len(centres), np.int64)
    # Whole vectors, filled up with the first key.
    columns = np.empty((d, -(-len(exact) // LANES) * LANES))
    columns[:, : len(exact)], columns[:, len(exact) :] = exact.T, exact[:1].T

    def head(start: int, stop: int) -> None:
        kernels.extremes(columns, centres, start, stop, heads)

    together = max(1, -(-_SCORES_PER_RANGE // len(exact)))
    for_each_range(head, len(centres), together, num_threads)
    np.take(columns.T, heads, axis=0, out=outermost)
    radii = np.zeros(3)
    for body, (frame, norm) in enumerate(((0, 2), (2, 2), (2, np.inf))):
        scale = frames[frame + 1]
        if not np.all(np.isfinite(scale) & (scale > 0)):
            continue
        middle = scaled(frames[frame], -exponent)
        unit = scaled(1 / scale.astype(np.float64), -exponent)
        radius = kernels.radius(
            corners, outermost, middle, unit, relative, absolute, norm == np.inf
        )  # fmt: skip
        radii[body] = safe_radius(radius, middle, unit, relative, dtype, norm == np.inf)
    frames[~np.isfinite(frames)] = 0
    return frames, radii.astype(dtype)


def safe_radius(
    radius: float, middle: NDArray[Any], unit: NDArray[Any], relative: float, dtype: Any, box: bool
) -> float:  # fmt: skip
    """A radius of a body as ``outside`` takes it, less the margin of the keys inside; or 0."""
    with np.errstate(all="ignore"):  # where one feature is so narrow that its unit underflows
        radius -= relative * (np.abs(middle).sum() + max(0.0, radius) * unit.sum()) / unit.min()
    radius *= 1 - (8 * len(unit) + 64) * float(np.finfo(dtype).eps)
    if radius <= 2.0**-10:  # squares of much smaller numbers may underflow
        return 0.0
    return radius if box else radius**2


def _farthest(keys: NDArray[Any], frames: NDArray[Any], num_threads: int) -> NDArray[np.int64]:
    """Indices of about ``_SOME_OUTER`` keys, the farthest from the middle of the first frame."""
    n = len(keys)
    with np.errstate(all="ignore"):
        few = (keys[:: max(1, n // _SOME_OUTER)] - frames[0]) * frames[1]
        far = np.sort(np.einsum("ij,ij->i", few, few))  # faster than a sum
    radius = far[-max(1, len(few) * _SOME_OUTER // n)]
    return outside_one(keys, frames, (0, radius, False), num_threads)


def _some_outer(
    keys: NDArray[Any], middle: NDArray[Any], scale: NDArray[Any], most: int
) -> NDArray[Any]:
    """At most ``most`` of the keys: half spread out, half those farthest from the middle."""
    if len(keys) <= most:
        return keys
    spread = keys[:: -(-2 * len(keys) // most)]
    some = keys[:: max(1, len(keys) // (4 * most))]
    with np.errstate(all="ignore"):
        away = (some - middle) * scale
        far = np.einsum("ij,ij->i", away, away)
    farthest = np.argpartition(far, -(most // 2))[-(most // 2) :]
    return np.concatenate([spread, rows_of(some, farthest)])


@cache
def _fan(d: int, per_side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres (F, d) and corners (F, 2^(d-1), d) of equal boxes on all faces."""
    steps = (2 * np.arange(per_side) + 1) / per_side - 1
    boxes = np.array(list(itertools.product(steps, repeat=d - 1)))
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=d - 1)))
    ends = boxes[:, None] + signs / per_side
    centres, corners = [], []
    for f in range(d):
        for side in (1.0, -1.0):
            centres.append(np.insert(boxes, f, side, axis=1))
            corners.append(np.insert(ends, f, side, axis=2))
    return np.concatenate(centres), np.concatenate(corners)


def _outside(
    keys: NDArray[Any], frames: NDArray[Any], radii: NDArray[Any], num_threads: int
) -> NDArray[np.int64]:
    """Indices of keys, all those that lie in none of the bodies among them.

    The body that holds most of a sample is tried first, others only where they hold enough of the
    rest.
    """
    bodies = [(0, radii[0], False), (2, radii[1], False), (2, radii[2], True)]
    bodies = [body for body in bodies if body[1] > 0]
    some = np.ascontiguousarray(keys[:: max(1, len(keys) // _SOME_TRIED)])
    bodies.sort(key=lambda body: len(outside_one(some, frames, body, 1)))
    kept = None
    for body in bodies:
        rest = outside_one(some, frames, body, 1)
        if kept is None:
            kept = outside_one(keys, frames, body, num_threads)
        elif 4 * len(rest) < 3 * len(some):
            kept = kept[outside_one(rows_of(keys, kept), frames, body, num_threads)]
        if len(rest) == 0:
            break
        some = rows_of(some, rest)
    return np.arange(len(keys)) if kept is None else kept


def outside_one(
    keys: NDArray[Any], frames: NDArray[Any], body: tuple[int, Any, bool], num_threads: int
) -> NDArray[np.int64]:
    n, d = keys.shape
    keys = readonly(np.ascontiguousarray(keys))
    kept = np.empty(n, np.int64)
    found: dict[int, int] = {}

    def look(start: int, stop: int) -> None:
        found[start] = kernels.outside(keys, frames, *body, start, stop, kept, (0,) * d)

    for_each_range(look, n, _ROWS, num_threads)
    return np.concatenate([kept[start : start + found[start]] for start in sorted(found)])
