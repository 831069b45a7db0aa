"""What a cache holds: its sizes, its ties, and its state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._validate import check_count
from .core import Core
from .state import check_state, layer_state, load_layer
from .ties import get_ties, set_ties

__all__ = ["Held"]

# More are a mistake, take all memory, and are far from what the kernels can count.
_MOST_HEADS = 2**20  # of all layers
_MOST_NUMBERS = 2**27  # of a token in a layer


class Held:
    """The layers and heads of a :class:`~fasthardmax.HardmaxCache`, whatever it is asked."""

    __slots__ = ("_core", "_dtype")

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
        self._dtype = _float_dtype(dtype)
        if not isinstance(prune, (bool, np.bool_)):
            raise ValueError(f"prune: got {prune!r}, expected True or False")
        layers, heads = check_count("n_layers", n_layers, 1), check_count("n_heads", n_heads, 1)
        d = check_count("head_dim", head_dim, 1)
        dv = d if value_dim is None else check_count("value_dim", value_dim, 0)
        for name, number, most in (
            ("head_dim", d, _MOST_NUMBERS),
            ("value_dim", dv, _MOST_NUMBERS),
            ("n_heads", heads, min(_MOST_HEADS, _MOST_NUMBERS // max(d, dv))),
            ("n_layers", layers, _MOST_HEADS // heads),
        ):
            if number > most:
                raise ValueError(f"{name}: got {number}, expected at most {most}")
        self._core = Core(layers, heads, d, dv, self._dtype == np.float32, bool(prune))
        self.set_ties(ties)

    # --- Sizes ----------------------------------------------------------------------------------

    @property
    def n_layers(self) -> int:
        """Layers."""
        return self._core.n_layers

    @property
    def n_heads(self) -> int:
        """Heads of a layer."""
        return self._core.n_heads

    @property
    def head_dim(self) -> int:
        """Features of keys and queries."""
        return self._core.head_dim

    @property
    def value_dim(self) -> int:
        """Features of values."""
        return self._core.value_dim

    @property
    def prune(self) -> bool:
        """Whether keys that can never win again are given up."""
        return bool(self._core.prune)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of keys, queries, values and answers."""
        return self._dtype

    def __len__(self) -> int:
        """Tokens in the layer that has most."""
        return max(self._core.n_tokens(layer) for layer in range(self.n_layers))

    def __repr__(self) -> str:
        prune = ", prune=True" if self.prune else ""
        return (
            f"HardmaxCache(n_layers={self.n_layers}, n_heads={self.n_heads}, "
            f"head_dim={self.head_dim}, value_dim={self.value_dim}{prune}, dtype={self.dtype}): "
            f"{len(self)} tokens"
        )

    def n_tokens(self, layer: int) -> int:
        """Tokens appended to a layer.

        >>> from fasthardmax import HardmaxCache
        >>> HardmaxCache(1, 1).n_tokens(0)
        0
        """
        return self._core.n_tokens(self._layer(layer))

    def n_kept(self, layer: int) -> NDArray[np.int64]:
        """How many tokens each head of a layer keeps, (H,): all, unless it prunes.

        Costs O(tokens kept) where the cache prunes.

        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1, head_dim=1, prune=True)
        >>> cache.extend(0, [[[1.0]], [[2.0]], [[3.0]]], [[[0.0]], [[0.0]], [[0.0]]])
        >>> cache.n_kept(0)
        array([2])
        """
        layer = self._layer(layer)
        return np.array([self._core.kept(layer, h) for h in range(self.n_heads)], np.int64)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(self._core.nbytes(layer) for layer in range(self.n_layers))

    # --- Ties -----------------------------------------------------------------------------------

    @property
    def ties(self) -> NDArray[np.str_]:
        """What a tie gives in each head, (n_layers, n_heads); a copy."""
        return get_ties(self._core)

    def set_ties(self, ties: Any, layer: int | None = None, head: int | None = None) -> None:
        """Say what a tie gives, from now on, over all tokens: in all heads, some, or one.

        Parameters
        ----------
        ties : {"mean", "first", "last"} or array_like of them
            Broadcast to the layers and heads named.
        layer, head : int, optional
            All of them by default.

        Raises
        ------
        ValueError
            For other words, shapes that do not fit, and layers and heads that do not exist.

        Examples
        --------
        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(2, 2)
        >>> cache.set_ties("last", head=1)
        >>> cache.ties.tolist()
        [['mean', 'last'], ['mean', 'last']]
        """
        layers = list(range(self.n_layers)) if layer is None else [self._layer(layer)]
        heads = list(range(self.n_heads)) if head is None else [self._head(head)]
        set_ties(self._core, ties, layers, heads)

    def handle(self, layer: int) -> int:
        """A layer for the functions of :mod:`fasthardmax.cache_numba`; valid while the cache lives.

        >>> from fasthardmax import HardmaxCache
        >>> isinstance(HardmaxCache(1, 1).handle(0), int)
        True
        """
        return self._core.address(self._layer(layer))

    # --- State ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a cache of the same sizes needs to go on: arrays, numbers and words.

        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1)
        >>> cache.append(0, [[1.0, 2.0]], [[3.0, 4.0]])
        >>> other = HardmaxCache(1, 1)
        >>> other.load_state_dict(cache.state_dict())
        >>> other.query(0, [[0.0, 1.0]])
        array([[3., 4.]])
        """
        return {
            **self._sizes(),
            "ties": self.ties,
            "layers": [layer_state(self._core, layer) for layer in range(self.n_layers)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the tokens and ties of :meth:`state_dict`, in place of this cache's own.

        Raises
        ------
        ValueError
            Where the state is that of a cache of other sizes, dtype or pruning, or none at all.
        """
        check_state(state, self._sizes())
        other = type(self)(
            self.n_layers,
            self.n_heads,
            self.head_dim,
            self.value_dim,
            ties=state["ties"],
            prune=self.prune,
            dtype=self.dtype,
        )
        for layer, heads in enumerate(state["layers"]):
            load_layer(other._core, layer, heads, self._dtype)
        self._core.swap(other._core)  # in place: handles stay valid

    def __getstate__(self) -> dict[str, Any]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = ("n_layers", "n_heads", "head_dim", "value_dim")
        self.__init__(  # type: ignore[misc]  # unpickling makes it anew
            *(state[name] for name in names), prune=state["prune"], dtype=state["dtype"]
        )
        self.load_state_dict(state)

    def _sizes(self) -> dict[str, Any]:
        names = ("n_layers", "n_heads", "head_dim", "value_dim", "prune")
        return {**{name: getattr(self, name) for name in names}, "dtype": str(self.dtype)}

    # --- Arguments ------------------------------------------------------------------------------

    def _layer(self, layer: int) -> int:
        return _within("layer", layer, self.n_layers)

    def _head(self, head: int) -> int:
        return _within("head", head, self.n_heads)


def _float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """float32 or float64, or one sentence saying what came instead."""
    try:
        got = np.dtype(dtype)
    except (TypeError, ValueError):
        raise ValueError(f"dtype: got {dtype!r}, expected float32 or float64") from None
    if got not in (np.float32, np.float64):
        raise ValueError(f"dtype: got {got}, expected float32 or float64")
    return got


def _within(name: str, number: int, stop: int) -> int:
    """``number`` if it is from 0 to below ``stop``."""
    index = check_count(name, number, 0)
    if index >= stop:
        raise ValueError(f"{name}: got {index}, expected 0 to {stop - 1}")
    return index
