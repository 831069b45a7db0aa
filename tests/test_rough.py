"""Screening in bytes: the bound holds on any processor, and where it runs, no bit changes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

import fasthardmax as fh
from fasthardmax._assemble import attention_problem
from fasthardmax.engines import _direct_plan, _pruned_bytes, direct
from fasthardmax.engines._byte_products import MULTIPLIES_BYTES, QUERY_RANGE
from fasthardmax.engines._rough import lengths_of, pack_rough, round_keys, scales_of
from fasthardmax.engines._rounding import HALF_RANGE

from .compare import assert_same_bits

Array = NDArray[Any]
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
needs_bytes = pytest.mark.skipif(
    not MULTIPLIES_BYTES, reason="this processor does not multiply bytes: no screening in them"
)


def _gaussian(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    return rng.standard_normal((300, d)), rng.standard_normal((500, d))


def _equal(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    return rng.standard_normal((300, d)), np.tile(rng.standard_normal(d), (500, 1))


def _near_ties(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    """Keys an ulp of float32 or less apart, which bytes cannot tell from one another."""
    query, key = _equal(rng, d)
    return query, key * (1 + rng.choice([-1, 0, 1], key.shape) * 2.0**-23)


def _few_near(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    """Some keys that bytes cannot tell apart, far above all others: bytes leave little to do."""
    query, key = _gaussian(rng, d)
    key[7::100] = 4 * query[0] + rng.standard_normal((5, d)) * 1e-4
    return query[:1] + 1e-3 * rng.standard_normal((300, d)), key


def _clusters(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    key = rng.standard_normal((5, d))[rng.integers(5, size=500)]
    key += 0.05 * rng.standard_normal((500, d))
    return key[:300], key


def _heavy(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    return rng.standard_t(1.5, (300, d)), rng.standard_t(1.5, (500, d))


def _lattice(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    return rng.integers(-1, 2, (300, d)) * 1.0, rng.integers(-1, 2, (500, d)) * 1.0


def _cancelling(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    query, key = _gaussian(rng, d)
    key[:, ::2], key[:, 1::2] = 1e3, -1e3 + key[:, 1::2]
    query[:, ::2] = query[:, 1::2] = 1e3
    return query, key


def _zeros(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    query, key = _gaussian(rng, d)
    query[::3] = 0
    key[::7] = 0
    return query, key


KINDS = {
    f.__name__.strip("_"): f
    for f in (
        *(_gaussian, _equal, _near_ties, _few_near, _clusters),
        *(_heavy, _lattice, _cancelling, _zeros),
    )
}
SCALES = {
    "plain": (1, 1),
    "tiny": (1e-18, 1e-18),
    "huge": (1e18, 1e10),
    "subnormal": (1e-30, 1e-39),
}


def _make(kind: str, scale: str, d: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    query, key = KINDS[kind](np.random.default_rng(d), d)
    q, k = SCALES[scale]
    return (query * q).astype(dtype), (key * k).astype(dtype)


def _problem(query: Array, key: Array) -> Any:
    return attention_problem(
        query, key, key, attn_mask=None, is_causal=False, ties="mean", enable_gqa=False,
        num_threads=2,
    )[0]  # fmt: skip


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [5, 67])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_do_not_show(
    dtype: np.dtype[Any],
    d: int,
    kind: str,
    scale: str,
    causal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct, "_BYTES_SIZE", 0)  # so few keys would not be worth it
    query, key = _make(kind, scale, d, dtype)
    expected, found = (
        fh.hardmax_winners(query, key, is_causal=causal, return_all=True, engine=engine)
        for engine in ("reference", "direct")
    )
    assert_same_bits(found.indptr, expected.indptr)
    assert_same_bits(found.indices, expected.indices)


@pytest.mark.parametrize("engine", ["direct", "pruned"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_keys_are_large_where_queries_are_small(
    dtype: np.dtype[Any], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No score is large, but the product of the largest magnitudes, which scales are of, is."""
    monkeypatch.setattr(direct, "_BYTES_SIZE", 0)
    monkeypatch.setattr(_pruned_bytes, "_LEAST_KEYS", 0)
    monkeypatch.setattr(_pruned_bytes, "_PAYS", MULTIPLIES_BYTES)
    query, key = _make("gaussian", "plain", 16, np.dtype(np.float64))
    for largest in (0.75, 0.51, 0.499):  # about where the sum of the products overflows
        scale = float(np.finfo(dtype).max) ** (largest * np.resize([1, -1], 16))
        of_dtype = (query / scale).astype(dtype), (key * scale).astype(dtype)
        expected, found = (
            fh.hardmax_winners(*of_dtype, return_all=True, engine=name)
            for name in ("reference", engine)
        )
        assert_same_bits(found.indptr, expected.indptr)
        assert_same_bits(found.indices, expected.indices)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_heads_have_scales_of_their_own(
    dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_BYTES_SIZE", 0)
    rng = np.random.default_rng(0)
    query, key = rng.standard_normal((2, 4, 300, 40)), rng.standard_normal((2, 2, 280, 40))
    query *= np.array([1, 1e-3, 1e5, 1]).reshape(4, 1, 1)
    key *= np.array([1, 1e6]).reshape(2, 1, 1)
    arrays = [a.astype(dtype) for a in (query, key, key)]
    expected, found = (
        fh.hardmax_attention(*arrays, enable_gqa=True, engine=engine)
        for engine in ("reference", "direct")
    )
    assert_same_bits(found, expected)


@needs_bytes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_are_used_where_they_can_be(
    dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert direct._plan(_problem(*_make("gaussian", "plain", 200, dtype))).rough
    assert not direct._plan(_problem(*_make("gaussian", "plain", 7, dtype))).rough
    monkeypatch.setattr(direct, "_BYTES_SIZE", 0)
    assert direct._plan(_problem(*_make("gaussian", "plain", 7, dtype))).rough


@needs_bytes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_alone_would_be_wrong(dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is needed: with none, the same comparison fails."""
    monkeypatch.setattr(direct, "_BYTES_SIZE", 0)
    query, key = _make("clusters", "plain", 67, dtype)
    expected = fh.hardmax_winners(query, key, engine="reference")
    monkeypatch.setattr(_direct_plan, "block_size", lambda n_keys, d, itemsize: 1)
    monkeypatch.setattr(direct, "screening_slack", lambda d, dtype: (0.0, 0.0))
    monkeypatch.setattr(direct, "lengths_of", lambda *_: np.zeros((1, 2), dtype))
    found = fh.hardmax_winners(query, key, engine="direct")
    assert not np.array_equal(found.first, expected.first)


@njit
def _round_keys(key: Array, inverse: Array, rounded: Array, kept: Array, missed: Array) -> None:
    for number in range(len(kept)):
        round_keys(0, number, key, inverse, 64, rounded, kept, missed)


@njit
def _pack(
    query: Array, i0: int, lanes: int, bounds: tuple[float, ...], peak: Array, panel: Array,
    offset: Array, scale: Array, reach: Array, doubt: Array,
) -> None:  # fmt: skip
    least, unit, near, far = bounds
    pack_rough(
        query, i0, lanes, panel.shape[1] // -(-query.shape[1] // 4), least, unit, near, far,
        peak, 0, panel, offset, scale, 0, reach, doubt, 0,
    )  # fmt: skip


class _Rounded(NamedTuple):
    """Keys in bytes, and queries i0.. in a panel, as kernels have them."""

    inverse: Any
    near: Any
    far: Any
    keys: Array  # (n, d), less 128
    queries: Array  # (lanes, d)
    spare: Array  # bytes beyond the features of queries
    offset: Array
    scale: Array
    reach: Array
    doubt: Array


def _rounded(query: Array, key: Array, i0: int = 0) -> _Rounded:
    dtype, d, lanes = query.dtype, query.shape[1], len(query) - i0
    words, width = -(-d // 4), -(-lanes // 16) * 16
    peak = np.abs(key).max(axis=0, keepdims=True)
    inverse, unit, least = scales_of(peak.max(axis=1))
    rounded = np.empty((1, len(key), 4 * words), np.uint8)
    kept, missed = np.zeros((2, -(-len(key) // 64)), np.int64)
    _round_keys(key[None], inverse, rounded, kept, missed)
    near, far = lengths_of(kept[None], missed[None], d, dtype)[0]
    panel, offset = np.zeros((1, words * width), np.int32), np.zeros((1, width), np.int32)
    scale, reach, doubt = np.zeros((3, 1, width), dtype)
    bounds = (least[0], unit[0], near, far)
    _pack(query, i0, lanes, bounds, peak, panel, offset, scale, reach, doubt)
    queries = panel.reshape(-1, width).T.copy().view(np.int8)[:lanes].astype(np.int64)
    keys = rounded[0, :, :d].astype(np.int64) - 128
    places = (a[0, :lanes] for a in (offset, scale, reach, doubt))
    return _Rounded(inverse[0], near, far, keys, queries[:, :d], queries[:, d:], *places)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 5, 32, 200])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rough_scores_err_by_no_more_than_half_the_doubt(
    dtype: np.dtype[Any], d: int, kind: str
) -> None:
    query, key = _make(kind, "plain", 2 * d, dtype)
    query, key = np.ascontiguousarray(query[:, :d]), np.ascontiguousarray(key[:, :d])
    found = _rounded(query, key)
    exact = key.astype(np.longdouble) * np.longdouble(found.inverse)
    assert np.linalg.norm((exact - found.keys).astype(float), axis=1).max() <= found.near
    assert np.linalg.norm(exact.astype(float), axis=1).max() <= found.far * 1.001
    product = found.queries @ (found.keys + 128).T
    rough = found.scale[:, None] * (product - found.offset[:, None])
    true = query.astype(np.longdouble) @ key.astype(np.longdouble).T
    asked = np.isfinite(found.doubt)
    assert asked.sum() >= np.any(query != 0, axis=1).sum()
    error = np.abs(rough - true)[asked]
    rounding = 8 * np.finfo(dtype).eps * np.abs(true)[asked]
    assert (error <= found.doubt[asked, None] / 2 + rounding).all()


@pytest.mark.parametrize("scale", [(1, 1), (1e-6, 1e-20), (1e18, 1e10), (1e-39, 1), (0, 1)])
@pytest.mark.parametrize(("m", "n", "d"), [(1, 1, 1), (7, 65, 3), (17, 66, 4), (33, 130, 13)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rounding_in_vectors_is_rounding(
    dtype: np.dtype[Any], m: int, n: int, d: int, scale: tuple[float, float]
) -> None:
    """Every number goes to the nearest integer, and all that is said of the rest is true."""
    rng, (q, k) = np.random.default_rng(m), scale
    query = (rng.standard_normal((m + 2, d)) * q).astype(dtype)
    key = (rng.standard_normal((n, d)) * k).astype(dtype)
    found = _rounded(query, key, 2)
    query = query[2:]
    half = 0.5 + HALF_RANGE * np.finfo(np.float32).eps
    wide = np.longdouble
    peak = np.abs(query).max(axis=1)
    asked = np.isfinite(found.doubt)
    assert asked.all() == (q > (1e-30 if dtype == np.float32 else 0))
    assert asked.all() == asked.any()
    inverse = np.where(asked, QUERY_RANGE / np.where(asked, peak, 1).astype(wide), 0)
    left = query * inverse[:, None] - found.queries
    assert (np.abs(left) <= half).all()
    assert not found.spare.any()
    assert_same_bits(found.offset, (128 * found.queries.sum(axis=1)).astype(np.int32))
    key_left = key.astype(wide) * wide(found.inverse) - found.keys
    assert (np.abs(key_left) <= half).all()
    lengths = np.sqrt((key_left**2).sum(axis=1))
    assert lengths.max() <= found.near <= 1.01 * lengths.max() + 0.01
    lengths = np.sqrt((found.keys**2).sum(axis=1))
    assert lengths.max() <= found.far <= 1.01 * lengths.max() + found.near
    both = np.sqrt((found.queries**2).sum(axis=1)) * found.near
    both += np.sqrt((left**2).sum(axis=1).astype(dtype)) * found.far
    unit = (peak / wide(QUERY_RANGE))[asked] / found.inverse
    both = 2 * both[asked] * unit
    assert (both <= found.doubt[asked]).all()
    assert (found.doubt[asked] <= 1.01 * both + 0.02 * found.far * unit).all()
    reach = np.abs(query).astype(wide) @ np.abs(key).max(axis=0)
    few = np.finfo(dtype).eps * d
    np.testing.assert_allclose(found.reach, reach, rtol=few, atol=np.finfo(dtype).smallest_normal)
