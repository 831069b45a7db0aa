"""Products of bytes: exact sums at the ends of their ranges, on each kind of processor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from fasthardmax.engines._byte_products import MULTIPLIES_BYTES, QUERY_RANGE
from fasthardmax.engines._vectors import panel_of_sums, screen_block

from .compare import assert_same_bits

Array = NDArray[Any]
needs_bytes = pytest.mark.skipif(
    not MULTIPLIES_BYTES, reason="this processor does not multiply bytes: no screening in them"
)


def _features() -> str:
    return str(cpu_target.target_context.codegen().magic_tuple()[2])


@njit
def _screen(
    panel: Array, key: Array, scaling: tuple[Array, Array], table: Array, vectors: tuple[int, ...]
) -> None:
    screen_block(panel, 0, key, 0, len(key), scaling, None, table, 0, vectors, ())


@needs_bytes
@pytest.mark.parametrize("n_keys", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("n_words", [1, 2, 5, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_sum_is_exact(dtype: type[Any], n_words: int, n_keys: int) -> None:
    rng = np.random.default_rng(n_words + n_keys)
    width, vectors, _ = panel_of_sums(4 * n_words, np.dtype(dtype).itemsize)
    ends = np.array([-QUERY_RANGE, 0, QUERY_RANGE, QUERY_RANGE], np.int8)
    queries = rng.choice(ends, (width, 4 * n_words))
    queries[0], queries[1] = QUERY_RANGE, -QUERY_RANGE
    keys = rng.choice(np.array([1, 128, 255], np.uint8), (n_keys, 4 * n_words))
    keys[0] = 255
    panel = np.ascontiguousarray(queries.view(np.int32).T).reshape(1, -1)
    table = np.empty((1, 1, width), dtype)
    scaling = np.zeros((1, width), np.int32), np.ones((1, width), dtype)
    _screen(panel, keys.view(np.int32), scaling, table, vectors)
    products = queries.astype(np.int64) @ keys.T.astype(np.int64)
    assert_same_bits(table[0, 0], products.max(axis=1).astype(dtype))


# Runs in a process whose Numba compiles for a processor with AVX2 and nothing wider.
_NARROW = """
import numpy as np
import fasthardmax as fh
from fasthardmax.engines import _byte_products, _processor, direct

assert _processor.VECTOR_BYTES == 32, _processor.VECTOR_BYTES
assert _byte_products.MULTIPLIES_BYTES
assert _byte_products.QUERY_RANGE == 63, _byte_products.QUERY_RANGE
direct._BYTES_SIZE = 0
for dtype in (np.float32, np.float64):
    rng = np.random.default_rng(0)
    q, k = rng.integers(-2, 3, (300, 7)).astype(dtype), rng.integers(-2, 3, (500, 7)).astype(dtype)
    q[::2] += rng.standard_normal(q[::2].shape).astype(dtype)
    for causal in (False, True):
        expected, found = (
            fh.hardmax_attention(q, k, k, is_causal=causal, engine=engine)
            for engine in ("reference", "direct")
        )
        assert expected.tobytes() == found.tobytes(), (dtype, causal)
print("equal")
"""

# One that multiplies bytes in one instruction, in vectors of 32: compiled for, not run.
_AT_ONCE = """
import numba
from numba import types
from fasthardmax.engines import _byte_products
from fasthardmax.engines._vectors import panel_of_sums, screen_block

assert _byte_products.QUERY_RANGE == 127, _byte_products.QUERY_RANGE
vectors = panel_of_sums(64, 4)[1]
words = types.int32[:, ::1]

def screen(panel, key, offset, scale, tables):
    screen_block(panel, 0, key, 0, 64, (offset, scale), None, tables, 0, vectors, ())

kernel = numba.njit(screen, no_cpython_wrapper=True, no_cfunc_wrapper=True)
kernel.compile((words, words, words, types.float32[:, ::1], types.float32[:, :, ::1]))
(code,) = kernel.inspect_asm().values()
print(code)
"""


def _run_for(name: str, features: str, program: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif("+avx2" not in _features(), reason="this processor lacks AVX2")
@pytest.mark.skipif(QUERY_RANGE == 63, reason="this processor is one: all tests are about it")
def test_a_processor_with_avx2_alone_gives_the_same_bits() -> None:
    assert _run_for("haswell", "+avx,+avx2,+fma", _NARROW) == "equal\n"


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="not an x86 processor")
def test_one_instruction_is_taken_where_there_is_one() -> None:
    code = _run_for("alderlake", "+avx,+avx2,+fma,+avxvnni", _AT_ONCE)
    products = [line for line in code.splitlines() if "vpdpbusd" in line]
    assert products
    assert all("%ymm" in line for line in products)
    assert "vpmaddubsw" not in code
