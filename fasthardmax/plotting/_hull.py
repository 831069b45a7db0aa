"""The outline of the leaders' polytope: a polygon in the plane, edges in space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["edges", "hull_in_space", "polygon"]

# What no eye tells apart is drawn as one, which spares the picture the rounding of the places.
_FLAT = 1e-4  # thinner than this, compared with its length, a body is flat
_PARALLEL = 1e-6  # facets whose normals' cosine is nearer to 1, an angle of 0.08 degrees, are one


def polygon(points: NDArray[Any]) -> NDArray[Any]:
    """Corners of the convex hull of points (m, 2), anticlockwise; the two ends of a segment.

    Andrew's monotone chain, which takes any points: coincident, collinear, or none.
    """
    ordered = [tuple(point) for point in np.unique(points, axis=0)]
    if len(ordered) < 3:
        return np.array(ordered).reshape(-1, 2)
    chains = []
    for sequence in (ordered, ordered[::-1]):
        chain: list[tuple[float, ...]] = []
        for x, y in sequence:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], (x, y)) <= 0:
                chain.pop()
            chain.append((x, y))
        chains += chain[:-1]
    return np.array(chains)


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    """Positive where the path a, b, c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def edges(points: NDArray[Any]) -> NDArray[Any]:
    """The edges (e, 2, k) of the convex hull of points (m, k), k = 2 or 3; none for one place.

    In space, flat sets have the outline of their polygon, and facets in one plane no edge between
    them.
    """
    k = points.shape[1]
    if k == 2:
        return _around(polygon(points))
    places = np.unique(points, axis=0)
    if len(places) < 2:
        return np.empty((0, 2, k))
    centre = places.mean(axis=0)
    _, spread, axes = np.linalg.svd(places - centre, full_matrices=False)
    rank = int(np.count_nonzero(spread > _FLAT * spread[0]))
    if rank < 3:
        flat = (places - centre) @ axes[:2].T
        flat[:, rank:] = 0
        return _around(polygon(flat)) @ axes[:2] + centre
    return _edges_of_a_body(places)


def _around(corners: NDArray[Any]) -> NDArray[Any]:
    """The sides of a polygon; a segment has one."""
    sides = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
    return sides[: max(len(corners) - 1, 0)] if len(corners) < 3 else sides


def hull_in_space() -> Any:
    """SciPy's convex hull, or one sentence on how to get it."""
    try:
        from scipy.spatial import ConvexHull
    except ImportError:
        raise ImportError(
            "plotting: the package scipy is missing: pip install 'fasthardmax[plot]'"
        ) from None
    return ConvexHull


def _edges_of_a_body(places: NDArray[Any]) -> NDArray[Any]:
    hull = hull_in_space()(places)
    facet, side = np.indices(hull.neighbors.shape).reshape(2, -1)
    other = hull.neighbors[facet, side]
    normals = hull.equations[:, :3]
    bent = 1 - np.einsum("ij,ij->i", normals[facet], normals[other]) > _PARALLEL
    kept = bent & (facet < other)  # each edge has two facets
    facet, side = facet[kept], side[kept]
    ends = hull.simplices[facet[:, None], (side[:, None] + [1, 2]) % 3]
    found: NDArray[Any] = places[ends]
    return found
