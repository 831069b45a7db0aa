"""What the machine can do: fused multiply-adds, matrix products, copies, and bare update passes.

The peak of fused multiply-adds is measured, not looked up: a loop of independent chains of vector
FMA instructions that touches no memory, written as LLVM IR because no compiler flag is needed then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fasthardmax._threads import for_each_range
from fasthardmax.engines._vectors import VECTOR_BYTES

from .timing import calls_per_timing

__all__ = ["measure_ceilings", "time_update"]

_CHAINS = 12  # 4 cycles of latency x 2 units a cycle need 8; 12 and two operands fit 16 registers
_REPEATS = 7


@intrinsic
def _fma_chains(typingctx, seed, rounds):
    """One lane of the sum of ``_CHAINS`` vectors, each put through ``x <- 0.75 x + seed``."""
    element = ir.FloatType() if seed == types.float32 else ir.DoubleType()
    lanes = 8 * VECTOR_BYTES // seed.bitwidth
    vector = ir.VectorType(element, lanes)

    def codegen(context, builder, signature, args):
        name = f"llvm.fma.v{lanes}f{seed.bitwidth}"
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, name)
        factor = ir.Constant(vector, [0.75] * lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        low = builder.insert_element(undefined, args[0], ir.IntType(32)(0))
        term = builder.shuffle_vector(low, undefined, zeros)
        chains = [
            cgutils.alloca_once_value(builder, ir.Constant(vector, [float(i)] * lanes))
            for i in range(_CHAINS)
        ]
        with cgutils.for_range(builder, args[1]):
            for chain in chains:
                builder.store(builder.call(fma, [builder.load(chain), factor, term]), chain)
        total = builder.load(chains[0])
        for chain in chains[1:]:
            total = builder.fadd(total, builder.load(chain))
        return builder.extract_element(total, ir.IntType(32)(0))

    return seed(seed, types.intp), codegen


@njit(nogil=True)
def _run_chains(seed, rounds):
    return _fma_chains(seed, rounds)


def _on_threads(work: Callable[[int], object], threads: int) -> float:
    """The shortest of several wall-clock times of ``work(t)`` on each of ``threads`` threads."""
    best = float("inf")
    for _ in range(_REPEATS):
        crew = [threading.Thread(target=work, args=(t,)) for t in range(threads)]
        start = time.perf_counter()
        for member in crew:
            member.start()
        for member in crew:
            member.join()
        best = min(best, time.perf_counter() - start)
    return best


def fma_peak(dtype: np.dtype[Any], threads: int) -> float:
    """Floating-point operations per second, two for each fused multiply-add."""
    rounds = 1 << 23  # about 15 ms
    seed = dtype.type(0.5)
    _run_chains(seed, 1)  # compiles
    seconds = _on_threads(lambda t: _run_chains(seed, rounds), threads)
    return 2 * _CHAINS * (VECTOR_BYTES // dtype.itemsize) * rounds * threads / seconds


def blas_rate(dtype: np.dtype[Any], threads: int) -> float:
    """Floating-point operations per second of a product of two square matrices."""
    size = 1536
    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    out = np.empty_like(a)
    with threadpool_limits(threads, user_api="blas"):
        np.matmul(a, a, out=out)
        seconds = _on_threads(lambda t: np.matmul(a, a, out=out), 1)
    return 2 * size**3 / seconds


def copy_bandwidth(threads: int) -> float:
    """Bytes per second read and written while copying arrays far larger than any cache."""
    source = np.ones((threads, 1 << 24))
    target = np.zeros_like(source)
    seconds = _on_threads(lambda t: np.copyto(target[t], source[t]), threads)
    return 2 * source.nbytes / seconds


@njit(nogil=True)
def _update(points, means, c, moved, start, stop):
    for i in range(start, stop):
        moved[i] = points[i] + c * (means[i] - points[i])


def time_update(points: NDArray[Any], threads: int) -> list[float]:
    """Seconds of several bare passes ``x + c (m - x)`` over arrays of this size, c = 1/3.

    It is what a layer of the dynamics does when the means are known: the least that one can cost.
    """
    x = np.ascontiguousarray(points).reshape(-1)
    means, moved = np.ascontiguousarray(x[::-1]), np.empty_like(x)
    c = x.dtype.type(1 / 3)
    share = max(1, -(-len(x) // threads))

    def work(start: int, stop: int) -> None:
        _update(x, means, c, moved, start, stop)

    def seconds() -> float:
        start = time.perf_counter()
        for_each_range(work, len(x), share, threads)
        return time.perf_counter() - start

    seconds()  # compiles
    calls = calls_per_timing(min(seconds() for _ in range(3)))
    return [sum(seconds() for _ in range(calls)) / calls for _ in range(_REPEATS)]


def measure_ceilings(cores: int) -> dict[str, dict[str, dict[str, float]]]:
    """``[quantity][dtype or "any"][threads as text]``, on one core and on all ``cores``."""
    counts = sorted({1, cores})
    dtypes = (np.dtype(np.float32), np.dtype(np.float64))
    return {
        "fma": {str(t): {str(c): fma_peak(t, c) for c in counts} for t in dtypes},
        "blas": {str(t): {str(c): blas_rate(t, c) for c in counts} for t in dtypes},
        "copy": {"any": {str(c): copy_bandwidth(c) for c in counts}},
    }
