"""Screening in bytes: keys and queries rounded to 8 bits, and how far that can lead.

A processor that multiplies bytes and adds up four products in one instruction screens four times
as many pairs as with float32 fused multiply-adds, eight times as many as with float64.

Bound. With scales a > 0 of a query and c > 0 of all keys let q/a = Q + x and k/c = K + y, where Q
and K are whole. Then q.k/(a c) - Q.K = Q.y + x.(k/c), so by Cauchy and Schwarz the rough score
a c Q.K errs by at most a c (|Q| max|y| + |x| max|k/c|), max over the keys. The lengths of x and y
are not guessed: both are summed up in whole 256ths, of which each coordinate misses half a one.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import part
from ._table_search import hits
from ._vectors import VECTOR_BYTES, bit_count, itemsize_of

__all__ = [
    "HALF_RANGE",
    "count_reaching",
    "lead_blocks",
    "pack_rough",
    "pays",
    "raise_least",
    "round_keys",
    "rounding_length",
]

HALF_RANGE = 127
_PARTS = 256  # of one, in which what rounding leaves is summed up
# Bytes pay where they leave at most itemsize blocks in so many to look at, each of which costs as
# much as so many more products.
_WORTH, _LOOK = 64, 200
# Of one part: a half by rounding it, the rest for float32's own in x/a, at most 127 * 2 ** -23.
_PART_ERROR = 0.51


@part
def rounding_length(squares, d):
    """The length of d remainders, from the sum of their squares in parts; never too small."""
    return (math.sqrt(squares) * 1.0001 + _PART_ERROR * math.sqrt(d)) / _PARTS


@part
def _round(numbers, i, inverse, offset, rounded, at):
    """Write ``round(numbers[i] * inverse) + offset`` to bytes.

    Returns the sums of the squares of the whole parts and of what is left, and of the whole parts.
    """
    number = numbers.dtype.type
    shift = number(HALF_RANGE + 1)
    half = number(0.5)
    # No sum exceeds 2 ** 14 times the number of features, and those are few enough for 32 bits.
    kept = missed = total = np.int32(0)
    for f in range(numbers.shape[1]):
        exact = numbers[i, f] * inverse + shift
        whole = np.int32(exact + half)
        left = np.int32((exact - number(whole)) * number(_PARTS) + shift + half)
        whole = np.int32(whole - np.int32(HALF_RANGE + 1))
        left = np.int32(left - np.int32(HALF_RANGE + 1))
        kept = np.int32(kept + whole * whole)
        missed = np.int32(missed + left * left)
        total = np.int32(total + whole)
        rounded[at, f] = whole + offset
    return kept, missed, total


@part
def round_keys(slot, number, key, inverse, rows, rounded, kept, missed):
    """Round some keys of one entry of the batch; note the largest squared lengths among them."""
    n_keys = key.shape[1]
    per_entry = -(-n_keys // rows)
    b, start = number // per_entry, number % per_entry * rows
    numbers, whole = key[b], rounded[b]
    most_kept = most_missed = 0
    for j in range(start, min(start + rows, n_keys)):
        k, m, _ = _round(numbers, j, inverse[b], HALF_RANGE + 1, whole, j)
        most_kept, most_missed = max(most_kept, k), max(most_missed, m)
    kept[number], missed[number] = most_kept, most_missed


@part
def _peak(query, i):
    """The largest magnitude of a query, in four chains of comparisons."""
    d = query.shape[1]
    whole = d - d % 4
    p0 = p1 = p2 = p3 = query.dtype.type(0)
    for f in range(0, whole, 4):
        p0 = max(p0, abs(query[i, f]))
        p1 = max(p1, abs(query[i, f + 1]))
        p2 = max(p2, abs(query[i, f + 2]))
        p3 = max(p3, abs(query[i, f + 3]))
    for f in range(whole, d):
        p0 = max(p0, abs(query[i, f]))
    return max(p0, p1, p2, p3)


@part
def pack_rough(
    query, i0, lanes, width, least_peak, unit, near, far, row, row_words, words, offset, scale, p,
    doubt, q,
):  # fmt: skip
    """Queries i0.. to panel p of ``words``, four features in each; spare lanes are left alone.

    A rough score is ``scale * (product - offset)``, and ``doubt`` bounds by how much one can miss
    another's exact lead. A key is K + y in multiples of ``unit``, with |y| <= near, |K + y| <= far.
    """
    d, n_words = query.shape[1], row_words.shape[1]
    number = query.dtype.type
    for lane in range(lanes):
        peak = _peak(query, i0 + lane)
        # Where so little is asked that its scale overflows, all scores count as equal.
        inverse = number(HALF_RANGE) / peak if peak > least_peak else number(0)
        kept, missed, total = _round(query, i0 + lane, inverse, 0, row, 0)
        for w in range(n_words):
            words[p, w * width + lane] = row_words[0, w]
        offset[p, lane] = (HALF_RANGE + 1) * total
        size = unit / inverse if inverse > 0 else number(0)
        # No sum of products reaches 2 ** 14 times d. Exact scores may be smaller by far, where
        # other features are large in keys than in queries: that these do not overflow says little.
        if size > 0 and size * number(d * 2**15) < np.inf:
            scale[p, lane] = size
            error = math.sqrt(kept) * near + rounding_length(missed, d) * far
            doubt[q, lane] = 2.001 * error * scale[p, lane]
        else:
            scale[p, lane] = 0
            doubt[q, lane] = np.inf


@part
def count_reaching(tables, p, n_blocks, least):
    """How many blocks, over all lanes of panel p, reach what winners must."""
    width, found = tables.shape[2], 0
    at = p * tables.shape[1] * width
    for blk in range(n_blocks):
        for lane in range(0, width, VECTOR_BYTES // itemsize_of(tables)):
            found += bit_count(hits(tables, at + blk * width + lane, least, lane))
    return found


@part
def pays(found, lanes, n_blocks, products, itemsize):
    """Whether so many blocks to look at, of so many products, are few beside what bytes save."""
    return (found - lanes) * _WORTH * (products + _LOOK) <= n_blocks * lanes * products * itemsize


@part
def lead_blocks(lanes, doubt, p, top, lead):
    """The rough score of each lane's best block; inf where it says nothing."""
    for lane in range(len(lead)):
        asked = lane < lanes and doubt[p, lane] < np.inf
        lead[lane] = top[lane] if asked else np.inf


@part
def raise_least(lanes, doubt, p, top, lead, best, least):
    """Raise ``least``, given the ``best`` canonical score in each lane's best block.

    A rough score has to reach another rough score less both errors, an exact one less its own.
    """
    for lane in range(lanes):
        if lead[lane] < np.inf:
            raised = best[lane] - (top[lane] - least[lane]) + doubt[p, lane] / 2
            least[lane] = max(least[lane], raised)
