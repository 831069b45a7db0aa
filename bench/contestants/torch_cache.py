"""PyTorch on the CPU: a cache that is concatenated with each token, all scores, then argmax."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from . import Contestant, Shape

Array = NDArray[Any]


class _Decoder:
    def __init__(self, shape: Shape) -> None:
        dtype = getattr(torch, shape.dtype.name)
        self._keys, self._values = (
            [torch.empty((shape.n_heads, 0, width), dtype=dtype)] * shape.n_layers
            for width in (shape.head_dim, shape.value_dim)
        )
        self._heads = torch.arange(shape.n_heads)

    def fill(self, layer: int, keys: Array, values: Array) -> None:
        """Tokens first, as arrays (T, H, ...)."""
        for cache, new in ((self._keys, keys), (self._values, values)):
            cache[layer] = torch.cat([cache[layer], torch.from_numpy(new).transpose(0, 1)], dim=1)

    def step(self, layer: int, keys: Array, queries: Array, values: Array) -> Array:
        self.fill(layer, keys[None], values[None])
        scores = torch.bmm(self._keys[layer], torch.from_numpy(queries)[:, :, None])[:, :, 0]
        return self._values[layer][self._heads, scores.argmax(dim=1)].numpy()


def load(threads: int) -> Contestant:
    torch.set_num_threads(threads)
    return Contestant(
        title="PyTorch, concatenated cache + argmax",
        version=torch.__version__,
        ties="one, unspecified",
        decode={"": _Decoder},
    )
