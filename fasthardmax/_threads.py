"""Row ranges over threads, for kernels that release the GIL.

One pool serves every call, from any number of Python threads at once. Each range has the same
arithmetic whoever runs it, so neither the number of threads nor their order shows in an answer.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["for_each_range"]

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def for_each_range(
    work: Callable[[int, int], None], n_rows: int, rows_per_range: int, num_threads: int
) -> None:
    """Call ``work(start, stop)`` on consecutive ranges that cover ``range(n_rows)``.

    Ranges are handed out as threads become free, this thread among them. The first exception stops
    the hand-out and is raised here, once every range that was begun is done.
    """
    n_ranges = -(-n_rows // rows_per_range)
    if n_ranges == 1:
        work(0, n_rows)
        return
    ticket = itertools.count()  # next() on it is atomic
    stopped = threading.Event()

    def serve() -> None:
        try:
            while not stopped.is_set() and (turn := next(ticket)) < n_ranges:
                start = turn * rows_per_range
                work(start, min(start + rows_per_range, n_rows))
        except BaseException:
            stopped.set()
            raise

    helpers = [_shared_pool().submit(serve) for _ in range(min(num_threads, n_ranges) - 1)]
    try:
        serve()
    finally:
        # A helper that never started is not waited for: the pool may be busy with other calls.
        begun = [helper for helper in helpers if not helper.cancel()]
        failures = [failure for helper in begun if (failure := helper.exception())]
    if failures:
        raise failures[0]


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    from concurrent.futures import ThreadPoolExecutor  # a tenth of this package's import time

    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="fasthardmax")
        return _pool


def _forget_pool() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
