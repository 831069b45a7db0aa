"""FAISS flat indexes: inner product, and Euclidean distance after the reduction to it."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from . import Contestant
from .euclidean import lift


def _search(index: Any, key: NDArray[Any], query: NDArray[Any]) -> NDArray[np.int64]:
    index.add(key)
    found: NDArray[np.int64] = index.search(query, 1)[1]
    return found[:, 0]


def _load(threads: int, title: str, note: str, winners: Any) -> Contestant:
    faiss.omp_set_num_threads(threads)
    # At 1 every search takes the kernels that work on blocks: a fused one in low dimensions for
    # Euclidean distance and k = 1, BLAS elsewhere.
    faiss.cvar.distance_compute_blas_threshold = 1
    return Contestant(
        title=title,
        version=faiss.__version__,
        ties="one, unspecified",
        dtypes=("float32",),
        note=f"distance_compute_blas_threshold = 1; {note}",
        winners={"": winners},
    )


def load_inner_product(threads: int) -> Contestant:
    return _load(
        threads,
        "FAISS, IndexFlatIP",
        "includes filling the index",
        lambda query, key: _search(faiss.IndexFlatIP(key.shape[1]), key, query),
    )


def load_euclidean(threads: int) -> Contestant:
    def winners(query: NDArray[Any], key: NDArray[Any]) -> NDArray[np.int64]:
        lifted_query, lifted_key = lift(query, key)
        return _search(faiss.IndexFlatL2(lifted_key.shape[1]), lifted_key, lifted_query)

    return _load(
        threads,
        "FAISS, IndexFlatL2",
        "includes the reduction to Euclidean distance and filling the index",
        winners,
    )
