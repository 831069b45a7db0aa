"""Arguments of a cache: arrays, lists and tensors, read in place where that can be."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import as_array

__all__ = ["as_given", "read"]


def read(name: str, value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``value`` as a C-contiguous array of ``dtype``; copied only where it is not one already."""
    _check_tensor(name, value)
    array = as_array(name, value)  # of a tensor, its own memory
    from_numbers = not hasattr(value, "dtype")  # lists: their numbers have no dtype yet
    if not (np.can_cast(array.dtype, dtype, "safe") or from_numbers):
        raise TypeError(
            f"{name}: got dtype {array.dtype}, expected {dtype} or one that it holds without loss; "
            "convert it first"
        )
    return np.require(array, dtype, ["C", "A"])


def as_given(answer: NDArray[Any], queries: Any) -> Any:
    """The answer in the kind of array that the queries came in, sharing memory."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(queries, torch.Tensor):
        return torch.from_numpy(answer)
    return answer


def _check_tensor(name: str, value: Any) -> None:
    """``ValueError`` for a tensor that cannot be read in place."""
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(value, torch.Tensor):
        return
    if value.device.type != "cpu":
        raise ValueError(
            f"{name}: got a tensor on {value.device}, expected one on the CPU; call .cpu() on it"
        )
    if value.requires_grad:
        raise ValueError(
            f"{name}: got a tensor that requires a gradient, expected one that does not: the cache "
            "has no derivative; call .detach() on it"
        )
