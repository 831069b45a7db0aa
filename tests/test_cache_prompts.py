"""HardmaxCache.extend: whole prompts, in threads, checked and taken in at once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fasthardmax import HardmaxCache, hardmax_attention
from fasthardmax import cache as cache_module
from fasthardmax._caching import extending

from .clouds import DTYPES, Array, DType, ball, circle, gaussian, seeded, ulp_neighbours
from .compare import assert_same_bits

TIES = ("mean", "first", "last")
N_HEADS = 5


@pytest.fixture(autouse=True, params=[1, 3], ids=["one thread", "three threads"])
def _threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "check_threads", lambda given: request.param)


def _lattice(n: int, d: int, dtype: DType) -> Array:
    return seeded("lattice").integers(-9, 10, (n, d)).astype(dtype)


def _parabola(n: int, d: int, dtype: DType) -> Array:
    address = seeded("addresses").permutation(n)[:, None] / 4.0
    return np.concatenate([2 * address, -(address**2)], axis=1).astype(dtype)


def _one_far_out(n: int, d: int, dtype: DType) -> Array:
    keys = gaussian(n, d, dtype)
    keys[n // 3] *= 1e6
    return keys


CROWDS: dict[str, Callable[[int, int, DType], Array]] = {
    "gaussian": gaussian,
    "disc": ball,
    "circle": lambda n, d, t: circle(n, t),
    "parabola": _parabola,
    "lattice": _lattice,
    "line": lambda n, d, t: (seeded("line").permutation(n)[:, None] * [0.1, 0.3]).astype(t),
    "offset": lambda n, d, t: gaussian(n, d, t) * t.type(1e-3) + t.type(100),
    "within an ulp": ulp_neighbours,
    "one far out": _one_far_out,
    "shrinking": lambda n, d, t: gaussian(n, d, t) * np.geomspace(1, 1e-5, n, dtype=t)[:, None],
}


def heads_of(keys: Array) -> tuple[Array, Array]:
    """Keys (n, d) for all heads, each in its own reflection and order; and values."""
    signs = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1], [1, 1]], keys.dtype)
    signs = np.concatenate([signs, np.ones((N_HEADS, keys.shape[1]), keys.dtype)], axis=1)
    rng = seeded("heads")
    heads = [rng.permutation(keys) * sign[: keys.shape[1]] for sign in signs]
    heads[0] = keys
    values = rng.standard_normal((len(keys), N_HEADS, 2)).astype(keys.dtype)
    return np.stack(heads, axis=1), values


def answers(cache: HardmaxCache, queries: Array) -> Array:
    """Of every head to each of (m, d) queries: (H, m, dv)."""
    asked = np.repeat(queries[:, None], N_HEADS, axis=1)
    return np.stack([cache.query(0, query) for query in asked], axis=1)


def expected(queries: Array, keys: Array, values: Array, **options: Any) -> Array:
    asked = np.broadcast_to(queries, (N_HEADS, *queries.shape))
    return hardmax_attention(asked, keys.swapaxes(0, 1), values.swapaxes(0, 1), **options)


def asked_of(keys: Array) -> Array:
    """Any queries, and normals of pairs of keys."""
    edges = np.diff(keys[:: len(keys) // 20, 0], axis=0)
    queries = np.concatenate([edges[:, ::-1] * [1, -1], gaussian(20, 2, DTYPES[1]), np.eye(2)])
    return np.concatenate([queries, -queries]).astype(keys.dtype)


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("crowd", CROWDS)
def test_a_prompt_of_two_features(crowd: str, dtype: DType, prune: bool) -> None:
    n = 3_000
    keys, values = heads_of(CROWDS[crowd](n, 2, dtype))
    queries = asked_of(keys)
    cache = HardmaxCache(1, N_HEADS, prune=prune, dtype=dtype)
    start = 0
    for stop in (10, 700, 2_500, 2_560, n):  # few, at once, at once anew, few more, and the rest
        cache.extend(0, keys[start:stop], values[start:stop])
        start = stop
        same = expected(queries, keys[:stop], values[:stop])
        assert_same_bits(answers(cache, queries), same, f"{stop} tokens")
    if prune:
        assert cache.n_kept(0).max() <= n
        return
    for stop in (2_999, 2_400, 600, 3):
        cache.truncate(stop)
        same = expected(queries, keys[:stop], values[:stop])
        assert_same_bits(answers(cache, queries), same, f"{stop} tokens left")


def test_pruned_heads_keep_only_what_may_win() -> None:
    keys, values = heads_of(gaussian(100_000, 2, DTYPES[1]))
    cache = HardmaxCache(1, N_HEADS, prune=True)
    cache.extend(0, keys, values)
    assert cache.n_kept(0).max() < 100
    assert cache.nbytes < 1_000_000
    queries = asked_of(keys)
    assert_same_bits(answers(cache, queries), expected(queries, keys, values))
    tiny = np.full((N_HEADS, 2), 1e-310)  # dropped keys might tie
    with pytest.raises(ValueError, match=r"^queries: got products with keys that underflow"):
        cache.query(0, tiny)


def test_the_operator_and_steps_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, values = heads_of(gaussian(300, 16, DTYPES[1]))
    rows = []
    for features in (8, 99):
        monkeypatch.setattr(extending, "_FEATURES", features)
        cache = HardmaxCache(1, N_HEADS, 16, 2)
        rows.append(cache.extend(0, keys, values, -keys))
    assert_same_bits(*rows)


@pytest.mark.parametrize("before", [0, 3, 150], ids=["at first", "after few", "after many"])
@pytest.mark.parametrize("d", [1, 2, 3, 7, 8, 40])
@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
def test_a_prompt_with_queries(d: int, before: int, prune: bool) -> None:
    n = before + 130
    dtype = DTYPES[d % 2]
    keys, values = heads_of(_lattice(n, d, dtype) if d < 9 else ulp_neighbours(n, d, dtype))
    queries = seeded("prompt").permutation(keys)
    ties = ["mean", "first", "last", "mean", "last"]
    cache = HardmaxCache(1, N_HEADS, d, 2, ties=ties, prune=prune, dtype=dtype)
    cache.extend(0, keys[:before], values[:before])
    rows = cache.extend(0, keys[before:], values[before:], queries[before:])
    for head, rule in enumerate(ties):
        of = (array[:, head] for array in (queries, keys, values))
        same = hardmax_attention(*of, ties=rule, is_causal=True, engine="reference")
        assert_same_bits(rows[:, head], same[before:], f"head {head}")
    if d == 2 or not prune:
        same = expected(queries[:9, 0], keys, values, ties="last")
        cache.set_ties("last")
        assert_same_bits(answers(cache, queries[:9, 0]), same)


BAD: dict[str, tuple[str, float, str]] = {
    "NaN key": ("keys", np.nan, "keys at token 70: got nan at index (3, 0), expected finite"),
    "infinite value": ("values", np.inf, "values at token 70: got inf at index (3, 0), expected"),
    "NaN query": ("queries", np.nan, "queries at token 70: got nan at index (3, 0), expected"),
    "large key": ("keys", 1e308, "keys: got a magnitude of 1e+308 at token 70, expected at most"),
    "large scores": ("queries", 1e307, "queries and keys at token 70: got scores that may reach"),
}


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@pytest.mark.parametrize("d", [1, 2, 3, 8])
@pytest.mark.parametrize("asked", [False, True], ids=["", "with queries"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_token_far_into_a_prompt(case: str, asked: bool, d: int, prune: bool) -> None:
    name, number, message = BAD[case]
    if name == "queries" and not asked:
        return
    keys = seeded("bad").integers(20, 30, (100, N_HEADS, d)) * 1.0
    given = {"keys": keys, "values": keys.copy()} | ({"queries": keys.copy()} if asked else {})
    cache, same = (HardmaxCache(1, N_HEADS, d, prune=prune) for _ in range(2))
    for one in (cache, same):
        one.extend(0, keys[:40], keys[:40])
    given[name][70, 3, 0] = number
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        cache.extend(0, **given)
    assert len(cache) == 40
    for left, right in zip(
        cache.state_dict()["layers"][0]["keys"], same.state_dict()["layers"][0]["keys"], strict=True
    ):
        assert_same_bits(left, right)
    assert_same_bits(answers(cache, keys[0]), answers(same, keys[0]))
    zero = np.zeros((1, d))
    assert_same_bits(answers(cache, zero), answers(same, zero))


@pytest.mark.parametrize("d", [2, 8])
def test_a_sum_that_overflows_within_a_prompt(d: int) -> None:
    keys = np.ones((100, N_HEADS, d))
    values = np.where(np.arange(100)[:, None, None] < 98, 1.0, 1e308) * keys
    cache = HardmaxCache(1, N_HEADS, d)
    message = r"^values: got tied values whose sum overflows float64 at token 99, expected"
    with pytest.raises(ValueError, match=message):
        cache.extend(0, keys, values, keys)
    assert len(cache) == 0
    cache.extend(0, keys[:99], values[:99], keys[:99])
    assert len(cache) == 99


def test_values_that_are_too_many_for_a_pruned_sum_at_the_end_only() -> None:
    """Each is small enough for the tokens before it, though not for all of the prompt."""
    keys = gaussian(100 * N_HEADS, 2, DTYPES[1]).reshape(100, N_HEADS, 2)
    values = np.ones_like(keys)
    values[0] = 1e307
    cache = HardmaxCache(1, N_HEADS, prune=True)
    cache.extend(0, keys, values)
    assert len(cache) == 100
    assert_same_bits(
        answers(cache, np.zeros((1, 2))), expected(np.zeros((1, 2)), keys, values), "zero query"
    )


def test_memory_of_a_prompt_is_given_back_and_used_again() -> None:
    keys, values = heads_of(gaussian(60_000, 2, DTYPES[1]))
    cache = HardmaxCache(1, N_HEADS)
    queries = asked_of(keys)
    for stop in (60_000, 59_000, 20_000, 5_000, 10, 30_000):
        if stop > len(cache):
            cache.extend(0, keys[len(cache) : stop], values[len(cache) : stop])
        cache.truncate(stop)
        assert cache.nbytes < 40 * N_HEADS * stop + 500_000
        same = expected(queries, keys[:stop], values[:stop])
        assert_same_bits(answers(cache, queries), same, f"{stop} tokens")


def test_a_layer_is_extended_by_one_thread_at_a_time() -> None:
    """Whenever the others come, they are in before, are in after, or are told so."""
    keys, values = heads_of(gaussian(200_000, 2, DTYPES[1]))
    cache = HardmaxCache(1, N_HEADS)
    extending_it = threading.Thread(target=cache.extend, args=(0, keys, values))
    extending_it.start()
    appended, message = 0, "HardmaxCache: another thread is at work in this layer, expected one"
    while extending_it.is_alive():
        try:
            cache.append(0, keys[0], values[0])
            appended += 1
        except RuntimeError as error:
            assert str(error).startswith(message)  # noqa: PT017  # it need not come
    extending_it.join()
    assert len(cache) == len(keys) + appended


# --- Wide keys -----------------------------------------------------------------------------------

WIDE: dict[str, Callable[[int, int, DType], Array]] = {
    "gaussian": gaussian,
    "within an ulp": ulp_neighbours,
    "signs": lambda n, d, t: seeded("signs").choice([-1.0, 1.0], (n, d)).astype(t),
    "huge": lambda n, d, t: gaussian(n, d, t) * t.type(1e18 if t == np.float32 else 1e153),
    "tiny": lambda n, d, t: gaussian(n, d, t) * t.type(1e-40 if t == np.float32 else 1e-290),
    "of all lengths": lambda n, d, t: (
        gaussian(n, d, t) * np.geomspace(1e-9, 1e9, n, dtype=t)[:, None]
    ),
    "one feature": lambda n, d, t: np.eye(d, dtype=t)[np.arange(n) % d] * t.type(0.3),
    "nearly one direction": lambda n, d, t: 1 + gaussian(n, d, t) * t.type(1e-3),
    "zeros": lambda n, d, t: np.zeros((n, d), t),
    "one large feature": lambda n, d, t: gaussian(n, d, t) + 1e3 * np.eye(d, dtype=t)[0],
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [24, 33, 200])
@pytest.mark.parametrize("crowd", WIDE)
def test_wide_keys(crowd: str, d: int, dtype: DType) -> None:
    n = 900
    keys, values = heads_of(WIDE[crowd](n, d, dtype))
    scale = dtype.type(1e-18 if dtype == np.float32 else 1e-153) if crowd == "huge" else 1
    queries = np.concatenate(
        [keys[::90, 0] * scale, gaussian(20, d, dtype), np.zeros((1, d), dtype)]
    )
    queries = np.concatenate([queries, -queries]).astype(dtype)
    cache = HardmaxCache(1, N_HEADS, d, 2, dtype=dtype)
    cache.extend(0, keys, values)
    for stop in (n, 500, 64, 2):
        cache.truncate(stop)
        same = expected(queries, keys[:stop], values[:stop], engine="reference")
        assert_same_bits(answers(cache, queries), same, f"{stop} tokens")
