"""The winners of some points of some clouds among all points of their cloud, by any engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._extent import feature_peaks
from ._keys import Keys
from ._problem import Answer, Problem
from ._state import Resumable
from .engines import Runner
from .numerics import canonical_scores

__all__ = ["Search", "TieSets", "pair_scores", "same_rows"]

_LISTED = 1 << 22  # winners listed at once

Index = NDArray[np.int64]


class TieSets(NamedTuple):
    """The winners of some rows in CSR form, in increasing order."""

    rows: Index  # (r,), of the rows that were asked for
    indptr: Index  # (r + 1,)
    indices: Index  # keys, counted within their cloud


class Search(Resumable):
    """Runs one engine on any of the points of clouds (B, n, d), and counts its queries.

    Rows are queries: ``batch`` (m,), in increasing order, says which cloud each attends.
    """

    NOT_SAVED = ("_matrix", "_engine", "_threads", "keys", "_kept", "_clouds", "_peak")

    def __init__(self, matrix: NDArray[Any] | None, engine: Runner, threads: int) -> None:
        self.n_queries = 0
        self._matrix = matrix
        self._engine = engine
        self._threads = threads

    def look_at(
        self,
        keys: NDArray[Any],
        kept: Index | None = None,
        clouds: Index | None = None,
        peak: NDArray[Any] | None = None,
    ) -> None:
        """The keys of the next searches: C-contiguous clouds (B, n, d), not copied.

        They may be ``kept`` points of a single cloud, or some ``clouds``, in increasing order.
        ``peak`` (B, d) are their features' largest magnitudes, if they are known.
        """
        self.keys = keys
        self._kept = kept
        self._clouds = clouds
        self._peak = feature_peaks(keys, self._threads)[0] if peak is None else peak

    def queries(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The queries ``A x`` of rows ``x`` (m, d)."""
        return rows if self._matrix is None else canonical_scores(rows, self._matrix)

    def winners(self, batch: Index | None, query: NDArray[Any]) -> tuple[Index, Index]:
        """The first winner, within its cloud, and the number of winners of each row.

        Without ``batch`` the rows are those of all clouds, equally many of each.
        """
        self.n_queries += len(query)
        if len(query) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if batch is None or len(self.keys) == 1:
            problem = self._problem(np.arange(len(self.keys)), self._by_cloud(query))
            answer = self._engine.run(problem)
            first, count = answer.first.reshape(-1), answer.count.reshape(-1)
        else:
            first, count = np.empty((2, len(batch)), np.int64)
            for rows, where, problem in self._problems(self._entry(batch), query):
                answer = self._engine.run(problem)
                first[rows], count[rows] = answer.first[where], answer.count[where]
        return (first if self._kept is None else self._kept.take(first)), count

    def _by_cloud(self, query: NDArray[Any]) -> NDArray[Any]:
        n_batch = len(self.keys)
        length = len(query) // max(1, n_batch)
        return np.ascontiguousarray(query).reshape(n_batch, length, query.shape[1])

    def _entry(self, batch: Index) -> Index:
        return batch if self._clouds is None else np.searchsorted(self._clouds, batch)

    def tie_sets(
        self, batch: Index, query: NDArray[Any], first: Index, count: Index
    ) -> Iterator[TieSets]:
        """All winners of rows whose first winners and counts are known, in bounded memory."""
        if self._kept is not None:
            first = np.searchsorted(self._kept, first)
        batch = self._entry(batch)
        ends = np.cumsum(count)
        start = 0
        while start < len(batch):
            full = (ends[start - 1] if start else 0) + _LISTED
            stop = max(start + 1, int(np.searchsorted(ends, full, side="right")))
            part = slice(start, stop)
            for rows, where, problem in self._problems(batch[part], query[part]):
                yield self._list(problem, where, start + rows, first, count)
            start = stop

    def _list(
        self, problem: Problem, where: tuple[Index, Index], rows: Index, first: Index, count: Index
    ) -> TieSets:
        answer = Answer(
            mean=np.empty((problem.n_batch, problem.n_queries, 0), problem.dtype),
            first=np.empty((problem.n_batch, problem.n_queries), np.int64),
            count=np.empty((problem.n_batch, problem.n_queries), np.int64),
        )
        # Rows repeat the first of their cloud where clouds have fewer than others.
        leading = rows[where[1] == 0]
        for found, known in ((answer.first, first), (answer.count, count)):
            found[:] = known[leading][:, None]
            found[where] = known[rows]
        indptr = np.concatenate([[0], np.cumsum(answer.count.reshape(-1))]).astype(np.int64)
        indices = self._engine.list_winners(problem, answer, indptr)
        flat = where[0] * problem.n_queries + where[1]
        wanted = np.zeros(answer.count.size, bool)
        wanted[flat] = True
        indices = indices[np.repeat(wanted, answer.count.reshape(-1))]
        if self._kept is not None:
            indices = self._kept[indices]
        return TieSets(rows, np.concatenate([[0], np.cumsum(count[rows])]), indices)

    def _problems(
        self, batch: Index, query: NDArray[Any]
    ) -> Iterator[tuple[Index, tuple[Index, Index], Problem]]:
        """Problems of like numbers of queries per cloud: their rows, where those are, and they.

        A problem takes equally many queries for each cloud. Clouds are put together whose numbers
        lie between two powers of two, so that less than half of the queries are repetitions.
        """
        n_rows = np.bincount(batch, minlength=len(self.keys))
        offset = np.arange(len(batch)) - (np.cumsum(n_rows) - n_rows)[batch]
        size = np.frexp(n_rows - 0.5)[1]  # k where 2^(k-1) < n_rows <= 2^k
        size[n_rows == 0] = -2
        for k in np.unique(size[n_rows > 0]):
            clouds = np.flatnonzero(size == k)
            place = np.empty(len(n_rows), np.int64)
            place[clouds] = np.arange(len(clouds))
            rows = np.flatnonzero(size[batch] == k)
            where = place[batch[rows]], offset[rows]
            length = int(n_rows[clouds].max())
            if len(clouds) == 1:
                queries = query[rows][None]
            else:
                leading = rows[offset[rows] == 0]
                queries = np.repeat(query[leading][:, None], length, axis=1)
                queries[where] = query[rows]
            yield rows, where, self._problem(clouds, np.ascontiguousarray(queries))

    def _problem(self, clouds: Index, queries: NDArray[Any]) -> Problem:
        same = np.zeros(len(clouds), np.int64)
        return Problem(
            query=queries,
            keys=Keys(self.keys, self._peak),
            value=np.empty((1, self.keys.shape[1], 0), self.keys.dtype),
            query_of=np.arange(len(clouds), dtype=np.int64),
            key_of=clouds,
            value_of=same,
            mask_of=same,
            mask=None,
            is_causal=False,
            ties="mean",
            num_threads=self._threads,
        )


def pair_scores(query: NDArray[Any], key: NDArray[Any]) -> NDArray[Any]:
    """Canonical scores (m,) of each row of ``query`` (m, d) against the same row of ``key``."""
    scores = np.zeros(len(query), query.dtype)
    for f in range(query.shape[1]):
        product = query[:, f] * key[:, f]
        scores = product if f == 0 else scores + product
    return scores


def same_rows(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are equal; NumPy is slow at reducing short rows."""
    same = np.ones(len(a), bool)
    for f in range(a.shape[1]):
        same &= a[:, f] == b[:, f]
    return same
