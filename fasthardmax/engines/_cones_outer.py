"""Keys that may win at all: most inner ones are left out before any cone is divided.

Two ways. Two balls and a box in the middle of the keys, stretched and slanted as the keys are, are
blown up to inside the convex hull of some outermost keys; what lies inside never wins. Where keys
do not lie around a middle, those go that lose to some key of a sample in each of a few boxes of
directions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_kernels as kernels
from . import _cones_walls as walling
from ._arrays import powers, readonly, rows_of, scaled
from ._cones_frames import BALL, BOX, WIDE_BALL, Body, Frames, distances, find_frames, outside
from ._cones_margins import margins
from ._cones_shear import Slant, find_slant
from ._cones_vectors import LANES
from ._distinct import distinct_keys

__all__ = ["losing_nowhere", "outer_keys", "share_left"]

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
_FEW_LEFT = 0.1  # no other boxes are tried on a sample
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
    slant = find_slant(outer)
    moved = slant.moved(outer)
    n_looked_at = len(outer)
    for turn, per_side in enumerate(_FANS[d]):
        bodies = _bodies(moved, slant, per_side, *margin)
        left = _outside(outer, bodies, num_threads)
        outer, moved = rows_of(outer, left), rows_of(moved, left)
        if turn and len(outer) > _HOPELESS * n_looked_at:
            break
    if 2 * len(outer) > n_looked_at:
        return None
    kept = _outside(keys, bodies, num_threads)
    if len(kept) > _WORTH_ANOTHER:
        rest = rows_of(keys, kept)
        far = _farthest(rest, bodies[BALL].frames, num_threads)
        some = np.concatenate([rest[:: -(-len(rest) // _SOME_OUTER)], rows_of(rest, far)])
        bodies = _bodies(slant.moved(some), slant, _FAN_AGAIN[d], *margin)
        kept = kept[_outside(rest, bodies, num_threads)]
    return kept


def share_left(keys: NDArray[Any]) -> float:
    """The share of a sample of ``keys`` that may win in some of a few boxes. It takes some 0.3 ms.

    Where it is small, few cells are divided for long.
    """
    n, d = keys.shape
    some = np.ascontiguousarray(keys[:: max(1, n // _SOME_TRIED)])
    n_looked_at = len(some)
    some, _, n_distinct = distinct_keys(some)
    if d not in _LOSING or n_distinct == 1:
        return n_distinct / n_looked_at
    relative, _, slip = margins(d, keys.dtype)
    share = 1.0
    for moved, _ in _views(some, relative, 0.0):
        exponent = math.frexp(float(np.abs(moved).max()))[1]
        for per_side in _LOSING[d][:2]:
            boxes = _boxes(moved, per_side, exponent, relative, 0.0, slip)
            share = min(share, len(_may_win(moved, boxes, 1)) / n_looked_at)
        if share < _FEW_LEFT:
            break
    return share


def losing_nowhere(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Indices of the keys that may win in a box, the walls of which are those of a sample.

    Where upright boxes leave all keys, the boxes are slanted as the keys are.
    """
    n, d = keys.shape
    for moved, margin in _views(keys, relative, absolute):
        kept = np.arange(n)
        for per_side in _LOSING.get(d, ()):
            left = moved if len(kept) == n else rows_of(moved, kept)
            walls_of = left[:: max(1, len(left) // _SOME_WALLS)]
            boxes = _boxes(walls_of, per_side, exponent, *margin, slip)
            some = np.ascontiguousarray(left[:: max(1, len(left) // _SOME_TRIED)])
            share = len(_may_win(some, boxes, 1)) / len(some)
            if share > _HOPELESS and per_side > 1:
                break
            if share > _WORTH_LOSING:
                continue
            kept = kept[_may_win(left, boxes, num_threads)]
        if len(kept) < n:
            break
    return kept


def _views(
    keys: NDArray[Any], relative: float, absolute: float
) -> Iterator[tuple[NDArray[Any], tuple[float, float]]]:
    """The keys and their margins, and both once more if the keys are slanted."""
    yield keys, (relative, absolute)
    slant = find_slant(keys)
    if not slant.upright:
        yield slant.moved(keys), slant.margins(relative, absolute)


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
    moved: NDArray[np.float64], slant: Slant, per_side: int, exponent: int, relative: float,
    absolute: float, num_threads: int,
) -> list[Body]:  # fmt: skip
    """A ball, another ball and a box in the hull of moved keys; of radius 0 where none is known.

    The first ball is of quartiles, for heavy tails; the others of the range, for keys that fill
    their box.

    For a query t in a box of directions and any key w, the hull reaches to <t, w>, and a body of
    radius r to <t, middle> + r |t width|, in the dual norm. The quotient of the linear
    <t, w - middle> and the convex |t width| is quasi-concave where positive: over a box of
    directions it is least at a corner. The margin of w is taken off first. That of an inner key p,
    with |p|_1 <= |middle|_1 + r sum width, is taken off afterwards, by the least |t width|.
    """
    d = moved.shape[1]
    frames = find_frames(moved, slant)
    centres, corners = _fan(d, per_side)
    exact = scaled(moved, -exponent)
    exact = _some_outer(exact, *frames.place(BALL, -exponent), _FAN_SCORES // len(centres))
    relative, absolute = slant.margins(relative, absolute)
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
    bodies = []
    for kind in (BALL, WIDE_BALL, BOX):
        radius = 0.0
        if frames.fits(kind):
            place = frames.place(kind, -exponent)
            radius = kernels.radius(corners, outermost, *place, relative, absolute, kind == BOX)
            radius = frames.safe_radius(radius, kind, -exponent, relative)
        bodies.append(Body(frames, kind, slant.shear.dtype.type(radius)))
    return bodies


def _farthest(keys: NDArray[Any], frames: Frames, num_threads: int) -> NDArray[np.int64]:
    """Indices of about ``_SOME_OUTER`` keys, the farthest from the middle of the first frame."""
    n = len(keys)
    few = keys[:: max(1, n // _SOME_OUTER)]
    far = np.sort(distances(frames.slant.moved(few), *frames.place(BALL, 0)))
    radius = keys.dtype.type(far[-max(1, len(few) * _SOME_OUTER // n)])
    return outside(keys, Body(frames, BALL, radius), num_threads)


def _some_outer(
    keys: NDArray[np.float64], middle: NDArray[np.float64], width: NDArray[np.float64], most: int
) -> NDArray[np.float64]:
    """At most ``most`` of the keys: half spread out, half those farthest from the middle."""
    if len(keys) <= most:
        return keys
    spread = keys[:: -(-2 * len(keys) // most)]
    some = keys[:: max(1, len(keys) // (4 * most))]
    farthest = np.argpartition(distances(some, middle, width), -(most // 2))[-(most // 2) :]
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


def _outside(keys: NDArray[Any], bodies: list[Body], num_threads: int) -> NDArray[np.int64]:
    """Indices of keys, all those that lie in none of the bodies among them.

    The body that holds most of a sample is tried first, others only where they hold enough of the
    rest.
    """
    bodies = [body for body in bodies if body.radius > 0]
    some = np.ascontiguousarray(keys[:: max(1, len(keys) // _SOME_TRIED)])
    bodies.sort(key=lambda body: len(outside(some, body, 1)))
    kept = None
    for body in bodies:
        rest = outside(some, body, 1)
        if kept is None:
            kept = outside(keys, body, num_threads)
        elif 4 * len(rest) < 3 * len(some):
            kept = kept[outside(rows_of(keys, kept), body, num_threads)]
        if len(rest) == 0:
            break
        some = rows_of(some, rest)
    return np.arange(len(keys)) if kept is None else kept
