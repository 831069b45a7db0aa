"""Exact settling: which points' whole future is known, and where it takes them.

The *settling lemma*. Let s(x, y) = <A x, y> for any matrix A and 0 < c <= 1. A location w is a
leader where C_w holds the points at w alone. If C_i holds the points at a leader w alone, then so
it does at every later layer, and w stays a leader.

*Proof.* w does not move, and x_i' = (1-c) x_i + c w. For every current y != w,

    s(x_i', w) - s(x_i', y) = (1-c) (s(x_i, w) - s(x_i, y)) + c (s(w, w) - s(w, y)) > 0.

A point of the next layer is a convex combination of such y and w, so the inequality carries over to
it, strictly unless it is w; with w in place of x_i the same line says that w stays a leader. QED.

*Ties.* Let C_i be points that never move again, with mean m and C_i a subset of the argmax set of
m. The same lines, with >= for the second bracket and c < 1, say that C_i never changes: x_i goes to
m. And if x_i = m for each point of a set F whose ties hold only points that never move and points
of F, then F never moves, because no point leaves and (c < 1) none enters a tie.

A point that settled at layer k is at m + (1-c)^(l-k) (x_i(k) - m) at layer l: this module keeps m
and the offset x_i(k) - m, and searches only for the winners of the others.

*Rounding.* Settled points reach their leader bit for bit after some layers, and would then tie with
it; exact dynamics (c < 1) never does this. A settled point is a convex combination of its limit
and where it settled, so it ties beside its limit's points exactly where <q, offset> = 0, and that
decides. Where it alone wins although it is within rounding of its leader, it is its leader.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _settled_kernels as kernels
from ._interior import inner_radius, worthwhile
from ._settled import Index, in_ranges
from ._state import Resumable
from ._subset import Search, same_rows
from ._ties import Tied, grouped
from .engines import Runner
from .numerics import step_size

__all__ = ["Settling"]


_SMALLEST_BALL = 1e-300  # has a finite inverse


class Settling(Tied, Resumable):
    """Clouds (B, n, d) at one layer, with all that is known of their points' future.

    Call :meth:`search` once at each layer, then :meth:`go_to` the next, or any later one once no
    point is left to search for. What is asked of it in between has shape (B, n) or (B, n, d), and
    is not changed later.
    """

    # Given again, computed when asked for, or of the last search.
    NOT_SAVED = (
        "_shape", "_threads", "_c_type", "_start", "_peak", "_gone", "_lent", "_points", "_named",
        "_goal", "_goal_error",
    )  # fmt: skip

    def __init__(
        self,
        clouds: NDArray[Any],
        alpha: float,
        matrix: NDArray[Any] | None,
        engine: Runner,
        threads: int,
        peak: NDArray[Any] | None = None,
    ) -> None:
        """``peak`` (B, d) are the features' largest magnitudes, if they are known."""
        super().__init__(clouds, alpha, threads, peak)
        self._c = step_size(alpha, clouds.dtype)
        self._search = Search(matrix, engine, threads)
        self._radius = 0.0  # of a ball in the leaders' polytope, if one is known
        self._kept = np.empty(0, np.int64)  # settled points outside it
        # The mean of the winners, where still moving.
        self._goal, self._goal_error = self._at, self._drift

    def restore(self, saved: dict[str, NDArray[Any]]) -> None:
        """Take the state of an object that was made with the same arguments."""
        super().restore(saved)
        self._points = self._named = None  # those of the start

    @property
    def n_dropped(self) -> int:
        """How many points are no longer looked at as keys."""
        return len(self._start) - len(self._kept) - self.n_moving if self._radius else 0

    @property
    def n_queries(self) -> int:
        """How many queries have been searched for so far."""
        return self._search.n_queries

    @property
    def residual(self) -> NDArray[Any]:
        """How far each point is from the mean of its winners; 0 for settled points."""
        distance = np.zeros(len(self._start), self._start.dtype)
        if self._moving is not None:
            distance[self._moving] = np.linalg.norm(self._goal - self._at, axis=1)
        return distance.reshape(self._shape[:2])

    # --- The winners of one layer ---------------------------------------------------------------

    def search(self) -> None:
        """Find the winners of the points that are not settled, and settle those that can be."""
        rows, slot, at, drift = self._moving, self._slot, self._at, self._drift
        if len(at) == 0:
            return
        self._last_search, self._named = self.layer, None
        query = self._search.queries(at)
        if rows is None:
            self._search.look_at(self._start.reshape(self._shape), peak=self._peak)
            first, count = self._search.winners(None, query)
            self._first, self._count, self._lent = first, count, False
            goes, entry = np.empty_like(first), np.empty(len(first), np.int32)
            left, winner, together, tied, leads = self._settle_at_once(goes, entry)
            several = tied
        else:
            self._put_back()
            self._look(rows, query)
            first, count = self._search.winners(self._cloud(rows), query)
            if self._lent:
                self._first, self._count = self._first.copy(), self._count.copy()
                self._lent = False
            self._first[rows], self._count[rows] = first, count
            several, together = np.flatnonzero(count > 1), count == 1
            tied = rows.take(several)
            winner = self._cloud(rows) * self._shape[1] + first
        ties = None
        if len(several):
            # Before anyone settles now, because that changes who counts.
            cloud = self._cloud(tied)
            ties = grouped(tied, cloud, query[several], first[several], count[several])
            meeting = self._meet(ties)
        if rows is None:
            rows, slot = left, np.arange(len(left))
            at = at.take(rows, axis=0)  # several times faster than to index with them
            drift = np.zeros_like(at)
            since = np.full(len(rows), -1, np.int32)
            self._late, self._error, self._since = at, drift, since
            self._goes, self._entry, self._leads = goes, entry, leads
            several = np.searchsorted(rows, tied)
        goal, goal_error = np.empty_like(at), np.zeros_like(at)
        if ties is not None:
            goal[several], together[several] = meeting.goal, meeting.together
            winner[several] = meeting.who
        self._settle_singles(rows, at, winner, together, goal, goal_error)
        if ties is not None:
            self._settle_ties(ties, goal[several])
        settled = self._since.take(slot) >= 0
        done, left = np.flatnonzero(settled), np.flatnonzero(~settled)
        ended, stopped = rows.take(done), at.take(done, axis=0)
        if len(done):
            self._leads = np.concatenate([self._leads, ended[self._goes.take(ended) == ended]])
            rows, slot, at, drift, goal, goal_error = (
                some.take(left, axis=0) for some in (rows, slot, at, drift, goal, goal_error)
            )
        self._goal, self._goal_error = goal, goal_error
        self._moving, self._slot, self._at, self._drift = rows, slot, at, drift
        self._drop(ended, stopped)

    def _settle_at_once(
        self, goes: Index, entry: NDArray[np.int32]
    ) -> tuple[Index, Index, NDArray[np.bool_], Index, Index]:
        """At layer 0, settle who has a leader for its only winner.

        Returns who is left, their first winners, whether those are alone; who ties, and who leads.
        """
        winners = self._first, self._count, self._shape[1]
        sizes: dict[int, tuple[int, int, int]] = {}

        def settle(start: int, stop: int) -> None:
            sizes[start] = kernels.settle_at_once(*winners, start, stop, goes, entry)

        in_ranges(settle, len(goes), 4, self._threads)
        starts = sorted(sizes)
        ends = np.cumsum([(0, 0, 0), *(sizes[start] for start in starts)], axis=0)
        begins = dict(zip(starts, ends.tolist(), strict=False))
        n_left, n_tied, n_lead = ends[-1]
        left, winner = np.empty((2, n_left), np.int64)
        alone = np.empty(n_left, bool)
        tied, leads = np.empty(n_tied, np.int64), np.empty(n_lead, np.int64)

        def tell(start: int, stop: int) -> None:
            kernels.list_left(
                *winners, goes, start, stop, *begins[start],
                entry, left, winner, alone.view(np.uint8), tied, leads,
            )  # fmt: skip

        in_ranges(tell, len(goes), 4, self._threads)
        return left, winner, alone, tied, leads

    def _settle_singles(
        self,
        rows: Index,
        at: NDArray[Any],
        winner: Index,
        together: NDArray[np.bool_],
        goal: NDArray[Any],
        goal_error: NDArray[Any],
    ) -> None:
        """Fill in the goals of points with one winner, or with winners at one place; settle them.

        Those at their goals come first, because others may follow them.
        """
        rest = np.empty(len(rows), np.uint8)  # as :func:`kernels.aim` writes it
        known, n = self._known(), self._shape[1]

        def aim(start: int, stop: int) -> None:
            kernels.aim[self._c_type](
                *known, at, winner, together.view(np.uint8), start, stop,
                goal, goal_error, rest,
            )  # fmt: skip

        def settle_at_home(start: int, stop: int) -> None:
            kernels.settle_at_home(
                rows, winner, rest, self._first, n, self.layer, start, stop,
                self._goes, self._entry, self._since,
            )  # fmt: skip

        def settle_followers(start: int, stop: int) -> None:
            kernels.settle_followers[self._c_type](
                *known, rows, winner, together.view(np.uint8), rest,
                start, stop, self._first,
            )  # fmt: skip

        for work in (aim, settle_at_home, settle_followers):
            in_ranges(work, len(rows), 8 * (self._shape[2] + 4), self._threads)

    def _put_back(self) -> None:
        """Where moving points are, among the late ones."""

        def work(start: int, stop: int) -> None:
            kernels.put_back[self._c_type](
                self._slot, self._at, self._drift, start, stop, self._late, self._error
            )

        in_ranges(work, len(self._slot), 2 * self._shape[2], self._threads)

    def _look(self, rows: Index, query: NDArray[Any]) -> None:
        """Search among the points that matter to the queries of some rows."""
        n_batch, n, d = self._shape
        if n_batch > 1:
            cloud = self._cloud(rows)
            active = cloud[np.flatnonzero(np.diff(cloud, prepend=-1))]
            keys = self._placed(active, n)[0]
            self._search.look_at(keys.reshape(len(active), n, d), clouds=active)
        elif not self._radius or same_rows(query, np.zeros_like(query)).any():
            self._search.look_at(self.points)
        else:
            # Points that move may be inside the ball now and leave it later.
            kept = np.sort(np.concatenate([self._kept, self._outside(self._at, rows)]))
            self._search.look_at(self._placed(kept)[0][None], kept=kept)

    def _drop(self, ended: Index, at: NDArray[Any]) -> None:
        """Leave settled points inside the leaders' polytope out of the keys, for good.

        ``ended`` are ``at`` the places where they settled now, but for those that did so at once.
        Their way to their limits stays inside, where no point wins or ties but for a zero query.
        """
        n_batch, n, d = self._shape
        if n_batch != 1 or not self.n_moving or not worthwhile(n, d):
            return
        known = self._radius > 0
        if self.layer & (self.layer - 1) == 0:  # at 0, 1, 2, 4, 8, ...
            radius = inner_radius(self._stood(self._leads))
            self._radius = max(self._radius, radius if radius > _SMALLEST_BALL else 0.0)
        if known:
            kept = self._outside(self._placed(self._kept)[0], self._kept)
            self._kept = np.concatenate([kept, self._outside(at, ended)])
        elif self._radius:
            self._kept = self._outside(self._start if self.layer == 0 else self.points[0], None)

    def _outside(self, at: NDArray[Any], rows: Index | None) -> Index:
        """Which points are not in the ball: of ``rows``, which are ``at``, or of all settled."""
        out = np.empty(len(at), bool)

        def work(start: int, stop: int) -> None:
            kernels.outside[self._c_type](
                at, rows is None, self._entry, self._since, self._radius, start, stop,
                out.view(np.uint8),
            )  # fmt: skip

        in_ranges(work, len(at), 2 * at.shape[1], self._threads)
        found = np.flatnonzero(out)
        return found if rows is None else rows.take(found)

    # --- To other layers ------------------------------------------------------------------------

    def go_to(self, layer: int) -> None:
        """Move to a later layer: the next one, or any if no point is moving."""
        at, drift = self._at, self._drift
        if len(at):
            at, drift = np.empty_like(at), np.empty_like(at)
            numbers = [
                array.reshape(-1) for array in (self._at, self._drift, self._goal, self._goal_error)
            ]

            def work(start: int, stop: int) -> None:
                kernels.step[self._c_type](
                    *numbers, self._c, start, stop, at.reshape(-1), drift.reshape(-1)
                )

            in_ranges(work, at.size, 1, self._threads)
        # One statement: an interrupt sees the old layer or the new one.
        self._at, self._drift, self.layer, self._points = at, drift, layer, None
