"""JAX, jitted: blocks of scores, then argmax."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from . import Contestant
from .tiles import Crew, rows_per_block


def load(threads: int) -> Contestant:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)  # or float64 would become float32
    crew = Crew(threads)
    block_winners = jax.jit(lambda query, key: jnp.argmax(query @ key.T, axis=1))

    def winners(query: NDArray[Any], key: NDArray[Any], mebibytes: float) -> NDArray[np.int64]:
        rows = min(rows_per_block(len(key), key.itemsize, mebibytes), len(query))
        result = np.empty(len(query), np.int64)
        keys = jnp.asarray(key)

        def answer(starts: range) -> None:
            for start in starts:
                # The last block reaches back: one shape, compiled once.
                at = min(start, len(query) - rows)
                result[at : at + rows] = block_winners(query[at : at + rows], keys)

        crew.run(answer, len(query), rows)
        return result

    return Contestant(
        title="JAX, jitted blocked product + argmax",
        version=jax.__version__,
        ties="one: the first of equal rounded scores",
        note="own threads over blocks",
        winners={
            f"{mebibytes} MiB blocks": partial(winners, mebibytes=mebibytes)
            for mebibytes in (2, 8, 32)
        },
    )
