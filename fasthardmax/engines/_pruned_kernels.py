"""Kernels of the pruned engine: the order of queries, the narrowing of keys, the decision.

Everything before the decision happens in one scale, of unit queries ``unit`` and of keys times
``factor``; ``pruned.py`` derives every margin.
"""

from __future__ import annotations

import math

import numpy as np

from ._direct_kernels import FIRST, LAST, MEAN, NO_MASK, _compiled, _pack, _score_keys
from ._vectors import VECTOR_BYTES, geometry, hits, lowest_bit, prefetch, screen_block

__all__ = [
    "FIRST",
    "LAST",
    "MEAN",
    "TILE",
    "assign",
    "decide",
    "directions",
    "geometry",
    "narrow",
    "split",
    "spread",
    "tile",
]

# Rows that stand for a node when it is split.
_SAMPLE = 128
# Listed keys lie anywhere in memory: they are asked for so many rows ahead.
_AHEAD = 16
# Narrowing reads keys in tiles of so many, each tile feature-major: one stream through memory.
TILE = 256


@_compiled
def directions(query, unit, floor, absolute, scale):
    """Unit vectors of the queries, and what underflow of canonical products may hide in them.

    ``floor[i]`` is ``absolute / (|q_i| scale)``: infinite for a query of zeros.
    """
    n, d = query.shape
    number = query.dtype.type
    for i in range(n):
        peak = number(0)
        for f in range(d):
            peak = max(peak, abs(query[i, f]))
        total = number(0)
        unit[i] = 0
        if peak > 0:
            for f in range(d):
                unit[i, f] = query[i, f] / peak
                total += unit[i, f] * unit[i, f]
        length = math.sqrt(total)
        for f in range(d if peak > 0 else 0):
            unit[i, f] /= length
        # The relative error of this size is covered by the factor in `absolute`.
        size = peak * length * scale
        floor[i] = absolute / size if size > 0 else np.inf


@_compiled
def _put(row, factor, j, tiles):
    """Write key ``row`` as the j-th of ``tiles``."""
    d = len(row)
    at = (j // TILE) * TILE * d + j % TILE
    for f in range(d):
        tiles[at + f * TILE] = row[f] * factor


@_compiled
def tile(key, factor, start, stop, tiles, norm, least):
    """Scaled keys start..stop-1 in tiles, and upper bounds of their norms."""
    d = key.shape[1]
    number = key.dtype.type
    widening = np.float32(1) + np.float32(2 * (d + 4)) * np.float32(np.finfo(np.float32).eps)
    for j in range(start, stop):
        _put(key[j], factor, j, tiles)
        total = number(0)
        for f in range(d):
            x = key[j, f] * factor
            total += x * x
        norm[j] = np.float32(math.sqrt(total)) * widening + least


@_compiled
def _select(values, k):
    """The k-th smallest of ``values`` (from 0), which it reorders."""
    low, high = 0, len(values) - 1
    while low < high:
        # the middle of three, so that sorted and constant values stay linear
        a, b, c = values[low], values[(low + high) >> 1], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@_compiled
def _long_axis(unit, start, stop, axis):
    """The line through two rows far apart, both from a sample."""
    d = unit.shape[1]
    step = max(1, (stop - start) // _SAMPLE)
    a = start
    for _ in range(3):
        b, widest = a, -1.0
        for i in range(start, stop, step):
            distance = 0.0
            for f in range(d):
                gap = unit[i, f] - unit[a, f]
                distance += gap * gap
            if distance > widest:
                widest, b = distance, i
        for f in range(d):
            axis[f] = unit[b, f] - unit[a, f]
        a = b


@_compiled
def spread(sample, centres):
    """Far-apart rows of ``sample``, each then moved to the mean of the rows nearest to it."""
    n, d = sample.shape
    k = len(centres)
    far = np.full(n, np.inf, sample.dtype)
    choice = 0
    for c in range(k):
        centres[c] = sample[choice]
        choice = 0
        for i in range(n):
            distance = sample.dtype.type(0)
            for f in range(d):
                gap = sample[i, f] - centres[c, f]
                distance += gap * gap
            far[i] = min(far[i], distance)
            if far[i] > far[choice]:
                choice = i
    nearest = np.empty(n, np.uint16)
    for _ in range(2):
        assign(sample, centres, 0, n, nearest)
        members = np.zeros(k, np.int64)
        for i in range(n):
            members[nearest[i]] += 1
        for c in range(k):
            if members[c]:
                centres[c] = 0
        for i in range(n):
            share = sample.dtype.type(members[nearest[i]])
            for f in range(d):
                centres[nearest[i], f] += sample[i, f] / share


@_compiled
def assign(unit, centres, start, stop, nearest):
    """The nearest of ``centres`` to each of rows start..stop-1."""
    k, d = centres.shape
    number = unit.dtype.type
    columns = np.ascontiguousarray(centres.T).reshape(-1)
    half = np.zeros(k, unit.dtype)
    for c in range(k):
        for f in range(d):
            half[c] -= centres[c, f] * centres[c, f] * number(0.5)
    near = np.empty(k, unit.dtype)
    for i in range(start, stop):
        near[:] = half
        for f in range(d):
            x, part = unit[i, f], columns[f * k : (f + 1) * k]
            for c in range(k):
                near[c] += x * part[c]
        choice = 0
        for c in range(1, k):
            if near[c] > near[choice]:
                choice = c
        nearest[i] = choice


@_compiled
def split(unit, order, leaf, start, stop, spare, spare_order, place, sorted_place):  # fmt: skip
    """Reorder rows start..stop-1 so that aligned runs of ``leaf`` 2^l rows lie close together.

    The last four arguments are workspace.
    """
    d = unit.shape[1]
    axis = np.empty(d, unit.dtype)
    stack = [(start, stop)]
    while stack:
        begin, end = stack.pop()
        size = end - begin
        if size <= leaf:
            continue
        left = leaf
        while 2 * left < size:
            left *= 2
        _long_axis(unit, begin, end, axis)
        for i in range(begin, end):
            along = unit.dtype.type(0)
            for f in range(d):
                along += axis[f] * unit[i, f]
            place[i] = along
            sorted_place[i] = along
        border = _select(sorted_place[begin:end], left)
        below = 0
        for i in range(begin, end):
            below += place[i] < border
        level = left - below  # rows on the border that go left
        lower, upper = begin, begin + left
        for i in range(begin, end):
            goes_left = place[i] < border
            if place[i] == border and level > 0:
                goes_left = True
                level -= 1
            if goes_left:
                to = lower
                lower += 1
            else:
                to = upper
                upper += 1
            spare[to] = unit[i]
            spare_order[to] = order[i]
        unit[begin:end] = spare[begin:end]
        order[begin:end] = spare_order[begin:end]
        stack.append((begin, begin + left))
        stack.append((begin + left, end))


@_compiled
def _cap(unit, start, stop, guard, centre):
    """Centre of rows start..stop-1, and cosine and sine of an angle that reaches them all."""
    d = unit.shape[1]
    number = unit.dtype.type
    zero, one = number(0), number(1)
    centre[:] = 0
    for i in range(start, stop):
        for f in range(d):
            centre[f] += unit[i, f]
    total = zero
    for f in range(d):
        total += centre[f] * centre[f]
    length = math.sqrt(total)
    if not length > zero:
        return -one, zero
    for f in range(d):
        centre[f] /= length
    least = one
    for i in range(start, stop):
        along = zero
        for f in range(d):
            along += centre[f] * unit[i, f]
        least = min(least, along)
    cosine = max(least - guard, -one)
    return cosine, math.sqrt(max(zero, one - cosine * cosine + guard))


@_compiled
def _at_centre(tiles, n_keys, centre, along):
    """Scores <centre, x> of tiled keys, four features at a time."""
    d = len(centre)
    whole = d - d % 4
    for begin in range(0, n_keys, TILE):
        a = along[begin : min(begin + TILE, n_keys)]
        a[:] = 0
        for f in range(0, whole, 4):
            c0, c1, c2, c3 = centre[f], centre[f + 1], centre[f + 2], centre[f + 3]
            at = begin * d + f * TILE
            x0, x1 = tiles[at : at + TILE], tiles[at + TILE : at + 2 * TILE]
            x2, x3 = tiles[at + 2 * TILE : at + 3 * TILE], tiles[at + 3 * TILE : at + 4 * TILE]
            for j in range(len(a)):
                a[j] += (c0 * x0[j] + c1 * x1[j]) + (c2 * x2[j] + c3 * x3[j])
        for f in range(whole, d):
            c0, x0 = centre[f], tiles[begin * d + f * TILE : begin * d + (f + 1) * TILE]
            for j in range(len(a)):
                a[j] += c0 * x0[j]


@_compiled
def _reaches(along, size, slack, cosine, sine, wider, reach):
    """Whether a vector x with ``along`` = <centre, x> and |x| <= ``size`` may score ``reach``.

    Its largest score in the cap is ``size`` if its own direction lies there, and else
    cosine * along + sine * across. The comparison is squared: no root is taken.
    """
    lack = reach - slack
    rest = lack - cosine * along
    across = size * size * wider - along * along
    at_rim = (rest <= 0) | (sine * sine * across >= rest * rest)
    return ((along >= cosine * size) & (size >= lack)) | ((along < cosine * size) & at_rim)


@_compiled
def _beats(row, factor, w, centre, slack, cosine, sine, wider, reach):
    """Whether key ``row`` may score ``reach`` more than key ``w`` somewhere in the cap."""
    along = slack * 0
    square = along
    for f in range(len(w)):
        difference = row[f] * factor - w[f]
        square += difference * difference
        along += difference * centre[f]
    return _reaches(along, math.sqrt(square) * wider, slack, cosine, sine, wider, reach)


@_compiled
def _promising(along, norm, n_keys, cosine, sine, top, chosen):
    """Of each residue class of keys modulo len(chosen), the one that promises most."""
    n_classes = len(chosen)
    top[:] = -np.inf
    for begin in range(0, n_keys, n_classes):
        a, b = along[begin : begin + n_classes], norm[begin : begin + n_classes]
        for t in range(min(n_classes, n_keys - begin)):
            promise = cosine * a[t] + sine * b[t]
            better = promise > top[t]
            top[t] = promise if better else top[t]
            chosen[t] = begin + t if better else chosen[t]


@_compiled
def narrow(
    unit, floor, best, start, stop, key, factor,
    tiles, norm, index, n_keys, along, guard, coarse,
    n_probes, probes, panel, table, vectors, unroll,
    out_tiles, out_norm, out_index,
):  # fmt: skip
    """Find the keys that may win for a query of rows start..stop-1.

    Returns their number and largest norm. ``best`` (n,), lower bounds of the queries' best scores,
    is raised by a few probed keys. The kept keys are copied out where there is room for all.
    """
    d, width = unit.shape[1], len(table)
    number, single = unit.dtype.type, np.float32
    guard, factor = number(guard), number(factor)
    wider = number(1) + guard
    centre = np.empty(d, unit.dtype)
    cosine, sine = _cap(unit, start, stop, guard, centre)
    # The cap again, for single precision.
    coarse = single(coarse)
    coarse_wider = single(1) + coarse
    coarse_cosine = max(single(cosine) - coarse, single(-1))
    coarse_sine = math.sqrt(max(single(1) - coarse_cosine * coarse_cosine + coarse, single(0)))
    _at_centre(tiles, n_keys, centre.astype(single), along)

    n_probes = min(n_probes, n_keys)
    chosen = np.zeros(n_probes, np.int64)
    top = np.empty(n_probes, single)
    _promising(along, norm, n_keys, coarse_cosine, coarse_sine, top, chosen)
    leader, largest = chosen[0], single(0)
    for t in range(n_probes):
        j = chosen[t]
        row = key[index[j]]
        for f in range(d):
            probes[t, f] = row[f] * factor
        largest = max(largest, norm[j])
        if along[j] > along[leader]:
            leader = j
    w, w_norm = key[index[leader]] * factor, number(norm[leader])

    reach, reach_beyond = number(np.inf), number(np.inf)
    for i0 in range(start, stop, width):
        lanes = min(width, stop - i0)
        _pack(unit, i0, lanes, width, panel)
        screen_block(panel, probes, 0, n_probes, d, None, table, 0, vectors, unroll)
        for lane in range(lanes):
            i = i0 + lane
            best[i] = max(best[i], table[lane] - guard * number(largest) - floor[i])
            reach = min(reach, best[i])
            at_w = number(0)
            for f in range(d):
                at_w += unit[i, f] * w[f]
            reach_beyond = min(reach_beyond, best[i] - at_w)

    kept = 0
    may = np.empty(TILE, np.bool_)
    # Rounded down, if at all.
    least = single(reach) - coarse * abs(single(reach))
    for begin in range(0, n_keys, TILE):
        a, b = along[begin : min(begin + TILE, n_keys)], norm[begin : min(begin + TILE, n_keys)]
        for j in range(len(a)):
            may[j] = _reaches(
                a[j], b[j], coarse * b[j], coarse_cosine, coarse_sine, coarse_wider, least
            )
        for j in range(len(a)):
            out_index[kept] = begin + j
            kept += may[j]

    # The same test of differences to the best key, which are small where keys lie close together:
    # worth its while if it drops half of a sample.
    dropped, step = 0, max(1, kept // _SAMPLE)
    for t in range(0, kept, step):
        j = out_index[t]
        slack = guard * (number(norm[j]) + w_norm)
        dropped += not _beats(
            key[index[j]], factor, w, centre, slack, cosine, sine, wider, reach_beyond
        )
    if 2 * dropped * step > kept:
        n_first, kept = kept, 0
        for t in range(n_first):
            j = out_index[t]
            slack = guard * (number(norm[j]) + w_norm)
            out_index[kept] = j
            kept += _beats(
                key[index[j]], factor, w, centre, slack, cosine, sine, wider, reach_beyond
            )

    largest = single(0)
    copied = kept <= len(out_norm)
    for t in range(kept):
        j = out_index[t]
        largest = max(largest, norm[j])
        out_index[t] = index[j]
        if copied:
            out_norm[t] = norm[j]
            _put(key[index[j]], factor, t, out_tiles)
    return kept, largest


@_compiled
def _gather(key, index, start, stop, factor, rows):
    for j in range(start, stop):
        prefetch(key, index[min(j + _AHEAD, stop - 1)])
        row = index[j]
        for f in range(key.shape[1]):
            rows[j - start, f] = key[row, f] * factor


@_compiled
def decide(
    query, key, value, unit, floor, order, start, stop, index, n_keys, largest, factor, guard,
    rows, panels, tables, scores, ties, mean, first, count, indptr, indices,
    vectors, unroll,
):  # fmt: skip
    """Screen the keys that may win for rows start..stop-1, and decide canonically.

    ``index`` is increasing. With ``indptr`` the winners are listed, else counted and averaged.
    """
    d, n_values = query.shape[1], value.shape[1]
    number = query.dtype.type
    n_blocks_most, width = tables.shape[1], tables.shape[2]
    lanes_per_vector = VECTOR_BYTES // tables.itemsize
    block = max(4, int(math.sqrt(10 * n_keys / (d + 3))) & ~3, -(-n_keys // n_blocks_most))
    n_blocks = -(-n_keys // block)
    n_panels = -(-(stop - start) // width)
    none = key[0, :0]
    for p in range(n_panels):
        i0 = start + p * width
        _pack(unit, i0, min(width, stop - i0), width, panels[p])
    stride = max(1, len(rows) // block)
    for begin in range(0, n_blocks, stride):
        end = min(begin + stride, n_blocks)
        offset, limit = begin * block, min(end * block, n_keys)
        _gather(key, index, offset, limit, number(factor), rows)
        for p in range(n_panels):
            flat = tables[p].reshape(-1)
            for blk in range(begin, end):
                low, high = blk * block - offset, min((blk + 1) * block, n_keys) - offset
                screen_block(
                    panels[p], rows, low, high, d, None, flat, blk * width, vectors, unroll
                )

    least = np.empty(width, query.dtype)
    best = np.empty(width, query.dtype)
    for p in range(n_panels):
        i0 = start + p * width
        lanes = min(width, stop - i0)
        table = tables[p]
        flat = table.reshape(-1)
        best[:] = -np.inf
        for blk in range(n_blocks):
            for lane in range(width):
                if table[blk, lane] > best[lane]:
                    best[lane] = table[blk, lane]
        least[:] = np.inf
        for lane in range(lanes):
            least[lane] = best[lane] - number(guard) * largest - floor[i0 + lane]
        best[:] = -np.inf
        for blk in range(n_blocks):
            waiting = np.uint64(0)
            for lane in range(0, width, lanes_per_vector):
                waiting |= hits(flat, blk * width, least, lane)
            if not waiting:
                continue
            low, high = blk * block, min((blk + 1) * block, n_keys)
            _gather(key, index, low, high, number(1), rows)
            while waiting:
                lane = lowest_bit(waiting)
                waiting &= waiting - np.uint64(1)
                i = order[i0 + lane]
                _score_keys(query[i], rows[: high - low], NO_MASK, none, scores)
                top = best[lane]
                for j in range(high - low):
                    if scores[j] > top:
                        top = scores[j]
                if top > best[lane]:
                    best[lane] = top
                    count[i] = 0
                for j in range(high - low):
                    if scores[j] == top:
                        winner = index[low + j]
                        if len(indptr):
                            at = indptr[i] + count[i]
                            if at < indptr[i + 1]:
                                indices[at] = winner
                        elif count[i] == 0:
                            first[i] = winner
                            mean[i] = value[winner]
                        elif ties == LAST:
                            mean[i] = value[winner]
                        elif ties == MEAN:
                            for c in range(n_values):
                                mean[i, c] += value[winner, c]
                        count[i] += 1
        for lane in range(lanes if ties == MEAN and not len(indptr) else 0):
            i = order[i0 + lane]
            if count[i] > 1:
                divisor = number(count[i])
                for c in range(n_values):
                    mean[i, c] /= divisor
