"""Bad input gets one sentence: the argument, what came, what was expected; and no engine runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fasthardmax import _validate, engines, hardmax_attention, hardmax_winners, simulate
from fasthardmax._problem import Problem
from fasthardmax.engines import ENGINES, SELECTIVE, _choice, reference

from .cases import CASES, LAYOUTS
from .clouds import DTYPES

NAN, INF = np.nan, np.inf
F4_MIN = np.finfo(np.float32).min
_ENGINES = ", ".join(map(repr, ("auto", *ENGINES, *SELECTIVE)))


def f4(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any engine that is asked to run fails the test."""

    def refuse(name: str, *_: object) -> ModuleType:
        raise AssertionError(f"engine {name!r} was about to run")

    for module in (engines, _choice):
        monkeypatch.setattr(module, "resolve", refuse)


def test_the_fixture_notices_an_engine(no_engine: None) -> None:
    with pytest.raises(AssertionError, match=r"^engine 'compiled' was about to run$"):
        hardmax_attention([[1.0]], [[1.0]], [[1.0]])
    with pytest.raises(AssertionError, match=r"^engine 'compiled' was about to run$"):
        simulate([[1.0]], alpha=1, n_layers=1)


# --- The operator -------------------------------------------------------------------------------

_REAL = "expected float16, float32, float64, an integer or a boolean"
_UNEQUAL = "got sequences of unequal lengths, expected an array of numbers"
_FINITE = "expected finite numbers only"
_NO_BROADCAST = (
    "got leading dimensions that do not broadcast (query (2, 3, 2), key (3, 4, 2), value (4, 5)), "
    "expected equal ones, ones of size 1, or none"
)
_BROADCASTS = "expected one that broadcasts to (3, 4)"
_QUARTER = "(a quarter of its largest number)"
_LIMIT_4 = f"expected at most 8.51e+37 in float32 {_QUARTER}"
_LIMIT_8 = f"expected at most 4.49e+307 in float64 {_QUARTER}"
_NO_ROOM = "overflow float32; expected -inf, or smaller numbers"
_LOWEST = "attn_mask: got magnitudes up to 3.4e+38, whose sums with scores up to"

Table = list[tuple[dict[str, Any], str]]


def _small(query: float, key: float, **more: Any) -> dict[str, Any]:
    """float32 and narrower: one query against four keys."""
    value = np.zeros((4, 1), np.float16)
    return {"query": f4([query, 0]), "key": f4(*[[key, 0]] * 4), "value": value, **more}


def _heads(query: int, key: int, value: int) -> dict[str, Any]:
    shapes = {"query": (query, 1, 2), "key": (key, 4, 2), "value": (value, 4, 1)}
    return {**{name: np.zeros(shape) for name, shape in shapes.items()}, "enable_gqa": True}


# What is changed in hardmax_attention(zeros (3, 2), zeros (4, 2), zeros (4, 5)), and what is said.
ATTENTION: Table = [
    # Shapes
    ({"query": [1.0, 2.0]}, "query: got shape (2,), expected (..., L, E)"),
    ({"query": 1.0}, "query: got shape (), expected (..., L, E)"),
    ({"key": [1.0, 2.0]}, "key: got shape (2,), expected (..., S, E)"),
    ({"value": [1.0]}, "value: got shape (1,), expected (..., S, Ev)"),
    (
        {"key": np.zeros((4, 3))},
        "key: got 3 features, expected 2 as in query (shapes (4, 3) and (3, 2))",
    ),
    ({"value": np.zeros((3, 5))}, "value: got 3 rows, expected 4, one for each key"),
    (
        {"query": np.zeros((2, 3, 2)), "key": np.zeros((3, 4, 2))},
        f"query, key and value: {_NO_BROADCAST}",
    ),
    # What is no array of real numbers
    ({"query": [[1, 2], [3]]}, f"query: {_UNEQUAL}"),
    ({"key": [["a", "b"]]}, f"key: got dtype <U1, {_REAL}"),
    ({"value": [[1j]]}, f"value: got dtype complex128, {_REAL}"),
    ({"query": None}, f"query: got dtype object, {_REAL}"),
    ({"value": None}, f"value: got dtype object, {_REAL}"),
    ({"key": [[object()]]}, f"key: got dtype object, {_REAL}"),
    ({"key": [[2**70, 1]]}, f"key: got dtype object, {_REAL}"),
    ({"key": np.zeros((4, 2), "M8[D]")}, f"key: got dtype datetime64[D], {_REAL}"),
    # Numbers that are not finite
    ({"query": [[0.0, 1], [NAN, INF]]}, f"query: got nan at index (1, 0), {_FINITE}"),
    ({"key": [[[0.0, 1], [2, -INF]] * 2]}, f"key: got -inf at index (0, 1, 1), {_FINITE}"),
    ({"value": [[0.0], [0], [INF], [NAN]]}, f"value: got inf at index (2, 0), {_FINITE}"),
    ({"query": np.array([[INF, 0]], "f2")}, f"query: got inf at index (0, 0), {_FINITE}"),
    # Scores that could overflow
    (
        {"query": [[1e200, 0]], "key": [[1e200, 0]] * 4},
        f"query and key: got scores that may reach inf, {_LIMIT_8}; scale the inputs down",
    ),
    (
        _small(1e20, -1e20),
        f"query and key: got scores that may reach 1e+40, {_LIMIT_4}; scale the inputs down",
    ),
    (
        _small(1e16, -1e16, attn_mask=f4([F4_MIN] * 4)),
        f"{_LOWEST} 1e+32 {_NO_ROOM}",
    ),
    (
        _small(4.5e15, -4.5e15, attn_mask=f4([F4_MIN] * 4)),
        f"{_LOWEST} 2.03e+31 {_NO_ROOM}",
    ),
    (
        _small(1e18, 1e18, attn_mask=f4([-INF, 3.4e38, 0, 0])),
        f"{_LOWEST} 1e+36 {_NO_ROOM}",
    ),
    # Masks
    (
        {"attn_mask": [[0, 1, 0, 1]]},
        "attn_mask: got dtype int64, expected boolean or floating point",
    ),
    ({"attn_mask": ["yes"]}, f"attn_mask: got dtype <U3, {_REAL}"),
    ({"attn_mask": [[True], [True, False]]}, f"attn_mask: {_UNEQUAL}"),
    (
        {"attn_mask": [0.0, 1.0, NAN, INF]},
        "attn_mask: got nan at index (2,), expected finite numbers or -inf",
    ),
    (
        {"attn_mask": [[0.0, -INF, 1.0, INF]]},
        "attn_mask: got inf at index (0, 3), expected finite numbers or -inf",
    ),
    ({"attn_mask": np.ones((4, 3), bool)}, f"attn_mask: got shape (4, 3), {_BROADCASTS}"),
    ({"attn_mask": np.ones((1, 3, 4), bool)}, f"attn_mask: got shape (1, 3, 4), {_BROADCASTS}"),
    ({"attn_mask": np.ones((0, 4), bool)}, f"attn_mask: got shape (0, 4), {_BROADCASTS}"),
    # Grouped queries
    (_heads(3, 2, 2), "key: got 2 heads, expected a divisor of query's 3 heads under enable_gqa"),
    (_heads(2, 4, 4), "key: got 4 heads, expected a divisor of query's 2 heads under enable_gqa"),
    (_heads(4, 0, 0), "key: got 0 heads, expected a divisor of query's 4 heads under enable_gqa"),
    (_heads(4, 2, 4), "value: got 4 heads, expected 2 as in key under enable_gqa"),
    (
        {"query": np.zeros((4, 1, 2)), "enable_gqa": True},
        "enable_gqa: got inputs without a head dimension, expected (..., H, L, E)",
    ),
    # Options
    ({"ties": "all"}, "ties: got 'all', expected one of 'mean', 'first', 'last'"),
    ({"ties": None}, "ties: got None, expected one of 'mean', 'first', 'last'"),
    ({"engine": "warp"}, f"engine: got 'warp', expected one of {_ENGINES}"),
    ({"engine": None}, f"engine: got None, expected one of {_ENGINES}"),
    ({"num_threads": 0}, "num_threads: got 0, expected an integer of at least 1"),
    ({"num_threads": -1}, "num_threads: got -1, expected an integer of at least 1"),
    ({"num_threads": 1.5}, "num_threads: got 1.5, expected an integer of at least 1"),
    ({"num_threads": True}, "num_threads: got True, expected an integer of at least 1"),
]


def _cases(table: Table) -> pytest.MarkDecorator:
    ids = [f"{i}: {message[:40]}" for i, (_, message) in enumerate(table)]
    return pytest.mark.parametrize(("changed", "message"), table, ids=ids)


@_cases(ATTENTION)
def test_attention_refuses(changed: dict[str, Any], message: str, no_engine: None) -> None:
    arguments = {"query": np.zeros((3, 2)), "key": np.zeros((4, 2)), "value": np.zeros((4, 5))}
    with pytest.raises((ValueError, TypeError)) as refusal:
        hardmax_attention(**{**arguments, **changed})
    _is_exactly(refusal.value, message)


# The value plays no part here, in promotion neither.
_WINNERS = [
    row for row in ATTENTION if not {"value", "ties"} & row[0].keys() and "value" not in row[1]
]


@_cases(_WINNERS)
def test_winners_refuse(changed: dict[str, Any], message: str, no_engine: None) -> None:
    arguments = {"query": np.zeros((3, 2)), "key": np.zeros((4, 2))}
    with pytest.raises((ValueError, TypeError)) as refusal:
        hardmax_winners(**{**arguments, **changed})
    _is_exactly(refusal.value, message)


def _is_exactly(error: Exception, message: str) -> None:
    """TypeError for what is no array of real numbers, ValueError for everything else."""
    assert str(error) == message
    of_type = ": got dtype " in message or ": cannot be read " in message
    assert type(error) is (TypeError if of_type else ValueError)
    assert error.__cause__ is None, "the user would see two errors"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("part", [1, -1, 0.2, -0.2])
def test_sums_of_tied_values_that_overflow(engine: str, part: float) -> None:
    """Only the winners show whether a sum overflows, so this one is said after the engine ran."""
    large = np.float32(part) * np.finfo(np.float32).max
    query, key = np.zeros((2, 1), np.float32), np.zeros((8, 1), np.float32)
    value = np.full((8, 1), large)
    value[0] = 0
    said = "value: got tied values whose sum overflows float32, expected smaller values"
    with pytest.raises(ValueError, match=f"^{said}$"):
        hardmax_attention(query, key, value, engine=engine)
    for ties, expected in (("first", 0), ("last", large)):
        answer = hardmax_attention(query, key, value, ties=ties, engine=engine)
        assert np.all(answer == expected)
    key[2] = 1
    apart = hardmax_attention(query + 1, key, value, engine=engine)
    assert np.all(apart == large)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_lowest_mask_is_no_overflow_beside_small_scores(engine: str) -> None:
    """A common stand-in for -inf: all scores round away beside it, and all keys tie."""
    query, key = f4([1e10, 0]), f4([1e10, 0], [-1e10, 0], [0, 0])
    mask = f4([F4_MIN] * 3)
    winners = hardmax_winners(query, key, attn_mask=mask, engine=engine)
    assert winners.count.tolist() == [3]


def test_an_engine_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = engines.Engine("direct", "all pairs", lambda: "the package is missing: install it")
    monkeypatch.setitem(ENGINES, "direct", missing)
    said = "engine: 'direct' cannot run here: the package is missing: install it"
    with pytest.raises(RuntimeError, match=f"^{said}$"):
        hardmax_attention([[1.0]], [[1.0]], [[1.0]], engine="direct")


def test_an_object_that_is_no_array_says_why(no_engine: None) -> None:
    class Stubborn:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            raise RuntimeError("detach it\n  first")

    with pytest.raises(TypeError) as refusal:
        hardmax_attention(Stubborn(), [[1.0]], [[1.0]])
    _is_exactly(refusal.value, "query: cannot be read as an array of numbers: detach it first")


# --- The dynamics -------------------------------------------------------------------------------

_ALPHA = "expected a number of at least 0 (inf is allowed)"
_SUM = f"expected their sum to stay below 4.49e+307 in float64 {_QUARTER}"
_RECORD = "expected 'last', 'all', a positive integer, a callable or a TrajectoryStore"
_MATCH = "expected (2, 2) to match points of 2 features"

# What is changed in simulate(zeros (3, 2), alpha=1, n_layers=2), and what is said.
SIMULATE: Table = [
    ({"points": [1.0, 2.0]}, "points: got shape (2,), expected (n, d) or (B, n, d)"),
    ({"points": 3}, "points: got shape (), expected (n, d) or (B, n, d)"),
    ({"points": [[[[1.0]]]]}, "points: got shape (1, 1, 1, 1), expected (n, d) or (B, n, d)"),
    ({"points": [[1.0], [1.0, 2.0]]}, f"points: {_UNEQUAL}"),
    ({"points": "digits"}, f"points: got dtype <U6, {_REAL}"),
    ({"points": [[1j]]}, f"points: got dtype complex128, {_REAL}"),
    ({"points": [[1.0, NAN]]}, f"points: got nan at index (0, 1), {_FINITE}"),
    ({"points": [[[1.0], [-INF]]]}, f"points: got -inf at index (0, 1, 0), {_FINITE}"),
    (
        {"points": [[1e200, 0.0]]},
        f"points: got scores that may reach inf, {_LIMIT_8}; scale the inputs down",
    ),
    (
        {"points": f4([1e19, 0])},
        f"points: got scores that may reach 1e+38, {_LIMIT_4}; scale the inputs down",
    ),
    (
        {"points": [[1e307]] * 5, "A": [[1e-307]]},
        f"points: got 5 points with magnitudes up to 1e+307, {_SUM}",
    ),
    (
        {"points": [[1e10, 1e10]], "A": [[1.0, 0.0], [0.0, 1e300]]},
        f"A: got products A x that may reach inf, {_LIMIT_8}",
    ),
    ({"A": np.eye(3)}, f"A: got shape (3, 3), {_MATCH}"),
    ({"A": np.ones((2, 3))}, f"A: got shape (2, 3), {_MATCH}"),
    ({"A": 2.0}, f"A: got shape (), {_MATCH}"),
    ({"A": [[1, 2], [3]]}, f"A: {_UNEQUAL}"),
    ({"A": [[1, NAN], [INF, 1]]}, f"A: got nan at index (0, 1), {_FINITE}"),
    ({"A": [["a", "b"], ["c", "d"]]}, f"A: got dtype <U1, {_REAL}"),
    ({"alpha": -0.5}, f"alpha: got -0.5, {_ALPHA}"),
    ({"alpha": -INF}, f"alpha: got -inf, {_ALPHA}"),
    ({"alpha": NAN}, f"alpha: got nan, {_ALPHA}"),
    ({"alpha": "1"}, f"alpha: got '1', {_ALPHA}"),
    ({"alpha": None}, f"alpha: got None, {_ALPHA}"),
    ({"alpha": True}, f"alpha: got True, {_ALPHA}"),
    ({"alpha": 1j}, f"alpha: got 1j, {_ALPHA}"),
    ({"alpha": 10**400}, f"alpha: got an integer too large for float64, {_ALPHA}"),
    ({"n_layers": -1}, "n_layers: got -1, expected an integer of at least 0"),
    ({"n_layers": 2.0}, "n_layers: got 2.0, expected an integer of at least 0"),
    ({"n_layers": "2"}, "n_layers: got '2', expected an integer of at least 0"),
    ({"n_layers": True}, "n_layers: got True, expected an integer of at least 0"),
    ({"method": "exact"}, "method: got 'exact', expected one of 'settling', 'stepped'"),
    ({"record": "some"}, f"record: got 'some', {_RECORD}"),
    ({"record": 0}, f"record: got 0, {_RECORD}"),
    ({"record": -2}, f"record: got -2, {_RECORD}"),
    ({"record": True}, f"record: got True, {_RECORD}"),
    ({"record": 1.5}, f"record: got 1.5, {_RECORD}"),
    ({"record": None}, f"record: got None, {_RECORD}"),
    ({"engine": "cpu"}, f"engine: got 'cpu', expected one of {_ENGINES}"),
    ({"num_threads": 0}, "num_threads: got 0, expected an integer of at least 1"),
]


@_cases(SIMULATE)
def test_simulate_refuses(changed: dict[str, Any], message: str, no_engine: None) -> None:
    arguments: dict[str, Any] = {"points": np.zeros((3, 2)), "alpha": 1, "n_layers": 2}
    with pytest.raises((ValueError, TypeError)) as refusal:
        simulate(**{**arguments, **changed})
    _is_exactly(refusal.value, message)


def test_a_progress_bar_names_the_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    said = "progress: the package rich is missing: pip install 'fasthardmax[cli]'"
    with pytest.raises(ImportError, match=f"^{re.escape(said)}$"):
        simulate([[1.0]], alpha=1, n_layers=1, progress=True, engine="reference")


# --- What is accepted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accepted",
    [
        {"alpha": np.float32(0.5)},
        {"alpha": 0},
        {"alpha": INF},
        {"n_layers": np.int8(2)},
        {"record": np.int64(2)},
        {"num_threads": np.int32(2)},
        {"num_threads": 1000},
        {"points": [[True, False]]},
        {"points": np.zeros((0, 2))},
        {"points": np.zeros((3, 0)), "A": np.zeros((0, 0))},
        {"points": np.zeros((0, 3, 2)), "A": np.eye(2)},
        {"points": f4([6e18, 0])},
    ],
    ids=str,
)
def test_simulate_accepts(accepted: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"points": np.zeros((3, 2)), "alpha": 1, "n_layers": 2}
    run = simulate(**{**arguments, **accepted}, engine="reference")
    assert run.n_layers == 2
    assert run.points.shape == np.shape({**arguments, **accepted}["points"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kernels_get_contiguous_aligned_native_arrays(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(name: str, problem: Problem, *_: object) -> ModuleType:
        seen.append(problem)
        return reference

    monkeypatch.setattr(_choice, "resolve", look)
    arguments = CASES[f"layout: {layout}"](DTYPES[1])
    mask = LAYOUTS[layout](np.zeros((40, 40)))
    hardmax_attention(**arguments, attn_mask=mask)
    simulate(arguments["query"], alpha=1, n_layers=0, A=np.asfortranarray(np.eye(3)))
    for problem in seen:
        for array in (problem.query, problem.key, problem.value):
            assert array.dtype == np.float64
            assert array.flags.c_contiguous
            assert array.flags.aligned
    assert seen[0].mask.dtype == np.float64
    assert seen[0].mask.flags.aligned


def test_default_threads_are_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_validate.os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert _validate.check_threads(None) == 3
    monkeypatch.delattr(_validate.os, "sched_getaffinity")
    monkeypatch.setattr(_validate.os, "cpu_count", lambda: 7)
    assert _validate.check_threads(None) == 7


def _messages() -> Iterator[str]:
    for table in (ATTENTION, SIMULATE):
        yield from (message for _, message in table)


def test_every_message_is_one_line_that_names_an_argument() -> None:
    public = {"query", "key", "value", "query and key", "query, key and value", "attn_mask"}
    public |= {"enable_gqa", "ties", "engine", "num_threads"}
    public |= {"points", "A", "alpha", "n_layers", "method", "record"}
    for message in _messages():
        assert "\n" not in message
        assert message.partition(":")[0] in public
        assert "got " in message
        assert "expected " in message
