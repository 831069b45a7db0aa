"""scikit-learn's pairwise_distances_argmin, after the reduction to Euclidean distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin
from threadpoolctl import threadpool_limits

from . import Contestant
from .euclidean import lift


def load(threads: int) -> Contestant:
    threadpool_limits(threads)
    sklearn.set_config(assume_finite=True)

    def winners(query: NDArray[Any], key: NDArray[Any]) -> NDArray[np.int64]:
        return pairwise_distances_argmin(*lift(query, key))

    return Contestant(
        title="scikit-learn, pairwise_distances_argmin",
        version=sklearn.__version__,
        ties="one, unspecified",
        note="assume_finite; includes the reduction to Euclidean distance",
        winners={"": winners},
    )
