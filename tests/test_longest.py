"""The longest engine: the reference's bits, few pairs where lengths tell, and honest margins."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax._problem import self_attention
from fasthardmax.engines import _longest_keys, direct, longest, reference
from fasthardmax.numerics import canonical_scores

from .clouds import DTYPES, clustered, gaussian, seeded, sphere, ulp_neighbours
from .compare import assert_same_bits
from .hard_clouds import HARD
from .selective import MASKED, TIES, UNMASKED, case, check_engine

DType = np.dtype[Any]
Array = NDArray[Any]
check = partial(check_engine, longest)


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that misjudge even a few dozen keys, so that some queries are asked again."""
    monkeypatch.setattr(longest, "_QUERIES", 4)
    monkeypatch.setattr(longest, "_KEYS", 6)
    monkeypatch.setattr(longest, "_ASK", 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNMASKED)
def test_cases(name: str, dtype: DType) -> None:
    for ties in TIES:
        check(case(name, dtype, 1), ties, reference)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNMASKED)
def test_cases_by_small_samples(name: str, dtype: DType, small_samples: None) -> None:
    check(case(name, dtype, 2), "mean", reference)


@pytest.mark.parametrize("name", MASKED)
def test_masked_cases_are_refused_with_a_reason(name: str) -> None:
    problem = case(name, DTYPES[1], 1)
    refused = "mask" if problem.mask is not None and not problem.is_causal else "causal"
    assert refused in str(longest.refusal(problem))


def test_plain_problems_are_not_refused() -> None:
    points = gaussian(5, 2, DTYPES[1])[None]
    assert longest.refusal(self_attention(points, points, 1)) is None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [1, 2, 3, 8, 16, 33])
@pytest.mark.parametrize("name", HARD)
def test_hard_data(name: str, d: int, dtype: DType, small_samples: None) -> None:
    points = HARD[name](500, d, dtype)[None]
    problem = self_attention(points, points, 2)
    check(problem, "mean", reference)
    check(problem._replace(query=-problem.query), "last", reference)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", HARD)
def test_hard_data_by_usual_samples(name: str, dtype: DType) -> None:
    points = HARD[name](4000, 8, dtype)[None]
    check(self_attention(points, points, 2), "mean", direct)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_scales(dtype: DType, small_samples: None) -> None:
    """Scores near the largest number, and products that underflow, from factors far apart."""
    info = np.finfo(dtype)
    points = gaussian(300, 3, dtype)
    high, low = dtype.type(info.max) / 1000, dtype.type(info.tiny)
    for of_query, of_key in ((low, high), (high, low), (1 / high, high), (1, low), (low, 1)):
        problem = self_attention(
            (points * dtype.type(of_key))[None], (points * dtype.type(of_query))[None], 1
        )
        check(problem, "mean", reference)


def test_queries_are_asked_again_where_the_first_keys_do_not_decide(small_samples: None) -> None:
    points = gaussian(3000, 6, DTYPES[1])[None]
    problem = self_attention(points, points, 2)
    start = longest._look(problem, 0)[1]
    assert start is not None
    asked = list(longest._ask_all(problem, 0, np.arange(3000), start))
    assert len(asked) > 2
    assert [len(part.rows) for part in asked[1:]] == [np.sum(~a.decided) for a in asked[:-1]]
    assert asked[-1].decided.all()


@pytest.mark.parametrize(
    ("points", "most"),
    [
        (gaussian(20_000, 4, DTYPES[1]), 0.02),
        (gaussian(20_000, 8, DTYPES[1]), 0.15),
        (gaussian(20_000, 8, DTYPES[0]) + DTYPES[0].type(100), 0.15),
        (gaussian(20_000, 16, DTYPES[0]), 0.7),
        (sphere(5_000, 16, DTYPES[1]), 1.1),
    ],
    ids=["gaussian d=4", "gaussian d=8", "gaussian d=8, far", "gaussian d=16", "sphere"],
)
def test_share_of_pairs(points: Array, most: float) -> None:
    problem = self_attention(points[None], gaussian(*points.shape, points.dtype)[None], 2)
    assert longest.run_counting(problem)[1] / problem.n_keys <= most


def test_each_entry_has_its_own_radius() -> None:
    points = np.stack([scale * gaussian(3000, 5, DTYPES[1]) for scale in (1.0, 1e3, 1e-3)])
    problem = self_attention(points, points, 2)
    check(problem, "mean", direct)
    assert longest.run_counting(problem)[1] < 0.1 * problem.n_keys


def _forecast(points: Array) -> float:
    """As a multiple of what all pairs take."""
    problem = self_attention(points[None], points[None], 1)
    all_pairs = direct.forecast(problem)
    return longest.forecast(problem, all_pairs).nanoseconds / all_pairs


def test_forecast_tells_easy_from_hard() -> None:
    assert _forecast(gaussian(30_000, 8, DTYPES[1])) < 0.5
    for kind in (sphere, clustered):
        assert np.isinf(_forecast(kind(30_000, 8, DTYPES[1])))


def test_a_look_serves_the_search() -> None:
    points = gaussian(30_000, 8, DTYPES[1])[None]
    problem = self_attention(points, points, 2)
    (start,) = longest.forecast(problem, direct.forecast(problem)).prepared
    assert_same_bits(longest.run(problem, start).mean, direct.run(problem).mean, "mean")


@pytest.mark.parametrize(("rival", "n_measured"), [(0.0, 1), (np.inf, 2)])
@pytest.mark.parametrize("serve", [False, True])
def test_another_engine_may_end_a_look_before_all_keys_are_measured(
    monkeypatch: pytest.MonkeyPatch, rival: float, n_measured: int, serve: bool
) -> None:
    points = gaussian(30_000, 8, DTYPES[1])[None]
    problem = self_attention(points, points, 2)
    measured, promised = [], []

    def measure(key: Array, *rest: Any) -> Any:
        measured.append(key)
        return _longest_keys.measure(key, *rest)

    def others(least: float) -> tuple[float, bool]:
        promised.append(least)
        return rival, serve

    monkeypatch.setattr(longest, "measure", measure)
    all_pairs = direct.forecast(problem, bytes_serve=False)
    found = longest.forecast(problem, all_pairs, others=others).nanoseconds
    assert np.isinf(found) == (rival == 0)
    assert len(measured) == n_measured
    assert len(promised) == 1
    assert 0 < promised[0] < all_pairs


def test_a_look_ends_soon_where_queries_that_are_asked_again_take_too_long_in_floats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most of those of collinear points are; another engine takes half of the time in floats."""
    rng = np.random.default_rng(3)
    along, direction, middle = (rng.standard_normal(shape) for shape in ((20_000, 1), 16, 16))
    points = (along * direction + middle)[None]
    costs = {True: (0.05, 100.0), False: (0.27, 20.0)}
    monkeypatch.setattr(direct, "costs", lambda _, bytes_serve=True: costs[bytes_serve])
    measured = []

    def measure(key: Array, *rest: Any) -> Any:
        measured.append(key)
        return _longest_keys.measure(key, *rest)

    monkeypatch.setattr(longest, "measure", measure)
    problem = self_attention(points, points, 2)
    found = longest.forecast(problem, np.inf, others=lambda least: (least / 2, True))
    assert np.isinf(found.nanoseconds)
    assert len(measured) == 1


def test_small_problems_are_not_looked_at() -> None:
    assert np.isinf(_forecast(gaussian(5000, 8, DTYPES[1])))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", HARD)
def test_keys_out_of_reach_score_less(name: str, dtype: DType) -> None:
    """Than whichever key is said to win."""
    points = HARD[name](200, 3, dtype)
    problem = self_attention(points[None], points[None], 1)
    middle = _longest_keys.find_middle(problem, 0, points[:50])
    assert middle is not None
    length = _longest_keys.measure(points, middle, 1).all
    scores = canonical_scores(points, points)
    for said in (scores.argmax(axis=1), seeded(name).integers(0, 200, 200)):
        reach = _longest_keys.find_reach(problem, said, middle)
        out = length[None] < reach[:, None]
        ahead = scores < scores[np.arange(200), said][:, None]
        assert ahead[out].all()
        assert name != "gaussian" or out.any()


def _differs(points: Array) -> bool:
    problem = self_attention(points[None], points[None], 1)
    return not np.array_equal(longest.run(problem).count, reference.run(problem).count)


def test_a_missing_margin_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of like length and direction tie by rounding, unless the margin keeps them all."""
    points = ulp_neighbours(500, 16, DTYPES[0])
    assert not _differs(points)
    monkeypatch.setattr(_longest_keys, "screening_slack", lambda d, dtype: (-1e-6, 0.0))
    assert _differs(points)


def test_too_long_a_reach_is_caught(small_samples: None, monkeypatch: pytest.MonkeyPatch) -> None:
    points = gaussian(3000, 6, DTYPES[1])
    problem = self_attention(points[None], points[None], 1)
    start, expected = longest._look(problem, 0)[1], reference.run(problem).first
    assert np.array_equal(longest.run(problem, start).first, expected)
    find_reach = longest.find_reach
    monkeypatch.setattr(longest, "find_reach", lambda *asked: 1.5 * find_reach(*asked))
    assert not np.array_equal(longest.run(problem, start).first, expected)
