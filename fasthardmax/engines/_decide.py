"""Deciding canonically which of the screened keys win: parts of kernels, for panels of queries.

A table holds, for each block of keys and each lane, the largest approximate score. Only blocks
that reach what a lane's winners must reach are scored again, canonically.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ._canonical import fewest_keys, score_keys, tied, top_score
from ._jit import inlined, part
from ._lone_blocks import WORD, decide_lone, decide_lone_turned
from ._processor import VECTOR_BYTES
from ._table_search import hits, lone_hits, next_hit
from ._vectors import bit_count, copy_row, highest_bit, itemsize_of, lowest_bit

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
_SHORT_ROWS = 16  # features of queries that are packed feature by feature
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
    fewest = -(-n_keys // MOST_BLOCKS)
    return max(lanes, balanced - balanced % lanes, fewest + -fewest % lanes)


@inlined
def _row(rows, i):
    """``rows[i]``, or i itself where there is no such list."""
    return i if rows is None else rows[i]


@inlined
def padded_scores(query, i, key, start, stop, scores):
    """Canonical scores of query i against keys start..stop-1, padded with NaN."""
    d, n = key.shape[1], stop - start
    lanes = fewest_keys(itemsize_of(scores))
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
    d = query.shape[1]
    if d <= _SHORT_ROWS:
        for f in range(d):
            for lane in range(lanes):
                panels[p, f * width + lane] = query[i0 + lane, f]
    else:
        for lane in range(lanes):
            for f in range(d):
                panels[p, f * width + lane] = query[i0 + lane, f]
    for lane in range(lanes, width):
        for f in range(d):
            panels[p, f * width + lane] = query[i0 + lanes - 1, f]


@part
def find_winners(
    query, key, i0, lanes, causal, rule, allowed, added, least,
    block, n_blocks, n_visible, tables, p, found, best, last, scores, first, count,
):  # fmt: skip
    """Decide a panel canonically; returns the bit set of lanes that needed more than one block."""
    forget_winners(i0, lanes, best, last, first, count)
    return add_winners(
        query, key, None, i0, lanes, causal, rule, allowed, added, least, None,
        block, n_blocks, n_visible, tables, p, found, best, last, scores, first, count,
    )  # fmt: skip


@inlined
def forget_winners(i0, lanes, best, last, first, count):
    """Begin anew with a panel."""
    for lane in range(lanes):
        best[lane] = -np.inf
        last[lane] = -1
        first[i0 + lane] = -1
        count[i0 + lane] = 0


@inlined
def _look(
    query, key, i0, lane, blk, causal, rule, allowed, added,
    block, n_visible, best, last, scores, first, count,
):  # fmt: skip
    """Let the keys of a block compete with a lane's winners so far."""
    i = i0 + lane
    start, stop = blk * block, min((blk + 1) * block, n_visible)
    score_block(query, key, i, start, stop, causal, rule, allowed, added, scores)
    top = top_score(scores, stop - start)
    if top > -np.inf and top >= best[lane]:
        if top > best[lane]:
            best[lane] = top
            count[i] = 0
            last[lane] = -1
        for j in range(0, stop - start, WORD):
            ties_here = tied(scores, j, min(WORD, stop - start - j), top)
            if ties_here:
                found = start + j + lowest_bit(ties_here)
                first[i] = found if count[i] == 0 else min(first[i], found)
                count[i] += bit_count(ties_here)
                last[lane] = max(last[lane], start + j + highest_bit(ties_here))


@inlined
def _is_turned(turned):
    return turned is not None and len(turned) > 0


@part
def add_winners(
    query, key, turned, i0, lanes, causal, rule, allowed, added, least, done,
    block, n_blocks, n_visible, tables, p, found, best, last, scores, first, count,
):  # fmt: skip
    """Decide among the winners so far and the blocks that reach ``least`` and not ``done``.

    Returns the bit set of lanes that needed their second block. Most need one, without masks: those
    are decided lane after lane, without a branch that a processor could not foresee. ``turned``
    (vectors, d, ``fewest_keys``) are all keys as :func:`turn_rows` copies them, or None, or empty.
    """
    width = tables.shape[2]
    lanes_per_vector = VECTOR_BYTES // itemsize_of(tables)
    keys_per_vector = fewest_keys(itemsize_of(tables))
    rest = n_visible - (n_blocks - 1) * block
    if _is_turned(turned):
        # Vectors may hold keys that are not visible, where others are not.
        present, fewest = len(key), 1
    else:
        present, fewest = n_visible, keys_per_vector
    plain = rule == NO_MASK and not causal and min(block, rest) >= fewest
    again = np.uint64(0)
    for column in range(0, lanes, lanes_per_vector):
        at = p * tables.shape[1] * width + column
        end = min(lanes, column + lanes_per_vector)
        several = lone_hits(tables, at, width, n_blocks, least, done, column, found)
        again |= several << np.uint64(column)
        if not plain or key.shape[1] == 0:
            for lane in range(column, end):
                start = found[lane] * block
                stop = min(start + block, present)
                visible = min(stop, i0 + lane + 1) if causal else stop
                if found[lane] >= 0 and (
                    rule != NO_MASK or visible < stop or stop - start < fewest
                    or key.shape[1] == 0
                ):  # fmt: skip
                    found[lane] = -1
                    several |= np.uint64(1) << np.uint64(lane - column)
                    again |= np.uint64(best[lane] > -np.inf) << np.uint64(lane)
        if _is_turned(turned):
            again |= decide_lone_turned(
                query, i0, turned, block, found, column, end, best, last, first, count
            )
        else:
            again |= decide_lone(
                query, i0, key, block, present, found, column, end, scores, best, last, first, count
            )
        blk = -1
        while several and blk < n_blocks:
            blk = next_hit(tables, at, width, blk + 1, n_blocks, least, column, several)
            if blk < n_blocks:
                waiting = hits(tables, at + blk * width, least, column) & several
                if done is not None:
                    waiting &= ~hits(tables, at + blk * width, done, column)
                while waiting:
                    _look(
                        query, key, i0, column + lowest_bit(waiting), blk, causal, rule, allowed,
                        added, block, n_visible, best, last, scores, first, count,
                    )  # fmt: skip
                    waiting &= waiting - np.uint64(1)
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
        copy_row(value, _row(keys, last[lane] if ties == _LAST else first[i]), mean, at)
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
