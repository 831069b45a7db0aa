"""Stepping: every point's winners are found at every layer, in the canonical arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _labels
from ._problem import self_attention
from ._settled import in_ranges
from ._state import Resumable
from .engines import Runner
from .numerics import canonical_scores, step, step_size

__all__ = ["Stepping"]


class Stepping(Resumable):
    """Clouds (B, n, d) at one layer, stepped bit for bit as the definition says.

    Call :meth:`search` once at each layer, then :meth:`go_to` the next. Its attributes are those of
    :class:`~fasthardmax.settling.Settling` that a trajectory needs, of shape (B, n).
    """

    NOT_SAVED = ("_matrix", "_engine", "_threads", "first", "count", "_mean")  # of this layer

    def __init__(
        self,
        clouds: NDArray[Any],
        alpha: float,
        matrix: NDArray[Any] | None,
        engine: Runner,
        threads: int,
    ) -> None:
        self._matrix = matrix
        self._engine = engine
        self._threads = threads
        self._c = step_size(alpha, clouds.dtype)
        self.layer = self.n_queries = 0
        self.points = clouds
        self.n_moving = clouds.shape[0] * clouds.shape[1]  # all are searched at every layer
        self.leader_layer = np.full(clouds.shape[:2], -1, np.int64)
        self.labels = np.full(clouds.shape[:2], -1, np.int64)

    def search(self) -> None:
        """Find the winners of every point, and who leads whom."""
        x = self.points
        if self._matrix is None:
            query = x
        else:
            rows = x.reshape(x.shape[0] * x.shape[1], x.shape[2])
            query = canonical_scores(rows, self._matrix).reshape(x.shape)
        answer = self._engine.run(self_attention(x, query, self._threads))
        self.n_queries += self.n_moving
        self.first, self.count, self._mean = answer.first, answer.count, answer.mean
        self._follow_leaders()

    def go_to(self, layer: int) -> None:
        """Move to the next layer."""
        # One statement: an interrupt sees the old layer or the new one.
        self.points, self.layer = step(self.points, self._mean, self._c), layer

    def _follow_leaders(self) -> None:
        """Mark new leaders (C_i = {i}), and settle the points whose only winner is a leader."""
        n = self.points.shape[1]
        first, count = self.first.reshape(-1), self.count.reshape(-1)
        leader_layer, labels = self.leader_layer.reshape(-1), self.labels.reshape(-1)

        def emerge(start: int, stop: int) -> None:
            _labels.emerge(first, count, n, self.layer, start, stop, leader_layer)

        def join(start: int, stop: int) -> None:
            _labels.join(first, count, n, leader_layer, start, stop, labels)

        for work in (emerge, join):
            in_ranges(work, len(labels), 4, self._threads)
