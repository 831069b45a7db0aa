"""Kernels of the pruned engine that put keys into tiles, like keys side by side.

A tile is a few neighbours in an order, feature-major, with a ball around them: its middle, the
length of that, and a radius. With <v, p> <= <v, c> + |p - c| for a unit vector v, a tile's keys p
score no more than its middle c and their distance from it, which is what the radius bounds. It is
found in single precision: each rounded feature, and each of the d + 3 roundings of a distance, is
allowed for by ``coarse`` of the key's norm and of the distance, as ``_pruned_keys.py`` counts.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import compiled, inlined
from ._vectors import prefetch

__all__ = ["TILE", "fill", "lift", "measure", "place", "put"]

# Keys lie anywhere in memory at first: they are asked for so many ahead.
_AHEAD = 16
# Keys are read in tiles of so many, each tile feature-major: one stream through memory.
TILE = 256


@inlined
def put(key, row, factor, j, tiles):
    """Write key ``row`` as the j-th of ``tiles``."""
    d = key.shape[1]
    at = (j // TILE) * TILE * d + j % TILE
    for f in range(d):
        tiles[at + f * TILE] = key[row, f] * factor


@compiled
def measure(key, factor, start, stop, norm, least):
    """Upper bounds of the norms of scaled keys start..stop-1, and ``least`` more."""
    d = key.shape[1]
    number = key.dtype.type
    widening = np.float32(1) + np.float32(2 * (d + 4)) * np.float32(np.finfo(np.float32).eps)
    for j in range(start, stop):
        total = number(0)
        for f in range(d):
            x = key[j, f] * factor
            total += x * x
        norm[j] = np.float32(math.sqrt(total)) * widening + least


@compiled
def lift(key, factor, rows, norm, far, lifted):
    """Unit vectors, d + 1 features, whose distances are about those of the keys ``rows``.

    Keys longer than ``far`` are told apart by their directions alone.
    """
    d = key.shape[1]
    for i in range(len(rows)):
        j = rows[i]
        length = max(norm[j], far)
        for f in range(d):
            lifted[i, f] = np.float32(key[j, f] * factor) / length
        share = norm[j] / length
        lifted[i, d] = math.sqrt(max(np.float32(0), np.float32(1) - share * share))


@compiled
def place(order, cluster, least, firsts):
    """Where tiles begin among the rows ``order``; returns their number.

    One begins when the last is full, or holds ``least`` and another cluster begins.
    """
    n_tiles, count = 0, TILE
    for t in range(len(order)):
        if count == TILE or (count >= least and cluster[order[t]] != cluster[order[t - 1]]):
            firsts[n_tiles] = t
            n_tiles += 1
            count = 0
        count += 1
    firsts[n_tiles] = len(order)
    return n_tiles


@compiled
def fill(
    key, factor, order, cluster, firsts, start, stop, norm_of, coarse, tiles, norm, which,
    middle, length, radius, count, owner,
):  # fmt: skip
    """Write tiles start..stop-1 of a list, and the balls around their keys."""
    d, n_tiles = key.shape[1], len(firsts) - 1
    single = np.float32
    square, sums = np.empty(TILE, single), np.empty(16, single)
    for t in range(start, stop):
        n, at = firsts[t + 1] - firsts[t], t * TILE
        longest, furthest, total = single(0), single(0), single(0)
        for j in range(n):
            row = order[firsts[t] + j]
            prefetch(key, order[min(firsts[t] + j + _AHEAD, len(order) - 1)])
            put(key, row, factor, at + j, tiles)
            norm[at + j], which[at + j] = norm_of[row], row
            longest = max(longest, norm_of[row])
        for f in range(d):
            tiles[at * d + f * TILE + n : at * d + (f + 1) * TILE] = 0
        square[:] = 0
        for f in range(d):
            x = tiles[at * d + f * TILE : at * d + (f + 1) * TILE]
            # Sums side by side: so it vectorises.
            sums[:] = 0
            for i in range(0, TILE, len(sums)):
                for j in range(len(sums)):
                    sums[j] += x[i + j]
            mean = sums.sum() / single(n)
            middle[f * n_tiles + t] = mean
            total += mean * mean
            for j in range(TILE):
                gap = x[j] - mean
                square[j] += gap * gap
        for j in range(n):
            furthest = max(furthest, square[j])
        length[t] = math.sqrt(total) * (single(1) + coarse) + coarse * longest
        radius[t] = math.sqrt(furthest) * (single(1) + coarse) + coarse * longest
        count[t], owner[t] = n, cluster[order[firsts[t]]]
