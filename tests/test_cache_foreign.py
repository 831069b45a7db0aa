"""HardmaxCache from compiled code and with tensors: the same bits, in place."""

from __future__ import annotations

import re
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from fasthardmax import HardmaxCache, cache_numba

from .clouds import DTYPES, Array, DType, gaussian, seeded
from .compare import assert_same_bits

T, H, D, DV = 40, 3, 2, 4


def tokens(dtype: DType) -> tuple[Array, Array, Array]:
    rng = seeded("foreign")
    keys, queries = rng.integers(-2, 3, (2, T, H, D)).astype(dtype)
    return keys, queries, rng.standard_normal((T, H, DV)).astype(dtype)


def expected(dtype: DType) -> Array:
    keys, queries, values = tokens(dtype)
    return HardmaxCache(1, H, D, DV, dtype=dtype).extend(0, keys, values, queries)


# --- Numba ---------------------------------------------------------------------------------------


@numba.njit(nogil=True)
def _steps(handle, keys, queries, values, out):
    for t in range(len(keys)):
        cache_numba.step(handle, keys[t], queries[t], values[t], out[t])


@numba.njit(nogil=True)
def _in_two(handle, keys, queries, values, out):
    for t in range(len(keys)):
        cache_numba.append(handle, keys[t], values[t])
        cache_numba.query(handle, queries[t], out[t])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("decode", [_steps, _in_two], ids=["step", "append and query"])
def test_compiled_code_gets_the_same_bits(decode: Any, dtype: DType) -> None:
    cache = HardmaxCache(2, H, D, DV, dtype=dtype)
    keys, queries, values = tokens(dtype)
    keys.flags.writeable = False
    out = np.empty((T, H, DV), dtype)
    decode(cache.handle(1), keys, queries, values, out)
    assert_same_bits(out, expected(dtype))
    assert (cache.n_tokens(0), cache.n_tokens(1)) == (0, T)
    cache.clear()
    out[...] = 0
    decode(cache.handle(1), keys, queries, values, out)
    assert_same_bits(out, expected(dtype))


def test_compiled_code_gets_the_same_refusals() -> None:
    cache = HardmaxCache(1, H, D, DV)
    keys, queries, values = (np.ones((1, H, w)) for w in (D, D, DV))
    out = np.empty((1, H, DV))
    wrong = {
        "got NaN, infinity, or a magnitude": (keys * np.nan, queries, values, out),
        "got queries and keys whose scores may overflow": (keys * 1e200, keys * 1e200, values, out),
        "got a shape other than": (keys[:, :2].copy(), queries, values, out),
        "got arrays of a dtype other than": tuple(
            array.astype(np.float32) for array in (keys, queries, values, out)
        ),
    }
    for message, arguments in wrong.items():
        with pytest.raises(ValueError, match=f"^HardmaxCache: {message}"):
            _steps(cache.handle(0), *arguments)
    assert len(cache) == 0
    large = np.full((2, H, DV), 1.5e308)
    twice = (np.repeat(array, 2, axis=0) for array in (keys, queries))
    with pytest.raises(ValueError, match=r"^HardmaxCache: got tied values whose sum overflows$"):
        _steps(cache.handle(0), *twice, large, np.empty_like(large))
    assert len(cache) == 1


def test_compiled_code_refuses_other_arrays_when_it_is_compiled() -> None:
    cache = HardmaxCache(1, H, D, DV)
    keys, queries, values = tokens(DTYPES[1])
    with pytest.raises(TypingError, match=r"cache_numba\.step: got keys of type .*int64"):
        _steps(cache.handle(0), keys.astype(int), queries, values, values)
    with pytest.raises(TypingError, match=r"cache_numba\.step: got values of type .*float32"):
        _steps(cache.handle(0), keys, queries, values.astype(np.float32), values)
    with pytest.raises(TypingError, match=r"cache_numba\.step: got handle of type float64"):
        _steps(0.5, keys, queries, values, values)


def test_python_is_sent_to_the_methods() -> None:
    message = "cache_numba.query: called from Python, expected a call from a function compiled"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        cache_numba.query(0, np.ones((1, 1)), np.ones((1, 1)))


# --- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_come_back_as_tensors(dtype: DType) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    cache = HardmaxCache(1, H, D, DV, dtype=dtype)
    keys, queries, values = (torch.from_numpy(array) for array in tokens(dtype))
    answers = [cache.step(0, *token) for token in zip(keys, queries, values, strict=True)]
    assert all(type(answer) is torch.Tensor for answer in answers)
    assert_same_bits(torch.stack(answers).numpy(), expected(dtype))
    cache.clear()
    assert_same_bits(cache.extend(0, keys, values, queries).numpy(), expected(dtype))
    assert_same_bits(cache.query(0, queries[-1]).numpy(), expected(dtype)[-1])
    cache.append(0, keys[0], values[0])
    assert len(cache) == T + 1


def test_tensors_are_read_in_place() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from fasthardmax._caching.reading import as_given, read

    tensor = torch.from_numpy(gaussian(H, D, DTYPES[1]))
    assert read("keys", tensor, DTYPES[1]).ctypes.data == tensor.data_ptr()
    answer = np.ones((H, DV))
    assert as_given(answer, tensor).data_ptr() == answer.ctypes.data


def test_tensors_elsewhere_or_with_gradients_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    cache = HardmaxCache(1, 1)
    one = torch.ones(1, 2, dtype=torch.float64)
    message = "queries: got a tensor that requires a gradient, expected one that does not"
    with pytest.raises(ValueError, match=f"^{message}"):
        cache.step(0, one, one.clone().requires_grad_(), one)
    with pytest.raises(ValueError, match=r"^keys: got a tensor on meta, expected one on the CPU"):
        cache.step(0, one.to("meta"), one, one)
    with pytest.raises(TypeError, match=r"^values: cannot be read as an array of numbers"):
        cache.step(0, one, one, one.to(torch.bfloat16))
    assert len(cache) == 0
