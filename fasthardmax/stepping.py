"""Stepping: every point's winners are found at every layer, in the canonical arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._problem import self_attention
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
        single = self.count == 1
        emerged = single & (self.first == np.arange(self.points.shape[1]))
        self.leader_layer[emerged & (self.leader_layer < 0)] = self.layer
        batch, point = np.nonzero(single & (self.labels < 0))
        winner = self.first[batch, point]
        settled = self.leader_layer[batch, winner] >= 0
        self.labels[batch[settled], point[settled]] = winner[settled]
