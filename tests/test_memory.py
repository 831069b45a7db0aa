"""No L x S array, ever: peak memory of calls whose score matrix would not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fasthardmax.engines import ENGINES

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="a process's own peak memory is read from /proc"
)

MIB = 1 << 20

# Peak growth over a small call of the same kind, which has loaded and compiled everything.
# Not getrusage: its ru_maxrss starts at the size of the process that started this one.
_PREAMBLE = """
import json
import numpy as np
from fasthardmax import hardmax_attention, hardmax_winners, simulate
from fasthardmax.engines import ENGINES

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

def growth(call, size, small=300):
    call(small)
    before = peak()
    answer = call(size)
    return peak() - before, answer

rng = np.random.default_rng(0)
"""


def _measure(script: str, **values: Any) -> Any:
    """What ``script`` prints as JSON, in a process of its own."""
    assignments = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    done = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + assignments + script],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_measure_sees_an_array() -> None:
    script = "print(json.dumps(growth(lambda n: np.ones((n, n)), 5000)[0]))"
    assert 190 * MIB < _measure(script) < 210 * MIB


@pytest.mark.parametrize("engine", ["auto", "direct"])
def test_a_score_matrix_of_40_gb(engine: str) -> None:
    """L = S = 100 000 in float32; a sample of rows is checked against the reference."""
    script = """
points = rng.standard_normal((100_000, 2)).astype(np.float32)

def call(n):
    return hardmax_attention(points[:n], points[:n], points[:n], engine=engine)

ENGINES["direct"].load()  # auto takes it for large problems
extra, answer = growth(call, 100_000, 3_000)
rows = rng.choice(100_000, 20, replace=False)
expected = hardmax_attention(points[rows], points, points, engine="reference")
print(json.dumps([extra, answer[rows].tobytes() == expected.tobytes()]))
"""
    extra, right = _measure(script, engine=engine)
    assert extra < 50 * MIB
    assert right


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "float"])
def test_every_engine_with_every_mask(engine: str, mask: str) -> None:
    """L = S = 10 000: 100 MB for one byte a pair, 800 MB for float64."""
    script = """
n = 10_000
query, key = rng.standard_normal((2, n, 1))
masks = {"boolean": np.arange(n) % 3 > 0, "float": np.where(np.arange(n) % 3 > 0, 0.5, -np.inf)}

def call(n):
    given = masks[mask][:n] if mask in masks else None
    return hardmax_attention(
        query[:n], key[:n], key[:n], attn_mask=given, is_causal=mask == "causal", engine=engine
    )

print(json.dumps(growth(call, n)[0]))
"""
    assert _measure(script, engine=engine, mask=mask) < 30 * MIB


@pytest.mark.parametrize("engine", ENGINES)
def test_winners_and_dynamics(engine: str) -> None:
    script = """
points = rng.standard_normal((8_000, 2))

def winners(n):
    return hardmax_winners(points[:n], points[:n], return_all=True, engine=engine)

def layers(n):
    return simulate(points[:n], alpha=1, n_layers=2, engine=engine)

print(json.dumps([growth(winners, 8_000)[0], growth(layers, 8_000)[0]]))
"""
    winners, layers = _measure(script, engine=engine)
    assert winners < 30 * MIB
    assert layers < 30 * MIB


def test_softmax_layers() -> None:
    script = """
points = rng.standard_normal((8_000, 2))

def layers(n):
    return simulate(points[:n], alpha=1, n_layers=2, beta=3)

print(json.dumps(growth(layers, 8_000)[0]))
"""
    assert _measure(script) < 30 * MIB


@pytest.mark.parametrize("engine", ENGINES)
def test_broadcast_heads_are_not_copied(engine: str) -> None:
    """64 batches of 4 heads over one key and value of 2 MB: copies would take 512 MB."""
    script = """
query, key = rng.standard_normal((64, 4, 1, 2)), rng.standard_normal((1, 1, 128_000, 2))

def call(n_batch):
    return hardmax_attention(query[:n_batch], key, key, engine=engine)

print(json.dumps(growth(call, 64, 1)[0]))
"""
    assert _measure(script, engine=engine) < 30 * MIB
