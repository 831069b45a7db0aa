"""Row ranges over threads, for kernels that release the GIL.

Plain threads, started for one call: they nest in any caller's threads, survive a fork, and give
every range the same arithmetic, so neither their number nor their order shows in an answer.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

__all__ = ["for_each_range"]


def for_each_range(
    work: Callable[[int, int], None], n_rows: int, rows_per_range: int, num_threads: int
) -> None:
    """Call ``work(start, stop)`` on consecutive ranges that cover ``range(n_rows)``.

    Ranges are handed out as threads become free. The first exception stops the hand-out and is
    raised here, once every thread is done.
    """
    n_ranges = -(-n_rows // rows_per_range)
    ticket = itertools.count()  # next() on it is atomic under the GIL
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            while not failures and (turn := next(ticket)) < n_ranges:
                start = turn * rows_per_range
                work(start, min(start + rows_per_range, n_rows))
        except BaseException as error:
            failures.append(error)

    helpers = [threading.Thread(target=serve) for _ in range(min(num_threads, n_ranges) - 1)]
    for helper in helpers:
        helper.start()
    serve()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
