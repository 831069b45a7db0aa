"""The one pass over the inputs: the largest magnitudes, and every NaN and infinity noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fasthardmax import _extent
from fasthardmax._extent import feature_peaks

from .clouds import DTYPES, seeded
from .compare import assert_same_bits

SHAPES = [
    *((1, 1, 1), (1, 100, 3), (7, 5, 2), (3, 1000, 1), (1, 9, 64), (1, 9, 65), (2, 3, 200)),
    *((0, 5, 2), (2, 0, 3), (2, 5, 0)),
]

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(params=[1, 2, 5], ids="{} threads".format)
def num_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Small arrays are cut into ranges as well."""
    monkeypatch.setattr(_extent, "_ELEMENTS_PER_RANGE", 4)
    monkeypatch.setattr(_extent, "_ELEMENTS_COPIED", 4)
    return int(request.param)


@each_dtype
@each_shape
def test_peaks(shape: tuple[int, ...], dtype: np.dtype[Any], num_threads: int) -> None:
    batch = seeded(f"peaks {shape}").standard_normal(shape).astype(dtype)
    peaks, largest = feature_peaks(batch, num_threads)
    assert largest == np.abs(batch).max(initial=0)
    assert_same_bits(peaks, np.abs(batch).max(axis=1, initial=0))


@each_dtype
@each_shape
@pytest.mark.parametrize("in_place", [False, True])
def test_a_copy_has_no_negative_zeros(
    shape: tuple[int, ...], dtype: np.dtype[Any], num_threads: int, in_place: bool
) -> None:
    batch = seeded(f"copied {shape}").integers(-2, 3, shape).astype(dtype)
    batch[batch == 0] = -0.0
    expected = np.where(batch == 0, dtype.type(0), batch)
    copy = batch if in_place else np.full(shape, 7, dtype)
    peaks, largest = feature_peaks(batch, num_threads, copy)
    assert_same_bits(copy, expected)
    assert_same_bits(peaks, np.abs(expected).max(axis=1, initial=0))
    assert largest == np.abs(expected).max(initial=0)


@each_dtype
@each_shape
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers(
    shape: tuple[int, ...], bad: float, dtype: np.dtype[Any], num_threads: int
) -> None:
    """First, last, and between; among ordinary and among the largest numbers."""
    for company in (1, np.finfo(dtype).max):
        batch = np.full(shape, company, dtype)
        places = sorted({0, batch.size // 3, batch.size // 2, batch.size - 1})
        for place in places if batch.size else ():
            batch.flat[place] = bad
            assert np.isnan(feature_peaks(batch, num_threads)[1]), place
            batch.flat[place] = company
        assert feature_peaks(batch, num_threads)[1] == (company if batch.size else 0)
