"""Kernels of the pruned engine that tell how far a group of queries reaches, and what it reaches.

``_pruned_keys.py`` derives the margins.
"""

from __future__ import annotations

import math

import numpy as np

from ._decide import pack, padded_scores
from ._jit import part
from ._pruned_tiles import TILE
from ._vectors import screen_block

__all__ = ["at_centre", "cap", "probe", "promising", "what_is_beyond"]


@part
def cap(unit, start, stop, guard, centre, scores):
    """Centre of rows start..stop-1, and cosine and sine of an angle that reaches them all."""
    d = unit.shape[1]
    number = unit.dtype.type
    zero, one = number(0), number(1)
    for f in range(d):
        centre[0, f] = zero
    for i in range(start, stop):
        for f in range(d):
            centre[0, f] += unit[i, f]
    total = zero
    for f in range(d):
        total += centre[0, f] * centre[0, f]
    length = math.sqrt(total)
    if not length > zero:
        return -one, zero
    for f in range(d):
        centre[0, f] /= length
    least = one
    for begin in range(start, stop, TILE):
        end = min(begin + TILE, stop)
        padded_scores(centre, 0, unit, begin, end, scores)
        for i in range(end - begin):
            least = min(least, scores[i])
    cosine = max(least - guard, -one)
    return cosine, math.sqrt(max(zero, one - cosine * cosine + guard))


@part
def at_centre(tiles, d, n_tiles, first, n, centre, along):
    """Scores <centre, x> of ``n`` vectors, four features at a time.

    Feature f of the first of them is at ``tiles[first + f * n_tiles]``.
    """
    whole = d - d % 4
    for j in range(n):
        along[j] = 0
    for f in range(0, whole, 4):
        c0, c1, c2, c3 = centre[f], centre[f + 1], centre[f + 2], centre[f + 3]
        at = first + f * n_tiles
        x0, x1 = tiles[at : at + n], tiles[at + n_tiles : at + n_tiles + n]
        at += 2 * n_tiles
        x2, x3 = tiles[at : at + n], tiles[at + n_tiles : at + n_tiles + n]
        for j in range(n):
            along[j] += (c0 * x0[j] + c1 * x1[j]) + (c2 * x2[j] + c3 * x3[j])
    for f in range(whole, d):
        c0, x0 = centre[f], tiles[first + f * n_tiles : first + f * n_tiles + n]
        for j in range(n):
            along[j] += c0 * x0[j]


@part
def promising(along, norm, more, n, cosine, sine, n_classes, top, chosen):
    """Of each residue class of 0..n-1 modulo ``n_classes``, the one that promises most."""
    for t in range(n_classes):
        top[t] = -np.inf
    for begin in range(0, n, n_classes):
        a, b = along[begin : begin + n_classes], norm[begin : begin + n_classes]
        for t in range(min(n_classes, n - begin)):
            promise = cosine * a[t] + sine * b[t] + (0 if more is None else more[begin + t])
            better = promise > top[t]
            top[t] = promise if better else top[t]
            chosen[t] = begin + t if better else chosen[t]


@part
def probe(
    unit, start, stop, probes, n_probes, lower, absolute, size, best, panel, table, vectors, unroll
):  # fmt: skip
    """Raise ``best`` by what the probes score less ``lower``; returns what all rows reach."""
    width = len(table)
    number = unit.dtype.type
    reach = number(np.inf)
    for i0 in range(start, stop, width):
        lanes = min(width, stop - i0)
        pack(unit, i0, lanes, width, panel, 0)
        screen_block(panel, 0, probes, 0, n_probes, None, None, table, 0, vectors, unroll)
        for lane in range(lanes):
            i = i0 + lane
            floor = number(absolute / size[i]) if size[i] > 0 else number(np.inf)
            best[i] = max(best[i], table[lane] - lower - floor)
            reach = min(reach, best[i])
    return reach


@part
def what_is_beyond(unit, start, stop, best, w, scores, lead):
    """What all rows reach, less the score of ``w[0]``."""
    number = unit.dtype.type
    lead[:] = np.inf
    for begin in range(start, stop, TILE):
        n = min(TILE, stop - begin)
        padded_scores(w, 0, unit, begin, begin + n, scores)
        reached = best[begin : begin + n]
        for i in range(n):
            gap = reached[i] - scores[i]
            lead[i] = gap if gap < lead[i] else lead[i]
    least = number(np.inf)
    for i in range(min(TILE, stop - start)):
        least = min(least, lead[i])
    return least
