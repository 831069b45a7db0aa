"""The operator one token at a time: append a key and a value, ask a query over all so far."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .attention import hardmax_attention

__all__ = ["HardmaxCache"]


class HardmaxCache:
    """Hardmax attention over the tokens so far, for all layers and heads of a decoder."""

    def __init__(
        self,
        n_layers: int,
        n_heads: int,
        head_dim: int = 2,
        value_dim: int | None = None,
        *,
        ties: Any = "mean",
        prune: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.n_layers, self.n_heads, self.head_dim = n_layers, n_heads, head_dim
        self.value_dim = head_dim if value_dim is None else value_dim
        self.dtype = np.dtype(dtype)
        self.prune = prune
        self._ties = np.broadcast_to(np.asarray(ties, dtype="U5"), (n_layers, n_heads)).copy()
        self.clear()

    def clear(self) -> None:
        """Forget all tokens."""
        self._keys: list[list[Any]] = [[] for _ in range(self.n_layers)]
        self._values: list[list[Any]] = [[] for _ in range(self.n_layers)]

    def __len__(self) -> int:
        return max((len(keys) for keys in self._keys), default=0)

    def n_tokens(self, layer: int) -> int:
        """Tokens appended to a layer."""
        return len(self._keys[layer])

    def set_ties(self, ties: Any, layer: int | None = None, head: int | None = None) -> None:
        """Say what a tie gives: in all heads, in those of a layer, in one."""
        at = (slice(None) if layer is None else layer, slice(None) if head is None else head)
        self._ties[at] = ties

    def append(self, layer: int, keys: ArrayLike, values: ArrayLike) -> None:
        """Insert one token in a layer."""
        self._keys[layer].append(np.array(keys, self.dtype))
        self._values[layer].append(np.array(values, self.dtype))

    def query(self, layer: int, queries: ArrayLike) -> NDArray[Any]:
        """Answer one query for each head."""
        query = np.asarray(queries, self.dtype)
        keys = np.array(self._keys[layer]).swapaxes(0, 1)
        values = np.array(self._values[layer]).swapaxes(0, 1)
        return np.concatenate(
            [
                hardmax_attention(query[h : h + 1], keys[h], values[h], ties=ties)
                for h, ties in enumerate(self._ties[layer].tolist())
            ]
        )

    def step(
        self, layer: int, keys: ArrayLike, queries: ArrayLike, values: ArrayLike
    ) -> NDArray[Any]:
        """Insert one token, then answer."""
        self.append(layer, keys, values)
        return self.query(layer, queries)

    def extend(
        self, layer: int, keys: ArrayLike, values: ArrayLike, queries: ArrayLike | None = None
    ) -> NDArray[Any] | None:
        """Insert many tokens (T, H, d); with queries, answer each after its token."""
        keys, values = np.asarray(keys), np.asarray(values)
        if queries is not None:
            steps = zip(keys, np.asarray(queries), values, strict=True)
            return np.stack([self.step(layer, *step) for step in steps])
        for key, value in zip(keys, values, strict=True):
            self.append(layer, key, value)
        return None

    def truncate(self, n: int) -> None:
        """Undo the newest tokens: keep the first n of every layer."""
        for tokens in (*self._keys, *self._values):
            del tokens[n:]
