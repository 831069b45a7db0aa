"""HardmaxCache against the definition, under random programs of everything one can do to it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthardmax import HardmaxCache, hardmax_attention

from .clouds import DTYPES, Array, DType, circle, gaussian, mirrored, seeded, ulp_neighbours
from .compare import assert_same_bits

TIES = ("mean", "first", "last")
N_HEADS = 2
steady = settings(max_examples=100, deadline=None, derandomize=True, database=None)


class Plain:
    """One layer as lists, answered by the definition."""

    def __init__(self, cache: HardmaxCache) -> None:
        self.dtype, self.value_dim = cache.dtype, cache.value_dim
        self.ties = ["mean"] * cache.n_heads
        self.keys: list[Array] = []
        self.values: list[Array] = []

    def query(self, queries: Array) -> Array:
        if not self.keys:
            return np.zeros((len(queries), self.value_dim), self.dtype)
        keys, values = np.stack(self.keys, axis=1), np.stack(self.values, axis=1)
        rows = [
            hardmax_attention(q[None], k, v, ties=ties, engine="reference")
            for q, k, v, ties in zip(queries, keys, values, self.ties, strict=True)
        ]
        return np.concatenate(rows)


# --- Keys that are hard to tell apart ------------------------------------------------------------

GOLDEN = (1 + 5**0.5) / 2


def _line(step: tuple[float, float], start: tuple[float, float], order: Any) -> Array:
    return np.array(start) + np.arange(40)[order, None] * np.array(step)


_MOVES = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2), -1).reshape(-1, 2)

SETS: dict[str, Any] = {
    "lattice": lambda t: np.stack(np.meshgrid([-1, 0, 1, 2], [-1, 0, 1]), -1).reshape(-1, 2),
    "sixths": lambda t: np.stack(np.meshgrid(*[np.arange(-2, 3) / 6] * 2), -1).reshape(-1, 2),
    "parabola": lambda t: np.array([[2 * j, -j * j] for j in range(-20, 20)]),
    "parabola far out": lambda t: np.array(
        [
            [2 * j, -j * j]
            for j in (range(990, 1010) if t == np.float32 else range(10**6, 10**6 + 20))
        ]
    ),
    "mirrored": mirrored,
    "circle": lambda t: circle(60, t),
    "circle and its edges": lambda t: np.concatenate(
        [circle(24, t), (circle(24, t)[:, None] + circle(24, t)).reshape(-1, 2)[:40] / 2]
    ),
    "within an ulp": lambda t: ulp_neighbours(30, 2, t),
    "corners, each some keys within ulps": lambda t: np.concatenate(
        [circle(7, t) + m * np.spacing(np.abs(circle(7, t))) for m in _MOVES]
    ),
    "collinear": lambda t: _line((0.1, 0.3), (0, 0), slice(None)),
    "collinear, falling": lambda t: _line((0.1, -0.3), (0.7, 0.1), slice(None, None, -1)),
    "collinear, exactly": lambda t: _line((2, -3), (5, 1), slice(None)),
    "collinear, steep": lambda t: _line((1e-9, 0.1), (0.3, 0.7), slice(None)),
    "collinear, flat": lambda t: _line((0.1, -1e-9), (0.3, 0.7), slice(None)),
    "vertical": lambda t: _line((0, 0.3), (0.1, 0), seeded("vertical").permutation(40)),
    "horizontal": lambda t: _line((0.3, 0), (0, 0.1), seeded("horizontal").permutation(40)),
    "all equal": lambda t: np.full((3, 2), [0.3, -0.7]),
    "zeros": lambda t: np.array([[0.0, -0.0], [-0.0, 0.0], [0.0, 1.0], [-1.0, -0.0]]),
    "gaussian": lambda t: gaussian(60, 2, t),
    "gaussian, huge": lambda t: gaussian(60, 2, t) * t.type(1e18),
    "gaussian, tiny": lambda t: gaussian(60, 2, t) * t.type(1e-30),
    "of very unlike features": lambda t: gaussian(60, 2, t) * np.array([1e-18, 1e18]),
    "offset": lambda t: gaussian(60, 2, t) + np.array([1e3, -1e4]),
    "shrinking": lambda t: np.outer(0.3 ** np.arange(40), [0.6, 0.8]),
    "growing spiral": lambda t: np.stack(
        [1.1**i * np.array([np.cos(i * GOLDEN), np.sin(i * GOLDEN)]) for i in np.arange(60)]
    ),
}


def directions(keys: Array, dtype: DType) -> Array:
    """Queries that hit: normals of pairs of keys, axes, zero, keys, and any."""
    edges = keys[1:] - keys[:-1]
    normals = np.concatenate([edges[:, ::-1] * [1, -1], edges[:, ::-1] * [-1, 1]])
    axes = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [1, 1], [0.5, -0.5], [1, 1e-17]])
    queries = np.concatenate([normals, axes, axes, keys, gaussian(20, 2, dtype)])
    return queries.astype(dtype)


def _drawn(data: st.DataObject, rows: Array) -> Array:
    at = [data.draw(st.integers(0, len(rows) - 1)) for _ in range(N_HEADS)]
    return rows[at]


def _any_values(data: st.DataObject, cache: HardmaxCache) -> Array:
    """Values whose sums round, and zeros of both signs."""
    pool = np.array([0.1, -0.0, 0.0, 1e6, 3.3e-5, -0.7, 1e20, -1e20], cache.dtype)
    return pool[seeded(str(data.draw(st.integers(0, 999)))).integers(0, 8, (N_HEADS, 2))]


def run_program(data: st.DataObject, cache: HardmaxCache, keys: Array, queries: Array) -> None:
    """Do the same to a cache and to lists, and compare all answers."""
    plain = Plain(cache)
    actions = ["step"] * 6 + ["append"] * 3 + ["query"] * 2 + ["extend", "ties", "copy", "clear"]
    actions += ["prompt"] * 2
    if not cache.prune:
        actions += ["truncate"] * 3
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(actions))
        if action == "step":
            key, value, query = _drawn(data, keys), _any_values(data, cache), _drawn(data, queries)
            plain.keys.append(key)
            plain.values.append(value)
            assert_same_bits(cache.step(0, key, query, value), plain.query(query))
        elif action == "append":
            plain.keys.append(_drawn(data, keys))
            plain.values.append(_any_values(data, cache))
            cache.append(0, plain.keys[-1], plain.values[-1])
        elif action == "query":
            query = _drawn(data, queries)
            assert_same_bits(cache.query(0, query), plain.query(query))
        elif action == "extend":
            # In the order of the set, so that sorted sets are seen in order as well.
            start = data.draw(st.integers(0, len(keys) - 1))
            many = keys[start : start + data.draw(st.integers(1, 40))]
            new = np.stack([many, many[::-1]], axis=1)
            values = np.stack([_any_values(data, cache) for _ in many])
            asked = np.stack([_drawn(data, queries) for _ in many])
            answers = cache.extend(0, new, values, asked)
            for key, value, query, answer in zip(new, values, asked, answers, strict=True):
                plain.keys.append(key)
                plain.values.append(value)
                assert_same_bits(answer, plain.query(query))
        elif action == "prompt":
            # Long enough to be taken in at once, with repeats, over what is there.
            new = np.resize(keys, (data.draw(st.integers(60, 150)), keys.shape[1]))
            new = np.stack([new, new[::-1]], axis=1)
            values = np.stack([_any_values(data, cache) for _ in range(3)])
            values = np.resize(values, (len(new), N_HEADS, 2))
            cache.extend(0, new, values)
            plain.keys += list(new)
            plain.values += list(values)
        elif action == "ties":
            head, ties = data.draw(st.integers(0, N_HEADS - 1)), data.draw(st.sampled_from(TIES))
            cache.set_ties(ties, 0, head)
            plain.ties[head] = ties
        elif action == "copy":
            how = data.draw(st.sampled_from([copy.copy, copy.deepcopy, _pickled, _loaded]))
            cache = how(cache)
        elif action == "clear" and data.draw(st.booleans()):
            cache.clear()
            plain.keys, plain.values = [], []
        elif action == "truncate":
            n = data.draw(st.integers(0, len(plain.keys)))
            cache.truncate(n)
            del plain.keys[n:], plain.values[n:]
        assert cache.n_tokens(0) == len(cache) == len(plain.keys)


def _pickled(cache: HardmaxCache) -> HardmaxCache:
    return pickle.loads(pickle.dumps(cache))  # noqa: S301  # our own


def _loaded(cache: HardmaxCache) -> HardmaxCache:
    other = HardmaxCache(
        1, N_HEADS, cache.head_dim, cache.value_dim, prune=cache.prune, dtype=cache.dtype
    )
    other.load_state_dict(cache.state_dict())
    return other


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@steady
@given(data=st.data())
def test_programs_with_two_features(prune: bool, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    keys = SETS[data.draw(st.sampled_from(sorted(SETS)))](dtype).astype(dtype)
    cache = HardmaxCache(1, N_HEADS, value_dim=2, prune=prune, dtype=dtype)
    queries = directions(keys, dtype)
    if prune:  # it refuses what underflows: see the tests of refusals
        queries = queries[(np.abs(queries).max(axis=1) > 1e-16) | ~queries.any(axis=1)]
        queries = np.where(np.abs(queries) < 1e-16, 0, queries)
        keys = np.where(np.abs(keys) < 1e-16, 0, keys)
    run_program(data, cache, keys, queries)


@pytest.mark.parametrize("d", [1, 3, 5])
@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@settings(steady, max_examples=25)
@given(data=st.data())
def test_programs_with_other_numbers_of_features(d: int, prune: bool, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    make = data.draw(
        st.sampled_from(
            [
                lambda: gaussian(60, d, dtype),
                lambda: ulp_neighbours(60, d, dtype),
                lambda: seeded("whole").integers(-2, 3, (60, d)) / 3,
                lambda: (
                    seeded("scales").standard_normal((60, d))
                    * 10.0 ** np.linspace(-18, 17, 60)[:, None]
                    if not prune
                    else gaussian(60, d, dtype) * 1e5
                ),
            ]
        )
    )
    keys = make().astype(dtype)
    queries = np.concatenate([make().astype(dtype), -keys[:20], np.zeros((3, d), dtype)])
    cache = HardmaxCache(1, N_HEADS, d, 2, prune=prune, dtype=dtype)
    run_program(data, cache, keys, queries)


def numbers(dtype: DType, prune: bool) -> st.SearchStrategy[float]:
    """Any numbers whose scores cannot overflow; subnormal ones too."""
    width = 8 * dtype.itemsize
    most = float(np.sqrt(dtype.type(np.finfo(dtype).max))) / 4
    if prune:
        return st.integers(-40, 40).map(lambda i: i / 8) | st.floats(0.125, 8, width=width)
    return st.floats(-most, most, width=width) | st.sampled_from([0.0, -0.0, 1.0, 0.1])


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@pytest.mark.parametrize("d", [1, 2, 3])
@steady
@given(data=st.data())
def test_programs_over_any_numbers(prune: bool, d: int, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    number = numbers(dtype, prune)
    rows = st.lists(st.lists(number, min_size=d, max_size=d), min_size=1, max_size=9)
    keys, queries = (np.array(data.draw(rows), dtype) for _ in range(2))
    cache = HardmaxCache(1, N_HEADS, d, 2, prune=prune, dtype=dtype)
    run_program(data, cache, keys, queries)
