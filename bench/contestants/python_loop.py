"""A plain Python loop over the queries, as in research notebooks."""

from __future__ import annotations

import platform
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from . import Contestant


def load(threads: int) -> Contestant:
    pools = ThreadpoolController()

    def winners(query: NDArray[Any], key: NDArray[Any], blas_threads: int) -> NDArray[np.int64]:
        first = np.empty(len(query), np.int64)
        with pools.limit(limits=blas_threads, user_api="blas"):
            for i in range(len(query)):
                scores = key @ query[i]
                tied = np.flatnonzero(scores == scores.max())
                key[tied].mean(axis=0)  # what such a loop is after
                first[i] = tied[0]
        return first

    return Contestant(
        title="Python loop over the queries",
        version=f"Python {platform.python_version()}, NumPy {np.__version__}",
        ties="all keys with equal rounded scores",
        note="includes the mean",
        winners={
            f"BLAS on {count} threads": partial(winners, blas_threads=count)
            for count in sorted({1, threads})
        },
    )
