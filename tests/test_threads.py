"""Ranges are handed out exactly once, and calls from many threads do not disturb each other."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from fasthardmax import _crew, hardmax_attention, simulate
from fasthardmax._threads import for_each_range
from fasthardmax.engines import ENGINES
from fasthardmax.engines._jit import part
from fasthardmax.engines._sharing import share_turns

from .cases import CASES
from .clouds import CLOUDS, DTYPES, sphere
from .compare import assert_same_bits

each_engine = pytest.mark.parametrize("engine", ["auto", *ENGINES])

# --- Ranges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_threads", [1, 2, 7])
@pytest.mark.parametrize("rows_per_range", [1, 3, 10, 1000])
@pytest.mark.parametrize("n_rows", [0, 1, 9, 10, 11, 100])
def test_ranges_cover_each_row_once(n_rows: int, rows_per_range: int, num_threads: int) -> None:
    ranges: list[tuple[int, int]] = []
    for_each_range(lambda *r: ranges.append(r), n_rows, rows_per_range, num_threads)
    rows = [row for start, stop in sorted(ranges) for row in range(start, stop)]
    assert rows == list(range(n_rows))
    assert all(0 < stop - start <= rows_per_range for start, stop in ranges)


def test_two_threads_work_at_once() -> None:
    both = threading.Barrier(2)
    seen = set()

    def work(start: int, stop: int) -> None:
        both.wait(timeout=60)  # passes only if two ranges are in work at the same time
        seen.add(threading.get_ident())

    for_each_range(work, 2, 1, 2)
    assert len(seen) == 2
    assert threading.get_ident() in seen


@pytest.mark.parametrize(("n_ranges", "num_threads"), [(50, 1), (1, 8), (50, 2)])
def test_no_more_threads_than_asked_for_and_than_there_is_work(
    n_ranges: int, num_threads: int
) -> None:
    seen = set()
    for_each_range(lambda *_: seen.add(threading.get_ident()), n_ranges, 1, num_threads)
    assert len(seen) <= min(n_ranges, num_threads)


def test_ranges_may_nest() -> None:
    """Every thread of the pool waits for ranges of its own, and none of them for ever."""
    rows: list[tuple[int, int]] = []

    def outer(start: int, _: int) -> None:
        for_each_range(lambda inner, _: rows.append((start, inner)), 10, 1, 4)

    for_each_range(outer, 10, 1, 4)
    assert sorted(rows) == [(i, j) for i in range(10) for j in range(10)]


@pytest.mark.parametrize("kind", [ValueError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_the_first_failure_ends_the_work(kind: type[BaseException], num_threads: int) -> None:
    started = []
    both = threading.Barrier(min(2, num_threads))

    def work(start: int, stop: int) -> None:
        started.append(start)
        if start < both.parties:
            both.wait(timeout=60)
        if start == 3:
            raise kind("range 3")
        if start > 3:
            time.sleep(0.001)  # lets the thread that fails say so

    with pytest.raises(kind, match=r"^range 3$"):
        for_each_range(work, 1000, 1, num_threads)
    at_the_end = len(started)
    assert len(set(started)) == at_the_end < 1000
    if num_threads == 1:
        assert started == [0, 1, 2, 3]
    for_each_range(lambda start, _: started.append(start), 3, 1, num_threads)
    assert len(started) == at_the_end + 3, "the next call is none the wiser"


@pytest.mark.parametrize("num_threads", [2, 5])
def test_a_failure_in_another_thread_is_raised_in_this_one(num_threads: int) -> None:
    caller = threading.get_ident()
    both = threading.Barrier(2)

    def work(start: int, stop: int) -> None:
        if start < 2:
            both.wait(timeout=60)
        if threading.get_ident() != caller:
            raise ZeroDivisionError("elsewhere")

    with pytest.raises(ZeroDivisionError, match=r"^elsewhere$"):
        for_each_range(work, 100, 1, num_threads)


# --- Turns of kernels ---------------------------------------------------------------------------


@part
def _note(slot: int, number: int, taken: NDArray[Any], slots: NDArray[Any], rounds: int) -> None:
    spun = 1.0 + number
    for _ in range(rounds):
        spun = spun * 0.5 + 1
    taken[number] += 1 if spun > 0 else 0
    slots[slot] += 1


@njit(nogil=True)
def _share(
    run_job: int, n_helpers: int, begin: int, end: int,
    taken: NDArray[Any], slots: NDArray[Any], rounds: int,
) -> None:  # fmt: skip
    share_turns(run_job, n_helpers, begin, end, _note, (taken, slots, rounds))


@pytest.mark.parametrize("n_helpers", [0, 1, 3])
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 1), (0, 2), (5, 100)])
def test_turns_are_taken_once(begin: int, end: int, n_helpers: int) -> None:
    run_job = _crew.muster(n_helpers)
    for rounds in (0, 10_000):
        taken, slots = np.zeros(100, np.int64), np.zeros(4, np.int64)
        _share(run_job, n_helpers, begin, end, taken, slots, rounds)
        assert np.flatnonzero(taken).tolist() == list(range(begin, end))
        assert taken.max() <= 1
        assert slots.sum() == end - begin
        assert not slots[1 + n_helpers :].any()


def test_helpers_serve_several_callers() -> None:
    """More callers at once than helpers: nobody waits for ever, and each turn is taken once."""
    run_job = _crew.muster(1)

    def call(_: int) -> tuple[int, int]:
        taken, slots = np.zeros(100, np.int64), np.zeros(2, np.int64)
        _share(run_job, 1, 0, 100, taken, slots, 1000)
        return int(taken.min()), int(taken.max())

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(call, range(200))) == {(1, 1)}


# --- Calls at once ------------------------------------------------------------------------------

_NAMES = (
    *("border: circle, L=S=513", "border: sphere d=17, L=S=257", "border: ties far apart"),
    *("mask: -inf, 20 x 65", "causal: and boolean, 129 x 129", "batch: many small"),
)


def _jobs(engine: str) -> list[tuple[Callable[[], NDArray[Any]], NDArray[Any]]]:
    """Calls of many shapes, each with its answer."""
    jobs = []
    for name in _NAMES:
        for dtype in DTYPES:
            arguments = CASES[name](dtype)

            def call(a: dict[str, Any] = arguments, engine: str = engine) -> NDArray[Any]:
                return hardmax_attention(**a, engine=engine, num_threads=2)

            jobs.append((call, hardmax_attention(**arguments, engine="reference")))
    points = CLOUDS["circle"](DTYPES[1])
    expected = simulate(points, alpha=0.5, n_layers=5, engine="reference").points
    jobs.append(
        (
            lambda: simulate(points, alpha=0.5, n_layers=5, engine=engine, num_threads=2).points,
            expected,
        )
    )
    return jobs


@each_engine
def test_calls_from_many_threads_at_once(engine: str) -> None:
    n_threads = 6
    jobs = _jobs(engine)
    together = threading.Barrier(n_threads)

    def run(first: int) -> None:
        together.wait(timeout=60)
        for later in range(len(jobs)):  # each thread starts elsewhere
            call, expected = jobs[(first + later) % len(jobs)]
            assert_same_bits(call(), expected)

    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(run, 2 * first) for first in range(n_threads)]:
            done.result()


_FIRST_CALLS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from fasthardmax import hardmax_attention
from tests.cases import CASES
from tests.clouds import DTYPES
from tests.compare import assert_same_bits

arguments = CASES["border: ties far apart"](DTYPES[0])
expected = hardmax_attention(**arguments, engine="reference")
together = threading.Barrier(4)

def run(_):
    together.wait(timeout=60)
    return hardmax_attention(**arguments, engine={engine!r}, num_threads=2)

with ThreadPoolExecutor(4) as pool:
    for answer in pool.map(run, range(4)):
        assert_same_bits(answer, expected)
"""


@each_engine
def test_first_calls_of_a_process_at_once(engine: str) -> None:
    """Importing and compiling an engine from several threads."""
    subprocess.run(
        [sys.executable, "-c", _FIRST_CALLS.format(engine=engine)],
        cwd=Path(__file__).parents[1],
        check=True,
    )


@each_engine
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the point of this test
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
def test_calls_after_a_fork(engine: str) -> None:
    """In a child, and in a thread of the child, of a process that has used its own threads."""
    key = sphere(1500, 3, DTYPES[1])
    query = key[::5].copy()
    expected = hardmax_attention(query, key, key, engine="reference")

    def call() -> NDArray[Any]:
        return hardmax_attention(query, key, key, engine=engine, num_threads=2)

    def child(connection: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            connection.send([call(), pool.submit(call).result()])

    assert_same_bits(call(), expected)
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    try:
        assert mine.poll(120), "the child hangs"
        for answer in mine.recv():
            assert_same_bits(answer, expected)
    finally:
        process.kill()
        process.join()
    assert_same_bits(call(), expected)
