"""An index over fixed keys, for many queries: the winners without looking at all pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._assemble import take
from ._validate import TIES, as_array, check_choice, check_mean, check_scores, check_threads
from .attention import Winners
from .numerics import compute_dtype, peak_score, score_limit

__all__ = ["HardmaxIndex"]

_MAX_FEATURES = 6


class HardmaxIndex:
    """Answer hardmax queries over fixed keys of one to six features.

    Directions of queries are divided into cells, each with the few keys that may win there; a query
    looks up its cell and scores those. The answers are those of
    :func:`~fasthardmax.hardmax_attention`, bit for bit, for any keys.

    Parameters
    ----------
    keys : array_like, shape (S, E)
        Finite numbers, 1 to 6 features. Kept, not copied, where they are C-contiguous and of the
        compute dtype: do not change them afterwards.
    num_threads : int, optional
        At most this many threads; all cores that the process may run on by default.

    Raises
    ------
    ValueError
        For another shape, for NaN or infinity, and for more than six features, where
        :func:`~fasthardmax.hardmax_attention` is the way.
    TypeError
        For keys that are not real numbers of at most 64 bits.

    Notes
    -----
    Cost: building takes about O(S) where few keys can win and O(S log S) where all can; memory is
    O(S). A query costs O(log S) and a few scores where the geometry allows it. The worst cases,
    such as keys that nearly all tie, cost as much as scoring all keys.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthardmax import HardmaxIndex
    >>> index = HardmaxIndex([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.1, 0.1]])
    >>> index.winners([[2.0, 1.0], [0.0, 1.0]]).count
    array([2, 1])
    >>> index.attend([[2.0, 1.0], [0.0, 1.0]], [[1.0], [5.0], [3.0], [9.0]])
    array([[2.],
           [5.]])
    """

    def __init__(self, keys: ArrayLike, *, num_threads: int | None = None) -> None:
        self._threads = check_threads(num_threads)
        array = as_array("keys", keys)
        if array.ndim != 2:
            raise ValueError(f"keys: got shape {array.shape}, expected (S, E)")
        if not 1 <= array.shape[1] <= _MAX_FEATURES:
            raise ValueError(
                f"keys: got {array.shape[1]} features, expected 1 to {_MAX_FEATURES}; "
                "hardmax_attention takes any number"
            )
        self._indexes: dict[np.dtype[Any], Any] = {}
        self._given = array
        self._index(compute_dtype(array.dtype))

    @property
    def n_candidates(self) -> int:
        """Distinct keys that may win for some query; all of them where cells do not list theirs."""
        index = self._index(compute_dtype(self._given.dtype))[2]
        # In the plane a key may be a candidate on several faces.
        return 0 if index is None else len(np.unique(index.members[index.spans[:-1]]))

    @property
    def n_leaves(self) -> int:
        """Cells that are not divided further."""
        index = self._index(compute_dtype(self._given.dtype))[2]
        return 0 if index is None else int(index.n_leaves)

    @property
    def nbytes(self) -> int:
        """Memory held, without the keys."""
        return sum(index.nbytes for _, _, index in self._indexes.values() if index is not None)

    def winners(self, queries: ArrayLike, *, return_all: bool = False) -> Winners:
        """Find the tie set of every query.

        Parameters
        ----------
        queries : array_like, shape (..., L, E)
        return_all : bool, default False
            Also list every winner, in CSR form; memory grows by one int64 for each.

        Returns
        -------
        Winners
            As of :func:`~fasthardmax.hardmax_winners`.

        Raises
        ------
        ValueError, TypeError
            As :func:`~fasthardmax.hardmax_winners`.

        Examples
        --------
        >>> from fasthardmax import HardmaxIndex
        >>> HardmaxIndex([[3.0], [0.0], [3.0]]).winners([[1.0], [-1.0]]).first
        array([0, 1])
        """
        query, dtype = self._check(queries, self._given.dtype)
        none = np.empty((len(self._given), 0), dtype)
        _, first, count = self._attend(query, none, "mean")
        shape = np.shape(queries)[:-1]
        if not return_all:
            return Winners(first.reshape(shape), count.reshape(shape))
        indptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        indices = np.empty(indptr[-1], np.int64)
        keys, _, index = self._index(dtype)
        if index is not None:
            from .engines import cones

            cones.list_ties(index, query, keys, first, indptr, self._threads, indices)
        return Winners(first.reshape(shape), count.reshape(shape), indptr, indices)

    def attend(self, queries: ArrayLike, values: ArrayLike, ties: str = "mean") -> NDArray[Any]:
        """Give every query the mean of the values whose keys score highest.

        Parameters
        ----------
        queries : array_like, shape (..., L, E)
        values : array_like, shape (S, Ev)
            One row for each key.
        ties : {"mean", "first", "last"}, default "mean"
            Average the values of all winners, or take the leftmost or the rightmost winner's.

        Returns
        -------
        ndarray, shape (..., L, Ev)
            In the promoted dtype of keys, queries and values; zeros where there are no keys.

        Raises
        ------
        ValueError, TypeError
            As :func:`~fasthardmax.hardmax_attention`.

        Examples
        --------
        >>> from fasthardmax import HardmaxIndex
        >>> HardmaxIndex([[3.0], [0.0], [3.0]]).attend([[1.0]], [[1.0], [2.0], [5.0]])
        array([[3.]])
        """
        check_choice("ties", ties, TIES)
        value = as_array("values", values)
        if value.ndim != 2 or len(value) != len(self._given):
            raise ValueError(
                f"values: got shape {value.shape}, expected ({len(self._given)}, Ev), a row for "
                "each key"
            )
        query, dtype = self._check(queries, self._given.dtype, value.dtype)
        (value,), peaks, _ = take("values", value, dtype, self._threads)
        mean, _, _ = self._attend(query, value, ties)
        if float(peaks.max(initial=0)) * len(value) > score_limit(dtype):
            check_mean("values", mean)
        return mean.reshape(*np.shape(queries)[:-1], value.shape[1])

    def _check(
        self, queries: ArrayLike, *dtypes: np.dtype[Any]
    ) -> tuple[NDArray[Any], np.dtype[Any]]:
        """The queries (L, E) in the compute dtype, and that dtype."""
        array = as_array("queries", queries)
        d = self._given.shape[1]
        if array.ndim < 2 or array.shape[-1] != d:
            raise ValueError(f"queries: got shape {array.shape}, expected (..., L, {d}), as keys")
        dtype = compute_dtype(array.dtype, *dtypes)
        flat, peaks, _ = take("queries", array, dtype, self._threads)
        if len(self._given):
            peak = peak_score(peaks, self._index(dtype)[1])
            check_scores("queries and keys", peak, dtype)
        return flat.reshape(math.prod(array.shape[:-1]), d), dtype

    def _index(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any], Any]:
        """Keys, largest magnitudes and cells in a compute dtype; float64 queries have their own."""
        if dtype not in self._indexes:
            from .engines import cones

            (keys,), peaks, _ = take("keys", self._given, dtype, self._threads)
            index = cones.build(keys, peaks[0], self._threads) if len(keys) else None
            self._indexes[dtype] = keys, peaks, index
        result: tuple[NDArray[Any], NDArray[Any], Any] = self._indexes[dtype]
        return result

    def _attend(
        self, query: NDArray[Any], value: NDArray[Any], ties: str
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        keys, _, index = self._index(query.dtype)
        mean = np.zeros((len(query), value.shape[1]), query.dtype)
        first = np.full(len(query), -1, np.int64)
        count = np.zeros(len(query), np.int64)
        if index is not None and len(query):
            from .engines import cones

            cones.attend(index, query, keys, value, ties, self._threads, mean, first, count)
        return mean, first, count
