"""Kernels of the pruned engine that drop the keys that cannot win for a group of queries.

*Scale.* A query's length changes no winner and a power of two changes no digit, so all bounds are
for v = q / |q| and for keys p divided by 2^e, so that no feature exceeds 1. Let s be the canonical
score, Q = |q| 2^e, u the unit roundoff, and eta half the smallest subnormal. Then

    | s / Q - <v, p> |  <=  (gamma_d + 3 u) |p| + d eta / Q                                   (1)

by the argument of ``screening_slack``, |v| = 1 and Cauchy-Schwarz; 3 u covers the two roundings in
each feature of v. An approximate <v, p> errs by at most gamma_d |p| more. So ``guard`` =
8 gamma_(d+4) is more than twice the sum of these factors, and ``floor`` = 8 d eta / Q more than
twice the last term: a key whose approximate score is less than another's by guard times the larger
norm, plus floor, cannot win.

*A bound for a group.* Let c be the group's mean direction, and t an angle that no v of the group
exceeds from it. For any x, with a = <c, x> and b = |x - a c|, the largest <v, x> is |x| if a is at
least |x| cos t (x itself points into the cap), and a cos t + b sin t otherwise. It does not
decrease when cos t falls, or b, sin t or |x| rises, so these are rounded that way: cos t by
``guard`` down; sin^2 t = 1 - cos^2 t and b^2 = |x|^2 - a^2 by ``guard`` (times |x|^2) up, because
their differences cancel with absolute errors of up to (2 d + 6) u; norms by their own rounding
bound. There remain the errors of a and of a few sums, (d + 12) u |x|, which together with (1) stay
below ``guard`` |x|.

*Dropping keys.* Some keys are scored with every query of the group; the largest of these scores,
less ``guard`` times the largest norm among them and less ``floor``, is a lower bound l(v) of the
best canonical score over Q. A key p is dropped if its bound plus ``guard`` |p| is less than every
l(v): it scores less than another key. The same holds for differences: with any w, p is dropped if
the bound of p - w plus ``guard`` (|p| + |w|) is less than every l(v) - <v, w>. The first test works
where norms or directions of keys differ, the second where keys lie closer together than they lie
to the origin.

No vector scores more than its norm: all keys as short as that are dropped at once, and only the
longest ones are read where these prove to be enough.

The first test reads every key of a list, at the speed of memory, and so works in single precision
whatever the dtype: the same argument with its roundoff, one more for each rounded feature, and
norms with a small summand, so that no underflow can matter. Only the rest is done in full.

The bound for a cone of queries is that of Ram and Gray, "Maximum inner-product search using cone
trees", KDD 2012; norms and directions apart are the idea of Teflioudi and Gemulla, "Exact and
approximate maximum inner product search with LEMP", ACM TODS 42(1), 2017.
"""

from __future__ import annotations

import math

import numpy as np

from ._canonical import fewest_keys
from ._decide import pack, padded_scores
from ._jit import compiled, inlined, part
from ._vectors import lowest_bit, screen_block

__all__ = ["TILE", "aim", "longer", "narrow", "spares", "tile"]

# Keys are read in tiles of so many, each tile feature-major: one stream through memory.
TILE = 256
# Kept keys that tell whether the test of differences is worth its while.
_SAMPLE = 128


@inlined
def _put(key, row, factor, j, tiles):
    """Write key ``row`` as the j-th of ``tiles``."""
    d = key.shape[1]
    at = (j // TILE) * TILE * d + j % TILE
    for f in range(d):
        tiles[at + f * TILE] = key[row, f] * factor


@compiled
def tile(key, factor, start, stop, tiles, norm, least):
    """Scaled keys start..stop-1 in tiles, and upper bounds of their norms."""
    d = key.shape[1]
    number = key.dtype.type
    widening = np.float32(1) + np.float32(2 * (d + 4)) * np.float32(np.finfo(np.float32).eps)
    for j in range(start, stop):
        _put(key, j, factor, j, tiles)
        total = number(0)
        for f in range(d):
            x = key[j, f] * factor
            total += x * x
        norm[j] = np.float32(math.sqrt(total)) * widening + least


@compiled
def longer(key, factor, norm, index, n_keys, floor, out_tiles, out_norm, out_index):
    """Write those of some keys whose norm exceeds ``floor`` to a list."""
    found = 0
    for j in range(n_keys):
        if norm[j] > floor:
            _put(key, index[j], factor, found, out_tiles)
            out_norm[found], out_index[found] = norm[j], index[j]
            found += 1


@part
def _cap(unit, start, stop, guard, centres, g, scores):
    """Centre of rows start..stop-1, and cosine and sine of an angle that reaches them all."""
    d = unit.shape[1]
    number = unit.dtype.type
    zero, one = number(0), number(1)
    for f in range(d):
        centres[g, f] = zero
    for i in range(start, stop):
        for f in range(d):
            centres[g, f] += unit[i, f]
    total = zero
    for f in range(d):
        total += centres[g, f] * centres[g, f]
    length = math.sqrt(total)
    if not length > zero:
        return -one, zero
    for f in range(d):
        centres[g, f] /= length
    least = one
    for begin in range(start, stop, TILE):
        end = min(begin + TILE, stop)
        padded_scores(centres, g, unit, begin, end, scores)
        for i in range(end - begin):
            least = min(least, scores[i])
    cosine = max(least - guard, -one)
    return cosine, math.sqrt(max(zero, one - cosine * cosine + guard))


@part
def _at_centre(tiles, d, begin, end, centre, g, along):
    """Scores <centre, x> of the keys of one tile, four features at a time."""
    whole = d - d % 4
    a = along[g, begin:end]
    for j in range(len(a)):
        a[j] = 0
    for f in range(0, whole, 4):
        c0, c1, c2, c3 = centre[g, f], centre[g, f + 1], centre[g, f + 2], centre[g, f + 3]
        at = begin * d + f * TILE
        x0, x1 = tiles[at : at + TILE], tiles[at + TILE : at + 2 * TILE]
        x2, x3 = tiles[at + 2 * TILE : at + 3 * TILE], tiles[at + 3 * TILE : at + 4 * TILE]
        for j in range(len(a)):
            a[j] += (c0 * x0[j] + c1 * x1[j]) + (c2 * x2[j] + c3 * x3[j])
    for f in range(whole, d):
        c0, x0 = centre[g, f], tiles[begin * d + f * TILE : begin * d + (f + 1) * TILE]
        for j in range(len(a)):
            a[j] += c0 * x0[j]


@compiled
def aim(unit, borders, guard, tiles, n_keys, centres, caps, along):
    """The caps of a few groups, and the scores of all keys at their centres.

    Group g has rows borders[g, 0]..borders[g, 1] - 1; ``caps[g]`` is cosine and sine, ``centres``
    (groups, d). The groups share each tile of keys while it is in cache.
    """
    n_groups, d = len(borders), unit.shape[1]
    scores = np.empty(TILE + fewest_keys(unit.itemsize), unit.dtype)
    for g in range(n_groups):
        caps[g, 0], caps[g, 1] = _cap(
            unit, borders[g, 0], borders[g, 1], unit.dtype.type(guard), centres, g, scores
        )
    centre = np.empty((n_groups, d), np.float32)
    for g in range(n_groups):
        for f in range(d):
            centre[g, f] = centres[g, f]
    for begin in range(0, n_keys, TILE):
        for g in range(n_groups):
            _at_centre(tiles, d, begin, min(begin + TILE, n_keys), centre, g, along)


@inlined
def spares(floor, reach, coarse):
    """Whether no key whose norm is at most ``floor`` may score ``reach``; 0 is for no such keys."""
    return floor <= 0 or floor < reach - coarse * floor


@inlined
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


@inlined
def _beats(key, row, factor, w, centres, g, slack, cosine, sine, wider, reach):
    """Whether key ``row`` may score ``reach`` more than key ``w`` somewhere in the cap."""
    along = slack * 0
    square = along
    for f in range(len(w)):
        difference = key[row, f] * factor - w[f]
        square += difference * difference
        along += difference * centres[g, f]
    return _reaches(along, math.sqrt(square) * wider, slack, cosine, sine, wider, reach)


@part
def _promising(along, g, norm, n_keys, cosine, sine, top, chosen):
    """Of each residue class of keys modulo len(chosen), the one that promises most."""
    n_classes = len(chosen)
    for t in range(n_classes):
        top[t] = -np.inf
    for begin in range(0, n_keys, n_classes):
        a, b = along[g, begin : begin + n_classes], norm[begin : begin + n_classes]
        for t in range(min(n_classes, n_keys - begin)):
            promise = cosine * a[t] + sine * b[t]
            better = promise > top[t]
            top[t] = promise if better else top[t]
            chosen[t] = begin + t if better else chosen[t]


@part
def _probe(
    unit, start, stop, probes, n_probes, w, lower, absolute, size, best,
    panel, table, at_w, vectors, unroll,
):  # fmt: skip
    """Raise ``best`` by what the probes score less ``lower``; returns what all rows reach.

    First as it is, then less the score of ``w``.
    """
    d, width = unit.shape[1], len(table)
    number = unit.dtype.type
    reach, reach_beyond = number(np.inf), number(np.inf)
    for i0 in range(start, stop, width):
        lanes = min(width, stop - i0)
        pack(unit, i0, lanes, width, panel, 0)
        screen_block(panel, 0, probes, 0, n_probes, None, None, table, 0, vectors, unroll)
        for lane in range(width):
            at_w[lane] = 0
        for f in range(d):
            for lane in range(width):
                at_w[lane] += panel[0, f * width + lane] * w[f]
        for lane in range(lanes):
            i = i0 + lane
            floor = number(absolute / size[i]) if size[i] > 0 else number(np.inf)
            best[i] = max(best[i], table[lane] - lower - floor)
            reach = min(reach, best[i])
            reach_beyond = min(reach_beyond, best[i] - at_w[lane])
    return reach, reach_beyond


@part
def _sift(along, g, norm, n_keys, cosine, sine, coarse, wider, reach, may, words, kept):
    """Write the positions of keys that may score ``reach`` to ``kept``; returns their number."""
    n_kept = 0
    for begin in range(0, n_keys, TILE):
        end = min(begin + TILE, n_keys)
        a, b = along[g, begin:end], norm[begin:end]
        for j in range(len(a)):
            may[j] = _reaches(a[j], b[j], coarse * b[j], cosine, sine, wider, reach)
        for j in range(len(a), -(-len(a) // 8) * 8):
            may[j] = 0
        # Eight verdicts at a time: most are no.
        for eight in range(-(-len(a) // 8)):
            word = words[eight]
            while word:
                kept[n_kept] = begin + eight * 8 + (lowest_bit(word) >> 3)
                n_kept += 1
                word &= word - np.uint64(1)
    return n_kept


@part
def _sift_differences(
    key, index, norm, kept, n_kept, step, factor, w, w_norm, guard, centres, g, cosine, sine, reach
):  # fmt: skip
    """Of every ``step``-th kept key, how many may score ``reach`` more than key ``w``.

    If all are tested, they are all that stays in ``kept``.
    """
    number = key.dtype.type
    wider = number(1) + guard
    n_passed = 0
    for t in range(0, n_kept, step):
        j = kept[t]
        slack = guard * (number(norm[j]) + w_norm)
        passed = _beats(key, index[j], factor, w, centres, g, slack, cosine, sine, wider, reach)
        if step == 1:
            kept[n_passed] = j
        n_passed += passed
    return n_passed


@compiled
def narrow(
    unit, size, best, start, stop, key, factor, tiles, norm, index, n_keys, floor, short, exactly,
    centres, caps, along, g, guard, coarse, absolute,
    n_probes, probes, panel, table, vectors, unroll, most, out_tiles, out_norm, out_index,
):  # fmt: skip
    """Find the keys that may win for a query of rows start..stop-1, group g of those aimed at.

    Returns their number, their largest norm, and what every query's winner reaches; the number is
    -1 where keys whose norm is at most ``floor``, none of which are given, may win too. ``best``
    (n,), lower bounds of the queries' best scores, is raised by a few probed keys. Kept keys are
    listed, and up to ``most`` of them copied out in tiles; up to ``short`` given keys are all kept,
    unlisted. If not ``exactly``, the number is an estimate and nothing is kept.
    """
    d = unit.shape[1]
    number, single = unit.dtype.type, np.float32
    guard, factor, coarse = number(guard), number(factor), single(coarse)
    cosine, sine = caps[g, 0], caps[g, 1]
    # The cap again, for single precision.
    coarse_cosine = max(single(cosine) - coarse, single(-1))
    coarse_sine = single(
        math.sqrt(max(single(1) - coarse_cosine * coarse_cosine + coarse, single(0)))
    )
    n_probes = min(n_probes, n_keys)
    chosen = np.zeros(n_probes, np.int64)
    _promising(
        along, g, norm, n_keys, coarse_cosine, coarse_sine, np.empty(n_probes, single), chosen
    )
    leader, largest = chosen[0], single(0)
    for t in range(n_probes):
        j = chosen[t]
        for f in range(d):
            probes[t, f] = key[index[j], f] * factor
        largest = max(largest, norm[j])
        if along[g, j] > along[g, leader]:
            leader = j
    w, w_norm = np.empty(d, unit.dtype), number(norm[leader])
    for f in range(d):
        w[f] = key[index[leader], f] * factor
    reach, reach_beyond = _probe(
        unit, start, stop, probes, n_probes, w, guard * number(largest), absolute, size, best,
        panel, table, np.empty_like(table), vectors, unroll,
    )  # fmt: skip

    # Rounded down, if at all.
    least = single(reach) - coarse * abs(single(reach))
    if not spares(floor, least, coarse):
        return -1, largest, least
    if n_keys <= short:
        for j in range(n_keys):
            largest = max(largest, norm[j])
        return n_keys, largest, least
    may = np.empty(TILE, np.uint8)
    kept = _sift(
        along, g, norm, n_keys, coarse_cosine, coarse_sine, coarse, single(1) + coarse, least,
        may, may.view(np.uint64), out_index,
    )  # fmt: skip
    # Differences to the best key are small where keys lie close together: testing them is worth
    # its while if it drops half of a sample.
    for step in (max(1, kept // _SAMPLE), 1):
        passed = _sift_differences(
            key, index, norm, out_index, kept, step, factor, w, w_norm, guard, centres, g,
            cosine, sine, reach_beyond,
        )  # fmt: skip
        if step == 1:
            kept = passed
            break
        if not exactly:
            return min(passed * step, kept), largest, least
        if 2 * passed * step > kept:
            break
    largest = single(0)
    copied = kept <= most
    for t in range(kept):
        j = out_index[t]
        largest = max(largest, norm[j])
        out_index[t], out_norm[t] = index[j], norm[j]
        if copied:
            _put(key, index[j], factor, t, out_tiles)
    return kept, largest, least
