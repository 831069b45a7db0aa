"""Trees for nearest neighbours, after the reduction to Euclidean distance: SciPy, scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Contestant, Search
from .euclidean import lift

Array = NDArray[Any]

_NOTE = "includes the reduction to Euclidean distance, queries lengthened to the longest key"


def _on_the_sphere(query: Array, key: Array) -> Array:
    """Lifted queries as long as the longest key: the lifted keys all lie on that sphere.

    The nearest key is the same at every length. From the middle of the sphere all keys are about
    equally far and nothing is pruned; at this length the ball around a query that holds its nearest
    key is small, and the trees are up to a hundred times as fast.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", query, query, dtype=np.float64))
    longest = np.sqrt(np.einsum("ij,ij->i", key, key, dtype=np.float64).max())
    factors = longest / np.where(lengths > 0, lengths, 1)
    return np.pad((query * factors[:, None]).astype(key.dtype, copy=False), ((0, 0), (0, 1)))


def _index(key: Array, grow: Callable[[Array], Callable[[Array], NDArray[np.int64]]]) -> Search:
    search = grow(lift(key[:0], key)[1])
    return lambda query: search(_on_the_sphere(query, key))


def load_scipy(threads: int) -> Contestant:
    import scipy
    from scipy.spatial import cKDTree

    def grow(key: Array, **options: Any) -> Callable[[Array], NDArray[np.int64]]:
        tree = cKDTree(key, **options)
        return lambda query: tree.query(query, workers=threads)[1]

    settings: dict[str, dict[str, Any]] = {
        "median splits, leaves of 16": {},
        "middle splits, leaves of 16": {"balanced_tree": False, "compact_nodes": False},
        "middle splits, leaves of 40": {
            "balanced_tree": False, "compact_nodes": False, "leafsize": 40,
        },
    }  # fmt: skip
    return Contestant(
        title="SciPy, cKDTree",
        version=scipy.__version__,
        ties="one, unspecified",
        note=f"workers = cores; {_NOTE}",
        indexes={
            name: partial(_index, grow=partial(grow, **options))
            for name, options in settings.items()
        },
    )


def load_sklearn(threads: int) -> Contestant:
    import sklearn
    from joblib import parallel_config
    from sklearn.neighbors import NearestNeighbors

    sklearn.set_config(assume_finite=True)

    def grow(key: Array, **options: Any) -> Callable[[Array], NDArray[np.int64]]:
        tree = NearestNeighbors(n_neighbors=1, n_jobs=threads, **options).fit(key)

        def search(query: Array) -> NDArray[np.int64]:
            with parallel_config(backend="threading"):  # a daemon may start no processes
                return tree.kneighbors(query, return_distance=False)[:, 0]

        return search

    return Contestant(
        title="scikit-learn, NearestNeighbors",
        version=sklearn.__version__,
        ties="one, unspecified",
        note=f"n_jobs = cores, assume_finite; {_NOTE}",
        indexes={
            f"{algorithm}, leaves of {leaf_size}": partial(
                _index, grow=partial(grow, algorithm=algorithm, leaf_size=leaf_size)
            )
            for algorithm, leaf_size in (("kd_tree", 20), ("kd_tree", 40), ("ball_tree", 40))
        },
    )
