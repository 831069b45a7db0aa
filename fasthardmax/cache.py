"""The operator one token at a time: append a key and a value, ask a query over all so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike, NDArray

from ._caching.core import Refused
from ._caching.extending import extend
from ._caching.held import Held
from ._caching.reading import as_given, read
from ._caching.refusals import explained
from ._validate import check_count, check_threads

__all__ = ["HardmaxCache"]


class HardmaxCache(Held):
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
    place in O(k log n): each of them has to be compared, as it stays where rounding may let it win.
    Every key is covered once, so insertion is O(log n) amortised over any sequence of appends. It
    is not in the worst case: after keys ``(2 j, -j * j)`` for j = 0 .. n - 1, which are all on the
    hull, ``(0, 4 * n * n)`` covers nearly all of them (10 ms for 3 x 10^5); and ``truncate`` gives
    them their place back in as much time, so that taking that key back and appending it again costs
    O(n log n) each time. (Trees of hulls update in O(log^2 n) at worst [1]_, but keep every key
    in them and take several times as long where nothing is covered.) Three features and more: d for
    each key whose length does not rule it out; from 24 on, of which bytes do not either.

    Memory a token and head: d + dv numbers; with two features about 90 bytes more where its key is
    on one side of the hull (32 for each quadrant of directions in which it may win, in nodes that
    are half to wholly full, and 8 for each change to be undone), 300 on a straight line, nothing
    inside; with three and more, 8 bytes, from 24 on d + 16.

    Do not use one layer in two threads at a time: there are no locks, and :meth:`extend` works
    without the GIL, in threads of its own as well. Other layers may be used meanwhile.

    References
    ----------
    .. [1] Overmars, van Leeuwen, "Maintenance of configurations in the plane", J. Comput. Syst.
       Sci. 23(2), 1981.

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

    __slots__ = ()

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
        self,
        layer: int,
        keys: ArrayLike,
        values: ArrayLike,
        queries: ArrayLike | None = None,
        *,
        num_threads: int | None = None,
    ) -> Any:
        """Insert a whole prompt in a layer, and answer it causally if there are queries.

        Faster than :meth:`append` or :meth:`step` in a loop. Heads are shared among threads.
        Without queries, keys of two features are sorted and taken in at once, in O(T log T), unless
        there are more tokens already. With queries and many features (8, if there are not too many
        tokens, or 16) the prompt is answered as one causal attention by
        :func:`~fasthardmax.hardmax_attention`, unless there are more tokens already.

        Parameters
        ----------
        layer : int
        keys : array_like, shape (T, H, d)
        values : array_like, shape (T, H, dv)
        queries : array_like, shape (T, H, d), optional
        num_threads : int, optional
            At most this many threads; all cores that the process may run on by default.

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
        layer, n_threads = self._layer(layer), check_threads(num_threads)
        given = {"keys": keys, "values": values}
        if queries is not None:
            given["queries"] = queries
        arrays = self._read(given, ndim=3)
        n = len(arrays["keys"])
        for name, array in arrays.items():
            if len(array) != n:
                raise ValueError(f"{name}: got {len(array)} tokens, expected {n} as in keys")
        answers = extend(self._core, layer, arrays, self._dtype, n_threads)
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

    # --- Arguments ------------------------------------------------------------------------------

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
