"""The kernels of settling, each against its definition in plain loops or rational arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import _settled, equilibrium, simulate
from fasthardmax import _settled_kernels as kernels
from fasthardmax.engines import ENGINES
from fasthardmax.settling import Settling

from . import oracle
from .clouds import CLOUDS, DTYPES, ball, gaussian
from .compare import assert_same_bits

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _c_type(dtype: Any) -> str:
    return {4: "float", 8: "double"}[np.dtype(dtype).itemsize]


def _layers(clouds: NDArray[Any], alpha: float = 0.5, threads: int = 1) -> Settling:
    return Settling(clouds, alpha, None, ENGINES["compiled"].load(), threads)


def _searched(clouds: NDArray[Any], n_layers: int, alpha: float = 0.5) -> Settling:
    layers = _layers(clouds, alpha)
    layers.search()
    for layer in range(1, n_layers + 1):
        layers.go_to(layer)
        layers.search()
    return layers


# --- Where settled points are -------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("d", [2, 3, 5])
def test_settled_points_are_on_their_way(d: int, dtype: Any) -> None:
    """m + (1 - c)^age (x - m) in rational arithmetic, where each settled and for each layer."""
    start = gaussian(150, d, np.dtype(dtype))
    layers = _searched(start[None], 3)
    settled_at = layers.settled_at[0]
    assert (settled_at > 0).any()
    assert (settled_at == 0).any()
    seen = [_searched(start[None], layer).points[0] for layer in range(4)]
    limit, ulp = layers.limit[0], Fraction(float(np.spacing(np.abs(start).max())))
    for layer in (3, 4, 30):
        if layer > 3:
            layers.go_to(layer)
        for i in np.flatnonzero(settled_at >= 0):
            left = Fraction(2, 3) ** int(layer - settled_at[i])
            origin = seen[settled_at[i]][i]
            for x, m, o in zip(layers.points[0, i], limit[i], origin, strict=True):
                exact = Fraction(float(m)) + left * (Fraction(float(o)) - Fraction(float(m)))
                assert abs(Fraction(float(x)) - exact) <= 2 * ulp


def test_what_was_asked_for_is_not_changed_later() -> None:
    start = gaussian(150, 3, DTYPES[1])
    clouds = start[None].copy()
    layers = _layers(clouds)
    seen = []
    for layer in range(5):
        if layer:
            layers.go_to(layer)
        layers.search()
        asked = layers.points, layers.first, layers.count, layers.labels, layers.settled_at
        seen += [(array, array.copy()) for array in asked]
    assert layers.n_queries > len(start)
    for array, before in seen:
        assert_same_bits(array, before)
    assert_same_bits(clouds[0], start)
    with pytest.raises(ValueError, match="read-only"):
        layers.first[0, 0] = 0


@each_dtype
def test_blocks_and_single_points_are_placed_as_all_are(dtype: Any) -> None:
    clouds = np.stack([ball(30, 2, np.dtype(dtype)), gaussian(30, 2, np.dtype(dtype))])
    layers = _searched(clouds, 2)
    everyone, arrived = layers._placed()
    for blocks, length in ((np.array([1]), 30), (np.array([0, 7, 41]), 1), (np.arange(60), 1)):
        rows = (blocks[:, None] * length + np.arange(length)).reshape(-1)
        some, there = layers._placed(blocks, length)
        assert_same_bits(some, everyone[rows])
        assert_same_bits(there, arrived[rows])


# --- Who settles --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ball d=2", "lattice d=2", "duplicates", "mirrored"])
def test_at_once_those_settle_whose_only_winner_leads(name: str) -> None:
    points = CLOUDS[name](DTYPES[1])
    n = len(points)
    winners = [oracle.tie_set(x, points) for x in points]
    first = np.array([w[0] for w in winners] * 2)
    count = np.array([len(w) for w in winners] * 2)
    goes, entry = np.full(2 * n, 7), np.full(2 * n, 7, np.int32)
    kinds = (np.int64, np.int64, np.uint8, np.int64, np.int64)
    found: list[NDArray[Any]] = [np.full(2 * n, 7, kind) for kind in kinds]
    parts = list(itertools.pairwise([0, n // 2, n + 3, 2 * n]))  # across the clouds
    sizes = [kernels.settle_at_once(first, count, n, *part, goes, entry) for part in parts]
    ends = np.cumsum([(0, 0, 0), *sizes], axis=0)
    for part, end in zip(reversed(parts), ends[-2::-1].tolist(), strict=True):
        kernels.list_left(first, count, n, goes, *part, *end, entry, *found)
    left, their, alone, tied, leading = (
        some[: ends[-1, k]].tolist() for some, k in zip(found, (0, 0, 0, 1, 2), strict=True)
    )
    leads = [winners[i] == [i] for i in range(n)]
    truth = [w[0] if len(w) == 1 and leads[w[0]] else -1 for w in winners]
    assert goes.tolist() == truth + [j + n if j >= 0 else -1 for j in truth]
    assert left == [i for i in range(2 * n) if goes[i] < 0]
    assert their == [first[i] + i // n * n for i in left]
    assert alone == [count[i] == 1 for i in left]
    assert tied == np.flatnonzero(count > 1).tolist()
    assert leading == [i + j for j in (0, n) for i in range(n) if leads[i]]
    assert entry[left].tolist() == list(range(1, len(left) + 1))
    assert (entry[goes >= 0] == 0).all()


@each_dtype
def test_a_step_and_its_error_are_the_exact_step(dtype: Any) -> None:
    """But for u^2 of the point, and u of the way gone."""
    rng = np.random.default_rng(0)
    at, goal = rng.standard_normal((2, 200)).astype(dtype)
    u = np.finfo(dtype).eps / 2
    error, goal_error = (rng.uniform(-u, u, (2, 200)) / 4).astype(dtype)
    c = np.dtype(dtype).type(1 / 3)
    moved, left = np.empty_like(at), np.empty_like(at)
    for start, stop in ((0, 70), (70, 200)):
        kernels.step[_c_type(dtype)](at, error, goal, goal_error, c, start, stop, moved, left)
    for k in range(200):
        x, e, g, f, s, t = (
            Fraction(float(a[k])) for a in (at, error, goal, goal_error, moved, left)
        )
        exact = x + e + Fraction(float(c)) * ((g + f) - (x + e))
        assert abs(s + t - exact) <= 4 * Fraction(float(u)) * (abs(g - x) + Fraction(float(u)))
        assert abs(t) <= Fraction(float(u)) * abs(s)


@pytest.mark.parametrize("everyone", [False, True])
def test_who_is_outside_a_ball(everyone: bool) -> None:
    points = gaussian(300, 3, DTYPES[1])
    since = np.where(np.arange(300) % 3, 5, -1).astype(np.int32)  # but for the first, all are late
    entry = np.arange(300, dtype=np.int32)
    out = np.full(300, 7, np.uint8)
    for start, stop in ((0, 101), (101, 300)):
        kernels.outside["double"](points, everyone, entry, since, 1.5, start, stop, out)
    far = (points**2).sum(axis=1) >= 1.5**2
    truth = far & (np.append(0, since[:-1]) >= 0) if everyone else far
    assert out.tolist() == truth.tolist()
    assert 0 < out.sum() < 300


# --- What is told of them -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lattice d=2", "duplicates", "circle", "all equal"])
def test_clusters_are_numbered_in_order_of_their_first_points(name: str) -> None:
    clouds = np.stack([CLOUDS[name](DTYPES[1])[:25], CLOUDS[name](DTYPES[1])[24::-1]])
    found = equilibrium(clouds, alpha=0.5)
    for limit, settled_at, labels in zip(found.limit, found.settled_at, found.labels, strict=True):
        numbers: dict[tuple[float, ...], int] = {}
        truth = [
            numbers.setdefault(tuple((x + 0.0).tolist()), len(numbers)) if since >= 0 else -1
            for x, since in zip(limit, settled_at, strict=True)
        ]
        assert labels.tolist() == truth


@pytest.mark.parametrize("shape", [(2000, 2), (60, 40, 3)])
def test_neither_ranges_nor_threads_show(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(5).integers(-9, 10, shape) / 8
    monkeypatch.setattr(_settled, "_NUMBERS_PER_RANGE", 1 << 30)
    options: dict[str, Any] = {"alpha": 0.3, "n_layers": 25, "record": 6, "engine": "compiled"}
    whole = simulate(points, num_threads=1, **options)
    monkeypatch.setattr(_settled, "_NUMBERS_PER_RANGE", 100)
    split = simulate(points, num_threads=3, **options)
    for layer, there in whole.recorded.items():
        assert_same_bits(split.recorded[layer], there)
        assert_same_bits(split.winners[layer].first, whole.winners[layer].first)
        assert_same_bits(split.winners[layer].count, whole.winners[layer].count)
    assert_same_bits(split.labels, whole.labels)
    assert_same_bits(split.leader_layer, whole.leader_layer)
    assert split.n_passes == whole.n_passes


def test_simulate_settles_unless_told_otherwise() -> None:
    points = ball(60, 2, DTYPES[1])
    run, settled, stepped = (
        simulate(points, alpha=3, n_layers=100, engine="reference", **method)
        for method in ({}, {"method": "settling"}, {"method": "stepped"})
    )
    assert_same_bits(run.points, settled.points)
    assert run.n_passes == settled.n_passes < 3
    assert stepped.n_passes == 101


# --- Step sizes and matrices at the ends --------------------------------------------------------


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e6, math.inf])
@pytest.mark.parametrize("kind", ["indefinite", "negative", "singular", "not symmetric"])
def test_any_matrix_runs_and_claims_only_what_is_certain(kind: str, alpha: float) -> None:
    A = {
        "indefinite": [[1.0, 0.0], [0.0, -0.5]],
        "negative": [[-1.0, 0.0], [0.0, -2.0]],
        "singular": [[1.0, 1.0], [1.0, 1.0]],
        "not symmetric": [[1.0, 0.5], [-0.3, 1.0]],
    }[kind]
    points = gaussian(60, 2, DTYPES[1])
    found = equilibrium(points, alpha=alpha, A=A, max_layers=120)
    assert found.certificate().holds
    settled = found.settled_at >= 0
    assert (found.residual[settled] == 0).all()
    assert set(found.kind[~settled]) <= {"not settled"}
    assert not (found.kind == "face").any()
    if kind in ("singular", "not symmetric") and alpha >= 1:
        assert settled.all()
