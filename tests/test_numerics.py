"""The contract's own arithmetic: scores, step size, dtypes, and the bounds that engines rely on."""

from __future__ import annotations

import itertools
import math
import operator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import numerics

from . import oracle
from .clouds import CLOUDS, DTYPES, permuted_features, ulp_neighbours
from .compare import assert_same_bits

DType = np.dtype[Any]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_canonical_scores_equal_the_oracle(cloud: str, dtype: DType) -> None:
    points = CLOUDS[cloud](dtype)
    expected = np.array(
        [[oracle.score(q, k) for k in points] for q in points[:7]], dtype=dtype
    ).reshape(len(points[:7]), len(points))
    assert_same_bits(numerics.canonical_scores(points[:7], points), expected)


def test_fused_or_reordered_scores_would_show() -> None:
    """The clouds made for it do tell another arithmetic from the canonical one."""
    for dtype in DTYPES:
        points = permuted_features(30, 16, dtype)
        query = np.ones_like(points[:1])
        canonical = numerics.canonical_scores(query, points)
        reordered = numerics.canonical_scores(query, points[:, ::-1].copy())
        assert np.any(canonical != reordered)
    points = ulp_neighbours(40, 3, np.dtype(np.float32))
    canonical = numerics.canonical_scores(points, points)
    assert np.any(canonical != _fused(points, points))


def _fused(query: NDArray[np.float32], key: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores by fused multiply-add, in effect: float64 holds a float32 product exactly."""
    scores = np.zeros((len(query), len(key)), np.float32)
    for f in range(query.shape[1]):
        product = query[:, None, f].astype(np.float64) * key[None, :, f]
        scores = (scores + product).astype(np.float32)
    return scores


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_step_size_is_rounded_once(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    extremes = [0, 5e-324, 1e-310, 1e-45, 2e-45, 1e-30, 0.05, 0.5, 1, 3, 1e7, 1e30, 1e308, math.inf]
    for alpha in [*extremes, *np.exp(rng.uniform(-90, 90, 500))]:
        actual = numerics.step_size(alpha, dtype)
        assert_same_bits(np.array(actual), np.array(oracle.step_size(alpha, dtype)), f"{alpha=}")


def test_step_size_is_not_rounded_through_float64() -> None:
    """Step sizes so near the midpoint of two float32 numbers that float64 sees the midpoint."""
    through_float64 = 0
    for numerator in range(2**24 - 33, 2**24 - 1):
        midpoint = Fraction(2 * numerator + 1, 2**25)
        near = float(midpoint / (1 - midpoint))
        for alpha in (np.nextafter(near, 0), near, np.nextafter(near, np.inf)):
            exact = Fraction(alpha) / (1 + Fraction(alpha))
            actual = numerics.step_size(float(alpha), np.dtype(np.float32))
            assert abs(Fraction(float(actual)) - exact) <= Fraction(1, 2**25)
            assert actual == oracle.step_size(alpha, np.float32)
            through_float64 += actual != np.float32(float(exact))
    assert through_float64 > 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_step_leaves_a_point_that_is_its_own_mean(dtype: DType) -> None:
    points = np.concatenate([cloud(dtype).reshape(-1) for cloud in CLOUDS.values()]) + dtype.type(0)
    for alpha in (0, 0.05, 0.5, 1, math.inf):
        moved = numerics.step(points, points, numerics.step_size(alpha, dtype))
        assert_same_bits(moved, points)


def test_step_is_not_fused() -> None:
    c = np.float32(1 / 3)
    points, mean = permuted_features(2, 100, np.dtype(np.float32))
    expected = np.array([x + c * (m - x) for x, m in zip(points, mean, strict=True)])
    assert_same_bits(numerics.step(points, mean, c), expected)
    fused = (points + float(c) * (mean - points).astype(np.float64)).astype(np.float32)
    assert np.any(fused != expected)


DTYPE_RULES = [
    (["float32"], "float32"),
    (["float64"], "float64"),
    (["float16"], "float32"),
    (["float16", "float32"], "float32"),
    (["float16", "float64"], "float64"),
    (["float32", "float64"], "float64"),
    (["int8"], "float64"),
    (["int64", "uint64"], "float64"),
    (["uint8", "bool"], "float64"),
    (["bool"], "float64"),
    (["bool", "float32"], "float32"),
    (["int8", "float16"], "float32"),
    (["int16", "float32"], "float32"),
    (["int32", "float32"], "float64"),
    ([">f4"], "float32"),
    (["<f8"], "float64"),
]


@pytest.mark.parametrize(("inputs", "expected"), DTYPE_RULES)
def test_compute_dtype(inputs: list[str], expected: str) -> None:
    for order in itertools.permutations(inputs):
        assert numerics.compute_dtype(*order) == np.dtype(expected)
        assert numerics.compute_dtype(*order).isnative


@pytest.mark.parametrize("wrong", ["complex64", "U1", "O", "M8[s]"])
def test_compute_dtype_refuses(wrong: str) -> None:
    with pytest.raises(TypeError, match=r"^dtype .* is not supported$"):
        numerics.compute_dtype(wrong, wrong)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cloud", [name for name in CLOUDS if not name.startswith("no ")])
def test_peak_score_bounds_every_partial_score(cloud: str, dtype: DType) -> None:
    points = CLOUDS[cloud](dtype)
    peak = np.abs(points).max(axis=0)
    for d in range(1, points.shape[1] + 1):
        bound = numerics.peak_score(peak[:d], peak[:d])
        scores = numerics.canonical_scores(points[:, :d], points[:, :d])
        underflow = d * float(np.finfo(dtype).smallest_subnormal)
        assert np.all(np.abs(scores) <= bound + underflow)


def test_peak_score_says_when_float64_overflows() -> None:
    huge = np.array([1e200])
    assert numerics.peak_score(huge, huge) == np.inf
    assert numerics.score_limit(np.dtype(np.float32)) == float(np.finfo(np.float32).max) / 4


def _other_arithmetics(query: NDArray[Any], key: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The same scores rounded in other ways that an engine may screen with."""
    q, k = ([[Fraction(float(x)) for x in row] for row in array] for array in (query, key))
    exact = [[sum(map(operator.mul, row, column)) for column in k] for row in q]
    backwards = numerics.canonical_scores(query[:, ::-1].copy(), key[:, ::-1].copy())
    return {
        "rounded once": np.array([[float(s) for s in row] for row in exact]).astype(query.dtype),
        "backwards": backwards,
        "by a library": query @ key.T,
        **({"fused": _fused(query, key)} if query.dtype == np.float32 else {}),
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "cloud",
    [
        *("cancelling", "within an ulp d=3", "within an ulp d=16", "permuted features d=16"),
        *(
            "offset",
            "products of the least numbers",
            "subnormal",
            "gaussian d=100",
            "huge",
            "lattice d=2",
        ),
    ],
)
def test_screening_slack_keeps_every_winner(cloud: str, dtype: DType) -> None:
    points = CLOUDS[cloud](dtype)
    query, d = points[:15], points.shape[1]
    canonical = numerics.canonical_scores(query, points)
    wins = canonical == canonical.max(axis=1, keepdims=True)
    relative, absolute = numerics.screening_slack(d, dtype)
    bound = np.abs(query) @ np.abs(points).max(axis=0)
    for name, scores in _other_arithmetics(query, points).items():
        least = scores.max(axis=1) - relative * bound - absolute
        assert np.all(scores[wins] >= np.broadcast_to(least[:, None], wins.shape)[wins]), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_screening_slack_is_tight_enough_to_be_of_use(dtype: DType) -> None:
    """A few times the classical bound d u, so generic data has one candidate."""
    u = float(np.finfo(dtype).eps) / 2
    for d in (1, 2, 16, 4096):
        relative, absolute = numerics.screening_slack(d, dtype)
        assert 4 * d * u <= relative <= 48 * d * u
        assert 0 < absolute <= 8 * d * np.finfo(dtype).smallest_subnormal
