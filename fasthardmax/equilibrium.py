"""Infinitely many layers: where every point of a cloud goes, and of what kind its limit is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import engines
from ._clouds import read_clouds
from ._problem import self_attention
from ._validate import check_alpha, check_choice, check_count, check_threads
from .certificate import Certificate, certify
from .settling import Settling

__all__ = ["Equilibrium", "equilibrium"]

_SHRUNK = 50  # e^-50 of an offset is left after the default number of layers, and
_AT_LEAST = 100  # so many layers are looked at whatever alpha is


@dataclass(frozen=True, slots=True, eq=False)
class Equilibrium:
    """What :func:`equilibrium` found; for batches every shape below gains a leading B.

    Attributes
    ----------
    limit : ndarray, shape (n, d)
        The limit of every settled point; for the others, where they are after ``n_layers`` layers.
    kind : ndarray of str, shape (n,)
        "leader": a leader's place. "face": the mean of leaders that tie, which is the projection of
        the origin onto a face of their polytope in the norm of ``A``; only for symmetric positive
        definite ``A``. "stationary": such a mean, or a place of rest in a tie, for other ``A``.
        "not settled": nothing is claimed.
    labels : ndarray of int64, shape (n,)
        Clusters, numbered from 0 in order of their first points: points with one label have the
        same limit. -1: not settled.
    settled_at : ndarray of int64, shape (n,)
        The layer from which on the limit of each point is certain; -1 for the others.
    residual : ndarray, shape (n,)
        For points that are not settled, how far they still are from the mean of their winners; 0
        for settled ones.
    leader_of : ndarray of int64, shape (n,)
        The leader that each point goes to; of points that lead at one place, the lowest. -1 where
        the limit is no leader.
    n_layers : int
        How many layers were looked at.
    n_passes : float
        How many queries were searched for, over n: the cost in passes over all queries.
    alpha : float
    engine : str
        The engine that ran last: "auto" chooses one for each layer.
    """

    limit: NDArray[Any]
    labels: NDArray[np.int64]
    settled_at: NDArray[np.int64]
    residual: NDArray[Any]
    leader_of: NDArray[np.int64]
    n_layers: int
    n_passes: float
    alpha: float
    engine: str
    _start: NDArray[Any] = field(repr=False)  # (B, n, d)
    _matrix: NDArray[Any] | None = field(repr=False)

    @property
    def kind(self) -> NDArray[np.str_]:
        """What each limit is; a new array of words at each call."""
        word = np.where(self.settled_at >= 0, np.where(self.leader_of >= 0, 1, 2), 0)
        other = "face" if _is_spd(self._matrix) else "stationary"
        return np.array(["not settled", "leader", other])[word]

    @property
    def leaders(self) -> NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the leaders; for batches (batch indices, point indices)."""
        leads = self.leader_of == np.arange(self.leader_of.shape[-1])
        found = tuple(index.astype(np.int64) for index in np.nonzero(leads))
        return found[0] if len(found) == 1 else (found[0], found[1])

    def certificate(self) -> Certificate:
        """Check the claim from scratch, independently of how it was found.

        The layers up to the last at which a point settled are stepped again, with a full search at
        each, and every settled point is held to the conditions under which its limit is proven: see
        :mod:`fasthardmax.certificate`.

        Returns
        -------
        Certificate

        Notes
        -----
        Cost: up to three passes over all queries for each layer until the last point settled.

        Examples
        --------
        >>> from fasthardmax import equilibrium
        >>> found = equilibrium([[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]], alpha=1.0)
        >>> found.certificate().holds
        True
        """
        shape = self._start.shape
        return certify(
            self._start,
            self._matrix,
            self.alpha,
            self.limit.reshape(shape),
            self.settled_at.reshape(shape[:2]),
            self.leader_of.reshape(shape[:2]),
            single=self.limit.ndim == 2,
        )


def equilibrium(
    points: ArrayLike,
    *,
    alpha: float,
    A: ArrayLike | None = None,
    max_layers: int | None = None,
    engine: str = "auto",
    num_threads: int | None = None,
) -> Equilibrium:
    """Find the limit of every point under infinitely many layers of hardmax attention.

    The dynamics are those of :func:`~fasthardmax.simulate`. Points are followed until each has
    *settled*: from there on its winners, and so its limit, are proven not to change.

    Parameters
    ----------
    points : array_like, shape (n, d) or (B, n, d)
        One cloud, or B independent clouds.
    alpha : float in (0, inf]
        Step size; ``inf`` moves each point onto its mean.
    A : array_like, shape (d, d), optional
        The identity by default. Symmetric positive definite in the paper; any matrix runs.
    max_layers : int, optional
        Give up on points that have not settled by this layer. By default ``100 + 50 / log(1 +
        alpha)``: long enough for any fixed offset to shrink by e^-50.
    engine, num_threads
        As for :func:`fasthardmax.hardmax_attention`.

    Returns
    -------
    Equilibrium

    Raises
    ------
    ValueError
        For wrong shapes, NaN or infinity, an ``alpha`` that is not positive, points so large that
        scores or sums could overflow, unknown options.
    TypeError
        For inputs that are not real numbers of at most 64 bits.

    Notes
    -----
    What is guaranteed, up to the rounding that :func:`~fasthardmax.simulate` states for settling:

    - *Any A.* A point of kind "leader" goes to its leader, "face" and "stationary" to ``limit``:
      the lemma in :mod:`fasthardmax.settling` needs no more than that scores are bilinear.
    - *Symmetric positive definite A.* By the paper each point converges to a leader or to a
      projection of the origin onto a face of a polytope, so that few points are left unsettled:
      those in ties that hold only in the limit.
    - *Symmetric negative semidefinite A.* The cloud contracts, for ever if the origin stays inside:
      expect "not settled", ``max_layers`` passes, and a shrinking residual. Should the origin come
      to lie outside, the point nearest to it may lead.
    - *Symmetric indefinite A.* Points may lead, as with any A, and may go to and fro for ever along
      directions in which the form is negative.
    - *Singular A.* Points whose query is zero tie with all; others with one query share their
      winners. Those that settle are certain as with any A; no projection is claimed.
    - *Other A.* Points may circle for ever; those that do are "not settled". The others' limits are
      certain, and nothing is said of where they lie.
    - Points that exact dynamics brings together only in the limit, without any of them at rest, are
      one place once they are equal bit for bit.

    Cost: passes over all queries, O(n^2 d) each, are counted in ``n_passes``. With ``A = I`` and
    ``alpha >= 0.5``, 2000 to 20,000 points and d = 2, 3, 8: 1.0 to 1.4 for Gaussian data and balls,
    1.0 to 2.2 for cubes, where winners near the corners move too: of the 0.76 passes after the
    first (d = 3, on average) 0.47 find another winner than the layer before. With a random
    symmetric positive definite ``A``: 1.0 to 3.9, and up to 19 for ``alpha = 0.05``. At most
    ``max_layers + 1``, or twice that where ties are tested.

    An interrupted search for the equilibrium starts anew. Where one pass takes long, let
    :func:`~fasthardmax.simulate` go to a late layer with a :class:`~fasthardmax.TrajectoryStore`:
    it searches for the same winners, and can be resumed.

    References
    ----------
    Alcalde, Fantuzzi, Zuazua, "Clustering in pure-attention hardmax transformers and its role in
    sentiment analysis", SIAM J. Math. Data Sci. 7(3), 2025, arXiv:2407.01602 (the theorem).

    Examples
    --------
    Two corners of a square tie for (0.5, 0): its limit is on the edge between them.

    >>> from fasthardmax import equilibrium
    >>> square = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]
    >>> found = equilibrium([*square, [0.5, 0.0], [0.3, 0.2]], alpha=0.5)
    >>> found.limit[4:]
    array([[1., 0.],
           [1., 1.]])
    >>> found.kind[4:].tolist(), found.leaders
    (['face', 'leader'], array([0, 1, 2, 3]))
    """
    check_choice("engine", engine, engines.engine_names())
    alpha = check_alpha(alpha)
    if alpha == 0:
        raise ValueError(f"alpha: got {alpha!r}, expected a positive number (inf is allowed)")
    deepest = math.ceil(_AT_LEAST + _SHRUNK / math.log1p(alpha))
    if max_layers is not None:
        deepest = check_count("max_layers", max_layers, 0)
    threads = check_threads(num_threads)
    clouds, matrix, single, peak = read_clouds(points, A, threads)
    runner = engines.Runner(engine, self_attention(clouds, clouds, threads, peak), 2)

    layers = Settling(clouds, alpha, matrix, runner, threads, peak)
    layers.search()
    while layers.n_moving and layers.layer < deepest:
        layers.go_to(layers.layer + 1)
        layers.search()

    settled_at = layers.settled_at
    n_points = settled_at.size

    def shaped(array: NDArray[Any]) -> NDArray[Any]:
        return array[0] if single else array

    return Equilibrium(
        limit=shaped(layers.limit),
        labels=shaped(layers.clusters),
        settled_at=shaped(settled_at),
        residual=shaped(layers.residual),
        leader_of=shaped(layers.roots),
        n_layers=layers.layer,
        n_passes=layers.n_queries / n_points if n_points else 0.0,
        alpha=alpha,
        engine=runner.name,
        _start=clouds,
        _matrix=matrix,
    )


def _is_spd(matrix: NDArray[Any] | None) -> bool:
    if matrix is None:
        return True
    if not (matrix == matrix.T).all():
        return False
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True
