"""Every engine gives the reference's bits: for every case, dtype, number of threads, and block."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import Winners, hardmax_attention, hardmax_winners
from fasthardmax._threads import for_each_range
from fasthardmax.engines import ENGINES, _direct_plan

from .cases import CASES
from .clouds import DTYPES
from .compare import assert_same_bits, assert_same_fields

DType = np.dtype[Any]
TIES = ("mean", "first", "last")
FIELDS = ("first", "count", "indptr", "indices")

# All but the judge, which has a judge of its own.
FAST = [name for name in ENGINES if name != "reference"]


@cache
def _expected(name: str, dtype: DType) -> tuple[dict[str, NDArray[Any]], Winners]:
    return _answers(name, dtype, "reference", 1)


def _answers(
    name: str, dtype: DType, engine: str, num_threads: int
) -> tuple[dict[str, NDArray[Any]], Winners]:
    arguments = CASES[name](dtype)
    how: dict[str, Any] = {"engine": engine, "num_threads": num_threads}
    means = {ties: hardmax_attention(**arguments, ties=ties, **how) for ties in TIES}
    del arguments["value"]
    return means, hardmax_winners(**arguments, return_all=True, **how)


def check(name: str, dtype: DType, engine: str, num_threads: int) -> None:
    """Fail unless the engine gives the reference's bits in everything it can be asked."""
    means, winners = _answers(name, dtype, engine, num_threads)
    expected_means, expected_winners = _expected(name, dtype)
    for ties in TIES:
        assert_same_bits(means[ties], expected_means[ties], f"ties={ties}")
    assert_same_fields(winners, expected_winners, FIELDS, "winners")


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_engine_equals_reference(name: str, dtype: DType, engine: str, num_threads: int) -> None:
    check(name, dtype, engine, num_threads)


# What makes an engine cut even small cases into ranges for threads, and keys into other blocks.
SPLIT: dict[str, dict[str, Any]] = {
    "compiled": {"compiled._WORTH_A_THREAD": 1, "compiled._TOO_LONG": 1},
    "direct": {"_direct_plan._THREAD_WORK": 0, "_direct_plan._TURN_WORK": 1},
}
BLOCKS: dict[str, dict[str, Any]] = {
    "direct, 1 key": {"block_size": lambda *_: 1, "_KEY_BYTES": 1, "_TOGETHER": 1},
    "direct, 5 keys": {"block_size": lambda *_: 5, "_TOGETHER": 3, "_TABLE_BYTES": 1},
    "direct, all keys": {"block_size": lambda *_: 100_000},
}


@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_row_ranges_do_not_show(
    name: str, dtype: DType, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads on ranges of three, which end within and between batches."""

    def cut(work: Callable[[int, int], None], n_rows: int, _: int, num_threads: int) -> None:
        for_each_range(work, n_rows, 3, num_threads)

    module = ENGINES[engine].load()
    monkeypatch.setattr(module, "for_each_range", cut, raising=False)
    for attribute, value in SPLIT.get(engine, {}).items():
        monkeypatch.setattr(f"fasthardmax.engines.{attribute}", value)
    check(name, dtype, engine, 2)


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_key_blocks_do_not_show(
    name: str, dtype: DType, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = blocks.partition(",")[0]
    for attribute, value in BLOCKS[blocks].items():
        monkeypatch.setattr(_direct_plan, attribute, value)
    check(name, dtype, engine, 1)


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "name", ["border: circle, L=S=129", "border: ties far apart", "self: within an ulp d=16"]
)
def test_queries_one_by_one(name: str, dtype: DType, engine: str) -> None:
    arguments = CASES[name](dtype)
    expected = _expected(name, dtype)[0]["mean"]
    query = arguments.pop("query")
    for i in range(len(query)):
        row = hardmax_attention(query[i : i + 1], **arguments, engine=engine)
        assert_same_bits(row, expected[i : i + 1], f"query {i}")


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["batch: many small", "batch: causal", "batch: one dimension"])
def test_batches_one_by_one(name: str, dtype: DType, engine: str) -> None:
    arguments = CASES[name](dtype)
    expected = _expected(name, dtype)[0]["mean"]
    arrays = [arguments.pop(part) for part in ("query", "key", "value")]
    for b in np.ndindex(expected.shape[:-2]):
        alone = hardmax_attention(*(array[b] for array in arrays), **arguments, engine=engine)
        assert_same_bits(alone, expected[b], f"batch {b}")
