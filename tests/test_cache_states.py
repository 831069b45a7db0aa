"""HardmaxCache: sizes, memory, and states that are saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest

from fasthardmax import HardmaxCache

from .clouds import DTYPES, gaussian
from .compare import assert_same_bits

TIES = ("mean", "first", "last")


def test_lengths() -> None:
    cache = HardmaxCache(2, 1)
    assert (len(cache), cache.n_tokens(0), cache.n_tokens(1)) == (0, 0, 0)
    one = np.ones((1, 2))
    cache.append(1, one, one)
    cache.append(1, one, one)
    cache.append(0, one, one)
    assert (len(cache), cache.n_tokens(0), cache.n_tokens(1)) == (2, 1, 2)
    cache.truncate(1)
    assert (len(cache), cache.n_tokens(0), cache.n_tokens(1)) == (1, 1, 1)
    assert repr(cache) == (
        "HardmaxCache(n_layers=2, n_heads=1, head_dim=2, value_dim=2, dtype=float64): 1 tokens"
    )
    cache.clear()
    assert len(cache) == 0


def test_memory_is_counted_and_given_back() -> None:
    cache = HardmaxCache(1, 1)
    empty = cache.nbytes
    keys = gaussian(100_000, 2, DTYPES[1])[:, None]
    cache.extend(0, keys, keys)
    assert 32 * 100_000 < cache.nbytes < 36 * 100_000
    assert cache.n_kept(0).tolist() == [100_000]
    cache.truncate(10)
    assert cache.nbytes < 100_000
    cache.clear()
    assert cache.nbytes == empty


def test_answers_are_not_overwritten() -> None:
    cache = HardmaxCache(1, 1, 1)
    first = cache.step(0, [[1.0]], [[1.0]], [[1.0]])
    cache.step(0, [[2.0]], [[1.0]], [[2.0]])
    assert first.tolist() == [[1.0]]


def test_a_state_is_of_one_kind_of_cache() -> None:
    state = HardmaxCache(1, 2, 3, 4).state_dict()
    other = HardmaxCache(1, 2, 3, 5)
    message = "^state: got 4 for value_dim, expected 5 as this cache$"
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    del state["dtype"]
    with pytest.raises(ValueError, match=r"^state: got no dtype, expected a dictionary"):
        HardmaxCache(1, 2, 3, 4).load_state_dict(state)


@pytest.mark.parametrize("prune", [False, True], ids=["all kept", "pruned"])
def test_a_state_is_checked(prune: bool) -> None:
    cache = HardmaxCache(1, 1, prune=prune)
    cache.append(0, [[1.0, 2.0]], [[3.0, 4.0]])
    for name, wrong, message in (
        ("values", np.ones((1, 1, 3)), r"state: got values of shape .*3\) and dtype float64, exp"),
        ("keys", np.ones((1, 1, 2), np.float32), "state: got keys of shape .* and dtype float32"),
        ("keys", np.full((1, 1, 2), np.nan), "state: (keys: got nan|got a token 0 that no cache)"),
        ("n_tokens", -1, "state: n_tokens: got -1, expected an integer of at least 0"),
    ):
        state = cache.state_dict()
        state["layers"][0][name] = wrong
        with pytest.raises(ValueError, match=f"^{message}"):
            cache.load_state_dict(state)
        assert cache.query(0, [[1.0, 1.0]]).tolist() == [[3.0, 4.0]]


def test_a_loaded_state_is_a_copy() -> None:
    cache, other = HardmaxCache(1, 1), HardmaxCache(1, 1)
    cache.append(0, [[1.0, 2.0]], [[3.0, 4.0]])
    other.append(0, [[9.0, 9.0]], [[9.0, 9.0]])
    handle = other.handle(0)
    other.load_state_dict(cache.state_dict())
    cache.append(0, [[5.0, 6.0]], [[7.0, 8.0]])
    assert (len(cache), len(other), other.handle(0)) == (2, 1, handle)
    assert other.query(0, [[1.0, 1.0]]).tolist() == [[3.0, 4.0]]


def test_values_of_no_feature_and_numbers_of_other_kinds() -> None:
    assert HardmaxCache(1, 2, 2, 0).step(0, *[np.ones((2, 2))] * 2, np.ones((2, 0))).shape == (2, 0)
    cache = HardmaxCache(1, 1)
    one = np.ones((1, 2), np.int64)
    assert_same_bits(cache.step(0, one, one.astype(bool), one.astype(np.float16)), np.ones((1, 2)))
    single = HardmaxCache(1, 1, dtype=np.float32)
    answer = single.step(np.int64(0), [[0.1, 1]], [[1, 1]], [[0.1, 2]])
    assert_same_bits(answer, np.array([[0.1, 2]], np.float32))
