"""The cones engine in the plane: polygons of keys, candidates side by side, boxes in slabs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fasthardmax._problem import self_attention
from fasthardmax.engines import _cones_divide, _cones_edges, _cones_plane, _cones_polygon, cones
from fasthardmax.engines import _cones_search as search
from fasthardmax.engines._cones_entries import candidate_of, length_of
from fasthardmax.engines._cones_margins import margins
from fasthardmax.engines._cones_vectors import LANES
from fasthardmax.index import HardmaxIndex
from fasthardmax.numerics import canonical_scores

from .clouds import DTYPES, Array, DType, ball, circle, gaussian, lattice, seeded
from .compare import assert_same_bits
from .cones_clouds import HARD
from .test_cones import _check

_UNIT = np.ones(2)


def _margin(keys: Array) -> tuple[int, float, float, float]:
    relative, absolute, slip = margins(2, keys.dtype)
    peak = np.abs(keys).max(axis=0).astype(np.float64)
    exponent = int(np.frexp(peak.max())[1])
    return exponent, relative, absolute * float(np.ldexp(peak, -exponent).sum()), slip


def _polygon(corners: list[tuple[float, float]], relative: float = 0.0) -> Array:
    columns = np.array(corners, np.float64).T.copy()
    edges = np.empty((len(corners), 3))
    heads = np.arange(len(corners))
    return edges[: _cones_edges.polygon(columns, heads, _UNIT, relative, 0.0, edges)]


def test_edges_of_a_square() -> None:
    """Corners that come again and those on a side do not count; the margin moves edges inwards."""
    square = [
        (1.0, 1.0),
        (1.0, 1.0),
        (0.0, 1.0),
        (-0.5, 1.0),
        (-1.0, 1.0),
        (-1.0, -1.0),
        (1.0, -1.0),
    ]
    expected = {(0.0, 1.0, 1.0), (-1.0, 0.0, 1.0), (0.0, -1.0, 1.0), (1.0, 0.0, 1.0)}
    assert set(map(tuple, _polygon(square).tolist())) == expected
    assert (_polygon(square, 0.125)[:, 2] == 1 - 0.125 * 2).all()


@pytest.mark.parametrize(
    "corners",
    [
        [(0.0, 0.0)] * 4,
        [(0.0, 0.0), (1.0, 1.0)] * 2,
        [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)],
        [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)],
    ],
    ids=["a point", "to and fro", "a line", "to the right"],
)
def test_what_is_no_polygon_has_no_edges(corners: list[tuple[float, float]]) -> None:
    assert len(_polygon(corners)) == 0


def test_a_star_has_no_edges() -> None:
    """Every turn of a pentagram is to the left, but it goes around twice."""
    angles = 4 * np.pi * np.arange(5) / 5
    assert len(_polygon(list(zip(np.cos(angles), np.sin(angles), strict=True)))) == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_outside_is_what_is_not_inside_of_all_edges(dtype: DType) -> None:
    keys = gaussian(1000, 2, dtype)
    edges = _polygon([(2.0, 0.0), (0.5, 1.5), (-1.0, 0.25), (0.0, -2.0)])
    assert len(edges) == 4
    exact = keys.astype(np.float64)
    beyond = (exact @ edges[:, :2].T - edges[:, 2]).max(axis=1) + 0.01 * np.abs(exact).sum(axis=1)
    kept = np.full(1000, -1)
    found = _cones_edges.outside(keys, edges, 0.01, 3, 997, kept)
    expected = np.flatnonzero(beyond >= 0)
    expected = expected[(expected >= 3) & (expected < 997)]
    assert np.abs(beyond).min() > 1e-12  # rounding decides nothing
    np.testing.assert_array_equal(kept[3 : 3 + found], expected)
    assert (kept[:3] == -1).all()
    assert (kept[997:] == -1).all()


def _winners(keys: Array, query: Array) -> set[int]:
    scores = canonical_scores(query, keys)
    return set(np.nonzero(scores == scores.max(axis=1, keepdims=True))[1].tolist())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", HARD)
def test_a_polygon_leaves_every_winner(kind: str, dtype: DType) -> None:
    """For queries anywhere and perpendicular to lines through two outer keys, where those tie."""
    keys = np.ascontiguousarray(HARD[kind](3000, 2, dtype))
    kept = _cones_polygon.outer_keys(keys, *_margin(keys), 2)
    some = keys[kept[seeded(f"polygon {kind}").integers(0, len(kept), (2, 400))]]
    across = (some[0] - some[1])[:, ::-1] * np.array([1, -1], dtype)
    query = np.concatenate([gaussian(300, 2, dtype), across, -across, keys[:100]])
    query = query[query.any(axis=1)]  # others tie with every key, and are told apart beforehand
    assert _winners(keys, query) <= set(kept.tolist())
    if kind in ("Gaussian", "cube", "heavy tails", "two far clusters", "stretched"):
        assert len(kept) < 300


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_polygon_without_a_margin_loses_winners(dtype: DType) -> None:
    """Keys an ulp inside of a side, which rounding lets win."""
    keys = gaussian(4000, 2, dtype) / dtype.type(8)
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], dtype) * dtype.type(1.5)
    slanted = corners[[0, 1]] + np.array([(0.25, 0.5), (-0.125, 0.75)], dtype)
    shares = np.linspace(0.1, 0.9, 400)[:, None]
    keys[:2], keys[2:4] = slanted, corners[2:]
    keys[5:405] = slanted[0] * shares.astype(dtype) + slanted[1] * (1 - shares).astype(dtype)
    relative, absolute = _margin(keys)[1:3]
    across = (slanted[1] - slanted[0])[::-1] * np.array([1, -1], dtype)
    won = _winners(keys, np.stack([across, across * dtype.type(0.7), across * dtype.type(1.1)]))
    assert len(won) > 4

    def kept(relative: float, absolute: float) -> set[int]:
        edges = _cones_polygon._polygon(keys, 16, relative, absolute)
        return set(_cones_polygon._outside(keys, edges, relative, 1).tolist())

    assert won <= kept(relative, absolute)
    assert len(kept(relative, absolute)) < 500
    assert not won <= kept(-relative, 0.0)


def test_keys_of_extreme_scales_are_answered() -> None:
    dtype = DTYPES[1]
    for scales in ((1e-300, 1e-300), (1e-160, 1e140), (1e100, 1e-200), (1e140, 1e120)):
        points = gaussian(3000, 2, dtype) * np.array(scales)
        query = np.ascontiguousarray(np.sign(points[:100]) * 0.5)
        _check(self_attention(points[None], query[None], 2))


def test_keys_of_a_ball_are_left_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    points = ball(30_000, 2, DTYPES[1])
    twice = _cones_polygon.outer_keys(points, *_margin(points), 2)
    monkeypatch.setattr(_cones_polygon, "_WORTH_ANOTHER", 1 << 20)
    first = _cones_polygon.outer_keys(points, *_margin(points), 2)
    assert set(twice) < set(first)
    assert 4 * len(twice) < len(first)


@pytest.mark.parametrize("kind", ["circle", "lattice", "duplicates", "collinear", "near ties"])
def test_boxes_in_slabs_hold_all_keys(kind: str) -> None:
    keys = HARD[kind](999, 2, DTYPES[0]) if kind in HARD else circle(999, DTYPES[0])
    order, boxes = _cones_plane.tree(keys)
    n = len(keys)
    assert sorted(order.tolist()) == list(range(n))
    number = 1
    for level in range(len(boxes).bit_length() - 1):
        for i in range(1 << level):
            inside = keys[order[n * i >> level : n * (i + 1) >> level]]
            np.testing.assert_array_equal(boxes[number, 0], inside.min(axis=0))
            np.testing.assert_array_equal(boxes[number, 1], inside.max(axis=0))
            number += 1
    assert number == len(boxes)


@pytest.mark.parametrize("kind", ["sphere", "near ties"])
def test_candidates_lie_as_their_lists_run(kind: str) -> None:
    """Each list names neighbours, by slope, of one face; none is named twice."""
    points = HARD[kind](2500, 2, DTYPES[0])
    points = points[np.unique(points, axis=0, return_index=True)[1]]
    index = cones.build(points, np.abs(points).max(axis=0), 2)
    np.testing.assert_array_equal(points[index.members], index.candidates)
    runs = [(candidate_of.py_func(e), length_of.py_func(e)) for e in index.table if e < 0]
    assert sum(length > 1 for _, length in runs) > 10
    leaves = index.high > 0
    runs += zip(index.low[leaves], index.high[leaves], strict=True)
    for first, length in runs:
        assert len(set(index.members[first : first + length].tolist())) == length
        rises = np.diff(index.candidates[first : first + length], axis=0)
        assert (rises >= 0).all(axis=0).any()
    assert (len(index.lists) == 0) == index.high.all()


def test_more_candidates_than_entries_can_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell has a node then."""
    monkeypatch.setattr(_cones_plane, "MOST_CANDIDATES", 0)
    points = circle(3000, DTYPES[1])
    index = cones.build(points, np.ones(2), 2)
    assert (index.table >= 0).all()
    assert len(index.lists) == 0
    _check(self_attention(points[None], points[None], 2))


def test_a_key_on_two_faces_is_one_candidate() -> None:
    """The corners of a square win on two faces each."""
    corners = np.array([(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0), (0.25, 0.5)])
    assert HardmaxIndex(corners).n_candidates == 4
    index = cones.build(corners, np.ones(2), 1)
    assert len(index.candidates) > 4


@pytest.mark.parametrize("kind", [gaussian, circle], ids=["gaussian", "circle"])
def test_a_look_serves_the_search(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    points = kind(30_000, 2, DTYPES[1]) if kind is gaussian else kind(30_000, DTYPES[1])
    problem = self_attention(points[None], points[None], 2)
    (seen,) = cones.forecast(problem, np.inf).prepared
    assert (seen.left < 0.01) == (kind is gaussian)
    expected = cones.run(problem)
    monkeypatch.setattr(_cones_polygon, "look", lambda *_: pytest.fail("it looks twice"))
    assert_same_bits(cones.run(problem, seen).mean, expected.mean, "mean")


@pytest.mark.parametrize("d", [1, 2, 3])
def test_many_queries_that_no_cell_is_for(d: int) -> None:
    """Too short ones, and any where all keys are zero, more of them than are looked up singly."""
    assert search._FETCHED < 60
    for keys in (np.zeros((40, d)), gaussian(40, d, DTYPES[1])):
        query = np.zeros((200, d))
        query[60:130] = 5e-324
        query[130:] = gaussian(70, d, DTYPES[1])
        _check(self_attention(keys[None], query[None], 2))


@pytest.mark.parametrize("n", [3, LANES + 1, 5 * LANES - 3, 5 * LANES])
def test_one_feature_lists_nothing_but_keys(n: int) -> None:
    """What fills up the last vector of keys is none."""
    keys, size = np.ones((1, n)), np.full(n, 1e-3)
    keys[0, -1] = 0.5
    table = np.empty(1, np.int32)
    limits = (1e-15, 2.0**-40, 1, 6, 64, 1000.0, 64)
    nobody, counts = (np.empty((0, 0)), np.inf), np.zeros(2)
    low, high, _, lists = _cones_divide.divide(keys, size, 0, 1, table, *limits, *nobody, counts)
    assert table.tolist() == [0]
    assert (low[0], high[0]) == (0, n - 1)
    assert sorted(lists.tolist()) == list(range(n - 1))
    points = lattice(40, 1, DTYPES[1])
    _check(self_attention(points[None], points[None], 1))
