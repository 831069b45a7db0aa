"""Keys that may win at all: those inside of a body that fits into the hull of the others do not.

Two balls and a box in the middle of the keys, stretched and slanted as the keys are, are blown up
as far as some outermost keys are known to reach. So many boxes of directions as that takes where
all are of equal size are too many: those where the keys reach least far are halved, one after the
other.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_kernels as kernels
from ._arrays import columns_of, readonly, rows_of, scaled
from ._cones_frames import BALL, BOX, WIDE_BALL, Body, Frames, distances, find_frames, outside
from ._cones_losing import losing_nowhere
from ._cones_radius import inner_radius
from ._cones_shear import Slant, find_slant
from ._cones_vectors import LANES

__all__ = ["Look", "look", "outer_keys"]

# Fewer keys are divided at once.
_WORTH_REDUCING = 2048
_SAMPLE = 1 << 12
# About so many of the keys farthest from the middle span the hull; and of a sample the farthest of
# each box of directions, so many a side of each face of the cube; at a second look only those, of
# so many keys. Where more are left, half as many again a side and twice the boxes pay (measured in
# a ball: 3 % for d = 3, 20 % for d = 4).
_FARTHEST = 512
_SIDES, _SIDES_AGAIN = {1: 1, 3: 6, 4: 3, 5: 2, 6: 1}, {1: 1, 3: 16, 4: 6, 5: 3, 6: 2}
_MANY, _WORTH_MORE = 1 << 17, 1 << 17
# Boxes looked at on each face. A ball that leaves few keys will do, and where it leaves nearly all
# so does every other body (29 kinds of points, d = 3 to 6); else a quarter of the boxes tells which
# other may do better. One that leaves more than half is no use.
_BOXES, _BOXES_AGAIN = (
    {1: 8, 3: 64, 4: 192, 5: 512, 6: 1024},
    {1: 4, 3: 256, 4: 384, 5: 1024, 6: 2048},
)
_FEW, _HOPELESS, _WORTH_IT = 0.2, 0.98, 0.6
# Fewer left over are not looked at again.
_WORTH_ANOTHER = 1 << 14
_ROWS = 1 << 14  # worth another thread


class Look(NamedTuple):
    """What a sample of keys tells: a body that fits, or None if it leaves many keys outside."""

    slant: Slant
    body: Body | None
    left: float  # the share outside


def look(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, num_threads: int
) -> Look | None:
    """Find a body; None for so few keys that they are divided at once. See :func:`outer_keys`."""
    n, d = keys.shape
    if n <= _WORTH_REDUCING:
        return None
    some = np.ascontiguousarray(keys[:: max(1, n // _SAMPLE)])
    slant = find_slant(some)
    margin = (exponent, *slant.margins(relative, absolute))
    moved = slant.moved(some)
    frames = find_frames(moved, slant)
    norms = distances(moved, *frames.place(BALL, 0))
    if not _is_solid(frames, float(norms.max()), margin):
        return Look(slant, None, 1.0)
    spanning = _spanning(keys, moved, norms, frames, num_threads)

    def fit(kind: int, most: int) -> tuple[float, Body]:
        body = _body(spanning, frames, kind, margin, most, num_threads)
        return len(outside(some, body, 1)) / len(some), body

    left, body = fit(BALL, _BOXES[d])
    if _FEW < left < _HOPELESS:
        _, other = min((fit(kind, _BOXES[d] // 4) for kind in (WIDE_BALL, BOX)), key=itemgetter(0))
        left, body = min((left, body), fit(other.kind, _BOXES[d]), key=itemgetter(0))
    return Look(slant, body if left < _WORTH_IT else None, left)


def outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int, seen: Look | None = None,
) -> NDArray[np.int64]:  # fmt: skip
    """Increasing indices of keys, all that may win among them; inner ones are left out if possible.

    The margins are those of ``_cones_margins.margins``, ``absolute`` times P. ``seen`` is of a
    :func:`look` at these very keys.
    """
    seen = seen or look(keys, exponent, relative, absolute, num_threads)
    if seen is None:
        return np.arange(len(keys))
    slant, body, _ = seen
    if body is None:
        return losing_nowhere(keys, exponent, relative, absolute / 2, slip, num_threads)
    kept = outside(keys, body, num_threads)
    if len(kept) > _WORTH_ANOTHER and body.kind != BOX:
        # Without those in the middle a sample tells better how far the keys range.
        rest = rows_of(keys, kept)
        d = keys.shape[1]
        frames = find_frames(slant.moved(rest[:: max(1, len(rest) // _SAMPLE)]), slant)
        some = slant.moved(rest[:: -(-len(rest) // _MANY)])
        sides, most = _SIDES_AGAIN[d], _BOXES_AGAIN[d]
        if len(rest) > _WORTH_MORE:
            sides, most = sides * 3 // 2, most * 2
        spanning = _farthest(some, frames, sides, num_threads)
        margin = (exponent, *slant.margins(relative, absolute))
        body = _body(spanning, frames, WIDE_BALL, margin, most, num_threads)
        kept = kept[outside(rest, body, num_threads)]
    return kept


def _is_solid(frames: Frames, farthest: float, margin: tuple[int, float, float]) -> bool:
    """Whether even a ball that reaches to the ``farthest`` key, its square, would hold any key.

    Where the keys lie in a plane or on a line, rounding is as much as they are wide.
    """
    exponent, relative, _ = margin
    return frames.fits(BALL) and bool(
        frames.safe_radius(math.sqrt(farthest), BALL, -exponent, relative) > 0
    )


def _spanning(
    keys: NDArray[Any], moved: NDArray[np.float64], norms: NDArray[np.float64], frames: Frames,
    num_threads: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Outer keys, moved: those farthest from the middle of the first frame, and some of a sample.

    Where keys fill a ball, the former may all lie at the ends of one axis, a bit longer in widths.
    The latter lie in all directions.
    """
    k = max(1, len(moved) * _FARTHEST // len(keys))
    radius = np.partition(norms, -k)[-k] * (1 - 2.0**-8)  # rounding must not leave none
    far = outside(keys, Body(frames, BALL, keys.dtype.type(radius)), num_threads)
    far = far[:: max(1, len(far) // _FARTHEST)]
    around = _farthest(moved, frames, _SIDES[keys.shape[1]], num_threads)
    return np.concatenate([frames.slant.moved(rows_of(keys, far)), around])


def _farthest(
    moved: NDArray[np.float64], frames: Frames, per_side: int, num_threads: int
) -> NDArray[np.float64]:
    """The farthest keys, moved, of equal boxes of directions from the middle of the first frame."""
    n, d = moved.shape
    rows = max(_ROWS, -(-n // num_threads))
    best = np.zeros((-(-n // rows), 2 * d * per_side ** (d - 1)))
    heads = np.zeros(best.shape, np.int64)
    moved, place = readonly(moved), frames.place(BALL, 0)

    def look(start: int, stop: int) -> None:
        at = start // rows
        kernels.farthest(moved[start:stop], *place, per_side, best[at], heads[at])
        heads[at] += start

    for_each_range(look, n, rows, num_threads)
    farther = np.take_along_axis(heads, best.argmax(axis=0)[None], axis=0)
    return rows_of(moved, np.unique(farther))


def _body(
    spanning: NDArray[np.float64], frames: Frames, kind: int, margin: tuple[int, float, float],
    most: int, num_threads: int,
) -> Body:  # fmt: skip
    """A body as large as is known to fit; of radius 0 where none is."""
    exponent, relative, absolute = margin
    columns = columns_of(scaled(spanning, -exponent), LANES)
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
