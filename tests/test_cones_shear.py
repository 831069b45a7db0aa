"""Slanted coordinates: features there are alike, and bodies found there lie in the hull."""

from __future__ import annotations

import numpy as np
import pytest

from fasthardmax.engines import _cones_margins, _cones_polygon, _cones_shell
from fasthardmax.engines._cones_frames import BALL, BOX, WIDE_BALL, Body, find_frames, outside
from fasthardmax.engines._cones_shear import find_slant

from .clouds import DTYPES, Array, DType, gaussian, seeded, slanted

OUTER = {2: _cones_polygon.outer_keys, 3: _cones_shell.outer_keys, 4: _cones_shell.outer_keys}


@pytest.mark.parametrize("narrow", [1, 0.02, 1e-5])
@pytest.mark.parametrize("d", [2, 3, 6])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_features_are_alike_there(dtype: DType, d: int, narrow: float) -> None:
    keys = slanted(5000, d, dtype, narrow)
    moved = find_slant(keys).moved(keys)
    alike = np.corrcoef(moved.T) - np.eye(d)
    assert np.abs(alike).max() < 0.3
    assert np.ptp(np.log2(moved.std(axis=0))) < 1.2


@pytest.mark.parametrize(
    "keys",
    [
        gaussian(3000, 3, DTYPES[1]),
        np.tile(gaussian(1, 3, DTYPES[1]), (3000, 1)),
        np.outer(np.arange(3000.0), [1, 2, 4]),
        gaussian(3000, 3, DTYPES[1]) * [1, 0, 1],
        slanted(3000, 3, DTYPES[1]) * 1e306,
        gaussian(1, 3, DTYPES[1]),
    ],
    ids=["alike already", "all equal", "collinear", "flat", "overflow", "one"],
)
def test_where_there_is_none_it_is_the_identity(keys: Array) -> None:
    found = find_slant(keys)
    np.testing.assert_array_equal(found.shear, np.eye(3))
    assert np.isfinite(found.inverse).all()


def _reach(keys: Array, directions: Array) -> Array:
    return (directions @ keys.T.astype(np.float64)).max(axis=1)


@pytest.mark.parametrize("kind", [BALL, WIDE_BALL, BOX])
@pytest.mark.parametrize("d", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_keys_inside_of_a_body_reach_no_farther_than_others(
    dtype: DType, d: int, kind: int
) -> None:
    keys = slanted(6000, d, dtype)
    slant = find_slant(keys)
    moved = slant.moved(keys)
    relative, absolute, _ = _cones_margins.margins(d, dtype)
    exponent = int(np.frexp(np.abs(keys).max())[1])
    frames = find_frames(moved, slant)
    margin = (exponent, *slant.margins(relative, absolute))
    body = _cones_shell._body(moved, frames, kind, margin, 512, 2)
    assert body.radius > 0
    kept = outside(keys, body, 2)
    assert len(kept) < len(keys)
    inside = np.delete(keys, kept, axis=0)
    directions = seeded("directions").standard_normal((3000, d))
    directions = np.concatenate([directions, seeded("s").standard_normal((3000, d)) @ slant.matrix])
    assert (_reach(inside, directions) < _reach(keys[kept], directions)).all()
    assert len(outside(keys, Body(body.frames, kind, 4 * body.radius), 2)) < len(kept)


@pytest.mark.parametrize(
    ("dtype", "narrow"), [(DTYPES[0], 0.1), (DTYPES[1], 0.02), (DTYPES[1], 1e-5)], ids=str
)
@pytest.mark.parametrize("d", OUTER)
def test_as_few_slanted_keys_are_left_as_upright_ones(d: int, dtype: DType, narrow: float) -> None:
    """About; rounding to float32 would blur narrower ones."""
    n_left = []
    for keys in (slanted(20_000, d, dtype, narrow), gaussian(20_000, d, dtype)):
        relative, absolute, slip = _cones_margins.margins(d, dtype)
        exponent = int(np.frexp(np.abs(keys).max())[1])
        n_left.append(len(OUTER[d](keys, exponent, relative, absolute, slip, 2)))
    assert n_left[0] < 3 * n_left[1]
    assert n_left[0] < len(keys) / 3
