"""The operator one token at a time: append a key and a value, ask a query over all so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._caching.core import Core, Refused
from ._caching.extending import extend
from ._caching.reading import as_given, read
from ._caching.refusals import explained
from ._caching.state import check_state, layer_state, load_layer
from ._caching.ties import get_ties, set_ties
from ._validate import check_count

__all__ = ["HardmaxCache"]

_MOST = 2**27  # numbers of a token: more are a mistake, and far from what the kernels can count


class HardmaxCache:
    """Hardmax attention over the tokens so far, for all layers and heads of a decoder.

    Each answer is the row that :func:`~fasthardmax.hardmax_attention` with ``is_causal=True`` would
    give, bit for bit. With one or two features a head finds the winners without looking at all
    keys; with three or more it looks at keys in the order of their lengths, while they can win.

    Parameters
    ----------
    n_layers, n_heads : int
        At least 1 each.
    head_dim : int, default 2
        Features of keys and queries, d.
    value_dim : int, optional
        Features of values, dv; ``head_dim`` by default, 0 is allowed.
    ties : {"mean", "first", "last"} or array_like of them, default "mean"
        What a tie gives: the mean of all winners' values, the oldest winner's, or the newest's.
        An array of shape (n_heads,) or (n_layers, n_heads) says so for each head.
    prune : bool, default False
        Give up keys and values that can never win again (one or two features; with more, none).
        Then tokens cannot be taken back, and queries so small that their products underflow are
        refused, because dropped keys could tie.
    dtype : {float64, float32}
        In which keys, queries and values are stored and scores computed. Arrays of other dtypes
        are converted where that loses nothing, but 64-bit integers, which float64 takes, are
        rounded beyond 2^53; numbers in lists are read in this one.

    Raises
    ------
    ValueError
        For sizes below 1 or beyond all memory, unknown ties and other dtypes.

    Notes
    -----
    Cost of a step, a head, after n tokens. One feature: O(1). Two features: O(log n), and the keys
    that rounding cannot tell from the winner. A key that covers k keys of the hull takes their
    place in O(k log n), and gives it back in as much; every key is covered once, so insertion is
    O(log n) amortised over any sequence of appends. (One key that covers 3 x 10^5 takes about
    10 ms.) Three features and more: d for each key whose length does not rule it out. Many tied
    values with different keys are added up one by one for ``ties="mean"``; those of equal keys, or
    under a query of zeros, are not.

    Memory a token and head: d + dv numbers; with two features about 90 bytes more where its key is
    on one side of the hull (32 for each quadrant of directions in which it may win, in nodes that
    are half to wholly full, and 8 for each change to be undone), 300 on a straight line, nothing
    inside; with three and more, 8 bytes.

    Appending reads and writes without locks: do not use one layer in two threads at a time.

    Examples
    --------
    Look up by address: keys ``(2 j, -j * j)`` make the query ``(i, 1)`` find token ``i`` exactly.

    >>> from fasthardmax import HardmaxCache
    >>> cache = HardmaxCache(n_layers=1, n_heads=1, value_dim=1)
    >>> for j in range(100):
    ...     cache.append(0, [[2 * j, -j * j]], [[10 * j]])
    >>> cache.query(0, [[42, 1]])
    array([[420.]])
    >>> cache.truncate(40)  # token 42 is gone: 39 is the nearest
    >>> cache.query(0, [[42, 1]])
    array([[390.]])
    """

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
            ("head_dim", d, _MOST),
            ("value_dim", dv, _MOST),
            ("n_heads", heads, _MOST // max(d, dv)),
            ("n_layers", layers, _MOST // max(d, dv) // heads),
        ):
            if number > most:
                raise ValueError(
                    f"{name}: got {number}, expected at most {most}, as a token may have 2^27 "
                    "numbers"
                )
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

    # --- Tokens ---------------------------------------------------------------------------------

    def step(self, layer: int, keys: ArrayLike, queries: ArrayLike, values: ArrayLike) -> Any:
        """Insert one token in a layer, then answer one query for each head.

        Parameters
        ----------
        layer : int
        keys, queries : array_like, shape (H, d)
        values : array_like, shape (H, dv)
            Fastest as C-contiguous arrays of the cache's dtype; tensors on the CPU are read in
            place.

        Returns
        -------
        ndarray, shape (H, dv)
            The mean (or first, or last) of the values whose keys score highest, the new token
            included. A tensor that shares its memory where ``queries`` is a tensor.

        Raises
        ------
        ValueError
            For shapes that do not fit, NaN, infinity, scores or sums that could overflow: then
            nothing is inserted in any head.
        TypeError
            For what cannot be read as numbers of the cache's dtype without loss.

        Examples
        --------
        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1, value_dim=1)
        >>> cache.step(0, [[1.0, 0.0]], [[1.0, 1.0]], [[3.0]])
        array([[3.]])
        >>> cache.step(0, [[0.0, 1.0]], [[1.0, 1.0]], [[5.0]])
        array([[4.]])
        """
        try:
            return self._core.step(layer, keys, queries, values)
        except Refused as refusal:
            given = {"keys": keys, "queries": queries, "values": values}
            return self._again(self._core.step, refusal, layer, given)

    def append(self, layer: int, keys: ArrayLike, values: ArrayLike) -> None:
        """Insert one token in a layer: keys (H, d), values (H, dv).

        Raises as :meth:`step`.

        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1)
        >>> cache.append(0, [[1.0, 2.0]], [[3.0, 4.0]])
        >>> len(cache)
        1
        """
        try:
            self._core.append(layer, keys, values)
        except Refused as refusal:
            self._again(self._core.append, refusal, layer, {"keys": keys, "values": values})

    def query(self, layer: int, queries: ArrayLike) -> Any:
        """Answer one query for each head, (H, d), over the tokens so far: (H, dv).

        Zeros before the first token. Returns and raises as :meth:`step`.

        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1)
        >>> cache.append(0, [[1.0, 2.0]], [[3.0, 4.0]])
        >>> cache.query(0, [[0.0, 1.0]])
        array([[3., 4.]])
        """
        try:
            return self._core.query(layer, queries)
        except Refused as refusal:
            return self._again(self._core.query, refusal, layer, {"queries": queries})

    def extend(
        self, layer: int, keys: ArrayLike, values: ArrayLike, queries: ArrayLike | None = None
    ) -> Any:
        """Insert a whole prompt in a layer, and answer it causally if there are queries.

        Without queries, keys of two features are sorted and taken in at once, in O(T log T), unless
        there are more tokens already or the cache prunes.

        Parameters
        ----------
        layer : int
        keys : array_like, shape (T, H, d)
        values : array_like, shape (T, H, dv)
        queries : array_like, shape (T, H, d), optional

        Returns
        -------
        ndarray of shape (T, H, dv), or None without queries
            Row t answers over all tokens up to and including t. A tensor where ``queries`` is one.

        Raises
        ------
        ValueError, TypeError
            As :meth:`step`; then no token is inserted, nor after a keyboard interrupt.

        Examples
        --------
        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1, head_dim=1)
        >>> prompt = [[[1.0]], [[3.0]], [[2.0]]]
        >>> cache.extend(0, prompt, prompt, queries=prompt).ravel()
        array([1., 3., 3.])
        """
        layer = self._layer(layer)
        given = {"keys": keys, "values": values}
        if queries is not None:
            given["queries"] = queries
        arrays = self._read(given, ndim=3)
        n = len(arrays["keys"])
        for name, array in arrays.items():
            if len(array) != n:
                raise ValueError(f"{name}: got {len(array)} tokens, expected {n} as in keys")
        answers = extend(self._core, layer, arrays, self._dtype)
        return None if answers is None else as_given(answers, queries)

    def truncate(self, n: int) -> None:
        """Take back the newest tokens: every layer keeps its first ``n``.

        Takes the time that inserting them took, at most; going back into a prompt that was taken in
        at once takes in what is left of it again, O(n log n), and prepares for going back further.

        Raises
        ------
        ValueError
            For ``n`` beyond ``len(cache)``, and where a pruned cache would have to give back keys.

        Examples
        --------
        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1, head_dim=1)
        >>> cache.extend(0, [[[1.0]], [[3.0]]], [[[1.0]], [[3.0]]])
        >>> cache.truncate(1)
        >>> cache.query(0, [[1.0]])
        array([[1.]])
        """
        n = check_count("n", n, 0)
        if n > len(self):
            raise ValueError(f"n: got {n}, expected at most {len(self)}, the tokens in the cache")
        if n == 0:
            self.clear()
        elif self.prune and n < len(self):
            raise ValueError(
                f"n: got {n}, expected 0 or {len(self)}: a cache with prune=True has given up keys "
                "that earlier tokens may need"
            )
        else:
            for layer in range(self.n_layers):
                self._core.truncate(layer, n)

    def clear(self) -> None:
        """Forget all tokens; ties stay as they are.

        >>> from fasthardmax import HardmaxCache
        >>> cache = HardmaxCache(1, 1)
        >>> cache.append(0, [[1.0, 2.0]], [[3.0, 4.0]])
        >>> cache.clear()
        >>> len(cache)
        0
        """
        for layer in range(self.n_layers):
            self._core.clear(layer)

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
        other = HardmaxCache(
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

    def _read(self, given: dict[str, Any], ndim: int = 2) -> dict[str, NDArray[Any]]:
        """The arguments as C-contiguous arrays of the cache's dtype, with the shapes they need."""
        arrays = {}
        for name, value in given.items():
            width = self.value_dim if name == "values" else self.head_dim
            array = read(name, value, self.dtype)
            if array.ndim != ndim or array.shape[-2:] != (self.n_heads, width):
                tokens = "T, " if ndim == 3 else ""
                raise ValueError(
                    f"{name}: got shape {array.shape}, expected ({tokens}{self.n_heads}, {width})"
                )
            arrays[name] = array
        return arrays

    def _again(
        self, method: Callable[..., Any], refusal: Refused, layer: int, given: dict[str, Any]
    ) -> Any:
        """Call a method of the engine with its arguments read first, or raise what is wrong."""
        reason = str(refusal)
        layer = self._layer(layer)
        arrays = self._read(given)
        if reason == "arguments":
            try:
                return as_given(method(layer, *arrays.values()), given.get("queries"))
            except Refused as again:
                reason = str(again)
        raise explained(self._core, reason, layer, arrays, self._dtype) from None


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
