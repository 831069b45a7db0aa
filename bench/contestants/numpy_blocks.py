"""NumPy: blocks of scores by BLAS, then argmax."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController, threadpool_info

from . import Contestant
from .tiles import Crew, rows_per_block


def blocked_argmax(threads: int) -> Callable[..., NDArray[np.int64]]:
    """A function of query, key, MiB of scores at a time, and whether BLAS runs the threads."""
    crew = Crew(threads)
    pools = ThreadpoolController()

    def winners(
        query: NDArray[Any], key: NDArray[Any], mebibytes: float, in_blas: bool
    ) -> NDArray[np.int64]:
        rows = rows_per_block(len(key), key.itemsize, mebibytes)
        result = np.empty(len(query), np.int64)

        def answer(starts: range) -> None:
            scores = np.empty((min(rows, len(query)), len(key)), key.dtype)
            for start in starts:
                block = query[start : start + rows]
                np.matmul(block, key.T, out=scores[: len(block)])
                scores[: len(block)].argmax(axis=1, out=result[start : start + rows])

        with pools.limit(limits=threads if in_blas else 1, user_api="blas"):
            if in_blas:
                answer(range(0, len(query), rows))
            else:
                crew.run(answer, len(query), rows)
        return result

    return winners


def _blas() -> str:
    """Which BLAS this NumPy has, and its kernel, which the environment may have forced on it."""
    kernels = [
        f"{pool['internal_api']} {pool['version']}, kernel {pool.get('architecture', 'unknown')}"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    forced = os.environ.get("OPENBLAS_CORETYPE")
    return "; ".join(kernels) + (f", forced by OPENBLAS_CORETYPE={forced}" if forced else "")


def load(threads: int) -> Contestant:
    winners = blocked_argmax(threads)
    return Contestant(
        title="NumPy, blocked product + argmax",
        version=np.__version__,
        ties="one: the first of equal rounded scores",
        note=_blas(),
        winners={
            f"{mebibytes} MiB blocks, {'BLAS' if in_blas else 'own'} threads": partial(
                winners, mebibytes=mebibytes, in_blas=in_blas
            )
            for mebibytes, in_blas in ((0.5, False), (2, False), (8, False), (8, True))
        },
    )
