"""Machine code that asks a cone index in float32 first: lists of candidates as whole vectors.

The few queries for which that does not name the winner are asked as in ``_cones_search.py``. The
note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._cones_divide import GROUPED
from ._cones_entries import lone_candidate
from ._cones_open import settle_open
from ._cones_search import BLOCK, SHORT, find_best
from ._cones_ties import copy_rows
from ._cones_vectors import PACK, screen_list
from ._jit import compiled, part

__all__ = ["FEATURES", "PACK", "attend", "pack"]

FEATURES = 4  # at least; with fewer there are few candidates to score


@compiled
def pack(candidates, low, high, lists, scale, relative, absolute, packs, slack, start, stop, dims):
    """Write leaves start..stop-1 to ``packs`` (vectors, d, ``PACK``), and how much rounding blurs.

    ``scale`` is two numbers whose product the keys are scaled by. A list begins with a vector, and
    holds the differences from its first candidate. A candidate may win only if it scores within
    ``slack`` of the leaf's best in float32.

    Derivation. Let t be a query over its largest magnitude M, k_0 the first candidate, S the
    largest |p - k_0|_1 in the leaf and K the largest |p|_1. A canonical score over M differs from
    <t, p> by at most gamma_d K + d eta / M, of which ``margins`` makes ``relative`` K +
    ``absolute`` / 2, the latter by the shortest query that is looked up. With u = 2^-24, the
    differences, t and the d fused or unfused steps round by at most (d + 3) u S all in all, what
    underflows by at most d 2^-148. So a winner j and the best h of the screening differ there by at
    most 2 (relative K + (d + 3) u S) + absolute + 2 d 2^-148. S is itself rounded, and so is the
    difference that is compared: by less than u S, as no score is larger. Three u are added.
    """
    d = len(dims)
    blur = (d + 6) * 2.0**-24
    for leaf in range(start, stop):
        first = lists[low[leaf]]
        span = size = 0.0
        for t in range(high[leaf]):
            c = lists[low[leaf] + t]
            apart = long = 0.0
            vector, lane = (low[leaf] + t) // PACK, t % PACK
            for f in range(d):
                p = np.float64(candidates[c, f]) * scale[0] * scale[1]
                x = p - np.float64(candidates[first, f]) * scale[0] * scale[1]
                apart += abs(x)
                long += abs(p)
                packs[vector, f, lane] = x
            span, size = max(span, apart), max(size, long)
        for t in range(max(0, high[leaf]), -(-high[leaf] // PACK) * PACK):
            for f in range(d):
                packs[(low[leaf] + t) // PACK, f, t % PACK] = 0
        slack[leaf] = 2 * (relative * size + blur * span) + absolute + 2.0**-140


@part
def _look_up(query, begin, n, columns, rough, faces, least, table, grid, entries, dims):
    """The table's entry for each of ``n`` queries, or ``SHORT``.

    ``rough`` (d, n) gets the queries on their ``faces``, in float32. Columns, selections instead of
    branches, and floating-point numbers: so it vectorises.
    """
    zero, one, cells = np.float32(0), np.float32(1), np.float32(grid)
    half, last = np.float32(grid // 2), np.float32(grid - 1)
    for j in range(n):
        for f in range(len(dims)):
            columns[f, j] = query[begin + j, f]
    for j in range(n):
        face, signed = zero, columns[0, j]
        length = abs(signed)
        for f in range(1, len(dims)):
            x = columns[f, j]
            longer = abs(x) > length
            face = np.float32(f) if longer else face
            signed = x if longer else signed
            length = abs(x) if longer else length
        long = length >= least
        inverse = 1 / (length if long else 1.0)
        cell = face + face
        cell = cell + one if signed < 0 else cell
        before = np.float32(columns[0, j] * inverse)
        rough[0, j] = before
        for g in range(len(dims) - 1):
            after = np.float32(columns[g + 1, j] * inverse)
            rough[g + 1, j] = after
            t = before if np.float32(g) < face else after
            t = t if long else zero
            at = np.float32(np.int32((t + one) * half))
            cell = cell * cells + (at if at < last else last)
            before = after
        faces[j] = np.int32(face)
        entries[j] = np.int32(cell if long else -one)
    for j in range(n):
        entries[j] = table[entries[j]] if entries[j] >= 0 else SHORT


@part
def _screen(
    n, entries, rough, faces, low, high, at, lists, packs, slack, open_, starts, lengths, won, dims
):
    """Write to ``won`` the candidate that wins each of ``n`` queries, where the screening tells.

    Other queries are written to ``open_``, where their lists begin to ``starts``, and the
    ``lengths``, -1 for queries too short for one. Returns how many, and how many candidates were
    scored.
    """
    found = scored = 0
    for j in range(n):
        node = entries[j]
        won[j] = lone_candidate(node)
        open_[found], lengths[found] = j, -1
        if node < 0:
            continue
        if node == SHORT:
            found += 1
            continue
        while high[node] < 0:
            f = -1 - high[node]
            f += f >= faces[j]
            node = low[node] + (rough[f, j] >= at[node])
        begin, size = low[node], high[node]
        starts[found], lengths[found] = begin, size
        if not 0 < size < GROUPED:
            found += 1
            continue
        best = screen_list(packs, begin // PACK, size, rough, j, slack[node], dims)
        won[j] = lists[begin + max(best, 0)]
        found += best < 0
        scored += size
    return found, scored


@compiled
def attend(
    query, key, value, candidates, spans, members, firsts, source, rows,
    table, grid, low, high, at, lists, more, least, zero, packs, slack,
    ties, room, start, stop, mean, first, count, dims,
):  # fmt: skip
    """As of ``_cones_search.py``."""
    alone = len(members) == len(candidates)
    scored = 0
    entries, faces = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    open_, won = np.empty(BLOCK + 1, np.int32), np.empty(BLOCK, np.int32)
    starts, lengths = np.empty(BLOCK + 1, np.int32), np.empty(BLOCK + 1, np.int32)
    columns, rough = np.empty((len(dims), BLOCK)), np.empty((len(dims), BLOCK), np.float32)
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        _look_up(query, begin, size, columns, rough, faces, least, table, grid, entries, dims)
        n_open, n_scored = _screen(
            size, entries, rough, faces, low, high, at, lists, packs, slack, open_,
            starts, lengths, won, dims,
        )  # fmt: skip
        scored += n_scored
        for j in range(size):
            c = won[j]
            first[begin + j] = firsts[c]
            count[begin + j] = 1 if alone else spans[c + 1] - spans[c]
        copy_rows(source, rows, won, size, mean, begin, dims)
        if n_open == 0:
            continue
        for o in range(n_open):
            won[open_[o]] = -1
        scored += find_best(
            query, begin, open_, n_open, starts, lengths, lists, candidates, won, dims
        )  # fmt: skip
        scored += settle_open(
            begin, n_open, open_, starts, lengths, won, query, key, value, candidates, spans,
            members, firsts, source, rows, lists, more, zero, ties, begin, begin,
            mean, first, count, dims, *room,
        )  # fmt: skip
    return scored
