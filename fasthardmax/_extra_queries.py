"""New points under a cloud's layers: queries that no one attends to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import engines
from ._problem import self_attention
from ._subset import Search
from .numerics import step, step_size
from .settling import Settling

__all__ = ["leaders_of"]

Index = NDArray[np.int64]


def leaders_of(
    extra: NDArray[Any],
    clouds: NDArray[Any],
    alpha: float,
    matrix: NDArray[Any] | None,
    n_layers: int | None,
    threads: int,
) -> Index:
    """The leader (m,) that each of ``extra`` (m, d) settles on among a cloud (1, n, d); or -1.

    A point settles where its winners are all at one leader's place. The settling lemma holds for a
    query that is no key just as well: its proof uses only that the query moves towards the leader.
    The layers are those of the cloud until all of it is at rest, but no more than ``n_layers``.
    """
    problem = self_attention(clouds, clouds, threads)
    layers = Settling(clouds, alpha, matrix, engines.Runner("auto", problem, 2), threads)
    search = Search(matrix, engines.Runner("auto", problem, 2), threads)
    c = step_size(alpha, clouds.dtype)
    found = np.full(len(extra), -1, np.int64)
    x, rows = extra, np.arange(len(extra))
    while True:
        layers.search()
        points, roots = layers.points, layers.roots[0]
        rests = (layers.settled_at[0] >= 0) & (points[0] == layers.limit[0]).all(axis=1)
        led = np.where(rests, roots, -1)  # who is at a leader's place
        search.look_at(points)
        leader, goal = _winners(search, x, points[0], led, landing=math.isinf(alpha))
        found[rows] = leader
        moving = leader < 0
        if not moving.any() or rests.all() or layers.layer == n_layers:
            return found
        x, rows = step(x[moving], goal[moving], c), rows[moving]
        layers.go_to(layers.layer + 1)


def _winners(
    search: Search, x: NDArray[Any], points: NDArray[Any], led: Index, *, landing: bool
) -> tuple[Index, NDArray[Any]]:
    """The leader at whose place all winners of each row are, or -1; and the winners' mean.

    ``led`` says who is at which leader's place, and ``landing`` whether points truly get there.
    """
    cloud = np.zeros(len(x), np.int64)
    query = search.queries(x)
    first, count = search.winners(cloud, query)
    leader, goal = led[first], points[first]
    several = np.flatnonzero(count > 1)
    ties = search.tie_sets(cloud[several], query[several], first[several], count[several])
    for groups, indptr, indices in ties:
        for row, begin, end in zip(several[groups], indptr[:-1], indptr[1:], strict=True):
            members = indices[begin:end]
            leaders = led[members]
            if not landing:  # who has come near a leader ties with it by rounding alone
                members = np.unique(np.where(leaders >= 0, leaders, members))
            goal[row] = points[members].mean(axis=0)
            leader[row] = leaders[0] if (leaders == leaders[0]).all() else -1
    return leader, goal
