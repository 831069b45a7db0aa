"""The glance that tells whether a look at what ``pruned`` would screen may pay."""

import numpy as np
import pytest

from fasthardmax._problem import self_attention
from fasthardmax.engines._pruned_glance import glance

from .clouds import DTYPES, ulp_neighbours


def share(points):
    return glance(self_attention(points[None], points[None], 1))[0]


def close(points):
    return glance(self_attention(points[None], points[None], 1))[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e15])
def test_a_glance_tells_clusters_from_a_sphere(dtype, scale):
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((50, 12))
    noise = rng.standard_normal((20_000, 12))
    clusters = middles[rng.integers(50, size=20_000)] + 0.1 * noise
    sphere = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    assert share((scale * clusters).astype(dtype)) < 0.03
    assert share((scale * sphere).astype(dtype)) > 0.3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_glance_sees_near_ties(dtype):
    assert share(ulp_neighbours(20_000, 3, dtype)) > 0.9


def test_a_glance_sees_float64_as_it_is():
    points = np.random.default_rng(0).standard_normal((20_000, 16)) + 1e6
    assert share(points) < 0.1
    assert share(points.astype(np.float32)) > 0.9, "rounding decides"


def test_a_glance_at_degenerate_points():
    assert share(np.zeros((20_000, 8))) == 1, "all keys tie"
    assert share(np.ones((1, 8))) == 1
    one = np.zeros((3000, 8))
    one[1500] = 1
    assert 0 <= share(one) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1e-30, 1, 1e15])
def test_a_glance_counts_keys_that_bytes_do_not_tell_apart(dtype, scale):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20_000, 8)) * scale
    clusters = points + 1e3 * scale * rng.integers(2, size=(20_000, 1))
    outlier = points.copy()
    outlier[17] *= 1e6  # seldom in the sample, but the largest magnitude of all
    assert close(points.astype(dtype)) < 0.002
    assert close(clusters.astype(dtype)) > 0.3
    assert close(outlier.astype(dtype)) > 0.9
    assert close(np.zeros((20_000, 8), dtype)) > 0.9
    assert close(points[:1].astype(dtype)) == 0
