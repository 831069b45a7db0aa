"""Kernels of the pruned engine that answer a leaf by screening its keys in bytes.

Only the bytes of listed keys are gathered; of the keys themselves, the blocks that may hold a
winner. The margin is that of ``_pruned_leaf.py`` plus what ``_rough.py`` says that bytes may miss.
"""

from __future__ import annotations

import numpy as np

from ._canonical import fewest_keys
from ._decide import NO_MASK, add_winners, block_size, forget_winners
from ._jit import compiled, part
from ._processor import VECTOR_BYTES
from ._pruned_panels import gather, write_panel
from ._rough import count_reaching, lead_blocks, pack_rough, pays, raise_least, round_keys
from ._table_search import column_top, next_hit
from ._vectors import screen_block

__all__ = ["answer_roughly", "round_some"]

# Blocks scored again for each query, where there would be one.
_MORE_LOOKS = 3
_ALL = np.uint64(2**64 - 1)  # every lane


@compiled
def round_some(start, stop, key, inverse, rows, rounded, kept, missed):
    """Round turns start..stop-1 of the keys to bytes, as :func:`round_keys`."""
    for number in range(start, stop):
        round_keys(0, number, key, inverse, rows, rounded, kept, missed)


@part
def _fetch(key, index, n_keys, block, n_blocks, tables, least, present, rows):
    """Copy the keys of the blocks that a lane's winners may lie in, if they are not there."""
    width = tables.shape[2]
    for column in range(0, width, VECTOR_BYTES // tables.itemsize):
        blk = next_hit(tables, column, width, 0, n_blocks, least, column, _ALL)
        while blk < n_blocks:
            if not present[blk]:
                begin = blk * block
                gather(key, index, begin, min(begin + block, n_keys), rows, begin)
                present[blk] = 1
            blk = next_hit(tables, column, width, blk + 1, n_blocks, least, column, _ALL)


@compiled
def answer_roughly(
    size, order, start, stop, key, index, n_keys, value, reach, absolute, asked, rows, read,
    allowed, ties, mean, first, count, indptr, indices, rough, fresh,
):  # fmt: skip
    """As ``_answer_leaf``; returns how many queries are answered, fewer where bytes do not pay.

    Unless the list is ``fresh``, some of its keys are in ``rows`` already.
    """
    (
        _, bounds, panel, offset, scale, doubt, tables, small, numbers,
        counters, present, vectors,
    ) = rough  # fmt: skip
    unit, least_peak, near, far = bounds
    n_queries, d, width = stop - start, key.shape[1], tables.shape[2]
    top, least, best, lead, done = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    last, found_at = counters[0], counters[1]
    reach, absolute = key.dtype.type(reach), key.dtype.type(absolute)
    block = block_size(n_keys, _MORE_LOOKS * d, key.itemsize)
    n_blocks, products = -(-n_keys // block), block * d
    if fresh:
        present[:] = 0
    scores = np.empty(block + fewest_keys(key.itemsize), key.dtype)
    leaf_first, leaf_count = np.empty(n_queries, np.int64), np.empty(n_queries, np.int64)
    for i0 in range(0, n_queries, width):
        lanes = min(width, n_queries - i0)
        pack_rough(
            asked, i0, lanes, width, least_peak, unit, near, far, None, 0, panel, offset, scale, 0,
            doubt, doubt, 0,
        )  # fmt: skip
        for blk in range(n_blocks):
            screen_block(
                panel, 0, small, blk * block, min((blk + 1) * block, n_keys), (offset, scale),
                None, tables, blk * width, vectors, (),
            )  # fmt: skip
        for lane in range(0, width, VECTOR_BYTES // tables.itemsize):
            column_top(tables, lane, width, n_blocks, top, lane)
        for lane in range(lanes):
            allowance = reach * size[start + i0 + lane] + absolute
            least[lane] = top[lane] - (allowance + doubt[0, lane])
        for lane in range(lanes, width):
            least[lane] = np.inf
        forget_winners(i0, lanes, best, last, leaf_first, leaf_count)
        done[:] = np.inf
        found = count_reaching(tables, 0, n_blocks, least)
        if found > lanes + lanes // 2:
            lead_blocks(lanes, doubt, 0, top, lead)
            leading = count_reaching(tables, 0, n_blocks, lead)
            if pays(leading, lanes, n_blocks, products, tables.itemsize):
                _fetch(key, index, n_keys, block, n_blocks, tables, lead, present, rows)
                add_winners(
                    asked, read, None, i0, lanes, False, NO_MASK, allowed, numbers, lead, done,
                    block, n_blocks, n_keys, tables, 0, found_at, best, last, scores,
                    leaf_first, leaf_count,
                )  # fmt: skip
                raise_least(lanes, doubt, 0, top, lead, best, least)
                found = count_reaching(tables, 0, n_blocks, least)
                for lane in range(width):
                    done[lane] = lead[lane]
        if not pays(found, lanes, n_blocks, products, tables.itemsize):
            return i0
        _fetch(key, index, n_keys, block, n_blocks, tables, least, present, rows)
        add_winners(
            asked, read, None, i0, lanes, False, NO_MASK, allowed, numbers, least, done,
            block, n_blocks, n_keys, tables, 0, found_at, best, last, scores,
            leaf_first, leaf_count,
        )  # fmt: skip
        write_panel(
            asked, read, index, order, start, i0, lanes, least, block, n_keys, tables, 0, best,
            scores, leaf_first, last, leaf_count, value, allowed, numbers, ties, mean, first, count,
            indptr, indices,
        )  # fmt: skip
    return n_queries
