"""The operator's meaning: shapes, broadcasting, masks and dtypes, as documented for attention.

Expected answers are written out by hand or built from smaller calls; the bits of each engine are
held elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import Winners, hardmax_attention, hardmax_winners
from fasthardmax.engines import ENGINES

from . import oracle
from .compare import assert_same_bits, assert_same_fields

pytestmark = pytest.mark.parametrize("engine", ["auto", *ENGINES])

FIELDS = ("first", "count", "indptr", "indices")


def _random(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Small integers: winners and ties both occur, and every mean of two is exact."""
    return np.random.default_rng([seed, *shape]).integers(-3, 4, shape).astype(np.float64)


# --- Ties and winners ---------------------------------------------------------------------------

_KEY = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
_VALUE = np.array([[1.0, 10.0], [2.0, 20.0], [5.0, 50.0], [7.0, 70.0]])
_QUERY = np.array([[2.0, 1.0], [1.0, 2.0], [-3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        (
            "mean",
            [[3, 30], [2, 20], [7, 70], [np.float64(8) / 3, np.float64(80) / 3], [3.75, 37.5]],
        ),
        ("first", [[1, 10], [2, 20], [7, 70], [1, 10], [1, 10]]),
        ("last", [[5, 50], [2, 20], [7, 70], [5, 50], [7, 70]]),
    ],
)
def test_ties(engine: str, ties: str, expected: list[list[float]]) -> None:
    actual = hardmax_attention(_QUERY, _KEY, _VALUE, ties=ties, engine=engine)
    assert_same_bits(actual, np.array(expected, float))


def test_winners(engine: str) -> None:
    winners = hardmax_winners(_QUERY, _KEY, return_all=True, engine=engine)
    expected = Winners(
        first=np.array([0, 1, 3, 0, 0]),
        count=np.array([2, 1, 1, 3, 4]),
        indptr=np.array([0, 2, 3, 4, 7, 11]),
        indices=np.array([0, 2, 1, 3, 0, 1, 2, 0, 1, 2, 3]),
    )
    assert_same_fields(winners, expected, FIELDS, "winners")
    assert hardmax_winners(_QUERY, _KEY, engine=engine).indices is None


def test_tie_sets_run_over_the_flat_queries(engine: str) -> None:
    query, key = _random(2, 3, 5, 2), _random(3, 7, 2)
    winners = hardmax_winners(query, key, return_all=True, engine=engine)
    assert winners.first.shape == winners.count.shape == (2, 3, 5)
    for row, where in enumerate(np.ndindex(2, 3, 5)):
        alone = hardmax_winners(query[where][None], key[where[1]], return_all=True, engine=engine)
        mine = winners.indices[winners.indptr[row] : winners.indptr[row + 1]]
        assert_same_bits(mine, alone.indices, f"query {where}")


def test_a_query_that_may_attend_no_key_gets_zeros(engine: str) -> None:
    mask = np.ones((5, 4), bool)
    mask[[0, 3]] = False
    answer = hardmax_attention(_QUERY, _KEY, _VALUE, attn_mask=mask, engine=engine)
    expected = hardmax_attention(_QUERY, _KEY, _VALUE, engine=engine)
    expected[[0, 3]] = 0
    assert_same_bits(answer, expected)
    winners = hardmax_winners(_QUERY, _KEY, attn_mask=mask, return_all=True, engine=engine)
    assert winners.first.tolist() == [-1, 1, 3, -1, 0]
    assert winners.count.tolist() == [0, 1, 1, 0, 4]
    assert winners.indptr.tolist() == [0, 0, 1, 2, 2, 6]


def test_no_keys_at_all(engine: str) -> None:
    answer = hardmax_attention(_QUERY, np.empty((0, 2)), np.empty((0, 3)), engine=engine)
    assert_same_bits(answer, np.zeros((5, 3)))
    winners = hardmax_winners(_QUERY, np.empty((0, 2)), return_all=True, engine=engine)
    assert winners.first.tolist() == [-1] * 5
    assert winners.count.tolist() == [0] * 5
    assert winners.indices.shape == (0,)


def test_no_features_means_that_all_keys_tie(engine: str) -> None:
    answer = hardmax_attention(np.empty((2, 0)), np.empty((4, 0)), _VALUE, engine=engine)
    assert_same_bits(answer, np.array([[3.75, 37.5]] * 2))


# --- Shapes -------------------------------------------------------------------------------------

SHAPES = [
    ((5, 2), (7, 2), (7, 3), (5, 3)),
    ((1, 5, 2), (1, 7, 2), (1, 7, 3), (1, 5, 3)),
    ((4, 5, 2), (4, 7, 2), (4, 7, 3), (4, 5, 3)),
    ((2, 4, 5, 2), (2, 4, 7, 2), (2, 4, 7, 3), (2, 4, 5, 3)),
    ((2, 4, 5, 2), (4, 7, 2), (7, 3), (2, 4, 5, 3)),
    ((5, 2), (2, 4, 7, 2), (4, 7, 3), (2, 4, 5, 3)),
    ((5, 2), (7, 2), (2, 4, 7, 3), (2, 4, 5, 3)),
    ((2, 1, 5, 2), (1, 4, 7, 2), (1, 1, 7, 3), (2, 4, 5, 3)),
    ((3, 2, 1, 5, 2), (4, 7, 2), (2, 1, 7, 3), (3, 2, 4, 5, 3)),
    ((0, 5, 2), (7, 2), (1, 7, 3), (0, 5, 3)),
    ((2, 0, 2), (2, 7, 2), (2, 7, 3), (2, 0, 3)),
    ((2, 5, 2), (2, 7, 2), (2, 7, 0), (2, 5, 0)),
]


@pytest.mark.parametrize(("query", "key", "value", "expected"), SHAPES)
def test_leading_dimensions_broadcast(
    engine: str,
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    q, k, v = _random(*query), _random(*key), _random(*value)
    answer = hardmax_attention(q, k, v, engine=engine)
    assert answer.shape == expected
    lead = expected[:-2]
    q, k, v = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (q, k, v))
    for b in np.ndindex(lead):
        alone = hardmax_attention(q[b], k[b], v[b], engine=engine)
        assert_same_bits(answer[b], alone, f"batch {b}")


@pytest.mark.parametrize(("query_heads", "key_heads"), [(6, 1), (6, 2), (6, 3), (6, 6), (1, 1)])
def test_grouped_queries_are_repeated_keys_and_values(
    engine: str, query_heads: int, key_heads: int
) -> None:
    query = _random(2, query_heads, 5, 2)
    key, value = _random(2, key_heads, 7, 2), _random(2, key_heads, 7, 3)
    repeated = [np.repeat(x, query_heads // key_heads, axis=-3) for x in (key, value)]
    answer = hardmax_attention(query, key, value, enable_gqa=True, engine=engine)
    assert_same_bits(answer, hardmax_attention(query, *repeated, engine=engine))
    winners = hardmax_winners(query, key, enable_gqa=True, return_all=True, engine=engine)
    expected = hardmax_winners(query, repeated[0], return_all=True, engine=engine)
    assert_same_fields(winners, expected, FIELDS, "winners")


def test_grouped_queries_need_not_be_the_same_batch(engine: str) -> None:
    query, key, value = _random(3, 4, 5, 2), _random(2, 7, 2), _random(3, 2, 7, 3)
    answer = hardmax_attention(query, key, value, enable_gqa=True, engine=engine)
    repeated = [np.repeat(x, 2, axis=-3) for x in (key, value)]
    assert_same_bits(answer, hardmax_attention(query, *repeated, engine=engine))


# --- Masks --------------------------------------------------------------------------------------

MASK_SHAPES = [(2, 3, 5, 7), (3, 5, 7), (5, 7), (2, 1, 1, 7), (3, 1, 7), (5, 1), (7,), (1,), ()]


@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["boolean", "float"])
def test_masks_broadcast(engine: str, kind: str, shape: tuple[int, ...]) -> None:
    query, key, value = _random(2, 3, 5, 2), _random(2, 3, 7, 2), _random(2, 3, 7, 3)
    mask = _random(*shape, seed=1)
    mask = mask > 0 if kind == "boolean" else np.where(mask < -1, -np.inf, mask)
    answer = hardmax_attention(query, key, value, attn_mask=mask, engine=engine)
    full = np.broadcast_to(mask, (2, 3, 5, 7)).copy()
    assert_same_bits(answer, hardmax_attention(query, key, value, attn_mask=full, engine=engine))
    assert_same_bits(answer, oracle.attention(query, key, value, attn_mask=mask).mean)


def test_a_boolean_mask_is_a_float_mask_of_zero_and_minus_infinity(engine: str) -> None:
    query, key, value = _random(20, 2), _random(30, 2), _random(30, 3)
    allowed = _random(20, 30, seed=1) > 0
    added = np.where(allowed, 0.0, -np.inf)
    answer = hardmax_attention(query, key, value, attn_mask=allowed, engine=engine)
    assert_same_bits(answer, hardmax_attention(query, key, value, attn_mask=added, engine=engine))


@pytest.mark.parametrize(("n_queries", "n_keys"), [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1)])
def test_causal_is_the_lower_triangle_from_the_first_key(
    engine: str, n_queries: int, n_keys: int
) -> None:
    query, key, value = _random(n_queries, 2), _random(n_keys, 2), _random(n_keys, 3)
    lower = np.tri(n_queries, n_keys, dtype=bool)
    expected = hardmax_attention(query, key, value, attn_mask=lower, engine=engine)
    answer = hardmax_attention(query, key, value, is_causal=True, engine=engine)
    assert_same_bits(answer, expected)
    assert_same_bits(answer[0], value[0])

    padding = np.arange(n_keys) != 1
    both = hardmax_attention(query, key, value, is_causal=True, attn_mask=padding, engine=engine)
    expected = hardmax_attention(query, key, value, attn_mask=lower & padding, engine=engine)
    assert_same_bits(both, expected)


def test_masking_a_key_is_leaving_it_out(engine: str) -> None:
    query, key, value = _random(20, 2), _random(30, 2), _random(30, 3)
    kept = np.arange(30) % 3 > 0
    masked = hardmax_attention(query, key, value, attn_mask=kept, engine=engine)
    assert_same_bits(masked, hardmax_attention(query, key[kept], value[kept], engine=engine))


def test_a_float_mask_moves_the_winner(engine: str) -> None:
    key = np.array([[3.0], [2.0], [1.0]])
    mask = [[0.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [-2.5, -1.5, 0.0], [-np.inf, -9e9, -9e9]]
    winners = hardmax_winners(np.ones((4, 1)), key, attn_mask=mask, return_all=True, engine=engine)
    assert winners.indices.tolist() == [0, 0, 1, 2, 1]


# --- Dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "key", "value", "expected"),
    [
        ("f4", "f4", "f4", "f4"),
        ("f8", "f8", "f8", "f8"),
        ("f2", "f2", "f2", "f4"),
        ("f4", "f4", "f8", "f8"),
        ("f8", "f4", "f4", "f8"),
        ("f2", "f4", "f4", "f4"),
        ("i8", "i8", "i8", "f8"),
        ("u1", "u1", "u1", "f8"),
        ("?", "?", "?", "f8"),
        ("?", "f4", "f4", "f4"),
        ("i1", "f4", "f4", "f4"),
        ("i8", "f4", "f4", "f8"),
        ("f4", "f4", "i8", "f8"),
    ],
)
def test_inputs_are_promoted_before_anything_is_computed(
    engine: str, query: str, key: str, value: str, expected: str
) -> None:
    rng = np.random.default_rng(0)
    shapes = {"query": (20, 3), "key": (30, 3), "value": (30, 2)}
    given = {
        name: (
            rng.standard_normal(shape) * 9 if code[0] == "f" else rng.integers(0, 2, shape)
        ).astype(code)
        for (name, shape), code in zip(shapes.items(), (query, key, value), strict=True)
    }
    promoted = {name: array.astype(expected) for name, array in given.items()}
    answer = hardmax_attention(**given, engine=engine)
    assert_same_bits(answer, oracle.attention(**promoted).mean)


@pytest.mark.parametrize(
    ("mask", "expected"), [("?", "f4"), ("f2", "f4"), ("f4", "f4"), ("f8", "f8")]
)
def test_a_float_mask_takes_part_in_promotion(engine: str, mask: str, expected: str) -> None:
    query, key, value = (_random(6, 2).astype("f4") * np.float32(0.1) for _ in range(3))
    given = (np.random.default_rng(2).standard_normal((6, 6)) > 0).astype(mask)
    answer = hardmax_attention(query, key, value, attn_mask=given, engine=engine)
    arrays = [x.astype(expected) for x in (query, key, value)]
    bias = given if mask == "?" else given.astype(expected)
    assert_same_bits(answer, oracle.attention(*arrays, attn_mask=bias).mean)


def test_lists_and_array_likes_are_arrays(engine: str) -> None:
    class ArrayLike:
        def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
            return _KEY

    answer = hardmax_attention(_QUERY.tolist(), ArrayLike(), _VALUE.tolist(), engine=engine)
    assert_same_bits(answer, hardmax_attention(_QUERY, _KEY, _VALUE, engine=engine))


# --- The call itself ----------------------------------------------------------------------------


def test_inputs_are_left_alone_and_outputs_belong_to_the_caller(engine: str) -> None:
    arrays = [_QUERY.copy(), _KEY.copy(), _VALUE.copy(), np.tri(5, 4)]
    before = [array.copy() for array in arrays]
    answer = hardmax_attention(*arrays[:3], attn_mask=arrays[3], engine=engine)
    for array, old in zip(arrays, before, strict=True):
        assert_same_bits(array, old)
        assert not np.shares_memory(answer, array)
    assert answer.flags.writeable
    assert answer.flags.c_contiguous


@pytest.mark.parametrize("d", [2, 8, 64])
def test_it_is_the_limit_of_softmax_attention(engine: str, d: int) -> None:
    """Independent of every rule above: generic data, one winner each, at a huge scale."""
    rng = np.random.default_rng(d)
    query, key, value = (rng.standard_normal((n, d)) for n in (50, 70, 70))
    scores = 1e6 * query @ key.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax = (weights / weights.sum(axis=1, keepdims=True)) @ value
    np.testing.assert_allclose(
        hardmax_attention(query, key, value, engine=engine), softmax, rtol=1e-12
    )
