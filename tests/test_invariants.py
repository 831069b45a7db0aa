"""What must hold for any input: each statement is exact in floating point, for the reason given."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as xnp
from numpy.typing import NDArray

from fasthardmax import Winners, hardmax_attention, hardmax_winners, simulate
from fasthardmax.engines import ENGINES

from .clouds import DTYPES
from .compare import assert_same_bits, assert_same_fields

DType = np.dtype[Any]
FIELDS = ("first", "count", "indptr", "indices")

_step = partial(simulate, method="stepped")
each_engine = pytest.mark.parametrize("engine", ENGINES)
steady = settings(max_examples=40, deadline=None, derandomize=True, database=None)

# --- Inputs -------------------------------------------------------------------------------------


def _reals(dtype: DType) -> st.SearchStrategy[float]:
    """Any numbers of moderate size, subnormal ones and both zeros included."""
    return st.floats(-8, 8, width=8 * dtype.itemsize)


def _sixteenths(dtype: DType) -> st.SearchStrategy[float]:
    """Numbers far from underflow: zero, or at least 1/16 in magnitude."""
    return st.integers(-128, 128).map(lambda i: i / 16)


def _integers(dtype: DType) -> st.SearchStrategy[float]:
    """Small integers: sums and products are exact, and ties are many."""
    return st.integers(-3, 3).map(float)


@st.composite
def clouds(draw: st.DrawFn, elements: Any = _reals, max_points: int = 9) -> NDArray[Any]:
    """Points (n, d) of either dtype."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.tuples(st.integers(1, max_points), st.integers(1, 3)))
    return draw(xnp.arrays(dtype, shape, elements=elements(dtype)))


@st.composite
def problems(draw: st.DrawFn, elements: Any = _reals) -> dict[str, NDArray[Any]]:
    """A query, key and value that go together; the values are small integers."""
    key = draw(clouds(elements))
    n_queries, width = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    shape = (n_queries, key.shape[1])
    query = draw(xnp.arrays(key.dtype, shape, elements=elements(key.dtype)))
    values = xnp.arrays(key.dtype, (len(key), width), elements=_integers(key.dtype))
    return {"query": query, "key": key, "value": draw(values)}


def _winners(query: NDArray[Any], key: NDArray[Any], engine: str) -> Winners:
    return hardmax_winners(query, key, return_all=True, engine=engine)


def _tie_sets(winners: Winners) -> list[list[int]]:
    ends = winners.indptr[1:-1]
    return [part.tolist() for part in np.split(winners.indices, ends)]


# --- The operator -------------------------------------------------------------------------------


@each_engine
@steady
@given(problem=problems(), data=st.data())
def test_permuting_the_keys_permutes_the_tie_sets(
    engine: str, problem: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    """A score depends on its own pair only; a sum of small integers is exact in any order."""
    query, key, value = problem.values()
    order = np.array(data.draw(st.permutations(range(len(key)))))
    there = _tie_sets(_winners(query, key[order], engine))
    here = _tie_sets(_winners(query, key, engine))
    assert [sorted(order[ties].tolist()) for ties in there] == here
    shuffled = hardmax_attention(query, key[order], value[order], engine=engine)
    assert_same_bits(shuffled + 0, hardmax_attention(**problem, engine=engine) + 0)


@each_engine
@steady
@given(problem=problems(), data=st.data())
def test_permuting_the_queries_permutes_the_rows(
    engine: str, problem: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(len(problem["query"])))))
    answer = hardmax_attention(**problem, engine=engine)
    shuffled = hardmax_attention(**{**problem, "query": problem["query"][order]}, engine=engine)
    assert_same_bits(shuffled, answer[order])


@each_engine
@steady
@given(problem=problems())
def test_repeating_all_keys_changes_the_counts_only(
    engine: str, problem: dict[str, NDArray[Any]]
) -> None:
    query, key, value = problem.values()
    once = _winners(query, key, engine)
    twice = _winners(query, np.concatenate([key, key]), engine)
    assert_same_bits(twice.first, once.first)
    assert_same_bits(twice.count, 2 * once.count)
    n = len(key)
    assert _tie_sets(twice) == [ties + [n + j for j in ties] for ties in _tie_sets(once)]
    doubled = np.concatenate([value, value])  # 2 s / 2 k rounds as s / k does, for an exact sum s
    answer = hardmax_attention(query, np.concatenate([key, key]), doubled, engine=engine)
    assert_same_bits(answer + 0, hardmax_attention(**problem, engine=engine) + 0)


@each_engine
@steady
@given(problem=problems())
def test_losing_keys_may_be_left_out(engine: str, problem: dict[str, NDArray[Any]]) -> None:
    query, key, value = problem.values()
    kept = np.unique(_winners(query, key, engine).indices)
    for ties in ("mean", "first", "last"):
        alone = hardmax_attention(query, key[kept], value[kept], ties=ties, engine=engine)
        assert_same_bits(alone, hardmax_attention(**problem, ties=ties, engine=engine))


@each_engine
@steady
@given(problem=problems())
def test_the_last_winner_is_the_first_from_behind(
    engine: str, problem: dict[str, NDArray[Any]]
) -> None:
    query, key, value = problem.values()
    backwards = hardmax_attention(query, key[::-1], value[::-1], ties="first", engine=engine)
    assert_same_bits(backwards, hardmax_attention(**problem, ties="last", engine=engine))


@each_engine
@steady
@given(problem=problems(_sixteenths), power=st.integers(-30, 30))
def test_scaling_by_a_power_of_two_moves_no_winner(
    engine: str, problem: dict[str, NDArray[Any]], power: int
) -> None:
    """Exact, so long as nothing under- or overflows: products here are 0 or at least 2**-8."""
    query, key, value = problem.values()
    scale = query.dtype.type(2.0**power)
    winners = _winners(query, key, engine)
    assert_same_fields(_winners(scale * query, key, engine), winners, FIELDS, "queries")
    assert_same_fields(_winners(query, scale * key, engine), winners, FIELDS, "keys")
    scaled = hardmax_attention(query, key, scale * value, engine=engine)
    assert_same_bits(scaled, scale * hardmax_attention(**problem, engine=engine))


@each_engine
@steady
@given(problem=problems(), data=st.data())
def test_reflecting_features_of_query_and_key_moves_no_winner(
    engine: str, problem: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    """(-a)(-b) is ab, bit for bit."""
    query, key, _ = problem.values()
    signs = data.draw(xnp.arrays(key.dtype, key.shape[1], elements=st.sampled_from([-1.0, 1.0])))
    reflected = _winners(signs * query, signs * key, engine)
    assert_same_fields(reflected, _winners(query, key, engine), FIELDS, "winners")


@each_engine
@steady
@given(problem=problems(_integers), data=st.data())
def test_translating_integer_keys_moves_no_winner(
    engine: str, problem: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    """Every score of a query changes by the same integer."""
    query, key, _ = problem.values()
    shift = data.draw(xnp.arrays(key.dtype, key.shape[1], elements=_integers(key.dtype)))
    assert_same_fields(
        _winners(query, key + shift, engine), _winners(query, key, engine), FIELDS, "winners"
    )


@each_engine
@steady
@given(problem=problems(), shift=st.integers(-3, 3))
def test_translating_the_values_translates_the_answer(
    engine: str, problem: dict[str, NDArray[Any]], shift: int
) -> None:
    """Exact for one winner, and for a power of two of them, whose mean of integers is exact."""
    query, key, value = problem.values()
    for ties in ("mean", "first", "last"):
        answer = hardmax_attention(**problem, ties=ties, engine=engine)
        moved = hardmax_attention(query, key, value + shift, ties=ties, engine=engine)
        exact = np.ones(len(query), bool)
        if ties == "mean":
            count = _winners(query, key, engine).count
            exact = count & (count - 1) == 0
        assert_same_bits(moved[exact] + 0, answer[exact] + shift + 0)


@each_engine
@steady
@given(problem=problems())
def test_a_mean_lies_between_the_values_of_its_winners(
    engine: str, problem: dict[str, NDArray[Any]]
) -> None:
    """The sum is exact, and rounding a quotient is monotone."""
    query, key, value = problem.values()
    answer = hardmax_attention(**problem, engine=engine)
    for row, ties in zip(answer, _tie_sets(_winners(query, key, engine)), strict=True):
        assert np.all(value[ties].min(axis=0) <= row)
        assert np.all(row <= value[ties].max(axis=0))


# --- The dynamics -------------------------------------------------------------------------------

alphas = st.sampled_from([0.0, 0.05, 0.5, 1.0, 7.0, np.inf])


@st.composite
def matrices(draw: st.DrawFn, points: NDArray[Any]) -> NDArray[Any] | None:
    """No matrix, or any."""
    d = points.shape[1]
    some = xnp.arrays(points.dtype, (d, d), elements=_sixteenths(points.dtype))
    return draw(st.none() | some)


@each_engine
@steady
@given(points=clouds(), alpha=alphas, data=st.data())
def test_points_stay_in_the_hull_of_their_start(
    engine: str, points: NDArray[Any], alpha: float, data: st.DataObject
) -> None:
    """No direction w sees a point beyond the start, but for rounding.

    Let M bound all coordinates, u be the unit roundoff, gamma_k = k u / (1 - k u), and eta the
    smallest subnormal number. The mean of at most n values errs by at most gamma_n M, which 0 < c
    <= 1 does not enlarge. Then m - x, at most (2 + gamma_n) M in size, its product with c, and the
    sum with x are rounded: another 2 (2 + gamma_n) M u + M u + eta, and terms in u^2. So a layer
    ends within gamma_(n+6) M + eta of an exact convex combination of its points, coordinate by
    coordinate; (n + 7) u M + eta leaves room for the higher orders and for the growth of M, and
    the layers' errors add.
    """
    layers = 6
    direction = data.draw(xnp.arrays(np.int64, points.shape[1], elements=st.integers(-2, 2)))
    matrix = data.draw(matrices(points))
    run = _step(points, alpha=alpha, n_layers=layers, A=matrix, engine=engine)
    info = np.finfo(run.points.dtype)
    u, eta = Fraction(float(info.eps)) / 2, Fraction(float(info.smallest_subnormal))
    size = Fraction(float(np.abs(points).max()))
    a_layer = (len(points) + 7) * u * size + eta
    allowance = layers * a_layer * int(np.abs(direction).sum())
    start = max(_projections(points, direction))
    assert max(_projections(run.points, direction)) <= start + allowance


def _projections(points: NDArray[Any], direction: NDArray[np.int64]) -> list[Fraction]:
    return [
        sum((int(w) * Fraction(float(x)) for w, x in zip(direction, row, strict=True)), Fraction())
        for row in points
    ]


@each_engine
@steady
@given(points=clouds(), alpha=alphas, data=st.data())
def test_permuting_the_points_permutes_the_run(
    engine: str, points: NDArray[Any], alpha: float, data: st.DataObject
) -> None:
    """Exact until three points tie: a sum of two commutes, a sum of three depends on its order."""
    order = np.array(data.draw(st.permutations(range(len(points)))))
    options: dict[str, Any] = {"alpha": alpha, "n_layers": 6, "record": "all", "engine": engine}
    options["A"] = data.draw(matrices(points))
    run, shuffled = _step(points, **options), _step(points[order], **options)
    for layer, here in run.recorded.items():
        assert_same_bits(shuffled.recorded[layer], here[order], f"layer {layer}")
        count = run.winners[layer].count
        assert_same_bits(shuffled.winners[layer].count, count[order], f"counts of layer {layer}")
        if count.max() > 2:
            return
    assert_same_bits(shuffled.leader_layer, run.leader_layer[order])
    labels = run.labels[order]
    assert_same_bits(np.where(shuffled.labels < 0, -1, order[shuffled.labels]), labels)


@each_engine
@steady
@given(points=clouds(_integers), data=st.data())
def test_permuting_integer_points_permutes_a_layer(
    engine: str, points: NDArray[Any], data: st.DataObject
) -> None:
    """Sums of integers are exact, so any number of points may tie."""
    order = np.array(data.draw(st.permutations(range(len(points)))))
    options: dict[str, Any] = {"alpha": 0.5, "n_layers": 1, "engine": engine}
    assert_same_bits(_step(points[order], **options).points, _step(points, **options).points[order])


@each_engine
@steady
@given(points=clouds(max_points=6), alpha=alphas, data=st.data())
def test_a_point_that_is_its_only_winner_does_not_move(
    engine: str, points: NDArray[Any], alpha: float, data: st.DataObject
) -> None:
    """A leader stands still for as long as nobody has joined it: m - x is then exactly zero."""
    matrix = data.draw(matrices(points))
    run = _step(points, alpha=alpha, n_layers=12, A=matrix, record="all", engine=engine)
    for layer in range(12):
        winners, here = run.winners[layer], run.recorded[layer]
        alone = (winners.count == 1) & (winners.first == np.arange(len(points)))
        assert_same_bits(run.recorded[layer + 1][alone], here[alone], f"layer {layer}")


@each_engine
@steady
@given(points=clouds(_integers), alpha=alphas)
def test_a_leader_of_the_start_never_moves(engine: str, points: NDArray[Any], alpha: float) -> None:
    """While others are apart from it: with points that coincide the sum of their tie may round."""
    run = _step(points, alpha=alpha, n_layers=4, record="all", engine=engine)
    leaders = run.leader_layer == 0
    assume(leaders.any())
    for layer in range(5):
        apart = run.winners[layer].count[leaders] == 1
        here, start = run.recorded[layer][leaders], run.recorded[0][leaders]
        assert_same_bits(here[apart], start[apart], f"layer {layer}")


@each_engine
@steady
@given(points=clouds(_sixteenths), alpha=alphas, power=st.integers(-20, 20), data=st.data())
def test_a_scaled_matrix_changes_nothing(
    engine: str, points: NDArray[Any], alpha: float, power: int, data: st.DataObject
) -> None:
    """A power of two scales queries and scores exactly: nothing is near under- or overflow."""
    matrix = data.draw(matrices(points))
    matrix = np.eye(points.shape[1], dtype=points.dtype) if matrix is None else matrix
    options: dict[str, Any] = {"alpha": alpha, "n_layers": 5, "engine": engine}
    run = _step(points, A=matrix, **options)
    scaled = _step(points, A=matrix * points.dtype.type(2.0**power), **options)
    assert_same_bits(scaled.points, run.points)
    assert_same_bits(scaled.labels, run.labels)
    assert_same_bits(scaled.leader_layer, run.leader_layer)


@each_engine
@steady
@given(points=clouds(), alpha=alphas)
def test_the_identity_matrix_is_no_matrix(engine: str, points: NDArray[Any], alpha: float) -> None:
    options: dict[str, Any] = {"alpha": alpha, "n_layers": 4, "engine": engine}
    identity = np.eye(points.shape[1], dtype=points.dtype)
    with_matrix = _step(points, A=identity, **options)
    assert_same_bits(with_matrix.points, _step(points, **options).points)


@each_engine
@steady
@given(points=clouds(), alpha=alphas, data=st.data())
def test_reflecting_the_points_reflects_the_run(
    engine: str, points: NDArray[Any], alpha: float, data: st.DataObject
) -> None:
    """Rounding to nearest is symmetric about zero; only the sign of a zero may differ."""
    signs = data.draw(
        xnp.arrays(points.dtype, points.shape[1], elements=st.sampled_from([-1.0, 1.0]))
    )
    options: dict[str, Any] = {"alpha": alpha, "n_layers": 5, "engine": engine}
    run, reflected = _step(points, **options), _step(signs * points, **options)
    assert_same_bits(reflected.points, signs * run.points + 0)
    assert_same_bits(reflected.labels, run.labels)


@each_engine
@steady
@given(points=clouds(), alpha=alphas, split=st.integers(0, 5))
def test_a_run_may_be_continued(
    engine: str, points: NDArray[Any], alpha: float, split: int
) -> None:
    """A layer depends on the points before it alone."""
    whole = _step(points, alpha=alpha, n_layers=5, engine=engine)
    first = _step(points, alpha=alpha, n_layers=split, engine=engine)
    second = _step(first.points, alpha=alpha, n_layers=5 - split, engine=engine)
    assert_same_bits(second.points, whole.points)
