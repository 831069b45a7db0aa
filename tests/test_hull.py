"""Outlines in space: the edges of the convex hull, of bodies and of flat sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from fasthardmax.plotting._hull import edges


def test_rounding_adds_no_edges() -> None:
    noise = np.random.default_rng(0).uniform(-1e-7, 1e-7, (8, 3))
    cube = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0])).reshape(3, -1).T
    assert len(edges(cube + noise)) == 12
    plate = edges(cube * [1, 1, 1e-6] + noise)
    sides = np.linalg.norm(plate[:, 0] - plate[:, 1], axis=1)
    assert sorted(sides[sides > 1e-5].round(5)) == [2, 2, 2, 2]


@pytest.mark.parametrize("seed", range(3))
def test_edges_of_bodies_in_general_position(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(30, 3))
    hull = ConvexHull(points)
    expected = {
        frozenset({tuple(points[a].tolist()), tuple(points[b].tolist())})
        for facet in hull.simplices
        for a in facet
        for b in facet
        if a < b
    }
    found = [frozenset(map(tuple, edge)) for edge in edges(points).tolist()]
    assert set(found) == expected
    assert len(found) == len(expected) == 3 * len(hull.vertices) - 6, "Euler's formula"


@pytest.mark.parametrize(
    ("places_", "sides"),
    [
        ([], 0),
        ([[1, 2, 3]], 0),
        ([[1, 2, 3]] * 3, 0),
        ([[0, 0, 0], [1, 2, 3]], 1),
        ([[0, 0, 0], [1, 2, 3], [2, 4, 6], [0.5, 1, 1.5]], 1),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 3),
        ([[1, 1, 5], [1, -1, 5], [-1, -1, 5], [-1, 1, 5], [0, 0, 5]], 4),
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], 6),
    ],
)
def test_flat_and_small_sets_have_outlines_too(places_: Any, sides: int) -> None:
    points = np.array(places_, float).reshape(-1, 3)
    found = edges(points)
    assert found.shape == (sides, 2, 3)
    ends = found.reshape(-1, 3)
    gaps = np.linalg.norm(ends[:, None] - points, axis=2).min(axis=1, initial=np.inf)
    assert (gaps < 1e-14 * 10).all(), "each end is one of the points"
    assert (np.linalg.norm(found[:, 0] - found[:, 1], axis=1) > 0.5).all()
