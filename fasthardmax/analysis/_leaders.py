"""Leaders over the layers, and the clusters behind them: how many, how large, how wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validate import as_array
from ..dynamics import Trajectory
from ..equilibrium import Equilibrium

__all__ = [
    "ClusterSizes",
    "Spread",
    "check_labels",
    "check_run",
    "cluster_sizes",
    "emergence",
    "leader_counts",
    "spread",
]

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSizes:
    """How many points each cluster has, the largest first.

    Attributes
    ----------
    labels, sizes : ndarray of int64, shape (k,)
        The label of each cluster and how many points have it; among equals the lower label first.
    n_unassigned : int
        How many points are in none (label -1).
    """

    labels: Index
    sizes: Index
    n_unassigned: int


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How wide clusters are, layer by layer.

    Attributes
    ----------
    layers : ndarray of int64, shape (L,)
    labels : ndarray of int64, shape (k,)
        The clusters, in increasing order.
    rms, largest : ndarray of float64, shape (L, k)
        Root of the mean square, and the largest, of the distances of a cluster's points from their
        mean, in the units of the points.
    """

    layers: Index
    labels: Index
    rms: NDArray[np.float64]
    largest: NDArray[np.float64]


def leader_counts(run: Trajectory | Equilibrium) -> Index:
    """Count the leaders that have emerged by each layer.

    Parameters
    ----------
    run : Trajectory or Equilibrium
        One cloud or a batch. Of points that lead at one place an equilibrium has the lowest only,
        a trajectory none.

    Returns
    -------
    ndarray of int64, shape (n_layers + 1,) or (B, n_layers + 1)
        A leader stays one, so that counts never fall.

    Raises
    ------
    TypeError
        For anything else than a run.

    Notes
    -----
    Cost: O(n + n_layers) for each cloud.

    Examples
    --------
    >>> from fasthardmax import simulate
    >>> from fasthardmax.analysis import leader_counts
    >>> leader_counts(simulate([[2.0], [1.0], [-1.0]], alpha=1, n_layers=2))
    array([2, 2, 2])
    """
    check_run("run", run)
    emerged = emergence(run)
    counts = np.zeros((*emerged.shape[:-1], run.n_layers + 1), np.int64)
    leads = emerged >= 0
    np.add.at(counts, (*np.nonzero(leads)[:-1], emerged[leads]), 1)
    return np.cumsum(counts, axis=-1)


def cluster_sizes(labels: ArrayLike) -> ClusterSizes:
    """Count the points of each cluster.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        As of a trajectory, an equilibrium, or any clustering; -1 is no cluster.

    Returns
    -------
    ClusterSizes

    Raises
    ------
    ValueError, TypeError
        For another shape, or labels that are not integers.

    Notes
    -----
    Cost: O(n log n).

    Examples
    --------
    >>> from fasthardmax.analysis import cluster_sizes
    >>> found = cluster_sizes([4, 7, -1, 7])
    >>> found.labels, found.sizes, found.n_unassigned
    (array([7, 4]), array([2, 1]), 1)
    """
    given = check_labels("labels", labels)
    found, sizes = np.unique(given[given >= 0], return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    return ClusterSizes(found[order], sizes[order].astype(np.int64), int((given < 0).sum()))


def spread(run: Trajectory, labels: ArrayLike | None = None) -> Spread:
    """Measure how wide clusters are at each recorded layer.

    Parameters
    ----------
    run : Trajectory
        Of one cloud.
    labels : array_like of int, shape (n,), optional
        The clusters, the same for all layers; by default ``run.labels``, who follows which leader.
        Points with -1 are left out.

    Returns
    -------
    Spread

    Raises
    ------
    ValueError, TypeError
        For a batch, or labels that do not fit.

    Notes
    -----
    Computed in float64. Equal points have a spread of exactly 0. Cost: O(n log n), and O(n d) for
    each recorded layer.

    Examples
    --------
    >>> from fasthardmax import simulate
    >>> from fasthardmax.analysis import spread
    >>> run = simulate([[4.0], [2.0], [-1.0]], alpha=1, n_layers=2, record="all")
    >>> spread(run).rms
    array([[1.  , 0.  ],
           [0.5 , 0.  ],
           [0.25, 0.  ]])
    """
    if not isinstance(run, Trajectory):
        raise TypeError(f"run: got {type(run).__name__}, expected a Trajectory")
    check_run("run", run, one_cloud=True)
    given = run.labels if labels is None else check_labels("labels", labels)
    if len(given) != len(run.points):
        raise ValueError(
            f"labels: got {len(given)}, expected {len(run.points)}, one for each point"
        )
    order = np.argsort(given, kind="stable")
    order = order[np.count_nonzero(given < 0) :]
    found, start, size = np.unique(given[order], return_index=True, return_counts=True)
    layers = sorted(run.recorded)
    rms, largest = np.zeros((2, len(layers), len(found)))
    if len(found):
        for row, layer in enumerate(layers):
            rms[row], largest[row] = _widths(run.recorded[layer][order], start, size)
    return Spread(np.array(layers, np.int64), found, rms, largest)


def _widths(
    points: NDArray[Any], start: NDArray[np.intp], size: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both spreads of runs of points."""
    scale = float(np.abs(points).max(initial=0)) or 1.0  # squares neither overflow nor vanish
    x = points / np.float64(scale)
    x -= np.repeat(x[start], size, axis=0)  # equal points become zeros, and so have a mean of 0
    x -= np.repeat(np.add.reduceat(x, start) / size[:, None], size, axis=0)
    square = np.einsum("nd,nd->n", x, x)
    rms = np.sqrt(np.add.reduceat(square, start) / size)
    return scale * rms, scale * np.sqrt(np.maximum.reduceat(square, start))


def emergence(run: Trajectory | Equilibrium) -> Index:
    """The layer at which each point emerged as a leader; -1 where it did not."""
    if isinstance(run, Trajectory):
        return run.leader_layer
    leads = run.leader_of == np.arange(run.leader_of.shape[-1])
    return np.where(leads, run.settled_at, -1)


def check_run(name: str, run: object, *, one_cloud: bool = False) -> None:
    """Refuse what is no run, or a batch where one cloud is needed."""
    if not isinstance(run, (Trajectory, Equilibrium)):
        raise TypeError(
            f"{name}: got {type(run).__name__}, expected a Trajectory or an Equilibrium"
        )
    if one_cloud and run.labels.ndim != 1:
        raise ValueError(f"{name}: got a batch of {len(run.labels)} clouds, expected one cloud")


def check_labels(name: str, labels: ArrayLike) -> Index:
    """Labels (n,) as int64."""
    array = as_array(name, labels)
    if array.ndim != 1:
        raise ValueError(f"{name}: got shape {array.shape}, expected (n,)")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name}: got dtype {array.dtype}, expected integers")
    return array.astype(np.int64)
