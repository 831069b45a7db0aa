"""Hardmax dynamics as a clustering, in the manner of scikit-learn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._clouds import read_clouds
from ._extra_queries import leaders_of
from ._validate import check_alpha, check_count, check_threads
from .analysis import coincident
from .equilibrium import equilibrium

try:
    from sklearn.base import BaseEstimator, ClusterMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise ImportError(
        "clustering: the package scikit-learn is missing: pip install 'fasthardmax[data]'"
    ) from None

__all__ = ["HardmaxClustering"]


class HardmaxClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]  # they are Any
    """Cluster points by where hardmax attention takes them.

    Samples with the same limit under infinitely many layers are a cluster: mostly a *leader* and
    those who follow it. How many there are comes out of the data. Scores are measured from the
    origin: centre the data first (``StandardScaler``) unless its origin means something.

    Parameters
    ----------
    alpha : float in (0, inf], default 0.5
        Step size.
    n_layers : int or None, default None
        Only so many layers: samples whose limit is not certain by then are in no cluster. ``None``
        (or infinity) goes on until all have settled or shrink no more.
    A : array_like, shape (n_features, n_features), optional
        Scores are ``<A x_i, x_j>``; the identity by default.
    num_threads : int, optional
        At most this many threads; all cores that the process may run on by default.

    Attributes
    ----------
    labels_ : ndarray of int64, shape (n_samples,)
        Clusters, numbered from 0 in order of their first samples; -1 for samples in none.
    leaders_ : ndarray of int64, shape (n_clusters,)
        The sample that leads each cluster; -1 where the limit is no leader: samples that tie
        between leaders for ever.
    cluster_centers_ : ndarray, shape (n_clusters, n_features)
        The limit of each cluster; a leader's own place.
    n_layers_ : int
        How many layers were looked at.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X has such names.

    Notes
    -----
    Cost: fitting is :func:`~fasthardmax.equilibrium`: one to four passes over the samples for most
    data, near O(n) each where few samples can win and O(n^2 d) at worst.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthardmax import HardmaxClustering
    >>> X = np.array([[2.0, 0.1], [1.5, 0.3], [1.0, -0.2], [-2.0, 0.0], [-1.4, 0.2]])
    >>> found = HardmaxClustering().fit(X)
    >>> found.labels_, found.leaders_
    (array([0, 0, 0, 1, 1]), array([0, 3]))
    >>> found.predict([[0.5, 0.5], [-3.0, 0.0]])
    array([0, 1])
    """

    labels_: NDArray[np.int64]

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        n_layers: int | None = None,
        A: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.n_layers = n_layers
        self.A = A
        self.num_threads = num_threads

    def fit(self, X: ArrayLike, y: object = None) -> HardmaxClustering:
        """Find the limit of every sample.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            Computed in float32 if it is float32, in float64 otherwise.
        y : ignored

        Returns
        -------
        HardmaxClustering
            Itself.

        Raises
        ------
        ValueError, TypeError
            As :func:`~fasthardmax.equilibrium`, and for ``n_layers`` below 0.

        Examples
        --------
        >>> from fasthardmax import HardmaxClustering
        >>> HardmaxClustering(alpha=1).fit([[1.0], [0.5], [-1.0]]).cluster_centers_
        array([[ 1.],
               [-1.]])
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        found = equilibrium(
            X,
            alpha=self.alpha,
            A=self.A,
            max_layers=self._depth(),
            num_threads=self.num_threads,
        )
        self.labels_ = found.labels
        first = np.unique(found.labels[found.labels >= 0], return_index=True)[1]
        first = np.flatnonzero(found.labels >= 0)[first]
        self.leaders_ = found.leader_of[first]
        self.cluster_centers_ = found.limit[first]
        self.n_layers_ = found.n_layers
        self._start = np.array(X)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Find the clusters of new points.

        A new point goes through the same layers as the samples, as one more query: it attends to
        them, and no one attends to it. It belongs to the leader that it settles on. A point at the
        place of a sample does what that sample does, so that ``predict`` of the samples gives
        ``labels_``.

        Parameters
        ----------
        X : array_like, shape (n_points, n_features)
            Taken in the dtype of the samples.

        Returns
        -------
        ndarray of int64, shape (n_points,)
            -1 for points that do not settle on a leader within the layers: those that tie between
            leaders for ever, at no sample's place.

        Raises
        ------
        ValueError, TypeError
            As :meth:`fit`.
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.

        Notes
        -----
        Cost: the samples' layers are computed again, as in fitting; new points take one search
        among the samples at each layer until they settle, which most do at the first.

        Examples
        --------
        >>> from fasthardmax import HardmaxClustering
        >>> HardmaxClustering().fit([[1.0], [0.5], [-1.0]]).predict([[0.1], [-7.0]])
        array([0, 1])
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=self._start.dtype)
        n = len(self._start)
        clouds, matrix, *_ = read_clouds(np.concatenate([self._start, X]), self.A)
        place = coincident(clouds[0], tolerance=0)
        label = np.full(place.max() + 1, -2)  # of each place; -2 for those without a sample
        label[place[:n]] = self.labels_  # samples at one place have one label
        new = np.flatnonzero(label == -2)
        if len(new):
            first = np.unique(place, return_index=True)[1]  # a point of each place
            leader = leaders_of(
                np.ascontiguousarray(clouds[0, first[new]]),
                np.ascontiguousarray(clouds[:, :n]),
                check_alpha(self.alpha),
                matrix,
                self._last_layer(),
                check_threads(self.num_threads),
            )
            label[new] = np.where(leader >= 0, self.labels_[leader], -1)
        return label[place[n:]].astype(np.int64)

    def _depth(self) -> int | None:
        """The number of layers, or None for infinitely many."""
        if self.n_layers is None or self.n_layers == math.inf:
            return None
        return check_count("n_layers", self.n_layers, 0)

    def _last_layer(self) -> int | None:
        """Where new points are given up, should the samples not come to rest before."""
        unsettled = bool((self.labels_ < 0).any())
        return self.n_layers_ if unsettled and self._depth() is None else self._depth()
