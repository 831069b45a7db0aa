"""Machine code for what queries of a cone index get where several keys win: their mean.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._jit import compiled, inlined, part

__all__ = [
    "FIRST", "LAST", "MEAN", "average", "copy_row", "copy_rows", "listed", "scan", "score_of",
    "settle", "sort",
]  # fmt: skip

MEAN, FIRST, LAST = 0, 1, 2


@inlined
def listed(lists, t):
    """Entry t of the lists; if there are none, they would run over all candidates."""
    return lists[t] if len(lists) else np.int32(t)


@inlined
def score_of(query, i, keys, j, dims):
    score = query[i, 0] * keys[j, 0]
    for f in range(1, len(dims)):
        score += query[i, f] * keys[j, f]
    return score


@part
def sort(numbers, n):
    """Sort numbers[:n] in place: a shell sort, for it compiles fast and ties are mostly few."""
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap:
        for i in range(gap, n):
            x = numbers[i]
            j = i
            while j >= gap and numbers[j - gap] > x:
                numbers[j] = numbers[j - gap]
                j -= gap
            numbers[j] = x
        gap //= 3


@inlined
def copy_row(rows, i, target, j):
    for c in range(rows.shape[1]):
        target[j, c] = rows[i, c]


@part
def copy_rows(source, rows, which, n, target, begin, dims):
    """Copy ``source[rows[which[j]]]`` to row ``begin + j`` of ``target``, for j below n."""
    if target.shape[1] == len(dims):  # a length that is known: twice as fast
        for j in range(n):
            row = rows[which[j]]
            for c in range(len(dims)):
                target[begin + j, c] = source[row, c]
        return
    for j in range(n):
        copy_row(source, rows[which[j]], target, begin + j)


@compiled
def settle(tied, found, spans, members, value, ties, mean, i):
    """The mean over the members of the tied candidates; returns the first one and their number."""
    n = 0
    if ties != MEAN or mean.shape[1] == 0:  # they need not be in order
        alone = len(members) == len(spans) - 1
        first, last = len(value), 0
        for t in range(found):
            begin, end = tied[t], tied[t] + 1
            if not alone:
                begin, end = spans[begin], spans[end]
            n += end - begin
            first, last = min(first, members[begin]), max(last, members[end - 1])
        copy_row(value, last if ties == LAST else first, mean, i)
        return first, n
    for t in range(found):
        n += spans[tied[t] + 1] - spans[tied[t]]
    winners = np.empty(n, np.int64)
    n = 0
    for t in range(found):
        for s in range(spans[tied[t]], spans[tied[t] + 1]):
            winners[n] = members[s]
            n += 1
    sort(winners, n)
    _average_rows(value, winners, 0, n, ties, mean, i)
    return winners[0], n


@part
def _average_rows(value, winners, begin, end, ties, mean, i):
    """Row i of ``mean``: over the rows ``winners[begin:end]`` of ``value``."""
    row = winners[end - 1] if ties == LAST else winners[begin]
    for c in range(mean.shape[1]):
        mean[i, c] = value[row, c]
    if ties == MEAN and end - begin > 1:
        for w in range(begin + 1, end):
            for c in range(mean.shape[1]):
                mean[i, c] += value[winners[w], c]
        divisor = mean.dtype.type(end - begin)
        for c in range(mean.shape[1]):
            mean[i, c] /= divisor


@compiled
def average(value, spans, members, ties, start, stop, means):
    """The mean value of the members of each candidate start..stop-1."""
    for g in range(start, stop):
        _average_rows(value, members, spans[g], spans[g + 1], ties, means, g)


@part
def scan(query, i, keys, value, ties, mean, r, dims):
    """Decide query i over all ``keys``, its mean row r: last resort where scores underflow."""
    best = score_of(query, i, keys, 0, dims)
    first, last, count = 0, 0, 0
    for j in range(len(keys)):
        score = score_of(query, i, keys, j, dims)
        if score > best:
            best, first, count = score, j, 0
        if score == best:
            last = j
            count += 1
    width = value.shape[1]
    row = last if ties == LAST else first
    for c in range(width):
        mean[r, c] = value[row, c]
    if width and ties == MEAN and count > 1:
        for j in range(first + 1, last + 1):
            if score_of(query, i, keys, j, dims) == best:
                for c in range(width):
                    mean[r, c] += value[j, c]
        divisor = mean.dtype.type(count)
        for c in range(width):
            mean[r, c] /= divisor
    return first, count
