"""Machine code that asks a cone index: find a query's cell and score its candidates.

The note on Numba's disk cache in ``_vectors.py`` holds for this file and ``_cones_ties.py``.
"""

from __future__ import annotations

import numpy as np

from ._cones_ties import copy_row, scan, score_of, settle, sort
from ._jit import compiled, inlined, part

__all__ = [
    "BLOCK", "SHORT", "attend", "find_best", "list_ties", "new_room", "settle_open", "write",
]  # fmt: skip

# Queries handled at once: what they read is then fetched from memory at once as well.
BLOCK = 256
_HELD = 64  # tie sets
_DEPTH = 64  # of the tree of boxes, at most
# In place of a table's entry, for a query too short for it.
SHORT = np.iinfo(np.int32).max


@part
def _look_up(query, begin, n, columns, least, table, grid, entries, dims):
    """The table's entry for each of ``n`` queries, or ``SHORT``.

    Columns, selections instead of branches, and floating-point numbers: so it vectorises.
    """
    real = query.dtype.type
    zero, one, cells = real(0), real(1), real(grid)
    half, last = real(grid // 2), real(grid - 1)
    for j in range(n):
        for f in range(len(dims)):
            columns[f, j] = query[begin + j, f]
    for j in range(n):
        face, signed = zero, columns[0, j]
        length = abs(signed)
        for f in range(1, len(dims)):
            x = columns[f, j]
            longer = abs(x) > length
            face = real(f) if longer else face
            signed = x if longer else signed
            length = abs(x) if longer else length
        long = length >= least
        length = length if long else one
        cell = face + face
        cell = cell + one if signed < zero else cell
        for g in range(len(dims) - 1):
            before, after = columns[g, j], columns[g + 1, j]
            t = before if real(g) < face else after
            t = t if long else zero
            at = real(np.int32((t / length + one) * half))
            cell = cell * cells + (at if at < last else last)
        cell = cell if long else -one
        entries[j] = np.int32(cell)
    for j in range(n):
        entries[j] = table[entries[j]] if entries[j] >= 0 else SHORT


@inlined
def _leaf(query, i, node, low, high, at, dims):
    """The leaf under ``node`` that holds query i."""
    d = len(dims)
    if high[node] >= 0:
        return node
    face, length = 0, abs(query[i, 0])
    for f in range(1, d):
        x = abs(query[i, f])
        longer = x > length
        face = f if longer else face
        length = x if longer else length
    while high[node] < 0:
        f = -1 - high[node]
        f += f >= face
        node = low[node] + (query[i, f] / length >= at[node])
    return node


@inlined
def _bound(query, i, boxes, b, dims):
    """The canonical score of a box's best corner: rounding is monotone, so no key scores more."""
    score = max(query[i, 0] * boxes[b, 0, 0], query[i, 0] * boxes[b, 1, 0])
    for f in range(1, len(dims)):
        score += max(query[i, f] * boxes[b, 0, f], query[i, f] * boxes[b, 1, f])
    return score


@part
def _tied_in_tree(query, i, lists, boxes, keys, tied, nodes, bounds, dims):
    """As :func:`_tied` over all candidates, the last ``len(keys)`` entries of ``lists``."""
    n = len(keys)
    first = len(lists) - n
    bottom = len(boxes) // 2
    nodes[0], bounds[0] = 1, np.inf
    pending = 1
    best = keys.dtype.type(-np.inf)
    found = scored = 0
    while pending:
        pending -= 1
        node = nodes[pending]
        if bounds[pending] < best:
            continue
        if node < bottom:
            left = _bound(query, i, boxes, 2 * node, dims)
            right = _bound(query, i, boxes, 2 * node + 1, dims)
            nodes[pending], bounds[pending] = 2 * node, left
            nodes[pending + 1], bounds[pending + 1] = 2 * node + 1, right
            if left > right:
                nodes[pending], bounds[pending] = 2 * node + 1, right
                nodes[pending + 1], bounds[pending + 1] = 2 * node, left
            pending += 2
            continue
        start, stop = n * (node - bottom) // bottom, n * (node - bottom + 1) // bottom
        scored += stop - start
        for j in range(first + start, first + stop):
            score = score_of(query, i, keys, lists[j], dims)
            if score > best:
                best = score
                found = 0
            if score == best:
                tied[found] = lists[j]
                found += 1
    return found, scored


@part
def _find_leaves(query, begin, open_, n, entries, low, high, at, leaves, dims):
    """The leaf of each of the ``n`` queries in ``open_``, -1 for those too short for one."""
    for o in range(n):
        j = open_[o]
        entry = entries[j]
        short = entry == SHORT
        leaves[o] = -1 if short else _leaf(query, begin + j, entry, low, high, at, dims)


@part
def find_best(query, begin, open_, n, low, high, lists, keys, leaves, won, dims):
    """The best candidate of each query with a leaf, -1 where several are; how many were scored.

    Queries without a leaf, and those whose candidates are not listed, are passed over. Selections
    instead of branches, which could not be foretold: the reads of one query wait for no other's.
    """
    scored = 0
    for o in range(n):
        leaf = leaves[o]
        if leaf < 0 or high[leaf] == 0:
            continue
        i = begin + open_[o]
        start, stop = low[leaf], low[leaf] + high[leaf]
        chosen = lists[start]
        best = score_of(query, i, keys, chosen, dims)
        several = False
        for t in range(start + 1, stop):
            c = lists[t]
            score = score_of(query, i, keys, c, dims)
            better = score > best
            several = (several | (score == best)) & (not better)
            chosen = c if better else chosen
            best = score if better else best
        won[open_[o]] = -1 if several else chosen
        scored += stop - start
    return scored


@part
def _tied(query, i, leaf, low, high, lists, boxes, keys, tied, nodes, bounds, dims):
    """Write the winning candidates of query i to ``tied``; how many, and how many were scored."""
    if high[leaf] == 0:
        return _tied_in_tree(query, i, lists, boxes, keys, tied, nodes, bounds, dims)
    start, stop = low[leaf], low[leaf] + high[leaf]
    best = keys.dtype.type(-np.inf)
    found = 0
    for j in range(start, stop):
        score = score_of(query, i, keys, lists[j], dims)
        if score > best:
            best = score
            found = 0
        if score == best:
            tied[found] = lists[j]
            found += 1
    return found, stop - start


@inlined
def write(i, c, alone, spans, members, source, rows, mean, first, count):
    """Answer query i, where candidate c wins; ``alone`` if none has more than one member."""
    first[i] = members[c if alone else spans[c]]
    count[i] = 1 if alone else spans[c + 1] - spans[c]
    row = rows[c]
    for v in range(mean.shape[1]):
        mean[i, v] = source[row, v]


@part
def _write_table(begin, n, entries, alone, spans, members, source, rows, mean, first, count):
    """Answer the queries with one candidate; other rows get that of another, for no branch."""
    for j in range(n):
        c = max(-1 - entries[j], 0)
        write(begin + j, c, alone, spans, members, source, rows, mean, first, count)


@part
def _select_open(entries, n, open_):
    """Write to ``open_`` which queries have more than one candidate, or none; how many."""
    found = 0
    for j in range(n):
        open_[found] = j
        found += entries[j] >= 0
    return found


@compiled
def new_room(candidates):
    """Room for tie sets, the latest of which are kept, and for a tree, in ``settle_open``."""
    return (
        np.empty(len(candidates), np.int32), np.empty((_HELD, len(candidates)), np.int32),
        np.zeros(_HELD, np.int64), np.empty(_HELD, np.int64), np.full(1, -1),
        np.empty(_DEPTH, np.int64), np.empty(_DEPTH, candidates.dtype),
    )  # fmt: skip


@compiled
def settle_open(
    begin, n, open_, leaves, won, query, key, value, candidates, spans, members, source, rows,
    low, high, lists, boxes, zero, ties, mean, first, count, dims,
    tied, held, n_held, held_row, zero_row, nodes, bounds,
):  # fmt: skip
    """Answer ``n`` of a block's queries, those won by one and others; how many were scored anew.

    The last arguments are those of :func:`new_room`.
    """
    alone = len(members) == len(candidates)
    scored = 0
    for o in range(n):
        j, leaf = open_[o], leaves[o]
        i = begin + j
        if won[j] >= 0:
            write(i, won[j], alone, spans, members, source, rows, mean, first, count)
            continue
        if leaf < 0:
            flat = True
            for f in range(len(dims)):
                flat &= abs(query[i, f]) <= zero
            if flat and zero_row[0] >= 0:
                copy_row(mean, first, count, i, zero_row[0])
                continue
            first[i], count[i] = scan(query, i, key, value, ties, mean, dims)
            scored += len(key)
            if flat:
                zero_row[0] = i
            continue
        found, new = _tied(
            query, i, leaf, low, high, lists, boxes, candidates, tied, nodes, bounds, dims
        )
        scored += new if high[leaf] == 0 else 0  # others have been counted
        if found == 1:
            write(i, tied[0], alone, spans, members, source, rows, mean, first, count)
            continue
        # Queries often tie alike: the latest tie sets are kept.
        slot = (found + 3 * tied[0] + 5 * tied[found - 1]) % _HELD
        same = found == n_held[slot]
        for t in range(found if same else 0):
            same &= tied[t] == held[slot, t]
        if same:
            copy_row(mean, first, count, i, held_row[slot])
            continue
        first[i], count[i] = settle(tied, found, spans, members, value, ties, mean, i)
        for t in range(found):
            held[slot, t] = tied[t]
        n_held[slot], held_row[slot] = found, i
    return scored


@compiled
def attend(
    query, key, value, candidates, spans, members, source, rows,
    table, grid, low, high, at, lists, boxes, least, zero,
    ties, start, stop, mean, first, count, dims,
):  # fmt: skip
    """Answer queries start..stop-1; returns how many candidates were scored.

    ``source[rows[c]]`` is the mean over candidate c alone. Queries no longer than ``zero`` tie with
    every key.
    """
    alone = len(members) == len(candidates)
    room = new_room(candidates)
    scored = 0
    entries = np.empty(BLOCK, np.int32)
    open_ = np.empty(BLOCK, np.int32)
    leaves = np.empty(BLOCK, np.int32)
    won = np.empty(BLOCK, np.int32)
    columns = np.empty((len(dims), BLOCK), query.dtype)
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        _look_up(query, begin, size, columns, least, table, grid, entries, dims)
        _write_table(
            begin, size, entries, alone, spans, members, source, rows, mean, first, count
        )  # fmt: skip
        n_open = _select_open(entries, size, open_)
        _find_leaves(query, begin, open_, n_open, entries, low, high, at, leaves, dims)
        for o in range(n_open):
            won[open_[o]] = -1
        scored += find_best(
            query, begin, open_, n_open, low, high, lists, candidates, leaves, won, dims
        )  # fmt: skip
        scored += settle_open(
            begin, n_open, open_, leaves, won, query, key, value, candidates, spans, members,
            source, rows, low, high, lists, boxes, zero, ties, mean, first, count, dims, *room,
        )  # fmt: skip
    return scored


@compiled
def list_ties(
    query, key, candidates, spans, members, table, grid, low, high, at, lists, boxes, least,
    first, indptr, start, stop, indices, dims,
):  # fmt: skip
    """Write every winner of queries start..stop-1, in increasing order."""
    tied = np.empty(len(candidates), np.int32)
    entries, leaves, here = np.empty(1, np.int32), np.empty(1, np.int32), np.zeros(1, np.int32)
    nodes, bounds = np.empty(_DEPTH, np.int64), np.empty(_DEPTH, query.dtype)
    columns = np.empty((len(dims), 1), query.dtype)
    for i in range(start, stop):
        at_i = indptr[i]
        _look_up(query, i, 1, columns, least, table, grid, entries, dims)
        entry = entries[0]
        n = 0
        if entry == SHORT:
            best = score_of(query, i, key, first[i], dims)
            for j in range(first[i], len(key)):
                if score_of(query, i, key, j, dims) == best:
                    indices[at_i + n] = j
                    n += 1
            continue
        found = 1
        tied[0] = -1 - entry
        if entry >= 0:
            _find_leaves(query, i, here, 1, entries, low, high, at, leaves, dims)
            found, _ = _tied(
                query, i, leaves[0], low, high, lists, boxes, candidates, tied, nodes, bounds, dims
            )
        for t in range(found):
            for s in range(spans[tied[t]], spans[tied[t] + 1]):
                indices[at_i + n] = members[s]
                n += 1
        if found > 1:
            sort(indices[at_i : at_i + n], n)
