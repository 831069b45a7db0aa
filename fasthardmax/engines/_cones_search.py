"""Machine code that asks a cone index: find a query's cell and score its candidates.

The note on Numba's disk cache in ``_vectors.py`` holds for this file, ``_cones_open.py``,
``_cones_ties.py`` and ``_cones_boxes.py``.
"""

from __future__ import annotations

import numpy as np

from ._cones_divide import GROUPED
from ._cones_entries import candidate_of, length_of, lone_candidate
from ._cones_lanes import find_cells, settle_streams, stream
from ._cones_long import ROOM
from ._cones_open import DEPTH, settle_open, tied_in_list
from ._cones_ties import copy_row, copy_rows, listed, score_of, sort
from ._jit import compiled, inlined, part
from ._processor import VECTOR_BYTES
from ._vectors import prefetch

__all__ = ["BLOCK", "SHORT", "attend", "find_best", "list_ties"]

# Queries handled at once: what they read is then fetched from memory at once as well.
BLOCK = 256
_FETCHED = 16  # more queries of a block than this, and their candidates are asked for ahead
# Answers of so many bytes a query go by way of a block past the caches, if they are streamed.
_STREAMED_ROW = 64
_SHALLOW = 4  # steps down to a leaf, for which quotients are formed one by one
_CACHED = 1 << 16  # entries of a table that is not asked for ahead
# In place of a table's entry, for a query too short for it.
SHORT = np.iinfo(np.int32).max


@part
def _find_cells(query, begin, n, rest, least, grid, cells, dims):
    """The cell of each of ``n`` queries, -1 for those too short; ``rest`` is room for a vector.

    Of ``cells`` a whole number of vectors is written.
    """
    lanes = len(rest)
    whole = n - n % lanes
    for j in range(0, whole, lanes):
        find_cells(query, begin + j, grid, least, cells, j, dims)
    if whole < n:
        for j in range(whole, n):
            for f in range(len(dims)):
                rest[j - whole, f] = query[begin + j, f]
        find_cells(rest, 0, grid, least, cells, whole, dims)


@part
def _look_up(n, cells, table, entries, open_, won):
    """Write to ``won`` the candidates that ``n`` queries have alone; others get another's.

    Writes to ``open_`` which have more than one, or none; returns how many. ``entries`` get the
    table's entries, ``SHORT`` for queries too short for it.
    """
    found = 0
    if len(table) > _CACHED:
        for j in range(n):
            prefetch(table, max(cells[j], 0))
    for j in range(n):
        cell = cells[j]
        entry = table[max(cell, 0)] if cell >= 0 else SHORT
        entries[j] = entry
        open_[found] = j
        found += (entry >= 0) | (length_of(entry) > 1)
        won[j] = lone_candidate(entry)
    return found


@inlined
def _leaf(query, i, node, low, high, at, room, dims):
    """The leaf under ``node`` that holds query i; ``room`` for its place on the face."""
    d = len(dims)
    if high[node] >= 0:
        return node
    face, length = 0, abs(query[i, 0])
    for f in range(1, d):
        x = abs(query[i, f])
        longer = x > length
        face = f if longer else face
        length = x if longer else length
    for _ in range(_SHALLOW):
        f = -1 - high[node]
        f += f >= face
        node = low[node] + (query[i, f] / length >= at[node])
        if high[node] >= 0:
            return node
    return _deep_leaf(query, i, node, face, length, low, high, at, room, dims)


@part
def _deep_leaf(query, i, node, face, length, low, high, at, room, dims):
    """As :func:`_leaf`, its quotients formed at once: they are what takes long."""
    for f in range(len(dims)):
        room[f] = query[i, f] / length
    while high[node] < 0:
        f = -1 - high[node]
        f += f >= face
        node = low[node] + (room[f] >= at[node])
    return node


@part
def _find_lists(query, begin, open_, n, entries, low, high, at, starts, lengths, room, dims):
    """The list of each of the ``n`` queries in ``open_``, of length -1 for those too short for one.

    As ``_cones_divide.divide`` describes them for leaves.
    """
    for o in range(n):
        j = open_[o]
        entry = entries[j]
        starts[o], lengths[o] = candidate_of(entry), length_of(entry)
        if entry == SHORT:
            lengths[o] = -1
        elif entry >= 0:
            leaf = _leaf(query, begin + j, entry, low, high, at, room, dims)
            starts[o], lengths[o] = low[leaf], high[leaf]


@part
def _fetch(n, starts, lengths, lists, keys, firsts, ends):
    """Ask for what :func:`find_best` will read: whole loops of reads that wait for no other.

    Candidates of a list were numbered one after the other, if they had no number yet: the first and
    the last of them stand for all. ``ends`` (2, n) is room for them.
    """
    last = (len(lists) or len(keys)) - 1
    for o in range(n):
        start = max(starts[o], 0)
        ends[0, o], ends[1, o] = start, start + max(lengths[o], 1) - 1
    for o in range(n):
        for end in range(2):
            ends[end, o] = listed(lists, min(ends[end, o], last))  # unlisted ones end anywhere
    for o in range(n):
        for end in range(2):
            prefetch(keys, ends[end, o])
            prefetch(firsts, ends[end, o])


@part
def find_best(query, begin, open_, n, starts, lengths, lists, keys, won, dims):
    """The best candidate of each query with a list, -1 where several are; how many were scored.

    Queries without one, and those whose candidates are in groups or not listed, are passed over.
    Selections instead of branches, which could not be foretold: the reads of one query wait for no
    other's.
    """
    scored = 0
    for o in range(n):
        if not 0 < lengths[o] < GROUPED:
            continue
        i = begin + open_[o]
        start, stop = starts[o], starts[o] + lengths[o]
        chosen = listed(lists, start)
        best = score_of(query, i, keys, chosen, dims)
        several = False
        for t in range(start + 1, stop):
            c = listed(lists, t)
            score = score_of(query, i, keys, c, dims)
            better = score > best
            several = (several | (score == best)) & (not better)
            chosen = c if better else chosen
            best = score if better else best
        won[open_[o]] = -1 if several else chosen
        scored += stop - start
    return scored


@part
def _fetch_rows(n, open_, won, source, rows):
    for o in range(n):
        prefetch(source, rows[max(won[open_[o]], 0)])


@part
def _write_counts(begin, n, won, alone, spans, count):
    if alone:
        for i in range(begin, begin + n):
            count[i] = 1
        return
    for j in range(n):
        count[begin + j] = spans[won[j] + 1] - spans[won[j]]


@part
def _settle_won(
    n, open_, starts, lengths, won, alone, spans, firsts, source, rows, into, mean_into,
    mean, first, count,
):  # fmt: skip
    """Answer those of ``n`` queries in ``open_`` that one candidate won, and drop them there.

    Returns how many are left. Where none are, :func:`settle_open` need not be called, which takes
    longer than to answer a few: it counts references, as threads that share arrays all do.
    """
    left = 0
    for o in range(n):
        j = open_[o]
        c = won[j]
        if c < 0:
            open_[left], starts[left], lengths[left] = j, starts[o], lengths[o]
            left += 1
            continue
        first[into + j] = firsts[c]
        count[into + j] = 1 if alone else spans[c + 1] - spans[c]
        copy_row(source, rows[c], mean, mean_into + j)
    return left


@compiled
def attend(
    query, key, value, candidates, spans, members, firsts, source, rows,
    table, grid, low, high, at, lists, more, least, zero,
    ties, room, streamed, start, stop, mean, first, count, dims,
):  # fmt: skip
    """Answer queries start..stop-1; returns how many candidates were scored.

    ``firsts[c]`` is the first key that candidate c stands for, ``source[rows[c]]`` the mean over
    them all. Queries no longer than ``zero`` tie with every key. ``streamed`` answers are many: no
    cache would hold them. ``more`` is what finds candidates not listed, or in groups: boxes, and
    what ``_cones_long.group`` makes. ``room`` is one of :func:`new_room`, which no other call uses
    meanwhile.
    """
    alone = len(members) == len(candidates)
    scored = 0
    cells, entries = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    open_ = np.empty(BLOCK, np.int32)
    starts, lengths = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    won, ends = np.empty(BLOCK, np.int32), np.empty((2, BLOCK), np.int32)
    rest = np.zeros((VECTOR_BYTES // query.itemsize, len(dims)), query.dtype)
    narrow = streamed and mean.shape[1] * mean.itemsize <= _STREAMED_ROW
    to_mean = np.empty((BLOCK, mean.shape[1]), mean.dtype) if narrow else mean
    to_first = np.empty(BLOCK, np.int64) if streamed else first
    to_count = np.empty(BLOCK, np.int64) if streamed else count
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        into, into_mean = 0 if streamed else begin, 0 if narrow else begin
        _find_cells(query, begin, size, rest, least, grid, cells, dims)
        n_open = _look_up(size, cells, table, entries, open_, won)
        for j in range(size):
            to_first[into + j] = firsts[won[j]]
        _write_counts(into, size, won, alone, spans, to_count)
        if mean.shape[1]:
            copy_rows(source, rows, won, size, to_mean, into_mean, dims)
        _find_lists(
            query, begin, open_, n_open, entries, low, high, at, starts, lengths, room[-1], dims
        )  # fmt: skip
        if n_open > _FETCHED:
            _fetch(n_open, starts, lengths, lists, candidates, firsts, ends)
        for o in range(n_open):
            won[open_[o]] = -1
        scored += find_best(
            query, begin, open_, n_open, starts, lengths, lists, candidates, won, dims
        )  # fmt: skip
        if n_open > _FETCHED and mean.shape[1]:
            _fetch_rows(n_open, open_, won, source, rows)
        n_open = _settle_won(
            n_open, open_, starts, lengths, won, alone, spans, firsts, source, rows, into,
            into_mean, to_mean, to_first, to_count,
        )  # fmt: skip
        if n_open:
            scored += settle_open(
                begin, n_open, open_, starts, lengths, won, query, key, value, candidates, spans,
                members, firsts, source, rows, lists, more, zero, ties, into, into_mean, to_mean,
                to_first, to_count, dims, *room,
            )  # fmt: skip
        if streamed:
            stream(to_first, 0, size, first, begin)
            stream(to_count, 0, size, count, begin)
        if narrow and mean.shape[1]:
            stream(to_mean, 0, size, mean, begin)
    if streamed:
        settle_streams()
    return scored


@compiled
def list_ties(
    query, key, candidates, spans, members, table, grid, low, high, at, lists, more, least,
    first, indptr, start, stop, indices, dims,
):  # fmt: skip
    """Write every winner of queries start..stop-1, in increasing order."""
    tied = np.empty(len(candidates), np.int32)
    entries, here = np.empty(1, np.int32), np.zeros(1, np.int32)
    starts, lengths = np.empty(1, np.int32), np.empty(1, np.int32)
    nodes, bounds = np.empty(DEPTH, np.int64), np.empty(ROOM, query.dtype)
    rest = np.zeros((VECTOR_BYTES // query.itemsize, len(dims)), query.dtype)
    cells = np.empty(len(rest), np.int32)
    for i in range(start, stop):
        at_i = indptr[i]
        _find_cells(query, i, 1, rest, least, grid, cells, dims)
        entry = table[cells[0]] if cells[0] >= 0 else SHORT
        entries[0] = entry
        n = 0
        if entry == SHORT:
            best = score_of(query, i, key, first[i], dims)
            for j in range(first[i], len(key)):
                if score_of(query, i, key, j, dims) == best:
                    indices[at_i + n] = j
                    n += 1
            continue
        found = 1
        tied[0] = candidate_of(entry)
        if entry >= 0 or length_of(entry) > 1:
            _find_lists(query, i, here, 1, entries, low, high, at, starts, lengths, bounds, dims)
            found, _ = tied_in_list(
                query, i, starts[0], lengths[0], lists, more, candidates, tied, nodes, bounds, dims
            )
        for t in range(found):
            for s in range(spans[tied[t]], spans[tied[t] + 1]):
                indices[at_i + n] = members[s]
                n += 1
        if found > 1:
            sort(indices[at_i : at_i + n], n)
