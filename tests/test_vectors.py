"""The vector kernels on another kind of processor, and what the screening must never miss."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import njit

import fasthardmax as fh
from fasthardmax._assemble import attention_problem
from fasthardmax.engines import _direct_plan, direct
from fasthardmax.engines._canonical import fewest_keys, reaching, score_keys, top_score
from fasthardmax.engines._turned import turn_rows
from fasthardmax.engines._vectors import copy_row
from fasthardmax.numerics import canonical_scores

from .compare import assert_same_bits

SHAPES = [(33, 64, 3), (20, 45, 7)]

# Runs in a process whose Numba compiles for a plain processor without AVX or FMA.
PLAIN = """
import numpy as np
import fasthardmax as fh
from fasthardmax.engines import _processor

assert _processor.VECTOR_BYTES == 16, _processor.VECTOR_BYTES
for dtype in (np.float32, np.float64):
    for m, n, d in {shapes}:
        rng = np.random.default_rng(d)
        q, k = rng.integers(-2, 3, (m, d)).astype(dtype), rng.integers(-2, 3, (n, d)).astype(dtype)
        q[::2] += rng.standard_normal(q[::2].shape).astype(dtype)
        for causal in (False, True):
            expected, found = (
                fh.hardmax_attention(q, k, k, is_causal=causal, engine=engine)
                for engine in ("reference", "direct")
            )
            assert expected.tobytes() == found.tobytes(), (dtype, m, n, d, causal)
print("equal")
"""


def test_a_processor_without_wide_vectors_gives_the_same_bits():
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-c", PLAIN.format(shapes=SHAPES)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "equal\n"


def near_ties(dtype):
    """Keys whose canonical scores differ by rounding alone: fusing a product reorders them."""
    rng = np.random.default_rng(7)
    query = rng.standard_normal((64, 24)).astype(dtype)
    key = rng.standard_normal((1, 24)).astype(dtype) * np.ones((400, 1), dtype)
    aside = rng.choice([-1, 1], key[:, ::3].shape).astype(dtype) * dtype(np.inf)
    key[:, ::3] = np.nextafter(key[:, ::3], aside)
    return query, key


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_ties_are_decided_canonically(dtype):
    query, key = near_ties(dtype)
    expected = fh.hardmax_winners(query, key, return_all=True, engine="reference")
    found = fh.hardmax_winners(query, key, return_all=True, engine="direct")
    assert_same_bits(found.indptr, expected.indptr)
    assert_same_bits(found.indices, expected.indices)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_screening_alone_would_get_near_ties_wrong(dtype, monkeypatch):
    """The slack is needed: without it, the same comparison fails."""
    query, key = near_ties(dtype)
    expected = fh.hardmax_winners(query, key, engine="reference")
    monkeypatch.setattr(direct, "screening_slack", lambda d, dtype: (0.0, 0.0))
    monkeypatch.setattr(_direct_plan, "block_size", lambda n_keys, d, itemsize: 4)
    found = fh.hardmax_winners(query, key, engine="direct")
    assert not np.array_equal(found.first, expected.first)


def problem_of(query, key, **options):
    settings = {"attn_mask": None, "is_causal": False, "ties": "mean", "enable_gqa": False}
    return attention_problem(query, key, key, **settings | options, num_threads=2)[0]


def test_generic_data_are_decided_in_one_block():
    points = np.random.default_rng(0).standard_normal((500, 8))
    answer, again = direct.run_counting(problem_of(points, points))
    assert (answer.count == 1).all()
    assert again < 0.01


def test_equal_keys_need_every_block():
    points = np.ones((100, 4))
    answer, again = direct.run_counting(problem_of(points, points))
    assert (answer.count == 100).all()
    assert again == 1


@njit
def scored(query, key, start, stop, scores):
    """The scores, the largest of them, and the bits of those that reach it."""
    score_keys(query, 1, key, start, stop, scores)
    top = top_score(scores, stop - start)
    bits = [reaching(scores, at, top) for at in range(0, stop - start, fewest_keys(key.itemsize))]
    return top, bits


@pytest.mark.parametrize("d", [*range(1, 14), 64, 65, 66, 67])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_in_vectors_are_canonical(dtype, d):
    """Every split into vectors, pairs of them and an overlapping last one; integers make ties."""
    rng = np.random.default_rng(d)
    lanes = fewest_keys(np.dtype(dtype).itemsize)
    for n in range(lanes, 5 * lanes):
        key = rng.standard_normal((n + 5, d)).astype(dtype)
        if n % 2:
            key = rng.integers(-1, 2, key.shape).astype(dtype)
        query = rng.standard_normal((2, d)).astype(dtype)
        expected = canonical_scores(query, key[3 : 3 + n])[1]
        room = -(-n // lanes) * lanes
        untouched = np.finfo(dtype).min
        scores = np.full(room, untouched, dtype)
        top, bits = scored(query, key, 3, 3 + n, scores)
        assert_same_bits(scores, np.append(expected, np.full(room - n, untouched)))
        assert top == expected.max()
        found = [
            at * lanes + lane
            for at, word in enumerate(bits)
            for lane in range(lanes)
            if int(word) >> lane & 1
        ]
        assert found == np.flatnonzero(expected == top).tolist()


@pytest.mark.parametrize("d", [255, 1024, 4096])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_features(dtype, d):
    """Equal keys, keys an ulp apart, and others; more features than a table of blocks has keys."""
    rng = np.random.default_rng(d)
    query, key = (rng.standard_normal((n, d)).astype(dtype) for n in (30, 90))
    key[30:60] = key[:30]
    key[60:] = np.nextafter(key[:30], dtype(np.inf))
    for causal in (False, True):
        expected, found = (
            fh.hardmax_winners(query, key, is_causal=causal, return_all=True, engine=engine)
            for engine in ("reference", "direct")
        )
        assert_same_bits(found.indptr, expected.indptr)
        assert_same_bits(found.indices, expected.indices)


@pytest.mark.parametrize("d", [2, 3, 20])
def test_what_is_kept_between_calls_does_not_show(d):
    """Other shapes, dtypes, masks and numbers of threads come in between."""
    rng = np.random.default_rng(d)
    cases = []
    for dtype in (np.float32, np.float64):
        for m, n in ((300, 300), (301, 299), (300, 40)):
            query, key = (rng.standard_normal((rows, d)).astype(dtype) for rows in (m, n))
            for causal in (False, True):
                expected = fh.hardmax_attention(
                    query, key, key, is_causal=causal, engine="reference"
                )
                cases.append((query, key, causal, expected))
    for _ in range(2):
        for at in rng.permutation(len(cases)):
            query, key, causal, expected = cases[at]
            for threads in (1, 2, 3):
                found = fh.hardmax_attention(
                    query, key, key, is_causal=causal, engine="direct", num_threads=threads
                )
                assert_same_bits(found, expected)


@pytest.mark.parametrize("engine", ["compiled", "direct"])
def test_a_view_of_the_keys_as_queries(engine):
    """All of them, some of them, and as many in another order."""
    key = np.random.default_rng(1).standard_normal((200, 3))
    for query in (key[:], key[:150], key[::-1], key.reshape(3, 200).T, key[1:]):
        expected = fh.hardmax_attention(query, key, key, engine="reference")
        assert_same_bits(fh.hardmax_attention(query, key, key, engine=engine), expected)


@njit
def turn_and_copy(key, starts, turned, order, copied):
    """Turn keys run by run; copy rows in some order."""
    for at in range(len(starts) - 1):
        turn_rows(key, starts[at], starts[at + 1], turned)
    for j, i in enumerate(order):
        copy_row(key, i, copied, j)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 15, 16, 17, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_turned_and_copied_keys_are_the_keys(dtype, d):
    """In whole vectors, with NaN beyond the last key; nothing beyond the rows is written."""
    rng = np.random.default_rng(d)
    lanes = fewest_keys(np.dtype(dtype).itemsize)
    for n in (1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2):
        key = rng.standard_normal((n, d)).astype(dtype)
        n_vectors = -(-n // lanes) + 1
        turned = np.zeros((n_vectors, d, lanes), dtype)
        starts = np.arange(n_vectors + 1) * lanes
        order = rng.permutation(n)
        copied = np.full((n + 1, d), 7, dtype)
        turn_and_copy(key, starts, turned, order, copied[:n])
        assert_same_bits(turned.transpose(0, 2, 1).reshape(-1, d)[:n].copy(), key)
        assert np.isnan(turned.transpose(0, 2, 1).reshape(-1, d)[n:]).all()
        assert_same_bits(copied[:n].copy(), key[order])
        assert (copied[n] == 7).all()


def test_keys_are_turned_where_many_ask():
    """What is looked at in registers, and what is not: both are run by the tests of engines."""
    key = np.random.default_rng(0).standard_normal((300, 4))
    assert direct._plan(problem_of(key, key)).turned
    assert not direct._plan(problem_of(key[:20], key)).turned
    assert not direct._plan(problem_of(key, key, attn_mask=np.ones((300, 300), bool))).turned
