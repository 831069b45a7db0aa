"""Kernels of the pruned engine that gather listed rows, and write what a panel of queries gets."""

from __future__ import annotations

import numpy as np

from ._canonical import fewest_keys, reaching
from ._decide import NO_MASK, average_winners, padded_scores
from ._jit import part
from ._vectors import lowest_bit, prefetch

__all__ = ["gather", "write_panel"]

# Listed rows lie anywhere in memory: they are asked for so many ahead.
_AHEAD = 16


@part
def gather(source, index, start, stop, rows, to):
    """Copy rows ``index[start:stop]`` to rows ``to`` and on."""
    shift = to - start
    for j in range(start, stop):
        prefetch(source, index[min(j + _AHEAD, stop - 1)])
        row = index[j]
        for f in range(source.shape[1]):
            rows[j + shift, f] = source[row, f]


@part
def _list(
    asked, key, index, order, start, i0, lanes, least, block, n_keys, tables, p, best, scores,
    first, last, indptr, indices,
):  # fmt: skip
    """Write all winners of a panel whose first and last ones are found."""
    for lane in range(lanes):
        i = i0 + lane
        at = indptr[order[start + i]]
        for blk in range(first[i] // block, last[lane] // block + 1):
            if tables[p, blk, lane] < least[lane]:
                continue
            begin, end = blk * block, min((blk + 1) * block, n_keys)
            padded_scores(asked, i, key, begin, end, scores)
            for j in range(0, end - begin, fewest_keys(scores.itemsize)):
                ties_here = reaching(scores, j, best[lane])
                while ties_here:
                    indices[at] = index[begin + j + lowest_bit(ties_here)]
                    ties_here &= ties_here - np.uint64(1)
                    at += 1


@part
def write_panel(
    asked, key, index, order, start, i0, lanes, least, block, n_keys, tables, p, best, scores,
    leaf_first, last, leaf_count, value, allowed, added, ties, mean, first, count, indptr, indices,
):  # fmt: skip
    """List or average the winners of a panel: with ``indptr`` they are listed."""
    if len(indptr):
        _list(
            asked, key, index, order, start, i0, lanes, least, block, n_keys, tables, p, best,
            scores, leaf_first, last, indptr, indices,
        )  # fmt: skip
        return
    rows = order[start:]
    average_winners(
        asked, key, value, i0, lanes, False, NO_MASK, allowed, added, least,
        block, n_keys, tables, p, best, last, scores, ties, rows, index,
        leaf_first, leaf_count, mean,
    )  # fmt: skip
    for i in range(i0, i0 + lanes):
        first[rows[i]] = index[leaf_first[i]]
        count[rows[i]] = leaf_count[i]
