"""The pruned engine: the reference's bits on easy and hard data, few pairs scored on easy data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax._problem import Problem, self_attention
from fasthardmax._threads import for_each_range
from fasthardmax.engines import (
    _pruned_bytes,
    _pruned_groups,
    _pruned_tiles,
    direct,
    pruned,
    reference,
)
from fasthardmax.engines._byte_products import MULTIPLIES_BYTES

from .clouds import DTYPES, circle, clustered, gaussian, lattice, sphere, ulp_neighbours
from .hard_clouds import HARD
from .selective import MASKED, TIES, UNMASKED, case, check_engine

DType = np.dtype[Any]
Array = NDArray[Any]
check = partial(check_engine, pruned)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """All levels of groups, and cells, even among a few dozen queries."""
    monkeypatch.setattr(_pruned_groups, "_MAX_PANELS", 1)
    monkeypatch.setattr(_pruned_groups, "_LEAVES", 2)
    monkeypatch.setattr(_pruned_groups, "_CELLS", 2.0)
    monkeypatch.setattr(pruned, "_PROBES", 4)
    monkeypatch.setattr(pruned, "_SHORT", 40)
    monkeypatch.setattr(_pruned_groups, "_LEAST_LONGEST", 5)
    monkeypatch.setattr(_pruned_groups, "_CLUSTERS", 2.0)
    monkeypatch.setattr(_pruned_groups, "_KEYS_PER_CLUSTER", 20)
    monkeypatch.setattr(_pruned_groups, "_LEAST_IN_TILE", 10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNMASKED)
def test_cases(name: str, dtype: DType) -> None:
    for ties in TIES:
        check(case(name, dtype, 1), ties, reference)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNMASKED)
def test_cases_in_small_groups(name: str, dtype: DType, small_groups: None) -> None:
    check(case(name, dtype, 2), "mean", reference)


@pytest.mark.parametrize("name", MASKED)
def test_masked_cases_are_refused_with_a_reason(name: str) -> None:
    problem = case(name, DTYPES[1], 1)
    refused = "mask" if problem.mask is not None and not problem.is_causal else "causal"
    assert refused in str(pruned.refusal(problem))


def test_plain_problems_are_not_refused() -> None:
    points = gaussian(5, 2, DTYPES[1])[None]
    assert pruned.refusal(self_attention(points, points, 1)) is None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [1, 2, 3, 8, 16, 33, 64])
@pytest.mark.parametrize("name", HARD)
def test_hard_data(name: str, d: int, dtype: DType, small_groups: None) -> None:
    points = HARD[name](500, d, dtype)[None]
    problem = self_attention(points, points, 2)
    check(problem, "mean", reference)
    check(problem._replace(query=-problem.query), "last", reference)


needs_bytes = pytest.mark.skipif(
    not MULTIPLIES_BYTES, reason="this processor does not multiply bytes: no screening in them"
)


@pytest.fixture(name="decided_in_bytes")
def _decided_in_bytes(small_groups: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Bytes even for few keys, and whether they decided any leaf so far."""
    rooms: list[tuple[Any, ...]] = []
    room_for_rough = pruned.room_for_rough

    def noted(*arguments: Any) -> tuple[Any, ...]:
        rooms.append(room_for_rough(*arguments))
        return rooms[-1]

    monkeypatch.setattr(_pruned_bytes, "_LEAST_KEYS", 0)
    monkeypatch.setattr(_pruned_bytes, "_PAYS", MULTIPLIES_BYTES)
    monkeypatch.setattr(pruned, "room_for_rough", noted)
    fetched = 10  # of a room: blocks whose keys have been copied, to be scored again
    return lambda: any(room[fetched].any() for room in rooms)


def _in_bytes(name: str, d: int, dtype: DType) -> Problem:
    """Lists of keys that are too long to be scored canonically at once."""
    points = HARD[name](1500, d, dtype)[None]
    return self_attention(points, np.ascontiguousarray(points[:, :200]), 2)


@needs_bytes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [12, 33])
@pytest.mark.parametrize("name", HARD)
def test_hard_data_in_bytes(
    name: str, d: int, dtype: DType, decided_in_bytes: Callable[[], bool]
) -> None:
    problem = _in_bytes(name, d, dtype)
    check(problem, "mean", reference)
    check(problem._replace(query=-problem.query), "last", reference)
    if name in ("gaussian", "ball", "sphere", "cube", "lattice"):
        assert decided_in_bytes()


@needs_bytes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_alone_would_be_wrong(
    dtype: DType, decided_in_bytes: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound on what rounding costs is needed: with none, the same comparison fails."""
    problem = _in_bytes("lattice", 33, dtype)
    problem = problem._replace(query=-problem.query)
    expected = reference.run(problem).first
    assert np.array_equal(pruned.run(problem).first, expected)
    round_keys = pruned.round_keys

    def unbounded(problem: Problem, k: int) -> Any:
        rough = round_keys(problem, k)
        assert rough is not None
        unit, least_peak, *lengths = rough.bounds
        return rough._replace(bounds=(unit, least_peak, *(0 * length for length in lengths)))

    monkeypatch.setattr(pruned, "round_keys", unbounded)
    assert not np.array_equal(pruned.run(problem).first, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", HARD)
def test_hard_data_in_groups_of_the_usual_size(name: str, dtype: DType) -> None:
    points = HARD[name](4000, 8, dtype)[None]
    check(self_attention(points, points, 2), "mean", direct)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_circle_and_lattice(dtype: DType, small_groups: None) -> None:
    for points in (circle(900, dtype), lattice(9, 3, dtype)):
        check(self_attention(points[None], points[None], 2), "mean", reference)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_scales(dtype: DType, small_groups: None) -> None:
    """Scores near the largest number, and products that underflow, from factors far apart."""
    info = np.finfo(dtype)
    points = sphere(300, 3, dtype)
    high, low = dtype.type(info.max) / 100, dtype.type(info.tiny)
    for of_query, of_key in ((low, high), (high, low), (1 / high, high), (1, low), (low, 1)):
        problem = self_attention(
            (points * dtype.type(of_key))[None], (points * dtype.type(of_query))[None], 1
        )
        check(problem, "mean", reference)


@pytest.mark.parametrize("threads", [1, 2])
def test_ranges_do_not_show(
    threads: int, small_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(work: Callable[[int, int], None], n_rows: int, _: int, num_threads: int) -> None:
        for_each_range(work, n_rows, 3, num_threads)

    monkeypatch.setattr(pruned, "for_each_range", cut)
    monkeypatch.setattr(_pruned_groups, "for_each_range", cut)
    for name in ("clusters", "sphere", "lattice"):
        points = HARD[name](300, 5, DTYPES[1])[None]
        check(self_attention(points, points, threads), "mean", reference)


@pytest.mark.parametrize(
    ("points", "most"),
    [
        (gaussian(20_000, 4, DTYPES[1]), 0.01),
        (gaussian(20_000, 8, DTYPES[1]), 0.06),
        (gaussian(20_000, 16, DTYPES[0]), 0.7),
        (clustered(20_000, 8, DTYPES[1]), 0.01),
        (clustered(20_000, 64, DTYPES[1]), 0.01),
        (sphere(5_000, 64, DTYPES[1]), 1),
    ],
    ids=[
        "gaussian d=4",
        "gaussian d=8",
        "gaussian d=16",
        "clusters d=8",
        "clusters d=64",
        "sphere",
    ],
)
def test_share_of_pairs_and_its_estimate(points: Array, most: float) -> None:
    problem = self_attention(points[None], points[None], 2)
    share = pruned.run_counting(problem)[1] / problem.n_keys
    assert share <= most
    assert abs(pruned.estimate(problem)[0] - share) < 0.01 + 0.2 * share


def _forecast(points: Array) -> float:
    """As a multiple of what the products of all pairs take."""
    problem = self_attention(points[None], points[None], 1)
    all_pairs = direct.forecast(problem, bytes_serve=False)
    return pruned.forecast(problem, all_pairs).nanoseconds / all_pairs


def test_forecast_tells_easy_from_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruned, "_WORTH_A_LOOK", 0)
    easy, hard = (kind(10_000, 8, DTYPES[1]) for kind in (gaussian, sphere))
    assert _forecast(easy) < _forecast(hard)
    assert _forecast(easy) < 1
    assert np.isinf(_forecast(easy[:100]))  # grouping alone would take as long


def test_small_problems_are_not_looked_at() -> None:
    assert np.isinf(_forecast(gaussian(5000, 8, DTYPES[1])))


def test_estimate_of_nothing() -> None:
    for name in ("empty: no query", "empty: no key"):
        assert pruned.estimate(case(name, DTYPES[1], 1)) == (0, None)


def _differs(points: Array) -> bool:
    problem = self_attention(points[None], points[None], 1)
    answer, expected = pruned.run(problem), reference.run(problem)
    return not all(
        np.array_equal(getattr(answer, field), getattr(expected, field))
        for field in ("first", "count")
    )


def test_too_small_a_margin_is_caught(small_groups: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On near ties the rounding of the screening decides, unless the margin covers it."""
    points = ulp_neighbours(500, 16, DTYPES[0])
    assert not _differs(points)
    monkeypatch.setattr(pruned, "screening_slack", lambda d, dtype: (0.0, 0.0))
    assert _differs(points)


def _wrong_norms(norm: Array) -> None:
    norm[::2] *= np.float32(0.5)


def _no_radius(*balls: Array) -> None:
    balls[2][:] = 0


@pytest.mark.parametrize(
    ("kernel", "of", "spoil"),
    [("measure", slice(4, 5), _wrong_norms), ("fill", slice(12, 17), _no_radius)],
)
def test_a_lost_key_is_caught(
    kernel: str, of: slice, spoil: Callable[..., None], small_groups: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each point of a sphere wins somewhere, so that no key is spare."""
    monkeypatch.setattr(pruned, "_SHORT", 0)
    points = sphere(3000, 3, DTYPES[1])
    assert not _differs(points)
    right = getattr(_pruned_tiles, kernel)

    def wrong(*arguments: Any) -> None:
        right(*arguments)
        spoil(*arguments[of])

    monkeypatch.setattr(_pruned_tiles, kernel, wrong)
    assert _differs(points)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", [gaussian, clustered, ulp_neighbours], ids=lambda k: k.__name__)
def test_balls_hold_their_keys(
    kind: Callable[[int, int, DType], Array], dtype: DType, small_groups: None
) -> None:
    """Each list has each of its keys once, as its floor says, in a tile whose ball they lie in."""
    points = kind(3000, 6, dtype)
    problem = self_attention(points[None], points[None], 2)
    keys = _pruned_groups.arrange_keys(problem, 0)
    exact = points / keys.scale
    norms = np.linalg.norm(exact.astype(np.float64), axis=1)
    assert len(keys.lists.sizes) > 1 or kind is not gaussian
    for c in range(len(keys.lists.sizes)):
        among = keys.pick(c)
        balls, seen = among.balls, []
        middles = balls.middle.reshape(6, -1).T
        assert (np.linalg.norm(middles, axis=1) <= balls.length).all()
        for t, n in enumerate(balls.filled):
            at = t * _pruned_tiles.TILE
            here = among.which[at : at + n]
            seen.append(here)
            gaps = np.linalg.norm(exact[here].astype(np.float64) - middles[t], axis=1)
            assert (gaps <= balls.radius[t]).all()
            assert (norms[here] <= among.norm[at : at + n]).all()
        indices = np.concatenate(seen)
        assert len(indices) == among.n == len(np.unique(indices))
        assert set(np.flatnonzero(norms > among.floor)) <= set(indices)
    assert among.n == len(points)
