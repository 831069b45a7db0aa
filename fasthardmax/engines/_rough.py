"""Screening in bytes: keys and queries rounded to 8 bits, and how far that can lead.

A processor that multiplies bytes and adds up four products in one instruction screens four times
as many pairs as with float32 fused multiply-adds, eight times as many as with float64; one that
takes three instructions (:mod:`_byte_products`), twice and four times as many.

Bound. With scales a > 0 of a query and c > 0 of all keys let q/a = Q + x and k/c = K + y, where Q
and K are whole. Then q.k/(a c) - Q.K = Q.y + x.(k/c), so by Cauchy and Schwarz the rough score
a c Q.K errs by at most a c (|Q| max|y| + |x| max|k/c|), max over the keys. The lengths of x and y
are not guessed: their squares are summed up, in parts of a 256th.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._jit import part
from ._processor import VECTOR_BYTES
from ._rounding import HALF_RANGE, PARTS, round_panel, round_rows
from ._table_search import hits
from ._vectors import bit_count, itemsize_of

__all__ = [
    "count_reaching",
    "lead_blocks",
    "least_peak",
    "lengths_of",
    "most_blocks",
    "pack_rough",
    "pays",
    "raise_least",
    "round_keys",
    "rounding_length",
    "scales_of",
]

# Bytes pay where they leave at most itemsize blocks in so many to look at, each of which costs as
# much as so many more products.
_WORTH, _LOOK = 64, 200
# Of one part: float32's own in q/a, at most 127, and in x, at most a half; both by
# 2 ** -24 of them. Where products fuse, the second alone. What it misses in the sums of squares,
# each of four and then rounded up, the factor in ``rounding_length`` covers a hundred times.
_PART_ERROR = 0.002


@lru_cache(maxsize=8)
def least_peak(dtype: np.dtype[Any]) -> float:
    """What scales are far from underflow and overflow with."""
    return float(np.finfo(dtype).tiny) * 2.0**20


def scales_of(peak: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """``(1 / unit, unit, least)`` of entries of keys with largest magnitudes ``peak`` (B,).

    A query is rounded if its own largest magnitude exceeds the ``least``.
    """
    number = peak.dtype.type
    inverse = number(HALF_RANGE) / peak
    unit = 1 / inverse
    least = np.maximum(1, HALF_RANGE / unit).astype(peak.dtype) * number(least_peak(peak.dtype))
    return inverse, unit, least


def lengths_of(
    kept: NDArray[np.int64], missed: NDArray[np.int64], d: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """``(near, far)`` of the keys of each entry of the batch, from sums of squares of parts.

    They are (B, parts), the largest that :func:`round_keys` has noted.
    """
    near = np.array([rounding_length.py_func(m, d) for m in missed.max(axis=1).tolist()])
    far = np.sqrt(kept.max(axis=1)) + near
    return 1.0001 * np.stack([near, far], axis=1).astype(dtype)


@part
def rounding_length(squares, d):
    """The length of d remainders, from the sum of their squares in parts; never too small."""
    return (math.sqrt(squares) * 1.0001 + _PART_ERROR * math.sqrt(d)) / PARTS


@part
def round_keys(slot, number, key, inverse, rows, rounded, kept, missed):
    """Round some keys of one entry of the batch; note the largest squared lengths among them."""
    n_keys = key.shape[1]
    per_entry = -(-n_keys // rows)
    b, start = number // per_entry, number % per_entry * rows
    stop = min(start + rows, n_keys)
    kept[number], missed[number] = round_rows(key[b], start, stop, inverse[b], rounded[b])


@part
def pack_rough(
    query, i0, lanes, width, least_peak, unit, near, far, key_peak, b, words, offset, scale, p,
    reach, doubt, q,
):  # fmt: skip
    """Queries i0.. to panel p of ``words``, four features in each.

    A rough score is ``scale * (product - offset)``, and ``doubt`` bounds by how much one can miss
    another's exact lead. A key is K + y in multiples of ``unit``, with |y| <= near, |K + y| <= far.
    ``reach`` gets the sums of the magnitudes of products with row b of ``key_peak``, if not None.
    """
    error = query.dtype.type(rounding_length(0, query.shape[1]))
    round_panel(
        query, i0, lanes, width, least_peak, unit, near, far, error, key_peak, b, words, p, offset,
        scale, reach, doubt, q,
    )  # fmt: skip


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
    return found - lanes <= lanes * most_blocks(n_blocks, products, itemsize)


@part
def most_blocks(n_blocks, products, itemsize):
    """How many blocks a query may leave beside its best one for bytes to pay."""
    return n_blocks * products * itemsize / (_WORTH * (products + _LOOK))


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
