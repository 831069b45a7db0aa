"""NumPy: arrays that grow by doubling, all scores of a query, then argmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from . import Contestant, Shape

Array = NDArray[Any]


class _Layer:
    """Keys (H, d, n), so that one feature of all keys is contiguous; values (n, H, width)."""

    def __init__(self, shape: Shape) -> None:
        self._keys = np.empty((shape.n_heads, shape.head_dim, 16), shape.dtype)
        self._values = np.empty((16, shape.n_heads, shape.value_dim), shape.dtype)
        self._heads = np.arange(shape.n_heads)
        self._n = 0

    def extend(self, keys: Array, values: Array) -> None:
        before, self._n = self._n, self._n + len(keys)
        if self._n > len(self._values):
            more = 2 * self._n
            grown = np.empty((*self._keys.shape[:2], more), self._keys.dtype)
            grown[..., :before] = self._keys[..., :before]
            self._keys = grown
            kept = self._values[:before]
            self._values = np.empty((more, *kept.shape[1:]), kept.dtype)
            self._values[:before] = kept
        self._keys[..., before : self._n] = keys.transpose(1, 2, 0)
        self._values[before : self._n] = values

    def query(self, queries: Array, in_blas: bool) -> Array:
        keys = self._keys[..., : self._n]
        if in_blas:
            scores = np.matmul(queries[:, None], keys)[:, 0]
        else:
            scores = queries[:, :1] * keys[:, 0]
            for f in range(1, keys.shape[1]):
                scores += queries[:, f, None] * keys[:, f]
        return self._values[scores.argmax(axis=1), self._heads]


class _Decoder:
    def __init__(self, shape: Shape, in_blas: bool) -> None:
        self._layers = [_Layer(shape) for _ in range(shape.n_layers)]
        self._in_blas = in_blas

    def fill(self, layer: int, keys: Array, values: Array) -> None:
        self._layers[layer].extend(keys, values)

    def step(self, layer: int, keys: Array, queries: Array, values: Array) -> Array:
        self._layers[layer].extend(keys[None], values[None])
        return self._layers[layer].query(queries, self._in_blas)


def load(threads: int) -> Contestant:
    threadpool_limits(threads)
    return Contestant(
        title="NumPy, growing arrays + argmax",
        version=np.__version__,
        ties="one: the first of equal rounded scores",
        decode={
            "product in BLAS": lambda shape: _Decoder(shape, in_blas=True),
            "feature by feature": lambda shape: _Decoder(shape, in_blas=False),
        },
    )
