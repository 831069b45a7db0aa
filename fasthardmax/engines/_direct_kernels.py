"""Kernels of the direct engine: screening of query panels, canonical decision.

Keys stream past each panel of queries in blocks; the screening keeps, for each block and lane, the
largest approximate (fused) score. Only blocks whose maximum lies within the screening slack of the
lane's best are scored again, canonically, and decide.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ._vectors import VECTOR_BYTES, hits, lowest_bit, prefetch, screen_block

# What a problem's mask is, and what its ties give.
NO_MASK, ALLOWED, ADDED = 0, 1, 2
MEAN, FIRST, LAST = 0, 1, 2

# Kernels that Python calls, and parts of them, which need no wrappers and so compile faster.
_compiled = njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)
_part = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_part
def _score_keys(query, keys, rule, added, scores):
    """Canonical scores of one query (d,) against ``keys`` (n, d), the float mask added last."""
    n, d = keys.shape
    if d == 2:
        for j in range(n):
            scores[j] = query[0] * keys[j, 0] + query[1] * keys[j, 1]
    elif d == 3:
        for j in range(n):
            scores[j] = (query[0] * keys[j, 0] + query[1] * keys[j, 1]) + query[2] * keys[j, 2]
    elif d == 0:
        for j in range(n):
            scores[j] = 0
    else:
        # Four keys side by side: each sum is a chain of dependent additions.
        whole = n - n % 4
        for j in range(0, whole, 4):
            q = query[0]
            s0, s1 = q * keys[j, 0], q * keys[j + 1, 0]
            s2, s3 = q * keys[j + 2, 0], q * keys[j + 3, 0]
            for f in range(1, d):
                q = query[f]
                s0 += q * keys[j, f]
                s1 += q * keys[j + 1, f]
                s2 += q * keys[j + 2, f]
                s3 += q * keys[j + 3, f]
            scores[j], scores[j + 1], scores[j + 2], scores[j + 3] = s0, s1, s2, s3
        for j in range(whole, n):
            s0 = query[0] * keys[j, 0]
            for f in range(1, d):
                s0 += query[f] * keys[j, f]
            scores[j] = s0
    if rule == ADDED:
        for j in range(n):
            scores[j] += added[j]


@_part
def _forbidden(i, j, causal, rule, allowed, added):
    if causal and j > i:
        return True
    if rule == ALLOWED:
        return not allowed[i, j]
    return rule == ADDED and added[i, j] == -np.inf


@_part
def _score_block(
    query, key, i, start, stop, causal, rule, allowed, added, scores
):  # fmt: skip
    """Canonical scores of query i against keys start..stop-1, NaN where forbidden."""
    plus = added[i, start:stop] if rule == ADDED else added[0, :0]
    _score_keys(query[i], key[start:stop], rule, plus, scores)
    if causal or rule != NO_MASK:
        for j in range(start, stop):
            if _forbidden(i, j, causal, rule, allowed, added):
                scores[j - start] = np.nan


@_part
def _pack(query, i0, lanes, width, panel):
    """Queries i0..i0+lanes-1, feature-major; spare lanes repeat the last query."""
    for lane in range(width):
        row = query[i0 + min(lane, lanes - 1)]
        for f in range(len(row)):
            panel[f * width + lane] = row[f]


@_part
def _fill_bias(start, stop, i0, lanes, causal, rule, allowed, added, bias):
    """What the masks add to keys start..stop-1, -inf where forbidden; False if all are."""
    width = bias.shape[1]
    never = bias.dtype.type(-np.inf)
    # Looked up, not branched on: masks are as unpredictable as they like.
    verdict = np.empty(2, bias.dtype)
    verdict[0], verdict[1] = never, 0
    some = 0
    for lane in range(width):
        i = i0 + min(lane, lanes - 1)
        visible = max(start, min(stop, i + 1)) - start if causal else stop - start
        if rule == ALLOWED:
            row = allowed[i, start:stop]
            for j in range(visible):
                bias[j, lane] = verdict[int(row[j])]
                some |= int(row[j])
        elif rule == ADDED:
            plus = added[i, start:stop]
            for j in range(visible):
                bias[j, lane] = plus[j]
                some |= int(plus[j] > never)
        else:
            for j in range(visible):
                bias[j, lane] = 0
            some |= int(visible > 0)
        for j in range(visible, stop - start):
            bias[j, lane] = never
    return some != 0


@_compiled
def screen(
    query, key, query_of, key_of, mask_of, causal, rule, allowed, added,
    start, stop, first_block, last_block, block, stride, packed, bias, tables, vectors, unroll,
):  # fmt: skip
    """Fill rows first_block..last_block-1 of the tables of panels start..stop-1.

    Panels are numbered through the batches; ``tables`` (stop - start, blocks, width). Those in
    ``packed`` (P, d * width) share each run of ``stride`` blocks of keys while it is in cache.
    """
    n_queries, n_keys, d = query.shape[1], key.shape[1], key.shape[2]
    width = tables.shape[2]
    per_batch = -(-n_queries // width)
    flat = tables.reshape(-1)
    panel = start
    while panel < stop:
        b, i0 = panel // per_batch, panel % per_batch * width
        together = min(len(packed), stop - panel, per_batch - panel % per_batch)
        q, k = query[query_of[b]], key[key_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        n_visible = min(n_keys, n_queries, i0 + together * width) if causal else n_keys
        end = min(last_block, -(-n_visible // block))
        for p in range(together):
            _pack(q, i0 + p * width, min(width, n_queries - i0 - p * width), width, packed[p])
        for run in range(first_block, end, stride):
            run_end = min(run + stride, end)
            # The next run of keys comes into cache while this one is worked on.
            ahead = min(stride * block, max(0, n_visible - run_end * block))
            for p in range(together):
                for j in range(ahead * p // together, ahead * (p + 1) // together):
                    prefetch(k, run_end * block + j)
                i = i0 + p * width
                lanes = min(width, n_queries - i)
                for blk in range(run, run_end):
                    j0, j1 = blk * block, min((blk + 1) * block, n_visible)
                    at = ((panel - start + p) * tables.shape[1] + blk) * width
                    if rule == NO_MASK and not (causal and j1 > i + 1):
                        screen_block(packed[p], k, j0, j1, d, None, flat, at, vectors, unroll)
                    elif _fill_bias(j0, j1, i, lanes, causal, rule, yes, plus, bias):
                        screen_block(packed[p], k, j0, j1, d, bias, flat, at, vectors, unroll)
                    else:
                        for lane in range(width):
                            flat[at + lane] = -np.inf
        panel += together


@_part
def _thresholds(query, i0, lanes, rule, slack, key_peak, table, n_blocks, least):
    """The approximate score that each lane's winners must reach; inf where nothing is allowed."""
    width = table.shape[1]
    top = np.empty(width, table.dtype)
    reach = np.empty(width, table.dtype)
    for lane in range(width):
        top[lane] = -np.inf
        reach[lane] = 0
        least[lane] = np.inf
    for blk in range(n_blocks):
        for lane in range(width):
            if table[blk, lane] > top[lane]:
                top[lane] = table[blk, lane]
    for f in range(len(key_peak)):
        for lane in range(lanes):
            reach[lane] += abs(query[i0 + lane, f]) * key_peak[f]
    for lane in range(lanes):
        if top[lane] > -np.inf:
            allowance = slack[0] * reach[lane] + slack[1]
            if rule == ADDED:
                allowance += slack[2] * abs(top[lane])
            least[lane] = top[lane] - allowance


@_part
def _decide_panel(
    query, key, value, i0, lanes, causal, rule, allowed, added, least,
    block, n_blocks, n_visible, table, tries, best, last, scores, ties, mean, first, count,
):  # fmt: skip
    """Decide a panel canonically; returns how many queries needed more than one block."""
    width, n_values = table.shape[1], value.shape[1]
    number = query.dtype.type
    lanes_per_vector = VECTOR_BYTES // table.itemsize
    flat = table.reshape(-1)
    for lane in range(lanes):
        tries[lane] = 0
        best[lane] = -np.inf
        last[lane] = -1
        first[i0 + lane] = -1
        count[i0 + lane] = 0
    again = 0
    for blk in range(n_blocks):
        waiting = np.uint64(0)
        for lane in range(0, width, lanes_per_vector):
            waiting |= hits(flat, blk * width, least, lane)
        while waiting:
            lane = lowest_bit(waiting)
            waiting &= waiting - np.uint64(1)
            i = i0 + lane
            if tries[lane] == 1:
                again += 1
            tries[lane] += 1
            start, stop = blk * block, min((blk + 1) * block, n_visible)
            _score_block(query, key, i, start, stop, causal, rule, allowed, added, scores)
            top = best[lane]
            for j in range(stop - start):
                if scores[j] > top:
                    top = scores[j]
            if top > best[lane]:
                best[lane] = top
                count[i] = 0
            for j in range(stop - start):
                if scores[j] == top:
                    if count[i] == 0:
                        first[i] = start + j
                    count[i] += 1
                    last[lane] = start + j

    for lane in range(lanes if n_values else 0):
        i = i0 + lane
        if count[i] == 0:
            for c in range(n_values):
                mean[i, c] = 0
            continue
        source = last[lane] if ties == LAST else first[i]
        for c in range(n_values):
            mean[i, c] = value[source, c]
        if ties != MEAN or count[i] < 2:
            continue
        for blk in range(first[i] // block, last[lane] // block + 1):
            if table[blk, lane] < least[lane]:
                continue
            start, stop = blk * block, min((blk + 1) * block, n_visible)
            _score_block(query, key, i, start, stop, causal, rule, allowed, added, scores)
            for j in range(max(start, first[i] + 1), stop):
                if scores[j - start] == best[lane]:
                    for c in range(n_values):
                        mean[i, c] += value[j, c]
        divisor = number(count[i])
        for c in range(n_values):
            mean[i, c] /= divisor
    return again


@_compiled
def decide(
    query, key, value, query_of, key_of, value_of, mask_of, causal, rule, allowed, added,
    slack, key_peak, start, stop, block, tables, scores, ties, mean, first, count,
):  # fmt: skip
    """Turn the tables of panels start..stop-1 into winners and means.

    Returns how many queries needed more than one block.
    """
    n_queries, n_keys = query.shape[1], key.shape[1]
    width = tables.shape[2]
    per_batch = -(-n_queries // width)
    least = np.empty(width, query.dtype)
    best = np.empty(width, query.dtype)
    last = np.empty(width, np.int64)
    tries = np.empty(width, np.int64)
    again = 0
    for panel in range(start, stop):
        b, i0 = panel // per_batch, panel % per_batch * width
        lanes = min(width, n_queries - i0)
        n_visible = min(n_keys, i0 + lanes) if causal else n_keys
        n_blocks = -(-n_visible // block)
        q, k, table = query[query_of[b]], key[key_of[b]], tables[panel - start]
        _thresholds(q, i0, lanes, rule, slack, key_peak[key_of[b]], table, n_blocks, least)
        again += _decide_panel(
            q, k, value[value_of[b]], i0, lanes,
            causal, rule, allowed[0, mask_of[b]], added[0, mask_of[b]],
            least, block, n_blocks, n_visible, table, tries, best, last, scores,
            ties, mean[b], first[b], count[b],
        )  # fmt: skip
    return again


@_compiled
def list_ties(
    query, key, query_of, key_of, mask_of, causal, rule, allowed, added,
    first, count, indptr, start, stop, scores, indices,
):  # fmt: skip
    """Write every winner of flat rows start..stop-1, walking on from the first one."""
    n_queries, block = query.shape[1], len(scores)
    for row in range(start, stop):
        b, i = row // n_queries, row % n_queries
        q, k = query[query_of[b]], key[key_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        at = indptr[row]
        begin = first[b, i]
        best = q.dtype.type(0)
        while at < indptr[row + 1]:
            end = min(begin + block, len(k))
            _score_block(q, k, i, begin, end, causal, rule, yes, plus, scores)
            if begin == first[b, i]:
                best = scores[0]
            for j in range(end - begin):
                if scores[j] == best:
                    indices[at] = begin + j
                    at += 1
            begin = end
