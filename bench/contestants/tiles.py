"""Blocks of rows for the tools that form a block of scores and then take its argmax."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MIB = 1 << 20


def rows_per_block(n_keys: int, itemsize: int, mebibytes: float) -> int:
    """How many rows of scores fill ``mebibytes``."""
    return max(1, int(mebibytes * MIB) // (n_keys * itemsize))


class Crew:
    """Threads that each take every so-manieth block, for tools that run well on one thread each."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def run(self, work: Callable[[range], None], n_rows: int, rows: int) -> None:
        """Call ``work`` on each thread with the starts of its blocks."""
        shares = [range(t * rows, n_rows, self._threads * rows) for t in range(self._threads)]
        list(self._pool.map(work, shares))  # list() raises what a thread raised
