"""The polytope of the leaders: its vertices in any dimension, and its faces for drawing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import check_count
from ..dynamics import Trajectory
from ..equilibrium import Equilibrium
from ._groups import check_tolerance
from ._leaders import check_run, emergence

__all__ = ["Polytope", "leader_polytope"]

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Polytope:
    """The convex hull of leaders; each of them is a vertex.

    Attributes
    ----------
    vertices : ndarray, shape (k, d)
    leaders : ndarray of int64, shape (k,)
        Which point each vertex is.
    dimension : int
        0 for a point, 1 for a segment, 2 for a polygon and so on, whatever d is; -1 for nothing.
    faces : list of ndarray of int64
        For dimensions 2 and 3: the polygon, or the facets, each as vertex numbers in cyclic order.
        Otherwise empty.
    edges : ndarray of int64, shape (m, 2)
        For dimensions 1 to 3: which vertices an edge joins. Otherwise without rows.
    """

    vertices: NDArray[Any]
    leaders: Index
    dimension: int
    _axes: NDArray[np.float64]  # (k, dimension): coordinates within the polytope's own space

    @cached_property
    def faces(self) -> list[Index]:
        if self.dimension == 2:
            return [_around(self._axes, np.arange(len(self.vertices)))]
        if self.dimension == 3:
            return _facets(self._axes)
        return []

    @cached_property
    def edges(self) -> Index:
        if self.dimension == 1:
            line = self._axes[:, 0]
            return np.array([[np.argmin(line), np.argmax(line)]], np.int64)
        if not self.faces:
            return np.empty((0, 2), np.int64)
        sides = [np.stack([face, np.roll(face, -1)], axis=1) for face in self.faces]
        return np.unique(np.sort(np.concatenate(sides), axis=1), axis=0)


def leader_polytope(
    run: Trajectory | Equilibrium, *, layer: int | None = None, tolerance: float = 1e-9
) -> Polytope:
    """Build the convex hull of the leaders.

    Parameters
    ----------
    run : Trajectory or Equilibrium
        Of one cloud.
    layer : int, optional
        Only the leaders that have emerged by this layer; by default all.
    tolerance : float, at least 0, default 1e-9
        How flat is flat: the polytope has no extent in directions in which its leaders spread by no
        more than this times their largest spread. It decides ``dimension``, and so which faces
        there are, but never which leaders are vertices.

    Returns
    -------
    Polytope

    Raises
    ------
    ValueError, TypeError
        For a batch, or options out of range.
    ImportError
        On ``faces`` or ``edges`` of a polytope of dimension 3, if SciPy is missing.

    Notes
    -----
    Every leader is a vertex, in any dimension and for any ``A``, so that none has to be computed: a
    leader w has <A w, w> > <A w, y> for every other location y of its layer, and points of later
    layers are convex combinations of those. The hyperplane <A w, .> = <A w, w> therefore touches
    the hull of all points in w alone. (A stepped trajectory can go on after points have collapsed
    onto a leader to within rounding, and then names one of them as a leader beside it.)

    Cost: O(k d^2) for k leaders; faces and edges O(k log k).

    References
    ----------
    Alcalde, Fantuzzi, Zuazua, "Clustering in pure-attention hardmax transformers and its role in
    sentiment analysis", SIAM J. Math. Data Sci. 7(3), 2025, arXiv:2407.01602 (the polytope).

    Examples
    --------
    >>> from fasthardmax import equilibrium
    >>> from fasthardmax.analysis import leader_polytope
    >>> square = [[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0], [1.0, -1.0], [-1.0, 1.0]]
    >>> polytope = leader_polytope(equilibrium(square, alpha=1))
    >>> polytope.leaders, polytope.dimension
    (array([0, 1, 3, 4]), 2)
    >>> polytope.edges.tolist()
    [[0, 2], [0, 3], [1, 2], [1, 3]]
    """
    check_run("run", run, one_cloud=True)
    limit = check_tolerance(tolerance)
    emerged = emergence(run)
    last = run.n_layers if layer is None else check_count("layer", layer, 0)
    leaders = np.flatnonzero((emerged >= 0) & (emerged <= last)).astype(np.int64)
    places = run.points if isinstance(run, Trajectory) else run.limit
    vertices = places[leaders]
    axes = _own_axes(vertices, limit)
    return Polytope(vertices, leaders, axes.shape[1] if len(leaders) else -1, axes)


def _own_axes(vertices: NDArray[Any], tolerance: float) -> NDArray[np.float64]:
    """Coordinates (k, r) along the r directions in which the vertices spread, about a unit wide."""
    scale = np.abs(vertices).max(initial=0) or 1.0
    x = vertices.astype(np.float64) / float(scale)
    x -= x.mean(axis=0) if len(x) else 0.0
    if x.size == 0:
        return np.empty((len(x), 0))
    along, width, _ = np.linalg.svd(x, full_matrices=False)
    spreads = width > max(tolerance * width[0], np.finfo(vertices.dtype).eps * len(x))
    return along[:, spreads] * (width[spreads] / width[0])


def _around(plane: NDArray[np.float64], members: NDArray[np.intp]) -> Index:
    """Members in cyclic order around their middle; ``plane`` (k, 2)."""
    x, y = (plane[members] - plane[members].mean(axis=0)).T
    return members[np.argsort(np.arctan2(y, x), kind="stable")].astype(np.int64)


def _facets(space: NDArray[np.float64]) -> list[Index]:
    try:
        from scipy.spatial import ConvexHull, QhullError
    except ImportError:
        raise ImportError(
            "polytope: the package scipy is missing: pip install 'fasthardmax[data]'"
        ) from None
    try:
        hull = ConvexHull(space)
    except QhullError:
        raise ValueError(
            "tolerance: got one by which these leaders are not flat, but their facets cannot be "
            "told apart; expected a larger one"
        ) from None
    # Qhull cuts facets into triangles; those of one facet have one equation.
    planes, which = np.unique(hull.equations, axis=0, return_inverse=True)
    facets = []
    for number, plane in enumerate(planes):
        members = np.unique(hull.simplices[which.reshape(-1) == number])
        flat = np.linalg.svd(plane[None, :3])[2][1:]  # two directions within the facet
        facets.append(_around(space @ flat.T, members))
    return facets
