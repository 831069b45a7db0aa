"""What is known of points that have settled, and where it puts them at any layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _labels
from . import _settled_kernels as kernels
from ._extent import feature_peaks
from ._threads import for_each_range

__all__ = ["Index", "Settled", "in_ranges"]

Index = NDArray[np.int64]

_NUMBERS_PER_RANGE = 1 << 19  # about a millisecond


class Settled:
    """The points of clouds (B, n, d), N = B n in a row, at one layer.

    Settled points keep the position at which they settled, and where they go: what they are at a
    later layer is computed when it is asked for. Most settle at layer 0: what is known of the
    others, the late ones, stands in shorter arrays. The clouds are not copied, and not changed.
    """

    def __init__(
        self, clouds: NDArray[Any], alpha: float, threads: int, peak: NDArray[Any] | None = None
    ) -> None:
        self._shape = clouds.shape
        n_batch, n, d = clouds.shape
        total = n_batch * n
        self._alpha = alpha
        self._lands = math.isinf(alpha)  # points reach their limits, and count in ties there
        self._threads = threads
        self._c_type = {4: "float", 8: "double"}[clouds.dtype.itemsize]
        self.layer = self._last_search = 0
        self._start = clouds.reshape(total, d)
        # A point j in whose place i ends, the mean number -2 - goes[i], or -1: not settled. And 0
        # for who settled at layer 0, k > 0 for late row k - 1, -1 before. Until then one number
        # stands for all.
        self._goes = np.broadcast_to(np.int64(-1), total)
        self._entry = np.broadcast_to(np.int32(-1), total)
        # The layer at which late points settled, or -1; where each settled, or was when it was last
        # searched for; and its roundings so far.
        self._since = np.empty(0, np.int32)
        self._late = np.empty((0, d), clouds.dtype)
        self._error = np.empty((0, d), clouds.dtype)
        self._leads = np.empty(0, np.int64)  # the points that settled where they are
        self._means = np.empty((0, d), clouds.dtype)
        self._lowest_of_mean = np.empty(0, np.int64)  # the lowest of the winners it is the mean of
        self._first = self._count = np.broadcast_to(np.int64(0), total)
        self._lent = False  # whether the last two arrays were given away
        self._peak = feature_peaks(clouds, threads)[0] if peak is None else peak
        # Points this near to their limits are there: a quarter of an ulp of the largest number.
        largest = self._peak.max(axis=1, initial=0)
        self._near = (largest * (np.finfo(clouds.dtype).eps / 4)).astype(clouds.dtype)
        # And so are all of which no more is left than this: no offset is 16 times as large.
        far = largest > 0
        self._gone = float((self._near[far] / (16 * largest[far].astype(float))).min(initial=1))
        self._moving: Index | None = None  # at first all
        self._slot = np.empty(0, np.int64)  # the late row of each
        self._at, self._drift = self._start, self._error  # of the moving points, at this layer
        self._points: NDArray[Any] | None = None
        self._named: tuple[Index, Index] | None = None  # as :attr:`leader_layer` and ``labels``

    @property
    def n_moving(self) -> int:
        """How many points are not settled."""
        return len(self._at)

    @property
    def points(self) -> NDArray[Any]:
        """The clouds at this layer."""
        if self._points is None:
            self._points = self._all_placed()
        return self._points

    @property
    def limit(self) -> NDArray[Any]:
        """Where settled points go; the others where they are."""
        return self._all_placed(for_ever=True)

    @property
    def settled_at(self) -> Index:
        """The layer at which each point settled; -1 for the others."""
        settled_at = np.empty(len(self._start), np.int64)
        entry = np.ascontiguousarray(self._entry)

        def work(start: int, stop: int) -> None:
            kernels.settled(entry, self._since, start, stop, settled_at)

        in_ranges(work, len(settled_at), 4, self._threads)
        return settled_at.reshape(self._shape[:2])

    @property
    def first(self) -> Index:
        """The lowest winner of each point; of settled points, that with which they settled."""
        return self._lend(self._first)

    @property
    def count(self) -> Index:
        """The number of winners of each point; of settled points, as they settled."""
        return self._lend(self._count)

    def _lend(self, array: Index) -> Index:
        """Not copied, but read-only: the next search that finds others makes a copy."""
        self._lent = True
        view = array.reshape(self._shape[:2])
        view.setflags(write=False)
        return view

    @property
    def roots(self) -> Index:
        """The leader that each point goes to, the lowest of several at its place; or -1."""
        roots = np.maximum(self._goes, -1)
        if self._shape[0] > 1:
            roots = np.where(roots >= 0, self._within(roots), -1)
        return roots.reshape(self._shape[:2])

    @property
    def leader_layer(self) -> Index:
        """The layer at which each point emerged as a leader, with C_i = {i}; -1 if it did not."""
        return self._leading()[0]

    @property
    def labels(self) -> Index:
        """The leader that each point goes to; -1 for those that go to none, or to several."""
        return self._leading()[1]

    @property
    def clusters(self) -> Index:
        """Numbers of the distinct limits of each cloud, in order of their first points; or -1."""
        n_batch, n, _ = self._shape
        leads = np.sort(self._leads)
        place = np.concatenate([self._stood(leads), self._means]) + self._means.dtype.type(0)
        cloud = self._cloud(np.concatenate([leads, self._lowest_of_mean]))
        order = np.lexsort((*place.T, cloud))
        differs = np.ones(len(order), bool)
        differs[1:] = np.diff(cloud[order]) != 0
        differs[1:] |= (place[order[1:]] != place[order[:-1]]).any(axis=1)
        place_of = np.empty(len(order), np.int64)
        place_of[order] = np.cumsum(differs) - 1
        place_of_point = np.empty(len(self._goes), np.int64)
        place_of_point[leads] = place_of[: len(leads)]
        labels, number_of = np.empty_like(self._goes), np.full(len(order), -1, np.int64)
        _labels.number(
            self._goes, place_of[len(leads) :], n, 0, n_batch, place_of_point, number_of, labels
        )
        return labels.reshape(self._shape[:2])

    def _leading(self) -> tuple[Index, Index]:
        if self._named is None:
            leader_layer, labels = np.empty((2, len(self._goes)), np.int64)

            first, count, goes, entry = map(
                np.ascontiguousarray, (self._first, self._count, self._goes, self._entry)
            )

            def work(start: int, stop: int) -> None:
                _labels.describe(
                    first, count, goes, entry, self._since, self._shape[1],
                    start, stop, leader_layer, labels,
                )  # fmt: skip

            in_ranges(work, len(labels), 4, self._threads)
            self._named = leader_layer, labels
        leader_layer, labels = (array.reshape(self._shape[:2]) for array in self._named)
        return leader_layer, labels

    # --- Where points are -----------------------------------------------------------------------

    def _placed(
        self, blocks: Index | None = None, length: int = 1, *, for_ever: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Where points are at this layer, and who is at its limit, to within rounding.

        Of all points, or of blocks of ``length`` points of a cloud, from ``blocks * length`` on.
        Those that are not settled are where they were last searched for.
        """
        total, d = self._start.shape
        n_blocks = total if blocks is None else len(blocks)
        place = np.empty((n_blocks * length, d), self._start.dtype)
        arrived = np.empty(len(place), np.uint8)
        known = self._known(for_ever=for_ever)

        def work(start: int, stop: int) -> None:
            kernels.place[self._c_type](*known, blocks, length, start, stop, place, arrived)

        in_ranges(work, n_blocks, length * (d + 2), self._threads)
        return place, arrived.view(bool)

    def _all_placed(self, *, for_ever: bool = False) -> NDArray[Any]:
        """As :meth:`_placed` all points; those that are not settled are where they are."""
        place = self._placed(for_ever=for_ever)[0]
        if self._moving is not None:
            place[self._moving] = self._at
        return place.reshape(self._shape)

    def _known(self, *, for_ever: bool = False) -> tuple[Any, ...]:
        """What kernels need to tell where points are at this layer, or after infinitely many."""
        if for_ever:
            remaining = np.zeros(self._last_search + 1, self._start.dtype)
        else:
            remaining = self._remaining()
        layer = -1 if for_ever else self.layer
        return (
            self._start, self._late, self._error, self._means,
            np.ascontiguousarray(self._goes), np.ascontiguousarray(self._entry), self._since,
            remaining, layer, self._near, self._shape[1],
        )  # fmt: skip

    def _remaining(self) -> NDArray[Any]:
        """``(1 - c) ** age`` of points that settled at layers 0, 1, 2, ...

        From ``alpha`` itself, to about an ulp of 1 whatever the age; 0 where no point is left
        that far from its limit as to be told from it.
        """
        age = self.layer - np.arange(self._last_search + 1)
        if self._lands:
            return np.zeros(len(age), self._start.dtype)
        remaining = np.exp(-math.log1p(self._alpha) * age).astype(self._start.dtype)
        remaining[remaining <= self._gone] = 0
        return remaining

    def _here(self, rows: Index) -> NDArray[Any]:
        return self._placed(rows)[0]

    def _is_fixed(self, rows: Index) -> NDArray[np.bool_]:
        """Who is at its limit, to within rounding."""
        return self._placed(rows)[1]

    def _began(self, rows: Index) -> NDArray[np.int32]:
        """The layer at which points settled, or -1."""
        began = np.minimum(self._entry[rows], 0)
        late, row = self._late_rows(rows)
        began[late] = self._since[row]
        return began

    def _stood(self, rows: Index) -> NDArray[Any]:
        """Where points settled, or were last searched for."""
        place = self._start[rows]
        late, row = self._late_rows(rows)
        place[late] = self._late[row]
        return place

    def _late_rows(self, rows: Index) -> tuple[Index, NDArray[np.int32]]:
        """Which of some points are late ones, and their rows there."""
        entry = self._entry[rows]
        late = np.flatnonzero(entry > 0)
        return late, entry[late] - 1

    def _errors(self, rows: Index) -> NDArray[Any]:
        """The roundings so far of points that still move; those of settled ones are accounted."""
        return self._error_where(rows, self._began(rows) < 0)

    def _offsets(self, rows: Index) -> NDArray[Any]:
        """How far settled points were from their limits when they settled."""
        limit, position = self._placed(rows, for_ever=True)[0], self._stood(rows)
        error = self._error_where(rows, self._began(rows) > 0)
        return np.where((position == limit).all(axis=1)[:, None], 0, (position - limit) + error)

    def _error_where(self, rows: Index, wanted: NDArray[np.bool_]) -> NDArray[Any]:
        error = np.zeros((len(rows), self._shape[2]), self._start.dtype)
        late, row = self._late_rows(rows)
        some = wanted[late]
        error[late[some]] = self._error[row[some]]
        return error

    def _roots(self, rows: Index) -> Index:
        return np.maximum(self._goes[rows], -1)

    def _companions(self, rows: Index) -> Index:
        """The lowest of those where settled points go, or of those whose mean it is."""
        goes = self._goes[rows]
        companion = goes.copy()
        companion[goes < -1] = self._lowest_of_mean[-2 - goes[goes < -1]]
        return companion

    # --- Rows and clouds ------------------------------------------------------------------------

    def _settle_on_means(self, rows: Index, mean: NDArray[Any]) -> None:
        """Settle points that go to places which are no leaders."""
        self._goes[rows] = -2 - (len(self._means) + np.arange(len(rows)))
        self._means = np.concatenate([self._means, mean])
        self._lowest_of_mean = np.concatenate([self._lowest_of_mean, self._lowest(rows)])
        self._since[self._entry[rows] - 1] = self.layer

    def _cloud(self, rows: Index) -> Index:
        return np.zeros_like(rows) if self._shape[0] == 1 else rows // max(1, self._shape[1])

    def _within(self, rows: Index) -> Index:
        return rows if self._shape[0] == 1 else rows % max(1, self._shape[1])

    def _lowest(self, rows: Index) -> Index:
        """The lowest winner of each point."""
        return self._cloud(rows) * self._shape[1] + self._first[rows]


def in_ranges(
    work: Callable[[int, int], None], n_rows: int, numbers_per_row: int, threads: int
) -> None:
    """Call ``work(start, stop)`` on ranges of rows over the threads, if there are any rows."""
    if n_rows:
        length = max(1, _NUMBERS_PER_RANGE // max(1, numbers_per_row))
        for_each_range(work, n_rows, length, threads)
