"""A few queries against many keys: keys are checked in the pass that scores them, and no less."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import _keys, hardmax_attention, hardmax_winners
from fasthardmax._assemble import attention_problem
from fasthardmax._keys import Keys
from fasthardmax.engines import ENGINES, _choice, _direct_plan, direct
from fasthardmax.engines._rows import sweep

from .cases import CASES
from .clouds import DTYPES, seeded
from .compare import assert_same_bits
from .test_engines import check

DType = np.dtype[Any]
Call = dict[str, Any]

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_number_of_threads = pytest.mark.parametrize("num_threads", [1, 2, 5])


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a few short keys wait for their check, and are cut into many turns."""
    monkeypatch.setattr(_keys, "_MANY", 1)
    monkeypatch.setattr(_keys, "_LARGE", 1)
    monkeypatch.setattr(_direct_plan, "_KEYS_PER_TURN", 1)


@pytest.fixture
def one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over the keys for their check alone fails the test."""

    def refuse(self: Keys) -> NDArray[Any]:
        raise AssertionError("the keys were about to be read once more")

    monkeypatch.setattr(Keys, "_find_peak", refuse)


# --- The scores of rows -------------------------------------------------------------------------


@numba.njit
def _swept(query, i, key, start, stop, peak, entry):  # type: ignore[no-untyped-def]
    """The best score with the magnitudes, and without; and the magnitudes alone."""
    sweep(None, i, key, start, stop, peak[0], entry)
    best = sweep(query, i, key, start, stop, peak[1], entry)
    return best, sweep(query, i, key, start, stop, None, entry)


@each_dtype
@pytest.mark.parametrize("d", [16, 17, 31, 32, 65, 128])
def test_sweep(d: int, dtype: DType) -> None:
    rng = seeded(f"sweep {d}")
    for n in (0, 1, 7, 8, 9, 35):
        query, key = rng.integers(-9, 9, (3, d)), rng.integers(-9, 9, (n + 3, d))
        peak = np.zeros((2, 2, d), f"i{dtype.itemsize}")
        scores = (query[1] @ key[2 : n + 2].T).astype(float)
        found = _swept(query.astype(dtype), 1, key.astype(dtype), 2, n + 2, peak, 1)
        assert found == (scores.max(initial=-np.inf),) * 2
        magnitudes = np.abs(key[2 : n + 2]).max(axis=0, initial=0)
        assert (peak.view(dtype) == np.array([np.zeros(d), magnitudes])).all()


# --- The answers --------------------------------------------------------------------------------


def _waiting() -> Iterator[str]:
    for name, case in CASES.items():
        arguments = case(DTYPES[1])
        if arguments["query"].shape[-2] <= 64 and arguments["query"].shape[-1] >= 8:
            yield name


@each_dtype
@pytest.mark.parametrize("name", list(_waiting()))
def test_every_case(name: str, dtype: DType, few_are_many: None) -> None:
    check(name, dtype, "direct", 2)


def _calls(dtype: DType) -> dict[str, Call]:
    """Calls of every form, whose keys are far more than one block."""
    rng = seeded("few queries")

    def some(*shape: int) -> NDArray[Any]:
        return rng.integers(-2, 3, shape).astype(dtype)

    query, key, value = some(2, 3, 1, 33), some(2, 3, 1500, 33), some(2, 3, 1500, 2)
    key[..., 700:, :] = key[..., :800, :]
    alone = {"query": query, "key": key, "value": value}
    long = {**alone, "query": some(2, 3, 60, 33)}
    boolean = rng.random((3, 1, 1500)) < 0.5
    added = some(1, 1500)
    added[0, :9] = -np.inf
    return {
        "plain": alone,
        "five queries": {**alone, "query": some(2, 3, 5, 33)},
        "sixty queries": long,
        "boolean mask": {**alone, "attn_mask": boolean},
        "all forbidden": {**alone, "attn_mask": np.zeros(1500, bool)},
        "float mask": {**alone, "attn_mask": added},
        "causal": {**alone, "is_causal": True},
        "sixty causal": {**long, "is_causal": True},
        "shared": {**alone, "query": some(2, 6, 1, 33), "enable_gqa": True},
        "keys broadcast": {**alone, "key": key[:1, :1], "value": value[:, :1]},
        "keys broadcast outside": {**alone, "key": key[:1], "value": value},
        "queries broadcast": {**alone, "query": query[0, 0]},
        "values are keys": {**alone, "value": key},
        "strided": {**alone, "key": np.moveaxis(np.moveaxis(key, 2, 0).copy(), 0, 2)},
        "another type": {**alone, "key": key.astype(np.float16), "query": query.astype(np.float64)},
    }


FORMS = list(_calls(DTYPES[0]))
each_form = pytest.mark.parametrize("form", FORMS)


@each_number_of_threads
@each_dtype
@each_form
def test_every_form(form: str, dtype: DType, num_threads: int, one_pass: None) -> None:
    call = _calls(dtype)[form]
    how = {"engine": "direct", "num_threads": num_threads}
    for ties in ("mean", "first", "last"):
        expected = _checked_first(hardmax_attention, {**call, "ties": ties})
        assert_same_bits(hardmax_attention(**call, ties=ties, **how), expected)
    del call["value"]
    expected = _checked_first(hardmax_winners, {**call, "return_all": True})
    found = hardmax_winners(**call, return_all=True, **how)
    for field in ("first", "count", "indptr", "indices"):
        assert_same_bits(getattr(found, field), getattr(expected, field))


def _checked_first(function: Any, call: Call, engine: str = "reference") -> Any:
    """The answer where keys never wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keys, "_FEW", -1)
        return function(**call, engine=engine)


# --- The refusals -------------------------------------------------------------------------------


def _sentence(function: Any, call: Call) -> str:
    with pytest.raises(ValueError, match=r"^[a-z_ ]+: got ") as refusal:
        function(**call)
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__
    return str(refusal.value)


def _both(call: Call) -> Iterator[tuple[Any, Call]]:
    yield hardmax_attention, call
    yield hardmax_winners, {name: given for name, given in call.items() if name != "value"}


@each_number_of_threads
@each_dtype
@each_form
def test_bad_keys_are_refused_wherever_they_are(
    form: str, dtype: DType, num_threads: int, one_pass: None
) -> None:
    """In the first block, the last, and between; of each entry; masked or never seen as well."""
    call = _calls(dtype)[form]
    shape = call["key"].shape
    features = (0, 15, 32)
    for turn, (entry, row) in enumerate(
        product(np.ndindex(shape[:-2]), (0, 1, 64, 701, shape[-2] - 1))
    ):
        bad = (np.nan, np.inf, -np.inf)[turn % 3]
        place = (*entry, row, features[turn % 4 % 3])
        key = call["key"].copy(order="K")
        key[place] = bad
        again = {**call, "key": key}
        if call["value"] is call["key"]:
            again["value"] = key
        expected = f"key: got {bad} at index {place}, expected finite numbers only"
        for function, given in _both(again):
            how = {"engine": "direct", "num_threads": num_threads}
            assert _sentence(function, {**given, **how}) == expected


@each_number_of_threads
@each_dtype
@pytest.mark.parametrize("form", [form for form in FORMS if form != "another type"])  # too small
def test_scores_that_could_overflow_are_refused(
    form: str, dtype: DType, num_threads: int, one_pass: None
) -> None:
    call = _calls(dtype)[form]
    largest = np.finfo(dtype).max
    for feature, row in product((0, 32), (0, 701, call["key"].shape[-2] - 1)):
        key, query = call["key"].copy(order="K"), call["query"].copy()
        key[..., -1, row, feature] = -largest / 16
        query[..., feature] = 16
        for function, given in _both({**call, "key": key, "query": query}):
            expected = _sentence(_checked_first, {"function": function, "call": given})
            assert "scores that may reach" in expected
            how = {"engine": "direct", "num_threads": num_threads}
            assert _sentence(function, {**given, **how}) == expected


@each_dtype
def test_sums_with_a_mask_that_could_overflow_are_refused(dtype: DType, one_pass: None) -> None:
    call = _calls(dtype)["float mask"]
    key, query = call["key"].copy(), call["query"].copy()
    key[-1, -1, -1, -1] = query[-1, -1, -1, -1] = np.sqrt(np.finfo(dtype).max) / 4
    call |= {"key": key, "query": query, "attn_mask": np.full(1500, np.finfo(dtype).max)}
    for function, given in _both(call):
        expected = _sentence(_checked_first, {"function": function, "call": given})
        assert expected.startswith("attn_mask: got magnitudes up to")
        assert _sentence(function, {**given, "engine": "direct"}) == expected


@pytest.mark.parametrize("engine", ["auto", *ENGINES, "longest", "pruned"])
def test_every_engine_refuses_bad_keys(engine: str) -> None:
    call = _calls(DTYPES[1])["plain"]
    call["key"][1, 2, -1, -1] = np.inf
    for function, given in _both(call):
        expected = "key: got inf at index (1, 2, 1499, 32), expected finite numbers only"
        assert _sentence(function, {**given, "engine": engine}) == expected


def test_of_several_faults_the_first_is_named() -> None:
    call = _calls(DTYPES[0])["plain"]
    wrong_mask = {"attn_mask": np.ones((2, 2), bool)}
    bad = {name: np.full_like(call[name], np.nan) for name in ("query", "key", "value")}
    for named, faults in {
        "query": bad | wrong_mask,
        "key": {"key": bad["key"], "value": bad["value"], **wrong_mask},
        "value": {"value": bad["value"], **wrong_mask},
        "attn_mask": wrong_mask,
    }.items():
        assert _sentence(hardmax_attention, call | faults).startswith(f"{named}: got ")
    cannot_run = call | {"key": bad["key"], "engine": "cones"}
    assert _sentence(hardmax_attention, cannot_run).startswith("key: got nan")


def test_refused_keys_stay_refused() -> None:
    call = _calls(DTYPES[0])["plain"]
    call["key"][0, 0, 0, 0] = np.nan
    problem = _problem(call)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^key: got nan"):
            direct.run(problem)
        with pytest.raises(ValueError, match=r"^key: got nan"):
            _ = problem.key
        assert problem.keys.wait


# --- Who waits ----------------------------------------------------------------------------------


def _problem(call: Call) -> Any:
    options = {"attn_mask": None, "is_causal": False, "ties": "mean", "enable_gqa": False}
    return attention_problem(**{**options, **call}, num_threads=2)[0]


def test_choosing_an_engine_reads_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_choice, "_loaded", lambda name: True)
    problem = _problem({**_calls(DTYPES[0])["plain"], "query": np.ones((2, 3, 64, 33), np.float32)})
    assert problem.keys.wait
    choice = _choice.choose(problem)
    assert choice.engine.name == "direct"
    assert all("reading the keys" in why for why in choice.others.values())
    assert problem.keys.wait


def test_what_does_not_wait() -> None:
    """Many queries, few or short keys, and answers without a query that would read the keys."""
    call = _calls(DTYPES[0])["plain"]
    query, key, value = call["query"], call["key"], call["value"]
    for changed in (
        {"query": np.ones((2, 3, 65, 33), np.float32)},
        {"key": key[..., :500, :], "value": value[..., :500, :]},
        {"query": query[..., :15], "key": key[..., :15]},
        {"query": query[..., :0, :]},
        {"query": query[:0], "key": key[:1], "value": value[:1]},
    ):
        assert not _problem(call | changed).keys.wait
