"""What was wrong with a token or query that the engine refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import check_finite, check_scores
from ..numerics import peak_score, score_limit
from .core import Core

__all__ = ["explained"]


def explained(
    core: Core,
    reason: str,
    layer: int,
    arrays: dict[str, NDArray[Any]],
    dtype: np.dtype[Any],
    at: str = "",
) -> Exception:
    """The exception for a reason that the engine gave, naming the argument and what came."""
    if reason == "memory":
        return MemoryError("HardmaxCache: found no memory; the cache can only be cleared")
    if reason == "broken":
        return RuntimeError("HardmaxCache: this layer once found no memory; clear the cache")
    if reason == "underflow":
        return ValueError(
            f"queries: got products with keys that underflow{at}, expected larger queries, or "
            "zeros: a cache with prune=True has given up keys that could tie"
        )
    if reason == "sum":
        return ValueError(
            f"values: got tied values whose sum overflows {dtype}{at}, expected smaller values"
        )
    limits = {"keys": score_limit(dtype)}
    if core.prune:  # no token can be taken back, so no sum may overflow
        limits["values"] = score_limit(dtype) / (core.n_tokens(layer) + 1)
    try:
        for name, array in arrays.items():
            peak = check_finite(name + at, array)
            if peak > limits.get(name, np.inf):
                return ValueError(
                    f"{name}: got a magnitude of {peak:.3g}{at}, expected at most "
                    f"{limits[name]:.3g} in {dtype}, so that no score or sum overflows"
                )
        peaks = np.array([core.summary(layer, head)[1][0] for head in range(core.n_heads)])
        peaks = np.maximum(peaks, np.abs(arrays.get("keys", 0.0)))
        check_scores("queries and keys" + at, peak_score(np.abs(arrays["queries"]), peaks), dtype)
    except ValueError as error:
        return error
    raise AssertionError(f"refused without a reason: {reason}")
