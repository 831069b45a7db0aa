"""The dynamics: bit for bit the oracle's layers, what is recorded, who leads, and interruptions."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import Trajectory, Winners, simulate
from fasthardmax.engines import ENGINES

from . import oracle
from .clouds import CLOUDS, DTYPES
from .compare import assert_same_bits

DType = np.dtype[Any]
_step = partial(simulate, method="stepped")
LAYERS = 5

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _matrix(kind: str, d: int, dtype: DType) -> NDArray[Any] | None:
    """No matrix, a symmetric positive definite one, or any."""
    if kind == "none":
        return None
    any_matrix = np.random.default_rng(d).standard_normal((d, d))
    spd = any_matrix @ any_matrix.T + 0.1 * np.eye(d)
    return (spd if kind == "SPD" else any_matrix).astype(dtype)


@cache
def _truth(cloud: str, dtype: DType, kind: str, alpha: float) -> oracle.Run:
    points = CLOUDS[cloud](dtype) + dtype.type(0)
    return oracle.simulate(points, alpha, LAYERS, _matrix(kind, points.shape[1], dtype))


# --- Against the oracle -------------------------------------------------------------------------

_WIDE = [f"gaussian d={d}" for d in (33, 64, 100)]
# The others leave no room for a matrix of unit size, or have many features for plain loops.
_CLOUDS = [name for name in CLOUDS if name not in ("as large as can be", *_WIDE)]
_OPTIONS = [("none", 0.5), ("none", math.inf), ("SPD", 1.0), ("general", 0.05)]


@each_engine
@each_dtype
@pytest.mark.parametrize(("kind", "alpha"), _OPTIONS)
@pytest.mark.parametrize("cloud", _CLOUDS)
def test_every_layer_equals_the_oracle(
    cloud: str, kind: str, alpha: float, dtype: DType, engine: str
) -> None:
    points = CLOUDS[cloud](dtype)
    truth = _truth(cloud, dtype, kind, alpha)
    run = _step(
        points,
        alpha=alpha,
        n_layers=LAYERS,
        A=_matrix(kind, points.shape[1], dtype),
        record="all",
        engine=engine,
    )
    assert (run.n_layers, run.alpha, run.engine) == (LAYERS, alpha, engine)
    assert list(run.recorded) == list(run.winners) == list(range(LAYERS + 1))
    for layer in range(LAYERS + 1):
        assert_same_bits(run.recorded[layer], truth.points[layer], f"points of layer {layer}")
        winners = run.winners[layer]
        assert_same_bits(winners.first, truth.first[layer], f"first winners of layer {layer}")
        assert_same_bits(winners.count, truth.count[layer], f"counts of layer {layer}")
    assert_same_bits(run.points, truth.points[LAYERS], "points")
    assert_same_bits(run.leader_layer, truth.leader_layer, "leader_layer")
    assert_same_bits(run.labels, truth.labels, "labels")
    assert_same_bits(run.leaders, np.flatnonzero(truth.leader_layer >= 0), "leaders")


@each_engine
@each_dtype
@pytest.mark.parametrize("kind", ["none", "general"])
def test_many_layers_equal_the_oracle(kind: str, dtype: DType, engine: str) -> None:
    """Long enough for points to collapse onto their leaders and tie with them."""
    points = CLOUDS["ball d=2"](dtype)[:12]
    matrix = _matrix(kind, 2, dtype)
    truth = oracle.simulate(points, 3, 60, matrix)
    run = _step(points, alpha=3, n_layers=60, A=matrix, engine=engine)
    assert_same_bits(run.points, truth.points[60])
    assert_same_bits(run.labels, truth.labels)
    assert truth.count[60].max() > 2, "nothing collapsed: the case is too short"


@each_engine
@each_dtype
def test_a_batch_is_separate_runs(dtype: DType, engine: str) -> None:
    names = ("circle", "lattice d=2", "mirrored", "duplicates", "all equal")
    clouds = np.stack([CLOUDS[name](dtype)[:25, :2] for name in names])
    matrix = _matrix("SPD", 2, dtype)
    options: dict[str, Any] = {"alpha": 0.5, "n_layers": 5, "A": matrix, "engine": engine}
    together = _step(clouds, record="all", **options)
    for b, cloud in enumerate(clouds):
        alone = _step(cloud, record="all", **options)
        for layer in range(6):
            assert_same_bits(together.recorded[layer][b], alone.recorded[layer])
            assert_same_bits(together.winners[layer].first[b], alone.winners[layer].first)
            assert_same_bits(together.winners[layer].count[b], alone.winners[layer].count)
        assert_same_bits(together.leader_layer[b], alone.leader_layer)
        assert_same_bits(together.labels[b], alone.labels)
        batch, point = together.leaders
        assert_same_bits(point[batch == b], alone.leaders)


@each_engine
def test_inputs_are_promoted_and_left_alone(engine: str) -> None:
    integers = np.array([[3, -1], [0, 2], [-1, 0]])
    halves = (integers / 7).astype(np.float16)
    matrix = np.eye(2)
    for points, A, dtype in (
        (integers, None, np.float64),
        (halves, None, np.float32),
        (halves, matrix, np.float64),
        (np.asfortranarray(integers / 7), matrix, np.float64),
    ):
        before = points.copy()
        run = _step(points, alpha=0.3, n_layers=4, A=A, engine=engine)
        truth = oracle.simulate(points.astype(dtype), 0.3, 4, A)
        assert_same_bits(run.points, truth.points[4])
        assert_same_bits(points, before)
    still = _step(matrix, alpha=0, n_layers=2, engine=engine)
    assert not np.shares_memory(still.points, matrix)


@each_engine
def test_negative_zeros_are_read_as_zeros(engine: str) -> None:
    run = _step([[-0.0, 1.0], [0.0, -1.0]], alpha=1, n_layers=2, record="all", engine=engine)
    for points in run.recorded.values():
        assert not np.signbit(points[points == 0]).any()


# --- What is recorded ---------------------------------------------------------------------------

_START = np.array([[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]])


@pytest.mark.parametrize(
    ("record", "n_layers", "expected"),
    [
        ("last", 5, [5]),
        ("last", 0, [0]),
        ("all", 3, [0, 1, 2, 3]),
        (1, 3, [0, 1, 2, 3]),
        (2, 5, [0, 2, 4, 5]),
        (3, 6, [0, 3, 6]),
        (10, 4, [0, 4]),
    ],
)
def test_recorded_layers(record: str | int, n_layers: int, expected: list[int]) -> None:
    everything = _step(_START, alpha=1, n_layers=n_layers, record="all", engine="reference")
    run = _step(_START, alpha=1, n_layers=n_layers, record=record, engine="reference")
    assert list(run.recorded) == list(run.winners) == expected
    for layer, points in run.recorded.items():
        assert_same_bits(points, everything.recorded[layer])
        assert_same_bits(run.winners[layer].first, everything.winners[layer].first)
    assert_same_bits(run.points, everything.recorded[n_layers])


@each_engine
@pytest.mark.parametrize("batched", [False, True])
def test_a_callback_may_keep_what_it_gets(engine: str, batched: bool) -> None:
    start = np.stack([_START, -2 * _START]) if batched else _START
    seen: list[tuple[int, NDArray[Any], Winners]] = []
    run = _step(start, alpha=1, n_layers=4, record=lambda *layer: seen.append(layer), engine=engine)
    everything = _step(start, alpha=1, n_layers=4, record="all", engine="reference")
    assert [layer for layer, _, _ in seen] == list(range(5))
    for layer, points, winners in seen:  # only now, after all layers
        assert_same_bits(points, everything.recorded[layer])
        assert_same_bits(winners.first, everything.winners[layer].first)
        assert_same_bits(winners.count, everything.winners[layer].count)
    assert list(run.recorded) == [4]
    assert_same_bits(run.points, everything.points)


def test_a_progress_bar_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    plain = _step(_START, alpha=1, n_layers=4, engine="reference")
    shown = _step(_START, alpha=1, n_layers=4, progress=True, engine="reference")
    assert_same_bits(shown.points, plain.points)
    assert capsys.readouterr().out == "", "results go to stdout, and nothing else"


# --- Interruptions ------------------------------------------------------------------------------


class Refusal(Exception):
    """What the callback of these tests raises."""


@each_engine
@pytest.mark.parametrize("kind", [Refusal, KeyboardInterrupt])
@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_an_interruption_leaves_a_usable_trajectory(
    engine: str, kind: type[BaseException], stop: int
) -> None:
    def callback(layer: int, points: NDArray[Any], winners: Winners) -> None:
        if layer == stop:
            raise kind("enough")

    with pytest.raises(kind, match=r"^enough$") as interruption:
        _step(_START, alpha=1, n_layers=5, record=callback, engine=engine)
    partial: Trajectory = interruption.value.trajectory
    expected = _step(_START, alpha=1, n_layers=stop, engine=engine)
    assert partial.n_layers == stop
    assert partial.engine == engine
    assert_same_bits(partial.points, expected.points)
    assert_same_bits(partial.leader_layer, expected.leader_layer)
    assert_same_bits(partial.labels, expected.labels)
    # The last of the layers that were asked for is kept before the callback sees it.
    assert list(partial.recorded) == ([5] if stop == 5 else [])


@pytest.mark.parametrize("stop", [0, 2])
def test_a_failing_engine_leaves_the_complete_layers(
    stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ENGINES["reference"].load()
    run, calls = engine.run, []

    def tired(problem: Any) -> Any:
        calls.append(problem)
        if len(calls) > stop:
            raise KeyboardInterrupt
        return run(problem)

    monkeypatch.setattr(engine, "run", tired)
    with pytest.raises(KeyboardInterrupt) as interruption:
        _step(_START, alpha=1, n_layers=5, record="all", engine="reference")
    monkeypatch.undo()
    partial: Trajectory = interruption.value.trajectory
    expected = _step(_START, alpha=1, n_layers=stop, record="all", engine="reference")
    assert partial.n_layers == stop
    assert list(partial.recorded) == list(partial.winners) == list(range(stop))
    assert_same_bits(partial.points, expected.points)
    for layer in range(stop):
        assert_same_bits(partial.recorded[layer], expected.recorded[layer])


# --- Worked by hand -----------------------------------------------------------------------------


def _run(points: Any, n_layers: int, engine: str, alpha: float = 1, A: Any = None) -> Trajectory:
    return _step(points, alpha=alpha, n_layers=n_layers, A=A, record="all", engine=engine)


@each_engine
def test_two_leaders_and_a_follower(engine: str) -> None:
    run = _run(_START, 2, engine)
    assert run.leader_layer.tolist() == [0, 0, -1]
    assert run.labels.tolist() == [0, 1, 0]
    assert run.leaders.tolist() == [0, 1]
    assert run.recorded[1].tolist() == [[1, 1], [-1, -1], [0.75, 0.5]]
    assert run.points.tolist() == [[1, 1], [-1, -1], [0.875, 0.75]]


@each_engine
def test_step_sizes(engine: str) -> None:
    for alpha, expected in ((0, [0.5, 0.0]), (1 / 3, [0.625, 0.25]), (math.inf, [1.0, 1.0])):
        run = _run(_START, 1, engine, alpha)
        assert run.points.tolist() == [[1, 1], [-1, -1], expected]


@each_engine
def test_a_tie_between_leaders_is_no_label(engine: str) -> None:
    square = [[1, 1], [1, -1], [-1, -1], [-1, 1]]
    run = _run([*square, [0.5, 0], [0, 0]], 3, engine)
    assert run.winners[0].count.tolist() == [1, 1, 1, 1, 2, 6]
    assert run.recorded[1].tolist()[4] == [0.75, 0]
    assert run.recorded[1].tolist()[5] == [0.5 * 0.5 / 6, 0]
    assert run.leader_layer.tolist() == [0, 0, 0, 0, -1, -1]
    assert run.labels.tolist() == [0, 1, 2, 3, -1, -1]
    assert run.points[4].tolist() == [0.9375, 0]


@each_engine
def test_a_leader_that_emerges_later(engine: str) -> None:
    """(1, 0) follows (1.5, 3) and (1.5, -3), who leave for (0, 8) and (0, -8) at once."""
    run = _run([[1.0, 0.0], [1.5, 3.0], [0.0, 8.0], [0.0, -8.0], [1.5, -3.0]], 2, engine)
    assert run.winners[0].count.tolist() == [2, 1, 1, 1, 1]
    assert run.recorded[1].tolist()[0] == [1.25, 0.0]
    assert run.leader_layer.tolist() == [1, -1, 0, 0, -1]
    assert run.labels.tolist() == [0, 2, 2, 3, 3]
    assert run.points[0].tolist() == [1.25, 0.0]


@each_engine
def test_coincident_points_never_lead(engine: str) -> None:
    run = _run([[1, 0], [1, 0], [-1, 0], [0.5, 0]], 3, engine)
    assert run.leader_layer.tolist() == [-1, -1, 0, -1]
    assert run.labels.tolist() == [-1, -1, 2, -1]
    assert run.points.tolist() == [[1, 0], [1, 0], [-1, 0], [0.9375, 0]]


@each_engine
def test_a_label_outlives_the_ties_after_collapse(engine: str) -> None:
    run = _run([[1, 0], [-1, 0], [0.5, 0]], 2, engine, alpha=math.inf)
    assert run.winners[2].count.tolist() == [2, 1, 2]
    assert run.leader_layer.tolist() == [0, 0, -1]
    assert run.labels.tolist() == [0, 1, 0]


@each_engine
def test_a_matrix_turns_the_queries_not_the_keys(engine: str) -> None:
    """A sends x to (x_1, 0): points follow whoever lies furthest along axis 0, by sign of x_1."""
    points = [[3.0, 1.0], [-3.0, 1.0], [0.0, -1.0]]
    run = _run(points, 1, engine, A=[[0, 1], [0, 0]])
    assert run.winners[0].first.tolist() == [0, 0, 1]
    assert run.points.tolist() == [[3, 1], [0, 1], [-1.5, 0]]


@each_engine
def test_one_point_leads_itself(engine: str) -> None:
    run = _run([[0.1, 0.7]], 100, engine)
    assert run.points.tolist() == [[0.1, 0.7]]
    assert (run.leaders.tolist(), run.labels.tolist()) == ([0], [0])


# --- The starts of the paper's Figure 2 (alpha = 0.5, A = I, 30 layers) -------------------------

_SQUARE = [[1, 1], [1, -1], [-1, -1], [-1, 1]]


def _uniform(low: float, high: float, n: int, seed: int) -> list[list[float]]:
    return np.random.default_rng(seed).uniform(low, high, (n, 2)).tolist()


FIGURE_2: dict[str, list[list[float]]] = {
    "emerging leader": [
        [1, 4 / 12], [-1 / 12, 1 / 12], [-1, -1], [0, 3 / 12],
        [-0.3, -0.7], [-0.6, -0.9], [0.8, 0.1], [0.6, 0.15],
    ],
    "triangle": [
        [1, 1], [0.5, -0.5], [-1, -1],
        *_uniform(0, 1, 2, 0), *_uniform(-1, 0, 2, 1), [0.3, -0.2], [0.1, -0.2],
    ],
    "square": [*_SQUARE, *_uniform(-0.5, 0.5, 6, 2)],
    "non-leader clusters": [*_SQUARE, [-0.5, 0], [0.5, 0], *_uniform(-0.5, 0.5, 4, 3)],
}  # fmt: skip


@each_engine
@pytest.mark.parametrize("name", FIGURE_2)
def test_figure_2_equals_the_oracle(name: str, engine: str) -> None:
    start = np.array(FIGURE_2[name], np.float64)
    truth = oracle.simulate(start, 0.5, 30)
    run = _run(start, 30, engine, alpha=0.5)
    for layer in range(31):
        assert_same_bits(run.recorded[layer], truth.points[layer], f"layer {layer}")
    assert_same_bits(run.leader_layer, truth.leader_layer)
    assert_same_bits(run.labels, truth.labels)


def test_figure_2_emerging_leader() -> None:
    run = _run(FIGURE_2["emerging leader"], 30, "reference", alpha=0.5)
    assert run.leader_layer[[0, 2]].tolist() == [0, 0]
    later = np.flatnonzero(run.leader_layer > 0)
    assert len(later) == 1, "one leader emerges after the start"
    assert set(run.labels) <= set(run.leaders)


def test_figure_2_square() -> None:
    run = _run(FIGURE_2["square"], 30, "reference", alpha=0.5)
    assert run.leader_layer.tolist() == [0] * 4 + [-1] * 6
    for point, label in zip(run.recorded[0], run.labels, strict=True):
        assert_same_bits(run.points[label], np.sign(point))


def test_figure_2_clusters_that_are_no_leaders() -> None:
    """By symmetry two points tie between two leaders at every layer: they end up at (+-1, 0)."""
    run = _run(FIGURE_2["non-leader clusters"], 30, "reference", alpha=0.5)
    assert run.leaders.tolist() == [0, 1, 2, 3]
    assert run.labels[[4, 5]].tolist() == [-1, -1]
    assert all(run.winners[layer].count[4] == 2 for layer in range(31))
    # The distance to the limit shrinks by 1 - c = 2/3 a layer; its 30 roundings add 30 ulps of 1.
    limits = np.array([[-1, 0], [1, 0]])
    distance = np.abs(run.points[[4, 5]] - limits).max()
    assert distance <= 0.5 * (2 / 3) ** 30 + 30 * np.finfo(float).eps
