"""A panel of queries decided among few keys: the definition's bits, ties counted."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from fasthardmax.engines import _few_keys
from fasthardmax.engines._processor import VECTOR_BYTES

from .clouds import DTYPES, DType, gaussian, seeded
from .compare import assert_same_bits

_VECTORS = (0,) * 3


@njit(error_model="numpy")
def _decide(panels, p, key, n_keys, best, first, last, count, at, vectors):
    _few_keys.decide(panels, p, key, n_keys, best, first, last, count, at, vectors)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["gaussian", "ties"])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 8])
def test_winners_of_a_panel(d: int, kind: str, dtype: DType) -> None:
    width = 3 * VECTOR_BYTES // dtype.itemsize
    for n in (1, 2, 4, 5, 9, 40):
        query, keys = gaussian(2 * width, d, dtype), gaussian(n + 3, d, dtype)
        if kind == "ties":
            rng = seeded(f"ties {n} {d}")
            keys = rng.integers(-1, 2, keys.shape).astype(dtype)
            query = rng.integers(-1, 2, query.shape).astype(dtype)
        panels = query.reshape(2, width, d).transpose(0, 2, 1).reshape(2, d * width)
        best = np.full(width, np.nan, dtype)
        first, count = np.full((2, width + 9), -7)
        last = np.full(width, -7)
        panels = np.ascontiguousarray(panels)
        _decide(panels, 1, keys, n, best, first, last, count, 9, _VECTORS)
        score = query[width:, None, 0] * keys[None, :n, 0]
        for f in range(1, d):
            score = score + query[width:, None, f] * keys[None, :n, f]
        won = score == score.max(axis=1, keepdims=True)
        np.testing.assert_array_equal(best, score.max(axis=1))  # -0 or 0
        assert_same_bits(first[9:], won.argmax(axis=1), "first")
        assert_same_bits(last, n - 1 - won[:, ::-1].argmax(axis=1), "last")
        assert_same_bits(count[9:], won.sum(axis=1), "count")
        assert (first[:9] == -7).all()
        assert (count[:9] == -7).all()
