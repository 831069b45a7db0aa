"""The analysis of runs: against plain definitions, on degenerate clouds, and its refusals."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from fasthardmax import equilibrium, simulate
from fasthardmax.analysis import (
    cluster_sizes,
    coincident,
    compare_clusterings,
    directions,
    leader_counts,
    leader_polytope,
    spread,
)
from fasthardmax.inputs import read_cloud

from .clouds import CLOUDS, gaussian
from .compare import assert_same_bits

F8 = np.dtype(np.float64)
_LATE = read_cloud("emerging-leader").points
_SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]


# --- Groups -------------------------------------------------------------------------------------


def _cut(points: NDArray[Any], members: list[int], tolerance: float) -> list[list[int]]:
    """Groups by the definition: at the first gap found, cut in two and go on with both."""
    for f in range(points.shape[1]):
        order = sorted(members, key=lambda i: points[i, f])
        for k in range(1, len(order)):
            if points[order[k], f] - points[order[k - 1], f] > tolerance:
                return [
                    group
                    for half in (order[:k], order[k:])
                    for group in _cut(points, half, tolerance)
                ]
    return [members]


def _groups(points: NDArray[Any], tolerance: float) -> NDArray[np.int64]:
    labels = np.empty(len(points), np.int64)
    found = sorted(sorted(group) for group in _cut(points, list(range(len(points))), tolerance))
    for number, group in enumerate(found):
        labels[group] = number
    return labels


@settings(deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 4), st.sampled_from([0, 1, 1.5])
)
def test_coincident_points_by_the_definition(seed: int, n: int, d: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(-4, 5, (n, d)).astype(float)
    labels = coincident(points, tolerance=tolerance)
    assert_same_bits(labels, _groups(points, tolerance))
    turned = coincident(points[:, rng.permutation(d)], tolerance=tolerance)
    assert_same_bits(turned, labels)
    order = rng.permutation(n)
    shuffled = coincident(points[order], tolerance=tolerance)
    assert len(set(zip(shuffled, labels[order], strict=True))) == labels.max() + 1
    near = np.abs(points[:, None] - points[None]).max(axis=2) <= tolerance
    assert (labels[:, None] == labels[None])[near].all()


def test_no_tolerance_groups_equal_points() -> None:
    points = CLOUDS["duplicates"](F8)
    assert_same_bits(coincident(points, tolerance=0), np.tile(np.arange(9), 4))
    assert coincident([[0.0], [-0.0]], tolerance=0).tolist() == [0, 0]


def test_groups_of_a_batch_are_those_of_its_clouds() -> None:
    clouds = np.random.default_rng(0).integers(0, 4, (5, 12, 2)).astype(np.float32)
    clouds[2, 3] = 0
    for group in (coincident, directions):
        together = group(clouds, tolerance=0.1)
        for cloud, labels in zip(clouds, together, strict=True):
            assert_same_bits(labels, group(cloud, tolerance=0.1))


def test_a_run_becomes_as_many_places_as_it_has_leaders() -> None:
    run = simulate(gaussian(300, 3, F8), alpha=1, n_layers=60, method="settling")
    assert coincident(run.points, tolerance=1e-9).max() + 1 == len(run.leaders)
    assert coincident(run.points, tolerance=100).max() == 0


@pytest.mark.parametrize("scale", [1e-320, 1e-160, 1.0, 1e300])
def test_directions(scale: float) -> None:
    angles = np.arange(12) * np.pi / 6
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.concatenate([ring, np.zeros((1, 2)), 7 * ring, -ring])
    labels = directions(points * scale, tolerance=1e-2)
    assert labels.max() + 1 == 12
    assert_same_bits(labels[:12], np.arange(12))
    assert labels[12] == -1
    assert_same_bits(labels[13:25], labels[:12])
    assert_same_bits(labels[25:], np.roll(labels[:12], 6))


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (0, 0), (2, 0, 3), (0, 4, 2), (2, 3, 0)])
def test_groups_of_nothing(shape: tuple[int, ...]) -> None:
    points = np.zeros(shape)
    assert_same_bits(coincident(points, tolerance=1), np.zeros(shape[:-1], np.int64))
    assert_same_bits(directions(points, tolerance=1), np.full(shape[:-1], -1, np.int64))


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf, "small", None, True])
def test_refused_tolerances(tolerance: Any) -> None:
    for call in (
        lambda: coincident(_SQUARE, tolerance=tolerance),
        lambda: directions(_SQUARE, tolerance=tolerance),
        lambda: leader_polytope(equilibrium(_SQUARE, alpha=1), tolerance=tolerance),
    ):
        with pytest.raises(ValueError, match=r"^tolerance: got .*, expected a finite number of at"):
            call()


# --- Leaders and clusters -----------------------------------------------------------------------


def test_leader_counts_by_the_definition() -> None:
    clouds = np.stack([gaussian(8, 2, F8), _LATE, np.zeros((8, 2))])
    run = simulate(clouds, alpha=0.5, n_layers=30)
    expected = [[(e[e >= 0] <= layer).sum() for layer in range(31)] for e in run.leader_layer]
    assert_same_bits(leader_counts(run), np.array(expected))
    assert len(np.unique(expected[1])) > 1, "no leader emerges late: the case shows nothing"
    alone = simulate(_LATE, alpha=0.5, n_layers=30)
    assert_same_bits(leader_counts(alone), np.array(expected[1]))
    for found in (equilibrium(clouds[0], alpha=0.3), equilibrium(clouds, alpha=0.3)):
        counts = leader_counts(found)
        assert counts.shape == (*found.labels.shape[:-1], found.n_layers + 1)
        assert counts[..., -1].sum() == (found.leader_of == np.arange(8)).sum()


def test_cluster_sizes() -> None:
    found = cluster_sizes(equilibrium([*_SQUARE, [0.5, 0.0], [0.3, 0.2]], alpha=0.5).labels)
    assert_same_bits(found.labels, np.array([0, 1, 2, 3, 4]))
    assert_same_bits(found.sizes, np.array([2, 1, 1, 1, 1]))
    assert cluster_sizes([-1, -1]).n_unassigned == 2
    assert cluster_sizes([]).sizes.tolist() == []


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_spread_by_the_definition(scale: float) -> None:
    points = gaussian(80, 3, F8)
    run = simulate(points * scale, alpha=0.5, n_layers=6, record=2)
    found = spread(run)
    assert_same_bits(found.layers, np.array([0, 2, 4, 6]))
    assert_same_bits(found.labels, run.leaders)
    for row, layer in enumerate(found.layers):
        for column, label in enumerate(found.labels):
            own = run.recorded[int(layer)][run.labels == label] / scale
            distance = np.linalg.norm(own - own.mean(axis=0), axis=1)
            assert found.rms[row, column] / scale == pytest.approx(np.sqrt((distance**2).mean()))
            assert found.largest[row, column] / scale == pytest.approx(distance.max())


def test_spread_of_given_clusters() -> None:
    run = simulate([[3.0], [1.0], [5.0], [5.0]], alpha=1, n_layers=0)
    found = spread(run, [-1, 4, 2, 2])
    assert (found.labels.tolist(), found.rms.tolist()) == ([2, 4], [[0.0, 0.0]])
    assert spread(run, [0, 0, 0, -1]).largest.tolist() == [[2.0]]
    assert spread(run, [-1] * 4).rms.shape == (1, 0)


def test_clusterings_are_compared_where_both_have_clusters() -> None:
    found = compare_clusterings([0, 0, 1, 1, -1, 2], [7, 7, 3, 3, 3, -1])
    assert found.n_compared == 4
    assert found.adjusted_rand == found.adjusted_mutual_info == found.v_measure == 1.0
    parts = compare_clusterings([0, 0, 0, 0], [0, 0, 1, 1])
    assert (parts.homogeneity, parts.completeness) == (1.0, 0.0)


# --- The polytope -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_a_cube(dtype: Any, offset: float) -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype)
    inner = 0.5 * gaussian(20, 3, np.dtype(dtype)).clip(-1, 1)
    polytope = leader_polytope(equilibrium(np.concatenate([inner, corners]) + offset, alpha=1))
    assert_same_bits(polytope.leaders, np.arange(20, 28))
    assert polytope.dimension == 3
    assert sorted(map(len, polytope.faces)) == [4] * 6
    for face in polytope.faces:  # cyclic: neighbours differ in one coordinate
        steps = corners[face] - corners[np.roll(face, -1)]
        assert (np.count_nonzero(steps, axis=1) == 1).all()
    assert len(polytope.edges) == 12


@pytest.mark.parametrize("d", [2, 3])
def test_faces_are_a_closed_surface(d: int) -> None:
    run = equilibrium(gaussian(500, d, F8) @ np.diag([1, 2, 3][:d]), alpha=1)
    polytope = leader_polytope(run)
    k = len(polytope.vertices)
    if d == 2:
        (face,) = polytope.faces
        assert sorted(face) == list(range(k))
        assert len(polytope.edges) == k
        turn = np.roll(polytope.vertices[face], -1, axis=0) - polytope.vertices[face]
        after = np.roll(turn, -1, axis=0)
        assert len(set(np.sign(turn[:, 0] * after[:, 1] - turn[:, 1] * after[:, 0]))) == 1
    else:
        assert k - len(polytope.edges) + len(polytope.faces) == 2  # Euler's formula
        assert len(np.unique(np.concatenate(polytope.faces))) == k


@pytest.mark.parametrize("d", [2, 3, 4, 6])
def test_every_leader_is_a_vertex(d: int) -> None:
    points = gaussian(200, d, F8)
    general = np.random.default_rng(d).standard_normal((d, d))
    for matrix in (None, general @ general.T, general):
        run = simulate(points, alpha=1, n_layers=10, A=matrix, method="settling")
        polytope = leader_polytope(run)
        places = polytope.vertices
        assert_same_bits(polytope.leaders, run.leaders)
        if len(places) > d + 1:
            assert len(ConvexHull(places).vertices) == len(places)


@pytest.mark.parametrize(
    ("points", "dimension", "n_faces", "n_edges"),
    [
        (np.zeros((0, 3)), -1, 0, 0),
        ([[0.3, 0.1, 0.2]], 0, 0, 0),
        ([[1.0, 2.0, -1.0], [-1.0, -2.0, 1.0], [0.1, 0.2, -0.1]], 1, 0, 1),
        ([[1.0], [-3.0], [0.5]], 1, 0, 1),
        ([[x, y, 0.2 * x - y] for x, y in _SQUARE], 2, 1, 4),
        ([[x, y, 0.5] for x, y in _SQUARE], 2, 1, 4),
        ([[x, y, 3.0, 0.5, x + y] for x, y in _SQUARE], 2, 1, 4),
        (np.eye(3), 2, 1, 3),
        (np.eye(4), 3, 4, 6),
        (np.eye(6), 5, 0, 0),
        (np.concatenate([np.eye(3), -np.eye(3)]), 3, 8, 12),
        ([[1.0, 0.0], [1.0, 0.0]], 0, 0, 0),
    ],
)
def test_flat_and_small_polytopes(points: Any, dimension: int, n_faces: int, n_edges: int) -> None:
    polytope = leader_polytope(equilibrium(points, alpha=1))
    assert polytope.dimension == dimension
    assert (len(polytope.faces), len(polytope.edges)) == (n_faces, n_edges)
    for face in polytope.faces:
        assert len(set(face)) == len(face) >= 3
    if dimension == 2:
        assert len(polytope.faces[0]) == len(polytope.vertices)


def test_the_tolerance_decides_what_is_flat() -> None:
    thin = [[x, y, z] for x, y in _SQUARE for z in (-1e-4, 1e-4)]
    run = equilibrium(thin, alpha=1)
    assert leader_polytope(run).dimension == 3
    assert leader_polytope(run, tolerance=1e-3).dimension == 2
    assert len(leader_polytope(run, tolerance=1e-3).vertices) == 8


def test_the_polytope_of_a_layer() -> None:
    run = simulate(_LATE, alpha=0.5, n_layers=30)
    assert len(np.unique(leader_counts(run))) > 1
    for layer, count in enumerate(leader_counts(run)):
        assert len(leader_polytope(run, layer=layer).vertices) == count


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (spread, ValueError, "run: got a batch of 2 clouds, expected one"),
        (leader_polytope, ValueError, "run: got a batch of 2 clouds, exp"),
        (lambda _: leader_counts(_SQUARE), TypeError, "run: got list, expected a Trajectory or"),
        (lambda _: spread(equilibrium(_SQUARE, alpha=1)), TypeError, "run: got Equilibrium, exp"),
        (lambda _: cluster_sizes([[1]]), ValueError, "labels: got shape (1, 1), expected (n,)"),
        (lambda _: cluster_sizes([0.5]), TypeError, "labels: got dtype float64, expected integers"),
        (
            lambda _: spread(simulate(_SQUARE, alpha=1, n_layers=0), [1]),
            ValueError,
            "labels: got 1, expected 4, one for each point",
        ),
        (lambda _: compare_clusterings([1, 2], [1]), ValueError, "second: got 1 labels, exp"),
        (lambda _: compare_clusterings([-1], [1]), ValueError, "first and second: got no point"),
        (
            lambda _: leader_polytope(equilibrium(_SQUARE, alpha=1), layer=-1),
            ValueError,
            "layer: got -1, expected an integer of at least 0",
        ),
    ],
)  # fmt: skip
def test_refusals(call: Any, error: type[Exception], sentence: str) -> None:
    batch = simulate([_SQUARE, _SQUARE], alpha=1, n_layers=1)
    with pytest.raises(error) as caught:
        call(batch)
    assert str(caught.value).startswith(sentence)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(ImportError, match=r"scikit-learn is missing: .*'fasthardmax\[data\]'"):
        compare_clusterings([0], [0])
    polytope = leader_polytope(equilibrium(np.eye(4), alpha=1))
    with pytest.raises(ImportError, match=r"scipy is missing: .*'fasthardmax\[data\]'"):
        polytope.faces  # noqa: B018  # reading it is what fails
