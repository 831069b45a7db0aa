"""Keys that lose to some key of a sample in each of a few boxes of directions never win.

Where no body fits into the keys' middle, they are left out so, before any cone is divided.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_walls as walling
from ._arrays import powers, readonly, rows_of, scaled
from ._cones_shear import find_slant

__all__ = ["losing_nowhere"]

_SOME_TRIED = 1 << 10
_SOME_WALLS = 1 << 11
# Boxes per side in which keys must lose.
_LOSING = {3: (1, 2, 4), 4: (1, 2), 5: (1,), 6: (1,)}
# Smaller boxes are tried where up to this share of a sample may win, all keys where up to that.
_HOPELESS, _WORTH_LOSING = 0.97, 0.75
_ROWS, _FEWEST_ROWS = 1 << 13, 1 << 11  # in a turn, at most; fewer where that shares them out


def losing_nowhere(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, slip: float,
    num_threads: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Increasing indices of the keys that may win in a box, the walls of which are of a sample.

    The margins are those of ``_cones_margins.margins``, ``absolute`` times P / 2. Where upright
    boxes leave all keys, the boxes are slanted as the keys are.
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

    rows = max(_FEWEST_ROWS, min(_ROWS, n // (4 * num_threads)))
    for_each_range(look, n, rows, num_threads)
    return np.concatenate([kept[start : start + found[start]] for start in sorted(found)])
