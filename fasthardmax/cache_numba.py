"""HardmaxCache from compiled code: functions for use inside ``numba.njit``, without the GIL.

``step``, ``append`` and ``query`` do what the methods of :class:`fasthardmax.HardmaxCache` do, with
``cache.handle(layer)`` in place of the cache and the layer, and write answers into ``out``.

>>> import numba, numpy as np
>>> from fasthardmax import HardmaxCache, cache_numba
>>> @numba.njit(nogil=True)
... def decode(handle, keys, queries, values, out):
...     for t in range(len(keys)):
...         cache_numba.step(handle, keys[t], queries[t], values[t], out[t])
>>> cache = HardmaxCache(n_layers=1, n_heads=1)
>>> tokens = np.array([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]]])
>>> out = np.empty_like(tokens)
>>> decode(cache.handle(0), tokens, tokens, tokens, out)
>>> out[:, 0].tolist()
[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]

A handle is valid while its cache lives. Layers may be used by several threads at a time, one layer
by one thread. Machine code that uses these functions cannot be kept by ``cache=True``: it holds
addresses of this process.
"""

from __future__ import annotations

import ctypes
from typing import Any

from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import overload
from numpy.typing import NDArray

from ._caching.called import ADDRESSES, CODES

__all__ = ["append", "query", "step"]

Array = NDArray[Any]


def _function(name: str, n_arrays: int) -> Any:
    arrays = (ctypes.c_void_p, ctypes.c_int64) * n_arrays  # where numbers are, and how many
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, ctypes.c_int, *arrays)(ADDRESSES[name])


_step, _append, _query = _function("step", 4), _function("append", 2), _function("query", 2)
_code = {word: code for code, word in CODES.items()}
_NUMBER, _SCORE, _SUM, _UNDERFLOW, _SIZE, _DTYPE = (
    _code[word] for word in ("number", "score", "sum", "underflow", "size", "dtype")
)


@njit
def _check(code):
    if code == 0:
        return
    if code == _SIZE:
        raise ValueError("HardmaxCache: got a shape other than (heads, features) of the cache")
    if code == _DTYPE:
        raise ValueError("HardmaxCache: got arrays of a dtype other than that of the cache")
    if code == _NUMBER:
        raise ValueError("HardmaxCache: got NaN, infinity, or a magnitude beyond the limit")
    if code == _SCORE:
        raise ValueError("HardmaxCache: got queries and keys whose scores may overflow")
    if code == _SUM:
        raise ValueError("HardmaxCache: got tied values whose sum overflows")
    if code == _UNDERFLOW:
        raise ValueError("HardmaxCache: got queries that underflow, in a cache with prune=True")
    raise MemoryError("HardmaxCache: found no memory; the cache can only be cleared")


def _only_in_compiled_code(name: str) -> TypeError:
    return TypeError(
        f"cache_numba.{name}: called from Python, expected a call from a function compiled by "
        f"numba.njit; HardmaxCache.{name} is for Python"
    )


def _check_types(function: str, handle: Any, **arrays: Any) -> None:
    """A ``TypingError`` in one sentence for anything but an integer and matching arrays."""
    if not isinstance(handle, types.Integer):
        raise TypingError(
            f"cache_numba.{function}: got handle of type {handle}, expected HardmaxCache.handle()"
        )
    first = None
    for name, array in arrays.items():
        fits = (
            isinstance(array, types.Array)
            and array.ndim == 2
            and array.layout == "C"
            and array.dtype in (types.float32, types.float64)
            and (first is None or array.dtype == first)
            and (array.mutable or name != "out")
        )
        if not fits:
            raise TypingError(
                f"cache_numba.{function}: got {name} of type {array}, expected a C-contiguous "
                "array of two dimensions in the dtype of the cache, writable if it is out"
            )
        first = array.dtype


def step(handle: int, keys: Array, queries: Array, values: Array, out: Array) -> None:
    """Insert one token in a layer, then answer one query for each head.

    Callable from code compiled by ``numba.njit`` only; costs what ``HardmaxCache.step`` does, less
    the call from Python.

    Parameters
    ----------
    handle : int
        Of a layer, from :meth:`fasthardmax.HardmaxCache.handle`; valid while that cache lives.
    keys, queries : ndarray, shape (H, d)
    values : ndarray, shape (H, dv)
        C-contiguous, in the dtype of the cache.
    out : ndarray, shape (H, dv)
        Written: what ``HardmaxCache.step`` returns, bit for bit.

    Raises
    ------
    ValueError
        For shapes and dtypes other than the cache's, NaN, infinity, scores or sums that could
        overflow: then nothing is inserted in any head. The sentence names no argument: compiled
        code knows none.
    MemoryError
        Where none is left; the cache can only be cleared then.
    numba.core.errors.TypingError
        When compiling, for arrays that are not C-contiguous, or not of one dtype.
    TypeError
        Where it is called from Python.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fasthardmax import HardmaxCache, cache_numba
    >>> @numba.njit
    ... def one(handle, keys, queries, values, out):
    ...     cache_numba.step(handle, keys, queries, values, out)
    >>> cache, out = HardmaxCache(1, 1), np.empty((1, 2))
    >>> one(cache.handle(0), np.eye(2)[:1], np.eye(2)[:1], np.array([[3.0, 4.0]]), out)
    >>> out
    array([[3., 4.]])
    """
    raise _only_in_compiled_code("step")


@overload(step)
def _compile_step(handle, keys, queries, values, out):
    _check_types("step", handle, keys=keys, queries=queries, values=values, out=out)

    def call(handle, keys, queries, values, out):
        code = _step(
            handle,
            keys.itemsize,
            keys.ctypes,
            keys.size,
            queries.ctypes,
            queries.size,
            values.ctypes,
            values.size,
            out.ctypes,
            out.size,
        )
        _check(code)

    return call


def append(handle: int, keys: Array, values: Array) -> None:
    """Insert one token in a layer.

    Parameters
    ----------
    handle : int
        Of a layer, from :meth:`fasthardmax.HardmaxCache.handle`; valid while that cache lives.
    keys : ndarray, shape (H, d)
    values : ndarray, shape (H, dv)
        C-contiguous, in the dtype of the cache.

    Raises
    ------
    ValueError, MemoryError, numba.core.errors.TypingError, TypeError
        As :func:`step`.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fasthardmax import HardmaxCache, cache_numba
    >>> @numba.njit
    ... def fill(handle, keys, values):
    ...     for t in range(len(keys)):
    ...         cache_numba.append(handle, keys[t], values[t])
    >>> cache = HardmaxCache(1, 1)
    >>> fill(cache.handle(0), np.ones((5, 1, 2)), np.ones((5, 1, 2)))
    >>> len(cache)
    5
    """
    raise _only_in_compiled_code("append")


@overload(append)
def _compile_append(handle, keys, values):
    _check_types("append", handle, keys=keys, values=values)

    def call(handle, keys, values):
        _check(_append(handle, keys.itemsize, keys.ctypes, keys.size, values.ctypes, values.size))

    return call


def query(handle: int, queries: Array, out: Array) -> None:
    """Answer one query for each head of a layer, over the tokens so far.

    Parameters
    ----------
    handle : int
        Of a layer, from :meth:`fasthardmax.HardmaxCache.handle`; valid while that cache lives.
    queries : ndarray, shape (H, d)
        C-contiguous, in the dtype of the cache.
    out : ndarray, shape (H, dv)
        Written: what ``HardmaxCache.query`` returns, bit for bit; zeros before the first token.

    Raises
    ------
    ValueError, MemoryError, numba.core.errors.TypingError, TypeError
        As :func:`step`.

    Examples
    --------
    >>> import numba, numpy as np
    >>> from fasthardmax import HardmaxCache, cache_numba
    >>> @numba.njit
    ... def ask(handle, queries, out):
    ...     cache_numba.query(handle, queries, out)
    >>> cache, out = HardmaxCache(1, 1), np.empty((1, 2))
    >>> cache.append(0, [[1.0, 2.0]], [[5.0, 6.0]])
    >>> ask(cache.handle(0), np.ones((1, 2)), out)
    >>> out
    array([[5., 6.]])
    """
    raise _only_in_compiled_code("query")


@overload(query)
def _compile_query(handle, queries, out):
    _check_types("query", handle, queries=queries, out=out)

    def call(handle, queries, out):
        _check(_query(handle, queries.itemsize, queries.ctypes, queries.size, out.ctypes, out.size))

    return call
