"""The coordinates in which bodies of keys are balls and boxes: a slant, middles and widths.

For x = S (k - m) / width, with S the slant, a body is |x| <= r in some norm.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_kernels as kernels
from ._arrays import readonly, scaled
from ._cones_shear import Slant

__all__ = ["BALL", "BOX", "WIDE_BALL", "Body", "Frames", "distances", "find_frames", "outside"]

_ROWS = 1 << 16
_SOME = 1 << 10
BALL, WIDE_BALL, BOX = 0, 1, 2  # in quartiles; in the range; a box in the range


class Frames(NamedTuple):
    """Two middles of keys, each followed by inverse widths of the sheared keys, and the slant.

    And the middles and widths of the moved keys that follow from them.
    """

    rows: NDArray[Any]  # (4, d)
    slant: Slant
    middles: NDArray[np.float64]  # (2, d)
    widths: NDArray[np.float64]  # (2, d)

    def fits(self, kind: int) -> bool:
        """Whether the widths of a body are known."""
        return bool((self.rows[2 * min(kind, 1) + 1] > 0).all())

    def place(self, kind: int, exponent: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The moved middle and the widths of a body there, times a power of two."""
        at = min(kind, 1)
        return scaled(self.middles[at], exponent), scaled(self.widths[at], exponent)

    def safe_radius(self, radius: float, kind: int, exponent: int, relative: float) -> float:
        """A radius as :func:`outside` takes it, less the margin of the keys inside; or 0.

        ``relative`` is as of ``Slant.margins``; an inner key p has |p|_1 <= |middle|_1 + radius
        sum unit, and the least |t unit| makes its margin one of the radius. The machine forms
        S (k - m), whose terms may cancel: in widths it errs by (d + 3) u B |x|, B = |S| |S^-1| in
        widths, u of the dtype.
        """
        middle, unit = self.place(kind, exponent)
        d, strain = len(unit), 1.0  # the latter the length of B; eps is 2 u
        with np.errstate(all="ignore"):  # where one feature is so narrow that its unit underflows
            if not self.slant.upright:
                matrix, inverse = np.abs(self.slant.matrix), np.abs(self.slant.inverse)
                errors = (matrix @ inverse) * (unit / unit[:, None])
                strain = float(max(np.sqrt(np.square(errors).sum()), errors.sum(axis=1).max()))
            radius -= relative * (np.abs(middle).sum() + max(0.0, radius) * unit.sum()) / unit.min()
            radius *= max(0.0, 1 - (8 * d + 64) * float(np.finfo(self.rows.dtype).eps) * strain)
        if not radius > 2.0**-10:  # squares of much smaller numbers may underflow
            return 0.0
        return float(radius if kind == BOX else radius**2)


class Body(NamedTuple):
    """A ball or a box in the hull of some keys, or what lies nearer than others."""

    frames: Frames
    kind: int
    radius: Any  # of the keys' dtype; that of a ball is squared


def find_frames(moved: NDArray[np.float64], slant: Slant) -> Frames:
    """Of moved keys (n, d): median and quartiles, for heavy tails; and the range, for boxes."""
    dtype = slant.shear.dtype
    columns = np.ascontiguousarray(moved.T)  # much faster to reduce
    few = np.sort(columns[:, :: max(1, len(moved) // _SOME)], axis=1)
    quarter, median, last_quarter = (few[:, turn * few.shape[1] // 4] for turn in (1, 2, 3))
    low, high = columns.min(axis=1), columns.max(axis=1)
    with np.errstate(all="ignore"):
        middles = np.stack([median, low / 2 + high / 2]) @ slant.inverse.T
        widths = np.stack([last_quarter - quarter, high - low])
        rows = np.stack([middles, slant.powers / widths], axis=1).reshape(4, -1).astype(dtype)
        rows[~np.isfinite(rows)] = 0
        return Frames(
            rows, slant, slant.moved(rows[::2]), slant.powers / rows[1::2].astype(np.float64)
        )


def distances(
    moved: NDArray[np.float64], middle: NDArray[np.float64], widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The squares of the distances of moved keys from a middle, in widths."""
    columns = np.ascontiguousarray(moved.T)  # much faster with few features
    with np.errstate(all="ignore"):
        away = (columns - middle[:, None]) / widths[:, None]
        squares: NDArray[np.float64] = np.square(away).sum(axis=0)
    return squares


def outside(keys: NDArray[Any], body: Body, num_threads: int) -> NDArray[np.int64]:
    """Increasing indices of the keys (n, d) that are not safely inside of ``body``."""
    n, d = keys.shape
    keys = readonly(np.ascontiguousarray(keys))
    frames, kind, radius = body
    kept = np.empty(n, np.int64)
    found: dict[int, int] = {}

    def look(start: int, stop: int) -> None:
        found[start] = kernels.outside(
            keys, frames.rows, frames.slant.shear, 2 * min(kind, 1), radius, kind == BOX,
            start, stop, kept, (0,) * d,
        )  # fmt: skip

    for_each_range(look, n, _ROWS, num_threads)
    return np.concatenate([kept[start : start + found[start]] for start in sorted(found)])
