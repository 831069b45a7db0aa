"""HardmaxCache: one token at a time, and the same bits as the whole sequence at once."""

from __future__ import annotations

import math
import pickle
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fasthardmax import HardmaxCache, hardmax_attention

from .cases import CASES, LAYOUTS, n_products
from .clouds import DTYPES, Array, DType, ball, circle, gaussian, seeded
from .compare import assert_same_bits

TIES = ("mean", "first", "last")
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def reference(queries: Array, keys: Array, values: Array, **options: Any) -> Array:
    """Answers (T, H, dv) to (T, H, d) queries over (n, H, d) keys, by the definition."""
    heads = (array.swapaxes(0, 1) for array in (queries, keys, values))
    return hardmax_attention(*heads, engine="reference", **options).swapaxes(0, 1)


def tokens(keys: Array, width: int = 2) -> tuple[Array, Array]:
    """Keys (n, d) as those of one head, and values."""
    values = seeded(f"cache {len(keys)} {width}").standard_normal((len(keys), 1, width))
    return np.ascontiguousarray(keys[:, None]), values.astype(keys.dtype)


# --- The same bits as the whole sequence ---------------------------------------------------------


def _fits(name: str) -> bool:
    """No masks, one leading shape, at least one feature, and few enough products."""
    arguments = CASES[name](DTYPES[1])
    leads = {arguments[part].shape[:-2] for part in ("query", "key", "value")}
    return (
        len(leads) == 1
        and set(arguments) <= {"query", "key", "value", "is_causal"}
        and arguments["key"].shape[-1] > 0
        and math.prod(leads.pop()) > 0
        and n_products(arguments) < 1_000_000
    )


_NAMES = [name for name in CASES if _fits(name)]


def test_most_cases_of_the_table_are_used() -> None:
    assert len(_NAMES) > 150


def _as_tokens(name: str, dtype: DType) -> tuple[Array, Array, Array]:
    arguments = CASES[name](dtype)
    parts = (arguments[part].astype(dtype) for part in ("query", "key", "value"))
    query, key, value = (
        p.reshape(math.prod(p.shape[:-2]), *p.shape[-2:]).swapaxes(0, 1) for p in parts
    )
    return query, key, value


@each_dtype
@pytest.mark.parametrize("name", _NAMES)
def test_every_query_of_the_table_of_cases(name: str, dtype: DType) -> None:
    query, key, value = _as_tokens(name, dtype)
    cache = HardmaxCache(1, *key.shape[1:], value.shape[2], dtype=dtype)
    cache.extend(0, key, value)
    for ties in TIES:
        cache.set_ties(ties)
        answers = [cache.query(0, q) for q in query]
        expected = reference(query, key, value, ties=ties)
        assert_same_bits(np.stack(answers) if len(query) else expected, expected, ties)


_SELF = [name for name in _NAMES if name.startswith("self: ")]
# A pruned cache refuses these: it cannot say which of its dropped keys tie when products vanish.
_UNDERFLOW = {"self: tiny", "self: subnormal"}


@pytest.mark.parametrize(
    ("name", "prune"),
    [(n, p) for n in _SELF for p in (False, True) if not (p and n in _UNDERFLOW)],
)
def test_token_by_token(name: str, prune: bool) -> None:
    dtype = DTYPES[len(name) % 2]
    query, key, value = _as_tokens(name, dtype)
    for ties in TIES:
        cache = HardmaxCache(1, *key.shape[1:], value.shape[2], ties=ties, prune=prune, dtype=dtype)
        answers = [cache.step(0, *token) for token in zip(key, query, value, strict=True)]
        expected = reference(query, key, value, ties=ties, is_causal=True)
        assert_same_bits(np.stack(answers) if len(query) else expected, expected, ties)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_any_layout(layout: str) -> None:
    key, value, query = (gaussian(7, 3, DTYPES[1]) + i for i in range(3))
    plain = HardmaxCache(1, 7, 3)
    changed = HardmaxCache(1, 7, 3)
    change = LAYOUTS[layout]
    given = (change(array) for array in (key, query, value))
    assert_same_bits(changed.step(0, *given), plain.step(0, key, query, value))


def test_layers_and_heads_are_their_own() -> None:
    rng = seeded("layers")
    cache = HardmaxCache(3, 4, ties=np.array(["mean", "first", "last", "mean"]))
    keys, queries = rng.integers(-2, 3, (2, 50, 3, 4, 2)).astype(float)
    values = rng.standard_normal((50, 3, 4, 2))
    answers = np.empty_like(values)
    for t in range(50):
        for layer in range(3):
            answers[t, layer] = cache.step(
                layer, *(array[t, layer] for array in (keys, queries, values))
            )
    for layer in range(3):
        for head, ties in enumerate(cache.ties[layer]):
            at = np.s_[:, layer, head : head + 1]
            expected = reference(queries[at], keys[at], values[at], ties=ties, is_causal=True)
            assert_same_bits(answers[at], expected)


# --- Many tokens ---------------------------------------------------------------------------------

ORDERS: dict[str, Callable[[int], Array]] = {
    "increasing": np.arange,
    "decreasing": lambda n: np.arange(n)[::-1],
    "random": lambda n: seeded("orders").permutation(n),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_million_addresses_are_found_exactly(order: str) -> None:
    """Key (2 j, -j^2) scores i^2 - (i - j)^2 for query (i, 1): all of them are on the hull."""
    n = 1_000_000
    address = ORDERS[order](n).astype(float)
    keys = np.stack([2 * address, -(address**2)], axis=1)[:, None]
    cache = HardmaxCache(1, 1, value_dim=1)
    cache.extend(0, keys, address[:, None, None])
    asked = [0, 1, n - 1, *seeded("asked").integers(0, n, 200).tolist()]
    for i in asked:
        assert cache.query(0, [[i, 1]]) == i
        assert cache.query(0, [[i + 0.5, 1]]) == (i + 0.5 if i + 1 < n else i)
    cache.truncate(n // 2)
    left = np.sort(address[: n // 2])
    for i in asked:
        gaps = np.abs(left - i)
        expected = left[gaps == gaps.min()]
        assert cache.query(0, [[i, 1]]) == expected.mean()


ONE_BY_ONE = {
    **ORDERS,
    "from the middle": lambda n: n // 2 + (np.arange(n) + 1) // 2 * (-1) ** np.arange(n),
}


@pytest.mark.parametrize("order", ONE_BY_ONE)
def test_trees_that_grow_and_shrink_at_any_end(order: str) -> None:
    n = 10_000
    address = ONE_BY_ONE[order](n).astype(float)
    keys = np.stack([2 * address, -(address**2)], axis=1)[:, None]
    cache = HardmaxCache(1, 1, value_dim=1)

    def append(tokens: range) -> None:
        for t in tokens:
            cache.append(0, keys[t], address[t, None, None])

    def check(count: int) -> None:
        asked = address[seeded(f"{order} {count}").integers(0, count, 300)]
        answers = [cache.query(0, [[i, 1]]) for i in asked]
        assert np.ravel(answers).tolist() == asked.tolist()

    append(range(n))
    check(n)
    cache.append(0, [[0, 1e12]], [[-1.0]])  # covers all
    assert cache.query(0, [[7, 1]]) == -1
    for count in (n, n - 70, n // 2, 65, 1):
        cache.truncate(count)
        check(count)
    append(range(1, n))
    check(n)


CROWDS: dict[str, Callable[[int], Array]] = {
    "circle": lambda n: circle(n, DTYPES[1]),
    "disc": lambda n: ball(n, 2, DTYPES[1]),
    "gaussian": lambda n: gaussian(n, 2, DTYPES[1]),
    "a line, rounded": lambda n: seeded("line").permutation(n)[:, None] * np.array([0.1, 0.3]),
    "a line, falling": lambda n: np.arange(n)[:, None] * np.array([0.1, -0.3]),
    "a parabola, rounded": lambda n: np.stack([np.arange(n), -0.1 * np.arange(n) ** 2.0], 1) * 0.3,
    "lattice": lambda n: seeded("lattice").integers(-20, 21, (n, 2)).astype(float),
    "spiral": lambda n: 1.001 ** np.arange(n)[:, None] * circle(n, DTYPES[1]),
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_many_keys_forwards_and_back(crowd: str) -> None:
    n = 20_000
    keys, values = tokens(CROWDS[crowd](n))
    edges = np.diff(keys[:: n // 40, 0], axis=0)
    queries = np.concatenate([edges[:, ::-1] * [1, -1], gaussian(40, 2, DTYPES[1]), np.eye(2)])
    cache = HardmaxCache(1, 1)
    cache.extend(0, keys, values)
    for stop in (n, n - 1, n - 300, n // 2, 513, 512, 511, 3):
        cache.truncate(stop)
        expected = hardmax_attention(queries, keys[:stop, 0], values[:stop, 0])
        answers = np.concatenate([cache.query(0, query[None]) for query in queries])
        assert_same_bits(answers, expected, f"{stop} tokens")
    cache.extend(0, keys[3:], values[3:])
    expected = hardmax_attention(queries, keys[:, 0], values[:, 0])
    answers = np.concatenate([cache.query(0, query[None]) for query in queries])
    assert_same_bits(answers, expected, "all again")


@pytest.mark.parametrize("crowd", CROWDS)
def test_pruning_changes_no_answer(crowd: str) -> None:
    n = 20_000
    keys, values = tokens(CROWDS[crowd](n))
    cache = HardmaxCache(1, 1, prune=True)
    cache.extend(0, keys, values)
    kept = int(cache.n_kept(0)[0])
    assert kept <= n
    if crowd in ("disc", "gaussian", "spiral"):
        assert kept < n // 10
    queries = np.concatenate([gaussian(40, 2, DTYPES[1]), np.eye(2), np.zeros((1, 2))])
    expected = hardmax_attention(queries, keys[:, 0], values[:, 0])
    for one in (cache, pickle.loads(pickle.dumps(cache))):  # noqa: S301  # our own
        answers = np.concatenate([one.query(0, query[None]) for query in queries])
        assert_same_bits(answers, expected)
        assert one.n_kept(0) == kept
        assert len(one) == n


def test_pruning_gives_memory_back() -> None:
    keys, values = tokens(gaussian(50_000, 2, DTYPES[1]))
    small, large = HardmaxCache(1, 1, prune=True), HardmaxCache(1, 1)
    for cache in (small, large):
        cache.extend(0, keys, values)
    assert small.nbytes < 200_000 < 32 * 50_000 < large.nbytes


def test_tiny_keys_after_large_ones_were_taken_back() -> None:
    """Which queries underflow is judged by the keys dropped now, not by those dropped before."""
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1], [0, 0]], float)
    cache = HardmaxCache(1, 1)
    large, values = tokens(corners)
    cache.append(0, 1e-160 * large[0], values[0])
    cache.extend(0, large, values)
    cache.truncate(1)
    cache.extend(0, 1e-160 * large[1:], values[1:])
    query = np.full((1, 1, 2), 1e-164)  # all products vanish: all keys tie
    expected = reference(query, 1e-160 * large, values)
    assert_same_bits(cache.query(0, query[0]), expected[0])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that interrupt")
@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
def test_an_interrupted_prompt_leaves_no_token(prune: bool) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    j = np.arange(2_000_000.0)
    keys = np.stack([2 * j, -(j**2)], axis=1)[:, None]
    cache = HardmaxCache(1, 1, prune=prune)
    cache.extend(0, keys[:500], keys[:500])
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            cache.extend(0, keys[500:], keys[500:])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(cache) == 500
    assert cache.query(0, [[4e5, 1]]).tolist() == keys[499].tolist()


# --- Ties ----------------------------------------------------------------------------------------


def test_equal_keys_are_averaged_in_order_however_many() -> None:
    n = 600
    keys = np.tile([[0.3, -0.7], [-0.1, 0.2]], (n // 2, 1))
    keys, values = tokens(keys, width=3)
    cache = HardmaxCache(1, 1, value_dim=3)
    query = np.array([[[1.0, -1.0]], [[-1.0, 1.0]], [[0.2, 0.6]]])
    for stop in (n, 513, 512, 257, 256, 2, 1):
        if stop == n:
            cache.extend(0, keys, values)
        cache.truncate(stop)
        for ties in TIES:
            cache.set_ties(ties)
            answers = np.stack([cache.query(0, q) for q in query])
            assert_same_bits(answers, reference(query, keys[:stop], values[:stop], ties=ties))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_zero_query_averages_everything_after_any_truncation(d: int) -> None:
    keys, values = tokens(gaussian(800, d, DTYPES[1]), width=3)
    cache = HardmaxCache(1, 1, d, 3)
    cache.extend(0, keys, values)
    zero = np.zeros((1, 1, d))
    for stop in (800, 799, 769, 768, 767, 512, 300, 256, 255, 1):
        cache.truncate(stop)
        for sign in (1, -1):
            expected = reference(zero, keys[:stop], values[:stop])[0]
            assert_same_bits(cache.query(0, sign * zero[0]), expected)
    cache.truncate(0)
    assert_same_bits(cache.query(0, zero[0]), np.zeros((1, 3)))


def test_ties_are_set_for_all_or_some_or_one() -> None:
    cache = HardmaxCache(2, 3, ties=[["mean", "first", "last"], ["last", "last", "mean"]])
    assert cache.ties.tolist() == [["mean", "first", "last"], ["last", "last", "mean"]]
    cache.set_ties("first", layer=1)
    cache.set_ties("mean", head=0)
    cache.set_ties("last", 0, 1)
    assert cache.ties.tolist() == [["mean", "last", "last"], ["mean", "first", "first"]]
    cache.clear()
    assert cache.ties.tolist() == [["mean", "last", "last"], ["mean", "first", "first"]]
    cache.set_ties([["first"], ["last"]])
    assert cache.ties.tolist() == [["first"] * 3, ["last"] * 3]
