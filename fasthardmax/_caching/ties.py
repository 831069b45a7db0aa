"""What a tie gives, in each head of each layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import TIES, check_choice
from .core import Core

__all__ = ["get_ties", "set_ties"]


def get_ties(core: Core) -> NDArray[np.str_]:
    """The words of all heads, (n_layers, n_heads)."""
    return np.array(
        [
            [TIES[core.get_ties(layer, head)] for head in range(core.n_heads)]
            for layer in range(core.n_layers)
        ]
    )


def set_ties(core: Core, ties: Any, layers: list[int], heads: list[int]) -> None:
    """Set the words of some layers and heads, to which ``ties`` has to broadcast."""
    given = np.asarray(ties, dtype=object)
    for word in given.flat:
        check_choice("ties", word, TIES)
    shape = (len(layers), len(heads))
    try:
        each = np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(
            f"ties: got shape {given.shape}, expected one word or a shape that broadcasts to "
            f"{shape}, layers and heads"
        ) from None
    for row, here in zip(each, layers, strict=True):
        for word, there in zip(row, heads, strict=True):
            core.set_ties(here, there, TIES.index(word))
