"""Deciding canonically which of the screened keys win: parts of kernels, for panels of queries.

A table holds, for each block of keys and each lane, the largest approximate score. Only blocks
that reach what a lane's winners must reach are scored again, canonically.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ._canonical import fewest_keys, reaching, score_keys, top_score
from ._jit import inlined, part
from ._vectors import VECTOR_BYTES, bit_count, highest_bit, hits, lowest_bit, next_hit

__all__ = [
    "ADDED",
    "ALLOWED",
    "MOST_BLOCKS",
    "NO_MASK",
    "TIES",
    "add_winners",
    "average_winners",
    "block_size",
    "find_winners",
    "forget_winners",
    "pack",
    "padded_scores",
    "score_block",
]

# What a problem's mask is, and what its ties give.
NO_MASK, ALLOWED, ADDED = 0, 1, 2
_MEAN, _LAST = 0, 2
TIES = {"mean": _MEAN, "first": 1, "last": _LAST}
# Keeps the tables small.
MOST_BLOCKS = 512


@register_jitable
def block_size(n_keys: int, d: int, itemsize: int) -> int:
    """Keys per block, so that screening and rescoring together cost least.

    One more block costs the screening what 10 / (d + 3) more keys cost the rescoring (measured).
    Whole vectors of keys are rescored.
    """
    balanced = int(math.sqrt(10 * n_keys // (d + 3)))
    lanes = fewest_keys(itemsize)
    return max(lanes, balanced - balanced % lanes, -(-n_keys // MOST_BLOCKS))


@inlined
def _row(rows, i):
    """``rows[i]``, or i itself where there is no such list."""
    return i if rows is None else rows[i]


@inlined
def padded_scores(query, i, key, start, stop, scores):
    """Canonical scores of query i against keys start..stop-1, padded with NaN."""
    d, n = key.shape[1], stop - start
    lanes = fewest_keys(scores.itemsize)
    if d > 0 and n >= lanes:
        score_keys(query, i, key, start, stop, scores)
    else:
        for j in range(n):
            score = query[i, 0] * key[start + j, 0] if d > 0 else scores.dtype.type(0)
            for f in range(1, d):
                score += query[i, f] * key[start + j, f]
            scores[j] = score
    for j in range(n, -(-n // lanes) * lanes):
        scores[j] = np.nan


@inlined
def _forbidden(i, j, causal, rule, allowed, added):
    if causal and j > i:
        return True
    if rule == ALLOWED:
        return not allowed[i, j]
    return rule == ADDED and added[i, j] == -np.inf


@inlined
def score_block(
    query, key, i, start, stop, causal, rule, allowed, added, scores
):  # fmt: skip
    """Canonical scores of query i against keys start..stop-1, NaN where forbidden."""
    padded_scores(query, i, key, start, stop, scores)
    if rule == ADDED:
        for j in range(start, stop):
            scores[j - start] += added[i, j]
    if rule != NO_MASK or (causal and stop > i + 1):
        for j in range(start, stop):
            if _forbidden(i, j, causal, rule, allowed, added):
                scores[j - start] = np.nan


@part
def pack(query, i0, lanes, width, panels, p):
    """Queries i0..i0+lanes-1 to panel p, feature-major; spare lanes repeat the last query."""
    for lane in range(width):
        i = i0 + min(lane, lanes - 1)
        for f in range(query.shape[1]):
            panels[p, f * width + lane] = query[i, f]


@part
def find_winners(
    query, key, i0, lanes, causal, rule, allowed, added, least,
    block, n_blocks, n_visible, tables, p, tries, best, last, scores, first, count,
):  # fmt: skip
    """Decide a panel canonically; returns how many queries needed more than one block."""
    forget_winners(i0, lanes, tries, best, last, first, count)
    return add_winners(
        query, key, i0, lanes, causal, rule, allowed, added, least, None,
        block, n_blocks, n_visible, tables, p, tries, best, last, scores, first, count,
    )  # fmt: skip


@part
def forget_winners(i0, lanes, tries, best, last, first, count):
    """Begin anew with a panel."""
    for lane in range(lanes):
        tries[lane] = 0
        best[lane] = -np.inf
        last[lane] = -1
        first[i0 + lane] = -1
        count[i0 + lane] = 0


@part
def add_winners(
    query, key, i0, lanes, causal, rule, allowed, added, least, done,
    block, n_blocks, n_visible, tables, p, tries, best, last, scores, first, count,
):  # fmt: skip
    """Decide among the winners so far and the blocks that reach ``least`` and not ``done``.

    Returns how many queries needed their second block.
    """
    width = tables.shape[2]
    lanes_per_vector = VECTOR_BYTES // tables.itemsize
    at = p * tables.shape[1] * width
    again = 0
    column, blk = 0, 0
    while column < lanes:
        blk = next_hit(tables, at + column, width, blk, n_blocks, least, column)
        if blk == n_blocks:
            column += lanes_per_vector
            blk = 0
            continue
        waiting = hits(tables, at + blk * width + column, least, column)
        if done is not None:
            waiting &= ~hits(tables, at + blk * width + column, done, column)
        while waiting:
            lane = column + lowest_bit(waiting)
            waiting &= waiting - np.uint64(1)
            i = i0 + lane
            if tries[lane] == 1:
                again += 1
            tries[lane] += 1
            start, stop = blk * block, min((blk + 1) * block, n_visible)
            score_block(query, key, i, start, stop, causal, rule, allowed, added, scores)
            top = top_score(scores, stop - start)
            if top < best[lane] or top == -np.inf:
                continue
            if top > best[lane]:
                best[lane] = top
                count[i] = 0
                last[lane] = -1
            for j in range(0, stop - start, fewest_keys(scores.itemsize)):
                ties_here = reaching(scores, j, top)
                if ties_here:
                    found = start + j + lowest_bit(ties_here)
                    first[i] = found if count[i] == 0 else min(first[i], found)
                    count[i] += bit_count(ties_here)
                    last[lane] = max(last[lane], start + j + highest_bit(ties_here))
        blk += 1
    return again


@part
def average_winners(
    query, key, value, i0, lanes, causal, rule, allowed, added, least,
    block, n_visible, tables, p, best, last, scores, ties, rows, keys, first, count, mean,
):  # fmt: skip
    """Means of a panel whose winners are found.

    Query i is row ``rows[i]`` of ``mean``, key j is row ``keys[j]`` of ``value``; None: the same.
    """
    n_values = value.shape[1]
    number = query.dtype.type
    summed = -1  # the query before that had a run of neighbouring winners
    for lane in range(lanes if n_values else 0):
        i = i0 + lane
        at = _row(rows, i)
        if count[i] == 0:
            for c in range(n_values):
                mean[at, c] = 0
            continue
        source = _row(keys, last[lane] if ties == _LAST else first[i])
        for c in range(n_values):
            mean[at, c] = value[source, c]
        if ties != _MEAN or count[i] < 2:
            continue
        if last[lane] - first[i] + 1 == count[i]:
            # Equal keys often lie together, and win together for many queries.
            if summed >= 0 and first[summed] == first[i] and count[summed] == count[i]:
                same = _row(rows, summed)
                for c in range(n_values):
                    mean[at, c] = mean[same, c]
                continue
            summed = i
            for j in range(first[i] + 1, last[lane] + 1):
                source = _row(keys, j)
                for c in range(n_values):
                    mean[at, c] += value[source, c]
        else:
            for blk in range(first[i] // block, last[lane] // block + 1):
                if tables[p, blk, lane] < least[lane]:
                    continue
                start, stop = blk * block, min((blk + 1) * block, n_visible)
                score_block(query, key, i, start, stop, causal, rule, allowed, added, scores)
                for j in range(max(start, first[i] + 1), stop):
                    if scores[j - start] == best[lane]:
                        source = _row(keys, j)
                        for c in range(n_values):
                            mean[at, c] += value[source, c]
        divisor = number(count[i])
        for c in range(n_values):
            mean[at, c] /= divisor
