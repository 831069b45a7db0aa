"""SciPy's convex hull (Qhull), then a search over its vertices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from . import Contestant, Search
from .numpy_blocks import blocked_argmax
from .tiles import Crew

Array = NDArray[Any]

_ROWS = 1 << 14


def _load(
    title: str, note: str, max_features: int, indexes: dict[str, Callable[[Array], Search]]
) -> Contestant:
    return Contestant(
        title=title,
        version=scipy.__version__,
        ties="one, unspecified; fails for points in one hyperplane",
        note=f"own threads over blocks; {note}",
        indexes=indexes,
        max_features=max_features,
    )


def load_product(threads: int) -> Contestant:
    """In any dimension: the blocked product with the vertices, then argmax."""
    argmax = blocked_argmax(threads)

    def index(key: Array, mebibytes: float) -> Search:
        vertices = np.sort(ConvexHull(key).vertices)
        corners = np.ascontiguousarray(key[vertices])
        return lambda query: vertices[argmax(query, corners, mebibytes, in_blas=False)]

    return _load(
        "SciPy, ConvexHull + product with its vertices",
        "to d = 5, for the number of facets grows exponentially with d",
        5,
        {f"{mebibytes} MiB blocks": partial(index, mebibytes=mebibytes) for mebibytes in (0.5, 2)},
    )


def load_angles(threads: int) -> Contestant:
    """In the plane: binary search for a query's angle among the normals of the edges."""
    crew = Crew(threads)

    def index(key: Array) -> Search:
        vertices = ConvexHull(key).vertices  # counter-clockwise
        edges = np.roll(key[vertices], -1, axis=0) - key[vertices]
        normals = np.arctan2(-edges[:, 0], edges[:, 1])
        # A vertex wins between the normals of the edges that end and begin there.
        first = int(np.argmin(normals))
        vertices, normals = np.roll(vertices, -first), np.roll(normals, -first)

        def search(query: Array) -> NDArray[np.int64]:
            result = np.empty(len(query), np.int64)

            def answer(starts: range) -> None:
                for start in starts:
                    rows = slice(start, start + _ROWS)
                    angles = np.arctan2(query[rows, 1], query[rows, 0])
                    result[rows] = vertices[np.searchsorted(normals, angles) % len(vertices)]

            crew.run(answer, len(query), _ROWS)
            return result

        return search

    return _load("SciPy, ConvexHull + binary search for the angle", "in the plane", 2, {"": index})
