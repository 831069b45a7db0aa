"""What HardmaxCache refuses: in one sentence, and with nothing changed in any head."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from fasthardmax import HardmaxCache

from .clouds import gaussian
from .compare import assert_same_bits

ONE = np.ones((2, 2))
DTYPE = np.dtype(np.float64)


def _with(value: float, row: int = 1, column: int = 1) -> np.ndarray:
    array = np.ones((2, 2))
    array[row, column] = value
    return array


def full(**options: Any) -> HardmaxCache:
    """A cache with a few tokens in both heads."""
    cache = HardmaxCache(1, 2, **options)
    keys = gaussian(40, 2, DTYPE).reshape(20, 2, 2).astype(cache.dtype)
    cache.extend(0, keys, keys)
    return cache


def same(cache: HardmaxCache, other: HardmaxCache) -> None:
    """Fail unless two caches hold the same and answer the same."""
    for of in ("keys", "values"):
        pairs = zip(
            np.asarray(cache.state_dict()["layers"][0][of]),
            np.asarray(other.state_dict()["layers"][0][of]),
            strict=True,
        )
        for a, b in pairs:
            assert_same_bits(a, b)
    assert len(cache) == len(other)
    for query in np.concatenate([gaussian(9, 2, DTYPE), np.eye(2), np.zeros((1, 2))]):
        queries = np.array([query, -query], cache.dtype)
        assert_same_bits(cache.query(0, queries), other.query(0, queries))


BIG = "expected at most 4.49e+307 in float64"
STEPS: dict[str, tuple[tuple[Any, Any, Any], str]] = {
    "NaN key": (
        (_with(np.nan), ONE, ONE),
        "keys: got nan at index (1, 1), expected finite numbers only",
    ),
    "infinite query": (
        (ONE, _with(-np.inf), ONE),
        "queries: got -inf at index (1, 1), expected finite numbers only",
    ),
    "NaN value": (
        (ONE, ONE, _with(np.nan, 0, 1)),
        "values: got nan at index (0, 1), expected finite numbers only",
    ),
    "key too large": (
        (_with(1e308), 0 * ONE, ONE),
        f"keys: got a magnitude of 1e+308, {BIG}, so that no score or sum overflows",
    ),
    "score too large": (
        (_with(1e200), _with(1e200), ONE),
        (
            f"queries and keys: got scores that may reach inf, {BIG} "
            "(a quarter of its largest number); scale the inputs down"
        ),
    ),
    "shape of keys": ((np.ones((2, 3)), ONE, ONE), "keys: got shape (2, 3), expected (2, 2)"),
    "heads": ((ONE, np.ones((1, 2)), ONE), "queries: got shape (1, 2), expected (2, 2)"),
    "dimensions": ((ONE, ONE, np.ones(4)), "values: got shape (4,), expected (2, 2)"),
    "ragged": (
        ([[1], [1, 2]], ONE, ONE),
        "keys: got sequences of unequal lengths, expected an array of numbers",
    ),
}


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@pytest.mark.parametrize("case", STEPS)
def test_a_refused_step_changes_nothing(case: str, prune: bool) -> None:
    arguments, message = STEPS[case]
    cache = full(prune=prune)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cache.step(0, *arguments)
    same(cache, full(prune=prune))


@pytest.mark.parametrize("case", [c for c in STEPS if c not in ("ragged", "dimensions", "heads")])
@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
def test_a_refused_prompt_changes_nothing(case: str, prune: bool) -> None:
    arguments, message = STEPS[case]
    cache = full(prune=prune)
    tokens = [np.stack([ONE, ONE, a] if a.shape == (2, 2) else [a] * 3) for a in arguments]
    if "shape" in case:
        message = "keys: got shape (3, 2, 3), expected (T, 2, 2)"
    else:
        at = re.compile("(keys|values|queries)(: got (?:nan|-inf))")
        message = at.sub(r"\1 at token 2\2", message)
        message = re.sub("(magnitude of 1e.308)", r"\1 at token 2", message)
        message = message.replace("queries and keys:", "queries and keys at token 2:")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cache.extend(0, tokens[0], tokens[2], tokens[1])
    same(cache, full(prune=prune))


def test_a_prompt_has_as_many_keys_as_values() -> None:
    cache = full()
    message = "^values: got 2 tokens, expected 3 as in keys$"
    with pytest.raises(ValueError, match=message):
        cache.extend(0, np.ones((3, 2, 2)), np.ones((2, 2, 2)))
    same(cache, full())


def test_a_mean_that_overflows_takes_its_token_back() -> None:
    """The second head's sum is the one that overflows, after the first has answered."""
    cache = HardmaxCache(1, 2)
    cache.append(0, ONE, _with(1.5e308))
    before = cache.state_dict()["layers"][0]
    message = "^values: got tied values whose sum overflows float64, expected smaller values$"
    with pytest.raises(ValueError, match=message):
        cache.step(0, ONE, ONE, _with(1.5e308))
    after = cache.state_dict()["layers"][0]
    assert_same_bits(after["keys"], before["keys"])
    assert_same_bits(after["values"], before["values"])
    assert_same_bits(cache.query(0, ONE), _with(1.5e308))
    # Its value alone is no sum.
    answer = cache.step(0, 2 * ONE, ONE, _with(1.5e308))
    assert_same_bits(answer, _with(1.5e308))
    with pytest.raises(ValueError, match=message):
        cache.query(0, 0 * ONE)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_scores_are_bounded_by_the_keys_that_are_left(d: int) -> None:
    cache = HardmaxCache(1, 1, d)
    large, small, query = (np.full((1, d), size) for size in (1e200, 1.0, 1e200))
    cache.append(0, small, small)
    cache.append(0, large, large)
    cache.append(0, small, small)
    for n in (3, 2):
        cache.truncate(n)
        with pytest.raises(ValueError, match=r"^queries and keys: got scores that may reach"):
            cache.query(0, query)
    cache.truncate(1)
    assert_same_bits(cache.query(0, query), small)


def test_a_pruned_cache_refuses_values_whose_sum_could_overflow() -> None:
    cache = full(prune=True)
    message = "^values: got a magnitude of 1e.308, expected at most 2.14e.306 in float64"
    with pytest.raises(ValueError, match=message):
        cache.append(0, ONE, _with(1e308))
    same(cache, full(prune=True))


@pytest.mark.parametrize("d", [1, 2])
def test_a_pruned_cache_refuses_queries_that_underflow(d: int) -> None:
    cache = HardmaxCache(1, 1, d, prune=True)
    keys = gaussian(50, d, DTYPE)[:, None]
    cache.extend(0, keys, keys)
    tiny = np.full((1, d), 1e-310)
    message = "^queries: got products with keys that underflow, expected larger queries, or zeros"
    with pytest.raises(ValueError, match=message):
        cache.query(0, tiny)
    with pytest.raises(ValueError, match=message):
        cache.step(0, keys[0], tiny, keys[0])
    assert len(cache) == 50
    message = "^queries: got products with keys that underflow at token 1, expected"
    with pytest.raises(ValueError, match=message):
        cache.extend(0, keys[:2], keys[:2], np.stack([keys[0], tiny]))
    assert len(cache) == 50


def test_a_pruned_cache_takes_nothing_back() -> None:
    cache = full(prune=True)
    with pytest.raises(
        ValueError, match=r"^n: got 3, expected 0 or 20: a cache with prune=True has"
    ):
        cache.truncate(3)
    cache.truncate(20)
    same(cache, full(prune=True))
    cache.truncate(0)
    assert len(cache) == 0


CALLS: dict[str, tuple[Any, type[Exception], str]] = {
    "layer": (lambda c: c.step(1, ONE, ONE, ONE), ValueError, "layer: got 1, expected 0 to 0"),
    "no layer": (
        lambda c: c.append(-1, ONE, ONE),
        ValueError,
        "layer: got -1, expected an integer of at least 0",
    ),
    "layer's name": (
        lambda c: c.query("0", ONE),
        ValueError,
        "layer: got '0', expected an integer of at least 0",
    ),
    "length": (
        lambda c: c.truncate(21),
        ValueError,
        "n: got 21, expected at most 20, the tokens in the cache",
    ),
    "ties": (
        lambda c: c.set_ties("newest"),
        ValueError,
        "ties: got 'newest', expected one of 'mean', 'first', 'last'",
    ),
    "many ties": (
        lambda c: c.set_ties(["mean"] * 3),
        ValueError,
        (
            "ties: got shape (3,), expected one word or a shape that broadcasts to (1, 2), layers "
            "and heads"
        ),
    ),
    "head": (lambda c: c.set_ties("mean", 0, 2), ValueError, "head: got 2, expected 0 to 1"),
    "words": (
        lambda c: c.append(0, [["a", "b"]] * 2, ONE),
        TypeError,
        "keys: got dtype <U1, expected float16, float32, float64, an integer or a boolean",
    ),
    "dtype": (
        lambda c: HardmaxCache(1, 2, dtype=np.float32).append(0, ONE, ONE),
        TypeError,
        (
            "keys: got dtype float64, expected float32 or one that it holds without loss; convert "
            "it first"
        ),
    ),
    "kind of cache": (
        lambda c: HardmaxCache(1, 2, dtype=np.int64),
        ValueError,
        "dtype: got int64, expected float32 or float64",
    ),
    "no heads": (
        lambda c: HardmaxCache(1, 0),
        ValueError,
        "n_heads: got 0, expected an integer of at least 1",
    ),
    "no features": (
        lambda c: HardmaxCache(1, 1, 0),
        ValueError,
        "head_dim: got 0, expected an integer of at least 1",
    ),
}


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
@pytest.mark.parametrize("part", ["layers", "ties", "keys", "values", None])
def test_nonsense_for_a_state_is_refused_in_a_sentence(part: str | None, prune: bool) -> None:
    cache = HardmaxCache(1, 2, prune=prune)
    state: object = cache.state_dict()
    if part is None:
        state = "nonsense"
    elif part in ("layers", "ties"):
        state = {**cache.state_dict(), part: "nonsense"}
    else:
        layer = {**cache.state_dict()["layers"][0], part: "nonsense"}
        state = {**cache.state_dict(), "layers": [layer]}
    with pytest.raises(ValueError, match=r"^(state|ties): got .*, expected "):
        cache.load_state_dict(state)  # type: ignore[arg-type]
    assert len(cache) == 0


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_call_changes_nothing(case: str) -> None:
    call, kind, message = CALLS[case]
    cache = full()
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call(cache)
    same(cache, full())
