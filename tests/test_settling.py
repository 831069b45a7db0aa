"""Settling against exact rational arithmetic, and against stepping where that is exact too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import Winners, simulate
from fasthardmax._interior import inner_radius
from fasthardmax.engines import ENGINES, SELECTIVE
from fasthardmax.settling import Settling

from . import exact
from .clouds import CLOUDS, DTYPES, ball, gaussian
from .compare import assert_same_bits
from .test_dynamics import FIGURE_2

SQUARE = [[1, 1], [1, -1], [-1, -1], [-1, 1]]
SPD = np.array([[2, 0.5], [0.5, 1]])
ROTATION = np.array([[0, 1], [-1, 0.5]])
ULPS = 4  # of the cloud's diameter, per coordinate: what the docstring of simulate says

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _settle(points: Any, alpha: float, engine: str = "reference", **options: Any) -> Any:
    points = np.asarray(points)
    layers = options.pop("n_layers", 30)
    return simulate(
        points, alpha=alpha, n_layers=layers, method="settling", engine=engine, **options
    )


# --- Accuracy against exact arithmetic ----------------------------------------------------------


_ACCURACY = [
    *((None, alpha, dtype) for alpha in (0.5, 1 / 16, 3, math.inf) for dtype in DTYPES),
    (SPD, 0.5, DTYPES[1]),
    (SPD, 3, DTYPES[1]),
    (ROTATION, 0.5, DTYPES[1]),
]


@pytest.mark.parametrize(("A", "alpha", "dtype"), _ACCURACY)
@pytest.mark.parametrize("name", FIGURE_2)
def test_every_layer_is_within_four_ulps_of_exact_dynamics(
    name: str, A: NDArray[Any] | None, alpha: float, dtype: Any
) -> None:
    """40 layers: with alpha = 3, and in float32 with 0.5, points have reached their leaders."""
    start = np.array(FIGURE_2[name], dtype)
    truth = exact.simulate(start, alpha, 40, A)
    run = _settle(start, alpha, n_layers=40, A=A, record="all")
    for layer in range(41):
        error = exact.ulps_of_diameter(run.recorded[layer], truth[layer].points, start)
        assert error <= ULPS, f"layer {layer}: {float(error)} ulps"


def test_roundings_do_not_add_up_over_many_layers() -> None:
    """Points move for 347 layers here; stepping is off by 1.5 ulps, settling by a quarter."""
    start = np.array(FIGURE_2["emerging leader"])
    truth = exact.simulate(start, 1 / 1024, 200)
    run = _settle(start, 1 / 1024, "compiled", n_layers=200, record=50)
    for layer, points in run.recorded.items():
        assert exact.ulps_of_diameter(points, truth[layer].points, start) <= 0.5


@pytest.mark.parametrize("alpha", [1, 3, math.inf])
@pytest.mark.parametrize("seed", range(12))
def test_small_integers_are_within_four_ulps_of_exact_dynamics(seed: int, alpha: float) -> None:
    """Exact ties of all kinds; A is a symmetric positive definite matrix of integers, or none."""
    rng = np.random.default_rng(seed)
    n, d = rng.integers(3, 11), rng.integers(1, 4)
    start = rng.integers(-2, 3, (n, d)).astype(float)
    root = rng.integers(-2, 3, (d, d))
    A = (root @ root.T + np.eye(d)) if seed % 2 else None
    truth = exact.simulate(start, alpha, 30, A)
    run = _settle(start, alpha, A=A, record="all")
    for layer in range(31):
        error = exact.ulps_of_diameter(run.recorded[layer], truth[layer].points, start)
        assert error <= ULPS, f"layer {layer}: {float(error)} ulps"


@each_engine
@pytest.mark.parametrize("name", FIGURE_2)
def test_tie_sets_are_those_of_exact_dynamics(name: str, engine: str) -> None:
    """For as long as a point is not settled; then its winners are those it settled with."""
    start = np.array(FIGURE_2[name], np.float64)
    truth = exact.simulate(start, 0.5, 30)
    run = _settle(start, 0.5, engine, record="all")
    for layer in range(31):
        winners = truth[layer].winners
        assert run.winners[layer].first.tolist() == [w[0] for w in winners], f"layer {layer}"
        assert run.winners[layer].count.tolist() == [len(w) for w in winners], f"layer {layer}"


@each_engine
@each_dtype
@pytest.mark.parametrize("alpha", [0.5, 3])
def test_the_square_with_a_tie_beside_points_that_collapse(
    alpha: float, dtype: Any, engine: str
) -> None:
    """The exact limit is (1, 0): the followers of (1, 1) and (1, -1), unequally many, never tie."""
    inside = np.random.default_rng(7).uniform(0.05, 0.5, (5, 2)) * [1, 1]
    start = np.array([*SQUARE, [0.5, 0], *inside, [0.3, -0.3]], dtype)
    run = _settle(start, alpha, engine, n_layers=1000)
    assert run.points[4].tolist() == [1, 0]
    assert run.labels.tolist() == [0, 1, 2, 3, -1, 0, 0, 0, 0, 0, 1]
    stepped = simulate(start, alpha=alpha, n_layers=1000, method="stepped", engine=engine)
    assert stepped.points[4].tolist() != [1, 0], "stepping would have done"


@each_engine
def test_followers_that_do_tie_beside_their_leader_count(engine: str) -> None:
    """(1, 1/2) goes up the edge x = 1, so it ties there with both corners, and tips the scale."""
    start = np.array([*SQUARE, [0.5, 0], [1, 0.5]], np.float64)
    truth = exact.simulate(start, 1, 20)
    assert truth[0].winners[4] == [0, 1, 5]
    run = _settle(start, 1, engine, n_layers=20, record="all")
    for layer in range(21):
        assert exact.ulps_of_diameter(run.recorded[layer], truth[layer].points, start) <= ULPS
    assert run.labels[4] == 0


@each_engine
def test_what_cancels_exactly_stays(engine: str) -> None:
    """The origin of a symmetric cloud ties with all; a sum in order would drift off by rounding."""
    half = np.random.default_rng(3).uniform(-1, 1, (6, 2))
    run = _settle(np.concatenate([half, -half, [[0, 0]]]), 0.5, engine, n_layers=300)
    assert run.points[-1].tolist() == [0, 0]


@each_engine
def test_with_an_infinite_alpha_points_land_and_then_count(engine: str) -> None:
    start = np.array([*SQUARE, [0.5, 0], [0.4, 0.3], [0.2, 0.1], [0.3, -0.2]])
    truth = exact.simulate(start, math.inf, 4)
    run = _settle(start, math.inf, engine, n_layers=4, record="all")
    assert exact.fractions(run.recorded[1])[4] == (1, 0)
    assert len(truth[1].winners[4]) == 6, "two corners, who landed there, and the point itself"
    for layer in range(5):
        assert exact.ulps_of_diameter(run.recorded[layer], truth[layer].points, start) <= ULPS


def test_a_winner_that_collapsed_onto_its_leader_does_not_block() -> None:
    """After 300 layers of waiting, what is left to search is nothing at all."""
    start = gaussian(60, 3, np.dtype(np.float64))
    matrix = np.random.default_rng(5).standard_normal((3, 3))
    layers = Settling(start[None], 3, matrix @ matrix.T, ENGINES["compiled"].load(), 1)
    for layer in range(1, 301):
        layers.search()
        layers.go_to(layer)
    assert layers.n_moving == 0


# --- Agreement with stepping --------------------------------------------------------------------


# Their exact ties are decided better: a sum that cancels, and products that underflow.
_BETTER = ("collinear through the origin", "products of the least numbers")


@pytest.mark.parametrize("cloud", [name for name in CLOUDS if name not in _BETTER])
def test_at_first_it_is_stepping_but_for_rounding(cloud: str) -> None:
    """alpha = 1, three layers: who wins at the start, who leads, and whom each point follows."""
    points = CLOUDS[cloud](DTYPES[1])
    run = _settle(points, 1, "compiled", n_layers=3, record="all")
    stepped = simulate(
        points, alpha=1, n_layers=3, method="stepped", record="all", engine="compiled"
    )
    assert_same_bits(run.recorded[0], stepped.recorded[0])
    assert_same_bits(run.winners[0].first, stepped.winners[0].first)
    assert_same_bits(run.winners[0].count, stepped.winners[0].count)
    assert_same_bits(run.leader_layer, stepped.leader_layer)
    assert_same_bits(run.labels, stepped.labels)


@pytest.mark.parametrize("engine", [*ENGINES, *SELECTIVE])
@each_dtype
def test_every_engine_gives_the_same_bits(engine: str, dtype: Any) -> None:
    for matrix in (None, np.array([[1, 2, 0], [0, 1, 1], [1, 0, 3]], dtype)):
        points = ball(60, 3, dtype)
        expected = _settle(points, 0.5, n_layers=20, A=matrix, record=7)
        run = _settle(points, 0.5, engine, n_layers=20, A=matrix, record=7)
        assert list(run.recorded) == [0, 7, 14, 20]
        for layer, there in expected.recorded.items():
            assert_same_bits(run.recorded[layer], there)
            assert_same_bits(run.winners[layer].first, expected.winners[layer].first)
            assert_same_bits(run.winners[layer].count, expected.winners[layer].count)


@each_engine
@each_dtype
def test_a_batch_is_separate_runs(dtype: Any, engine: str) -> None:
    names = ("circle", "lattice d=2", "mirrored", "duplicates", "all equal")
    clouds = np.stack([CLOUDS[name](dtype)[:25, :2] for name in names])
    options: dict[str, Any] = {"n_layers": 30, "A": SPD.astype(dtype), "engine": engine}
    together = _settle(clouds, 0.5, record="all", **options)
    for b, cloud in enumerate(clouds):
        alone = _settle(cloud, 0.5, record="all", **options)
        for layer in range(31):
            assert_same_bits(together.recorded[layer][b], alone.recorded[layer])
            assert_same_bits(together.winners[layer].first[b], alone.winners[layer].first)
            assert_same_bits(together.winners[layer].count[b], alone.winners[layer].count)
        assert_same_bits(together.leader_layer[b], alone.leader_layer)
        assert_same_bits(together.labels[b], alone.labels)


# --- Layers, callbacks and borders --------------------------------------------------------------


@pytest.mark.parametrize("record", ["last", 3, "all"])
def test_layers_that_are_skipped_change_nothing(record: Any) -> None:
    points = ball(40, 2, DTYPES[1])
    everything = _settle(points, 0.5, n_layers=50, record="all")
    run = _settle(points, 0.5, n_layers=50, record=record)
    for layer, there in run.recorded.items():
        assert_same_bits(there, everything.recorded[layer])
    assert_same_bits(run.points, everything.points)
    assert run.n_layers == 50


def test_a_callback_sees_every_layer_and_may_keep_what_it_gets() -> None:
    points = ball(40, 2, DTYPES[1])
    everything = _settle(points, 0.5, n_layers=12, record="all")
    seen: list[tuple[int, NDArray[Any], Winners]] = []
    _settle(points, 0.5, n_layers=12, record=lambda *layer: seen.append(layer))
    assert [layer for layer, _, _ in seen] == list(range(13))
    for layer, there, winners in seen:  # only now, after all layers
        assert_same_bits(there, everything.recorded[layer])
        assert_same_bits(winners.first, everything.winners[layer].first)
        assert not there.flags.writeable


@pytest.mark.parametrize("alpha", [0, 1, math.inf])
@pytest.mark.parametrize(
    "shape", [(0, 2), (1, 2), (3, 0), (0, 3, 2), (2, 0, 2), (2, 3, 0), (2, 1, 1)], ids=str
)
def test_hardly_any_points(shape: tuple[int, ...], alpha: float) -> None:
    run = _settle(np.zeros(shape), alpha, n_layers=3, record="all")
    assert_same_bits(run.points, np.zeros(shape))
    assert run.labels.shape == shape[:-1]


def test_alpha_zero_moves_nobody() -> None:
    points = gaussian(20, 2, DTYPES[1])
    assert_same_bits(_settle(points, 0).points, points)


def test_coincident_points_stay_and_attract_without_leading() -> None:
    run = _settle(np.array([[0.1, 0], [0.1, 0], [0.1, 0], [-1, 0], [0.05, 0]]), 1, n_layers=200)
    assert run.points.tolist() == [[0.1, 0], [0.1, 0], [0.1, 0], [-1, 0], [0.1, 0]]
    assert run.leader_layer.tolist() == [-1, -1, -1, 0, -1]
    assert run.labels.tolist() == [-1, -1, -1, 3, -1]


def test_a_long_horizon_searches_each_query_about_once() -> None:
    points = gaussian(500, 3, DTYPES[1])
    layers = Settling(points[None], 0.5, None, ENGINES["compiled"].load(), 1)
    layers.search()
    assert layers.n_moving < 100
    while layers.n_moving:
        layers.go_to(layers.layer + 1)
        layers.search()
    assert layers.n_queries <= 1.5 * len(points)
    layers.go_to(10**6)
    assert_same_bits(layers.points, layers.limit)


# --- Keys that no longer matter -----------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(3000, 1), (3000, 2), (6500, 3)])
@pytest.mark.parametrize("spread", ["gaussian", "cube"])
def test_keys_inside_the_polytope_of_the_leaders_change_nothing(
    spread: str, n: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a point at the origin, whose query needs them all, and duplicates."""
    points = gaussian(n, d, DTYPES[1])
    if spread == "cube":
        points = np.random.default_rng(d).uniform(-1, 1, (n, d))
    points[:3] = 0
    points[3:30] = points[30:57]
    run = _settle(points, 0.5, "compiled", n_layers=100, record=9)
    layers = Settling(points[None], 0.5, None, ENGINES["compiled"].load(), 2)
    layers.search()
    assert layers.n_dropped > n / 10
    monkeypatch.setattr("fasthardmax.settling.worthwhile", lambda n, d: False)
    expected = _settle(points, 0.5, "compiled", n_layers=100, record=9)
    for layer, there in expected.recorded.items():
        assert_same_bits(run.recorded[layer], there)
        assert_same_bits(run.winners[layer].first, expected.winners[layer].first)
        assert_same_bits(run.winners[layer].count, expected.winners[layer].count)
    assert_same_bits(run.labels, expected.labels)


def _corners(d: int) -> NDArray[Any]:
    return np.stack(np.meshgrid(*[[-1.0, 1.0]] * d), axis=-1).reshape(-1, d)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("scale", [1e-200, 1, 1e100])
def test_a_ball_in_a_polytope(d: int, scale: float) -> None:
    cube, cross = _corners(d), np.concatenate([np.eye(d), -np.eye(d)])
    for vertices, truth in ((cube, 1.0), (cross, d**-0.5), (np.tile(cube, (999, 1)), 1.0)):
        radius = inner_radius(scale * vertices) / scale
        assert 0.7 * truth < radius < truth


@pytest.mark.parametrize("d", [1, 2, 3])
def test_no_ball_where_there_is_none(d: int) -> None:
    assert inner_radius(np.empty((0, d))) == 0
    assert inner_radius(np.ones((1, d))) == 0
    assert inner_radius(_corners(d) + 1) == 0, "the origin is a corner"
    flat = _corners(d) * [*[1.0] * (d - 1), 1e-3]
    assert inner_radius(flat) == 0 or d == 1


# --- Interruptions ------------------------------------------------------------------------------


class Refusal(Exception):
    """What the callback of this test raises."""


@pytest.mark.parametrize("stop", [0, 1, 5, 12])
def test_an_interruption_leaves_the_complete_layers(stop: int) -> None:
    def callback(layer: int, points: NDArray[Any], winners: Winners) -> None:
        if layer == stop:
            raise Refusal

    points = ball(40, 2, DTYPES[1])
    with pytest.raises(Refusal) as interruption:
        _settle(points, 0.5, n_layers=12, record=callback)
    expected = _settle(points, 0.5, n_layers=stop)
    partial = interruption.value.trajectory
    assert partial.n_layers == stop
    assert_same_bits(partial.points, expected.points)
    assert_same_bits(partial.leader_layer, expected.leader_layer)
    assert_same_bits(partial.labels, expected.labels)
