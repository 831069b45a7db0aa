"""The engines beside each other, with pytest-benchmark: operator, one layer, and fresh processes.

``python -m pytest bench/test_operator.py --benchmark-json=DIR/operator.json``, then
``python -m bench.report DIR``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasthardmax import hardmax_attention, simulate
from fasthardmax.numerics import step, step_size
from tests.cases import gaussian

# Multiply-adds up to which an engine answers in about a second.
_REACH = {"reference": 1e8, "compiled": 1.7e9, "direct": 1e10}
CELLS = [
    (engine, n, d)
    for n, d, (engine, reach) in product((100, 1_000, 10_000), (2, 16, 64), _REACH.items())
    if n * n * d <= reach
]
_CHECKED_ROWS = 50
_ALPHA = 0.5

Benchmark = Callable[..., Any]

_CALL = """
import numpy as np, fasthardmax
x = np.random.default_rng(0).standard_normal((1000, 3))
fasthardmax.hardmax_attention(x, x, x, engine={engine!r})
"""
FRESH = {
    "Python alone": "pass",
    "import numpy": "import numpy",
    "import fasthardmax": "import fasthardmax",
    "first call, n = 1000, d = 3: compiled": _CALL.format(engine="compiled"),
    "first call, n = 1000, d = 3: direct, machine code cached": _CALL.format(engine="direct"),
    "first call, n = 1000, d = 3: direct, nothing cached": _CALL.format(engine="direct"),
}


@pytest.mark.parametrize(("engine", "n", "d"), CELLS)
@pytest.mark.benchmark(group="operator")
def test_operator(benchmark: Benchmark, engine: str, n: int, d: int) -> None:
    points = gaussian(n, d, np.dtype(np.float64))
    expected = hardmax_attention(points[:_CHECKED_ROWS], points, points, engine="reference")
    out = benchmark(hardmax_attention, points, points, points, engine=engine)
    assert np.array_equal(out[:_CHECKED_ROWS], expected)


@pytest.mark.parametrize(("engine", "n", "d"), CELLS)
@pytest.mark.benchmark(group="simulate, 1 layer")
def test_layer(benchmark: Benchmark, engine: str, n: int, d: int) -> None:
    points = gaussian(n, d, np.dtype(np.float64))
    some = points[:_CHECKED_ROWS]
    mean = hardmax_attention(some, points, points, engine="reference")
    expected = step(some, mean, step_size(_ALPHA, points.dtype))
    run = benchmark(simulate, points, alpha=_ALPHA, n_layers=1, method="stepped", engine=engine)
    assert np.array_equal(run.points[:_CHECKED_ROWS], expected)


@pytest.mark.parametrize("what", FRESH)
@pytest.mark.benchmark(group="fresh process")
def test_fresh_process(benchmark: Any, what: str, tmp_path: Path) -> None:
    rounds = iter(range(1_000))
    warm = tmp_path / "warm"

    def start() -> tuple[tuple[Path], dict[str, Any]]:
        return (tmp_path / f"cold {next(rounds)}" if "nothing cached" in what else warm,), {}

    def run(cache: Path) -> None:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
        subprocess.run([sys.executable, "-c", FRESH[what]], check=True, env=environment)

    run(warm)
    benchmark.pedantic(run, setup=start, rounds=5)
