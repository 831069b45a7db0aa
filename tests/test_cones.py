"""The cones engine: the reference's bits on every kind of key, and complete candidate lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fasthardmax import hardmax_attention, hardmax_winners
from fasthardmax._problem import Problem, self_attention
from fasthardmax.engines import (
    _cones_index,
    _cones_losing,
    _cones_margins,
    _cones_polygon,
    cones,
    direct,
    reference,
)
from fasthardmax.engines._cones_divide import GROUPED
from fasthardmax.engines._cones_entries import candidate_of, length_of
from fasthardmax.index import HardmaxIndex

from .cases import CASES
from .clouds import DTYPES, Array, DType, circle, gaussian, lattice, seeded
from .compare import assert_same_bits, assert_same_fields
from .cones_clouds import HARD, near_ties
from .selective import TIES, case, check_engine


def _check(problem: Problem, judge: Any = reference) -> None:
    check_engine(cones, problem, problem.ties, judge)


def _accepted(name: str) -> bool:
    return cones.refusal(case(name, DTYPES[1], 2)) is None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", list(filter(_accepted, CASES)))
def test_cases_equal_reference(name: str, dtype: DType) -> None:
    for ties in TIES:
        _check(case(name, dtype, 2, ties))


@pytest.mark.parametrize("d", range(1, 7))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", HARD)
def test_hard_keys_equal_direct(kind: str, dtype: DType, d: int) -> None:
    """Enough keys to be reduced, and both themselves and directions between them as queries."""
    points = HARD[kind](4000, d, dtype)
    some = seeded(f"queries {kind} {d}").integers(0, len(points), (2, 150))
    axes = np.concatenate([np.eye(d), -np.eye(d), np.zeros((1, d))]).astype(dtype)
    query = np.concatenate([points[some[0]], points[some[0]] - points[some[1]], axes])
    _check(self_attention(points[None], np.ascontiguousarray(query[None]), 2), direct)


@pytest.mark.parametrize("d", [2, 3])
def test_few_keys_far_out_that_no_sample_holds(d: int) -> None:
    """A body found with their help leaves nothing of a sample to try another body on."""
    points = gaussian(9000, d, DTYPES[1])
    points[1:8001:80] *= 1e3 / np.linalg.norm(points[1:8001:80], axis=1, keepdims=True)
    _check(self_attention(points[None], np.ascontiguousarray(points[None, :200]), 2), direct)


@pytest.mark.parametrize("d", [2, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_keys_far_wider_in_one_feature_than_in_another(dtype: DType, d: int) -> None:
    """So far that widths relative to the widest underflow."""
    scale = float(np.finfo(dtype).max) ** (0.8 * np.resize([1, -1], d))
    points = (gaussian(4000, d, DTYPES[1]) * scale).astype(dtype)
    query = (gaussian(200, d, DTYPES[1]) / scale).astype(dtype)
    _check(self_attention(points[None], query[None], 2))


@pytest.mark.parametrize("kind", ["lattice", "near ties", "many zeros", "Gaussian"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_answers_are_written_like_few(
    kind: str, dtype: DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the caches, several blocks of queries and the rest of one; narrow means and wide."""
    monkeypatch.setattr(cones, "_STREAMED", -1)
    for d in (2, 3):
        points = HARD[kind](1400, d, dtype)
        query = np.concatenate([points[:700], np.zeros((3, d), dtype)])[None]
        problem = self_attention(points[None], query, 2)
        _check(problem)
        wide = seeded(f"wide {kind}").standard_normal((1, len(points), 17)).astype(dtype)
        _check(problem._replace(value=wide))
        _check(problem._replace(value=wide[..., :0]))


def _exact(row: Array) -> list[Fraction]:
    return [Fraction(float(x)) for x in row]


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("kind", ["sphere", "lattice", "duplicates", "near ties", "offset by 1e6"])
def test_candidate_lists_are_complete(kind: str, d: int) -> None:
    """In exact arithmetic: who wins at a corner or the centre of a cell is listed there."""
    keys = HARD[kind](60, d, DTYPES[1])
    index = cones.build(keys, np.abs(keys).max(axis=0), 1)
    exact = [_exact(key) for key in keys]
    seen = 0
    cells = index.table.reshape(2 * d, -1)
    for face, at in seeded(f"cells {kind} {d}").integers(0, cells.shape, (40, 2)).tolist():
        listed = _listed(index, int(cells[face, at]))
        if listed is None:
            continue
        seen += 1
        position = np.unravel_index(at, (index.grid,) * (d - 1))
        for ends in itertools.product((0, Fraction(1, 2), 1), repeat=d - 1):
            t = [
                2 * (int(p) + e) / Fraction(index.grid) - 1
                for p, e in zip(position, ends, strict=True)
            ]
            t.insert(face // 2, Fraction(1 - 2 * (face % 2)))
            scores = [sum(a * b for a, b in zip(t, key, strict=True)) for key in exact]
            best = max(scores)
            assert {j for j, s in enumerate(scores) if s == best} <= listed
    assert seen > 10


def _listed(index: Any, entry: int) -> set[int] | None:
    """All keys under a table's entry; None where they are not listed."""
    if entry < 0:
        first = candidate_of.py_func(entry)
        candidates = [*range(first, first + length_of.py_func(entry))]
    else:
        nodes, candidates = [entry], []
        while nodes:
            node = nodes.pop()
            low, high = int(index.low[node]), int(index.high[node])
            if high < 0:
                nodes += [low, low + 1]
            elif high == 0:
                return None
            else:
                listed = index.lists if len(index.lists) else np.arange(len(index.candidates))
                candidates += listed[low : low + high].tolist()
    spans = index.spans
    return {int(j) for c in candidates for j in index.members[spans[c] : spans[c + 1]]}


def test_a_margin_too_small_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rounding decides, candidates without a margin are too few."""
    points = near_ties(300, 3, DTYPES[0])
    query = gaussian(300, 3, DTYPES[0])
    problem = self_attention(points[None], query[None], 1)
    _check(problem)
    margins = _cones_index.margins
    monkeypatch.setattr(_cones_index, "margins", lambda d, t: (0.0, *margins(d, t)[1:]))
    with pytest.raises(AssertionError, match="differ"):
        _check(problem)


@pytest.mark.parametrize("d", [4, 5, 6])
def test_too_little_slack_for_float32_is_noticed(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keys lie closer together than float32 tells apart, the screening alone is wrong."""
    points = 1 + gaussian(300, d, DTYPES[1]) * 2.0**-12
    points[150:] = points[:150] + gaussian(150, d, DTYPES[1]) * 2.0**-40
    query = gaussian(600, d, DTYPES[1])
    problem = self_attention(points[None], query[None], 1)
    _check(problem)
    packed = _cones_index._packed

    def slackless(*arguments: Any) -> tuple[Array, Array]:
        packs, slack = packed(*arguments)
        return packs, 0 * slack

    monkeypatch.setattr(_cones_index, "_packed", slackless)
    with pytest.raises(AssertionError, match="differ"):
        _check(problem)


def test_a_dropped_candidate_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = circle(200, DTYPES[1])
    problem = self_attention(points[None], points[None], 1)
    outer = _cones_polygon.outer_keys
    monkeypatch.setattr(_cones_polygon, "outer_keys", lambda *a: outer(*a)[1:])
    with pytest.raises(AssertionError, match="differ"):
        _check(problem)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [3, 4, 5])
@pytest.mark.parametrize("kind", ["two far clusters", "heavy tails", "near ties", "sphere"])
def test_keys_that_lose_in_all_boxes_are_left_out(kind: str, d: int, dtype: DType) -> None:
    """Whoever wins stays, for queries anywhere and on the boxes' borders."""
    keys = HARD[kind](3000, d, dtype)
    corners = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=d)), dtype)
    query = np.concatenate([gaussian(500, d, dtype), corners[corners.any(axis=1)]])
    problem = self_attention(keys[None], query[None], 2)
    answer = direct.run(problem)
    indptr = np.concatenate([[0], np.cumsum(answer.count.reshape(-1))]).astype(np.int64)
    winners = np.unique(direct.list_winners(problem, answer, indptr))
    relative, absolute, slip = _cones_margins.margins(d, dtype)
    exponent = int(np.frexp(np.abs(keys).max())[1])
    kept = _cones_losing.losing_nowhere(keys, exponent, relative, absolute, slip, 2)
    assert set(winners) <= set(kept)
    if kind in ("two far clusters", "heavy tails") and d == 3:
        assert len(kept) < len(keys) / 5


@pytest.mark.parametrize("longest", [0, 2, 4096])
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_long_lists_do_not_show(d: int, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a tree of boxes, over all keys or none, nor groups: all lists are long here."""
    monkeypatch.setattr(_cones_index, "_LISTED", min(2, longest))
    monkeypatch.setattr(_cones_index, "_LONGEST", longest)
    monkeypatch.setattr(_cones_index, "_MORE_IN_PACKS", 1)
    monkeypatch.setattr(_cones_index, "_WORTH_GROUPS", 1000)
    for kind in ("Gaussian", "sphere", "lattice", "duplicates", "near ties"):
        points = HARD[kind](700, d, DTYPES[0])
        _check(self_attention(points[None], points[None], 1))
        _check(self_attention(points[None], points[None, :20], 1))


def _around_one_vector(n: int, d: int, dtype: DType) -> Array:
    """Points that rounding hardly tells apart."""
    rng = seeded(f"around {n} {d}")
    base = np.linspace(0.3, 1.4, d).astype(dtype)
    return base + rng.integers(-50, 51, (n, d)).astype(dtype) * np.spacing(base)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [3, 4])
def test_cells_are_divided_where_queries_fall(d: int, dtype: DType) -> None:
    """In one direction they get a long list, in groups; all others find no list, and are right."""
    keys, query = (_around_one_vector(n, d, dtype) for n in (20_000, 5000))
    problem = self_attention(keys[None], query[None], 2)
    index = cones._index(problem, 0)
    assert (index.high >= GROUPED).any() == (d == 3)  # with more features they are short
    assert (index.high == 0).sum() >= 2 * d - 1
    assert len(index.boxes) == 2  # no tree for hardly any query
    _check(problem, direct)
    none, first, count = keys[:, :0], np.empty(2000, np.int64), np.empty(2000, np.int64)
    others = gaussian(2000, d, dtype)
    cones.attend(index, others, keys, none, "mean", 2, none[:2000].copy(), first, count)
    expected = hardmax_winners(others, keys, engine="direct")
    np.testing.assert_array_equal(first, expected.first)
    np.testing.assert_array_equal(count, expected.count)


def test_refusals() -> None:
    problem = self_attention(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)), 1)
    assert cones.refusal(problem) is None
    assert "mask" in str(cones.refusal(problem._replace(is_causal=True)))
    wide = self_attention(np.zeros((1, 3, 7)), np.zeros((1, 3, 7)), 1)
    assert "1 to 6 features, not 7" in str(cones.refusal(wide))


def test_few_candidates_are_scored() -> None:
    """By an index for many queries; one for few is not divided as finely, and answers alike."""
    points = gaussian(50_000, 3, DTYPES[1])
    answer, scored = cones.run_counting(self_attention(points[None], points[None], 2))
    assert scored < 8
    index = cones.build(points, np.abs(points).max(axis=0), 2)
    none, first, count = points[:, :0], np.empty(50_000, np.int64), np.empty(50_000, np.int64)
    scored = cones.attend(index, points, points, none, "mean", 2, none.copy(), first, count)
    assert scored < 2 * len(points)
    np.testing.assert_array_equal(first, answer.first[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_index_answers_as_the_operator(dtype: DType) -> None:
    keys, query = lattice(5, 3, dtype), lattice(4, 3, dtype).reshape(4, 16, 3)
    value = gaussian(len(keys), 4, dtype)
    index = HardmaxIndex(keys)
    for ties in TIES:
        expected = hardmax_attention(query, keys, value, ties=ties, engine="reference")
        assert_same_bits(index.attend(query, value, ties), expected)
    expected = hardmax_winners(query, keys, return_all=True, engine="reference")
    winners = index.winners(query, return_all=True)
    assert_same_fields(winners, expected, ("first", "count", "indptr", "indices"), "index")
    assert 8 <= index.n_candidates < len(keys)
    assert index.n_leaves > 0
    assert index.nbytes > 0


def test_index_promotes_as_the_operator() -> None:
    keys, query = gaussian(30, 2, DTYPES[0]), gaussian(7, 2, DTYPES[1])
    value = gaussian(30, 2, DTYPES[0])
    expected = hardmax_attention(query, keys, value, engine="reference")
    assert_same_bits(HardmaxIndex(keys).attend(query, value), expected)


def test_index_without_keys() -> None:
    index = HardmaxIndex(np.empty((0, 2)))
    assert_same_bits(index.attend(np.ones((3, 2)), np.empty((0, 4))), np.zeros((3, 4)))
    winners = index.winners(np.ones((3, 2)), return_all=True)
    assert winners.first.tolist() == [-1] * 3
    assert winners.indices is not None
    assert len(winners.indices) == 0
    assert index.n_candidates == index.n_leaves == index.nbytes == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: HardmaxIndex([1.0]), r"keys: got shape \(1,\), expected \(S, E\)"),
        (lambda: HardmaxIndex(np.ones((2, 7))), "keys: got 7 features, expected 1 to 6"),
        (lambda: HardmaxIndex(np.ones((2, 0))), "keys: got 0 features, expected 1 to 6"),
        (lambda: HardmaxIndex([[np.nan, 1]]), r"keys: got nan at index \(0, 0\)"),
        (lambda: HardmaxIndex([[1, 2]]).winners([[1, 2, 3]]), r"queries: got shape \(1, 3\)"),
        (lambda: HardmaxIndex([[1, 2]]).winners([[1, np.inf]]), "queries: got inf at index"),
        (
            lambda: HardmaxIndex([[1, 2]]).attend([[1, 2]], [[1], [2]]),
            r"values: got shape \(2, 1\)",
        ),
        (lambda: HardmaxIndex([[1, 2]]).attend([[1, 2]], [[1]], "all"), "ties: got 'all'"),
        (lambda: HardmaxIndex([[1e200, 2]]).winners([[1e200, 2]]), "queries and keys: got scores"),
        (lambda: HardmaxIndex([[1.0]] * 2).attend([[1.0]], [[1.7e308]] * 2), "values: got tied"),
    ],
)
def test_bad_input_is_one_sentence(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
