"""The kernel of softmax self-attention: panels of queries, past which keys stream in blocks."""

from __future__ import annotations

import numpy as np

from ._softmax_vectors import collect_block, panel_width, score_block, weigh_block
from .engines._decide import pack
from .engines._jit import compiled

__all__ = ["BLOCK", "average"]

# Keys weighed together: their scores stay in the first cache. It shows in the last bits of the
# sums, so it is the same for every problem.
BLOCK = 64


@compiled
def average(query, key, start, stop, scale, lowest, least_power, mean):
    """Write the softmax means of the keys for panels start..stop-1, numbered through the batches.

    A weight is 2^(scale * score) over their sum; ``lowest`` is less than any score.
    """
    n, d = key.shape[1], key.shape[2]
    width = panel_width(query.itemsize)
    per_batch = -(-n // width)
    panel = np.empty((1, d * width), query.dtype)
    scores = np.empty(BLOCK * width, query.dtype)
    top, best, factor, total = np.empty((4, width), query.dtype)
    sums = np.empty(d * width, query.dtype)
    for number in range(start, stop):
        b, i0 = number // per_batch, number % per_batch * width
        k, lanes = key[b], min(width, n - i0)
        pack(query[b], i0, lanes, width, panel, 0)
        best[:] = lowest
        total[:] = 0
        sums[:] = 0
        for first in range(0, n, BLOCK):
            last = min(first + BLOCK, n)
            score_block(panel[0], k, first, last, scores, top)
            some = False
            for lane in range(width):
                some |= (top[lane] - best[lane]) * scale >= least_power
            if some:  # or all weights of the block are 0
                weigh_block(scores, last - first, top, scale, best, factor, total)
                collect_block(scores, k, first, last, factor, sums)
        for lane in range(lanes):
            for f in range(d):
                mean[b, i0 + lane, f] = sums[f * width + lane] / total[lane]
