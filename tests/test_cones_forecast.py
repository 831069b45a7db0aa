"""The forecast of the cones engine: what a look tells, and that the search begins with it."""

from __future__ import annotations

import numpy as np
import pytest

from fasthardmax._problem import self_attention
from fasthardmax.engines import _cones_index, _cones_shell, cones, direct

from .clouds import DTYPES, Array, DType, gaussian, sphere
from .compare import assert_same_fields
from .cones_clouds import HARD


@pytest.mark.parametrize("d", [3, 4])
def test_few_keys_tell_how_long_all_are_divided(d: int) -> None:
    """Every key wins somewhere on a curve and on a sphere, but on a curve few in each cell."""

    def look(kind: str) -> tuple[float, float]:
        points = HARD[kind](5000, d, DTYPES[1])
        return cones._divide_some(self_attention(points[None], points[None], 2), 0, points[:512])

    assert look("all equal")[0] < 0.01
    assert look("Gaussian")[0] < 0.8
    left, crowd = look("moment curve")
    assert left == 1
    assert crowd < 0.8
    left, crowd = look("sphere")
    assert left == 1
    assert crowd > 1.5


def test_many_keys_that_lose_everywhere_make_a_forecast_of_their_own() -> None:
    """Few keys of far clusters may lose, as there is none in between; of all hardly one wins."""
    points = HARD["two far clusters"](50_000, 3, DTYPES[1])
    peak = np.abs(points).max(axis=0)
    few = points[:512]
    left, _ = cones._divide_some(self_attention(points[None], points[None], 2), 0, few)
    assert left > 0.5
    assert _cones_index.share_not_lost(few, peak, 2) < 0.25
    assert _cones_index.share_not_lost(points, peak, 2) < 0.02
    assert _cones_index.share_not_lost(sphere(512, 3, DTYPES[1]), peak, 2) == 1
    assert forecast(points) < forecast(sphere(50_000, 3, DTYPES[1])) / 3


@pytest.mark.parametrize("d", [3, 4, 5])
@pytest.mark.parametrize("kind", ["coplanar", "collinear", "all equal"])
def test_no_body_is_looked_for_in_flat_keys(
    kind: str, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(points: Array) -> _cones_shell.Look | None:
        found = _cones_index.look(points, np.abs(points).max(axis=0), 2)
        assert found is None or isinstance(found, _cones_shell.Look)
        return found

    monkeypatch.setattr(_cones_shell, "_spanning", lambda *_: pytest.fail("one was looked for"))
    seen = look(HARD[kind](5000, d, DTYPES[1]))
    assert seen is not None
    assert seen.left == 1
    assert seen.body is None
    with pytest.raises(pytest.fail.Exception, match="looked for"):
        look(gaussian(5000, d, DTYPES[1]))


def forecast(points: Array) -> float:
    """As a multiple of what the products of all pairs take."""
    problem = self_attention(points[None], points[None], 1)
    all_pairs = direct.forecast(problem, bytes_serve=False)
    return cones.forecast(problem, all_pairs).nanoseconds / all_pairs


@pytest.mark.parametrize("d", range(1, 5))
def test_forecast_falls_with_the_number_of_points(d: int) -> None:
    few, many = (forecast(gaussian(n, d, DTYPES[1])) for n in (1_000, 100_000))
    assert many < 1 < few
    assert many == forecast(gaussian(100_000, d, DTYPES[1]))


def test_forecast_tells_easy_from_hard() -> None:
    easy = gaussian(10_000, 4, DTYPES[1])
    assert forecast(easy) < 1 < forecast(sphere(10_000, 4, DTYPES[1]))
    assert np.isinf(forecast(gaussian(50_000, 5, DTYPES[1])))
    assert forecast(np.zeros((10_000, 3))) < 1
    for d in (3, 4):
        equal, hard = HARD["all equal"](50_000, d, DTYPES[1]), sphere(50_000, d, DTYPES[1])
        assert forecast(equal) < forecast(hard) / 3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [3, 4])
@pytest.mark.parametrize(
    "kind", ["Gaussian", "heavy tails", "two far clusters", "needle", "sphere"]
)
def test_a_look_is_the_beginning_of_the_build(kind: str, d: int, dtype: DType) -> None:
    """And of the first entry's alone, whether a body was found or not."""
    points = HARD[kind](4000, d, dtype)
    twice = np.stack([points, gaussian(4000, d, dtype)[::-1]])
    for clouds in (points[None], twice):
        problem = self_attention(clouds, clouds, 2)
        (seen,) = cones.forecast(problem, np.inf).prepared
        assert seen is not None
        fields = ("mean", "first", "count")
        assert_same_fields(cones.run(problem, seen), direct.run(problem), fields, kind)
        _, scored = cones.run_counting(problem, seen)
        assert scored == cones.run_counting(problem)[1]
