"""Softmax layers: as accurate as promised, deterministic, and hardmax in the limit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fasthardmax import simulate, softening

from . import oracle
from .clouds import CLOUDS, DTYPES, circle, gaussian
from .compare import assert_same_bits

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

_SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]


def _assert_accurate(found: Any, queries: Any, points: Any, beta: float) -> None:
    """A tighter bound than the proven one, which allows for the worst of every rounding."""
    info = np.finfo(points.dtype)
    n = len(points)
    allowed = (4 * math.log(n) + 16) * float(info.eps) / 2 * float(np.abs(points).max())
    allowed += n * float(info.smallest_subnormal)  # products that underflow
    away = np.abs(found - oracle.soft_means(queries, points, beta)).max()
    assert away <= allowed, f"{float(away / allowed)} times what is allowed"


# --- Accuracy -----------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("beta", [0, 1e-3, 1, 30, 1e4, 1e37])
@pytest.mark.parametrize("cloud", [name for name in CLOUDS if name not in ("no points",)])
def test_means_equal_the_definition(cloud: str, beta: float, dtype: np.dtype[Any]) -> None:
    points = CLOUDS[cloud](dtype) + dtype.type(0)
    if points.shape[1] == 0:
        points = np.ones((4, 1), dtype)
    matrix = np.random.default_rng(0).standard_normal((points.shape[1],) * 2).astype(dtype)
    queries = points if cloud == "as large as can be" else points @ matrix
    found = softening.soft_means(queries[None], points[None], beta, 1)
    assert found.dtype == dtype
    _assert_accurate(found[0], queries, points, beta)


@each_dtype
def test_many_keys_and_features(dtype: np.dtype[Any]) -> None:
    """Running maxima that rise from block to block, and every remainder of features."""
    for d in range(1, 20):
        points = gaussian(300, d, dtype) * np.linspace(0.1, 3, 300, dtype=dtype)[:, None]
        found = softening.soft_means(points[None], points[None], 2, 1)[0]
        _assert_accurate(found, points, points, 2)


@each_dtype
@pytest.mark.parametrize("alpha", [0, 0.5, math.inf])
def test_layers_follow_their_definition(alpha: float, dtype: np.dtype[Any]) -> None:
    points = gaussian(40, 3, dtype)
    matrix = np.array([[2, 1, 0], [1, 2, 0.5], [0, 0.5, 1]], dtype)
    run = simulate(points, alpha=alpha, n_layers=4, A=matrix, beta=1.5, record="all")
    c = 1 if math.isinf(alpha) else alpha / (1 + alpha)
    for layer in range(4):
        x = run.recorded[layer]
        queries = np.array([[oracle.score(row, line) for line in matrix] for row in x])
        expected = x + c * (oracle.soft_means(queries, x, 1.5) - x)
        np.testing.assert_allclose(run.recorded[layer + 1], expected, atol=40 * np.finfo(dtype).eps)


# --- In the limit -------------------------------------------------------------------------------

# Scores too close for any beta that the dtype holds, or sums over more than one block.
_CLOSE = ("products underflow", "products of the least numbers", "subnormal", "tiny")


@each_dtype
@pytest.mark.parametrize(
    "cloud", [name for name in CLOUDS if name not in (*_CLOSE, "as large as can be")]
)
def test_a_large_beta_is_hardmax_bit_for_bit(cloud: str, dtype: np.dtype[Any]) -> None:
    points = CLOUDS[cloud](dtype)
    options: dict[str, Any] = {"alpha": 0.5, "n_layers": 6, "record": "all"}
    hard = simulate(points, method="stepped", **options)
    soft = simulate(points, beta=float(np.finfo(dtype).max) / 4, **options)
    for layer, expected in hard.recorded.items():
        assert_same_bits(soft.recorded[layer], expected, f"layer {layer}")


def test_softmax_leaves_the_hardmax_path_the_later_the_colder() -> None:
    """Four leaders stand still; softmax draws them together, after a time exponential in beta."""
    left = []
    for beta in (2.0, 3.0, 4.0):
        run = simulate(_SQUARE, alpha=1, n_layers=1000, beta=beta, record="all")
        away = [np.abs(points - _SQUARE).max() for points in run.recorded.values()]
        left.append(next(k for k, distance in enumerate(away) if distance > 0.1))
    assert left[1] / left[0] > math.exp(2) / 2
    assert left[2] / left[1] > math.exp(2) / 2


# --- Determinism --------------------------------------------------------------------------------


@each_dtype
def test_threads_and_ranges_do_not_show(
    dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = gaussian(2500, 3, dtype)[None]
    expected = softening.soft_means(points, points, 2, 1)
    for nanoseconds in (1, 1e5, 1e9):
        monkeypatch.setattr(softening, "_RANGE", nanoseconds)
        for threads in (2, 5):
            assert_same_bits(softening.soft_means(points, points, 2, threads), expected)


@each_dtype
def test_a_query_is_answered_alike_wherever_it_stands(dtype: np.dtype[Any]) -> None:
    points, queries = gaussian(150, 5, dtype)[None], circle(150, dtype)
    queries = np.ascontiguousarray(np.concatenate([queries, queries, queries[:, :1]], axis=1))
    order = np.random.default_rng(0).permutation(150)
    expected = softening.soft_means(queries[None], points, 3, 1)
    found = softening.soft_means(queries[order][None], points, 3, 1)
    assert_same_bits(found, expected[:, order])


@each_dtype
def test_a_batch_is_separate_runs(dtype: np.dtype[Any]) -> None:
    clouds = np.stack([gaussian(70, 2, dtype), circle(70, dtype)])
    together = simulate(clouds, alpha=1, n_layers=3, beta=4)
    for cloud, points in zip(clouds, together.points, strict=True):
        assert_same_bits(points, simulate(cloud, alpha=1, n_layers=3, beta=4).points)


_PLAIN = """
import sys
import numpy as np
from fasthardmax import softening
from fasthardmax.engines import _processor

assert _processor.VECTOR_BYTES == 16, _processor.VECTOR_BYTES
points = np.random.default_rng(0).standard_normal((1, 150, 7))
sys.stdout.buffer.write(softening.soft_means(points, points, 2.0, 1).tobytes())
"""


def test_a_processor_without_wide_vectors() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PLAIN],
        env=os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    points = np.random.default_rng(0).standard_normal((1, 150, 7))
    _assert_accurate(np.frombuffer(run.stdout).reshape(150, 7), points[0], points[0], 2)


# --- What a softmax run is ----------------------------------------------------------------------


def test_no_winners_and_no_leaders() -> None:
    seen = []
    run = simulate(
        _SQUARE, alpha=1, n_layers=2, beta=1, record=lambda k, x, winners: seen.append((k, winners))
    )
    assert (run.beta, run.engine, run.n_layers) == (1.0, "softmax", 2)
    assert run.leaders.tolist() == []
    assert run.labels.tolist() == run.winners[2].first.tolist() == [-1] * 4
    assert run.winners[2].count.tolist() == [0] * 4
    assert [k for k, _ in seen] == [0, 1, 2]
    assert simulate(_SQUARE, alpha=1, n_layers=1).beta == math.inf


@pytest.mark.parametrize("shape", [(0, 2), (4, 0), (0, 3, 2), (2, 0, 2), (2, 3, 0)])
def test_nothing_to_attend(shape: tuple[int, ...]) -> None:
    assert simulate(np.zeros(shape), alpha=1, n_layers=2, beta=1).points.shape == shape


@pytest.mark.parametrize("beta", [-1, math.nan, "cold", None, True, 1e308, 10**400])
def test_refused_temperatures(beta: Any) -> None:
    with pytest.raises(ValueError, match=r"^beta: got .*, expected a number from 0 to 4\.49e\+307"):
        simulate(_SQUARE, alpha=1, n_layers=1, beta=beta)


def test_the_dtype_bounds_the_temperature() -> None:
    with pytest.raises(ValueError, match=r"beta: got 1e\+38, expected .* 8\.51e\+37 \(in float32"):
        simulate(np.zeros((2, 2), np.float32), alpha=1, n_layers=1, beta=1e38)


def test_settling_and_engines_are_for_hardmax() -> None:
    with pytest.raises(ValueError, match=r"^method: got 'settling' with beta 2, expected 'stepped"):
        simulate(_SQUARE, alpha=1, n_layers=1, beta=2, method="settling")
    with pytest.raises(ValueError, match=r"^engine: got 'direct' with beta 2, expected 'auto'"):
        simulate(_SQUARE, alpha=1, n_layers=1, beta=2, engine="direct")
