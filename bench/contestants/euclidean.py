"""Inner product to Euclidean distance: one more coordinate makes all keys equally long.

With ``k' = (k, sqrt(max |k|^2 - |k|^2))`` and ``q' = (q, 0)``, ``|q' - k'|^2`` is
``|q|^2 + max |k|^2 - 2 <q, k>``: the nearest key has the largest inner product (Bachrach et al.,
"Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
spaces", RecSys 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lift(query: NDArray[Any], key: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Query (m, d + 1) and key (n, d + 1), C-contiguous; lengths are computed in float64."""
    squared = np.einsum("ij,ij->i", key, key, dtype=np.float64)
    lifted = np.empty((len(key), key.shape[1] + 1), key.dtype)
    lifted[:, :-1] = key
    lifted[:, -1] = np.sqrt(squared.max() - squared)
    return np.pad(query, ((0, 0), (0, 1))), lifted
