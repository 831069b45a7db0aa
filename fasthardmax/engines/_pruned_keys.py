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

With w from among the keys nearby, the second test drops all but the outermost keys of a cluster
that only some of the group's queries reach.

Keys lie in tiles, each with a ball around its keys: no key p scores more than the ball's middle c
and radius, for <v, p> = <v, c> + <v, p - c>. So a tile is not looked at if the bound of c plus the
radius is less than every l(v). And no vector scores more than its norm: all keys as short as that
are dropped at once, and only the longest ones are read where these prove to be enough.

The first test reads every key of a list, at the speed of memory, and so works in single precision
whatever the dtype: the same argument with its roundoff, one more for each rounded feature, and
norms with a small summand, so that no underflow can matter. So does a first test of differences to
the best kept key of each cluster: with rounded features p - w is off by at most 2 u (|p| + |w|),
and ``coarse`` (|p| + |w|) is added to its length and to its score. Only the rest is done in full.

The bound for a cone of queries is that of Ram and Gray, "Maximum inner-product search using cone
trees", KDD 2012; norms and directions apart are the idea of Teflioudi and Gemulla, "Exact and
approximate maximum inner product search with LEMP", ACM TODS 42(1), 2017.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._canonical import fewest_keys
from ._jit import compiled, inlined, part
from ._pruned_probes import at_centre, cap, probe, promising, what_is_beyond
from ._pruned_tiles import TILE, put
from ._vectors import lowest_bit

__all__ = ["keep_all", "narrow", "spares"]

# Tiles whose keys are probed: where there are more, those that promise most.
_PROBED_TILES = 32
# Kept keys that tell whether the test of differences in full is worth its while.
_SAMPLE = 32
# Kept keys of one cluster that are worth a leader of their own.
_MANY = 8
# Unless of so many tried, beyond the first few, leaders let less than one be dropped.
_FUTILE, _FREE = 4, 256


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
def _beats(key, row, factor, w, centre, slack, cosine, sine, wider, reach):
    """Whether key ``row`` may score ``reach`` more than key ``w`` somewhere in the cap."""
    along = slack * 0
    square = along
    for f in range(key.shape[1]):
        difference = key[row, f] * factor - w[0, f]
        square += difference * difference
        along += difference * centre[0, f]
    return _reaches(along, math.sqrt(square) * wider, slack, cosine, sine, wider, reach)


@part
def _list(words, begin, n, kept, n_kept):
    """Add begin + j for each byte j < ``n`` that is not 0 to ``kept``; returns how many it has."""
    # Eight verdicts at a time: most are no.
    for eight in range(-(-n // 8)):
        word = words[eight]
        while word:
            kept[n_kept] = begin + eight * 8 + (lowest_bit(word) >> 3)
            n_kept += 1
            word &= word - np.uint64(1)
    return n_kept


@part
def _sift(along, norm, begin, n, cosine, sine, coarse, wider, reach, may, words, kept, n_kept):
    """Add the positions of ``n`` keys that may score ``reach`` to ``kept``; how many there are."""
    a, b = along[begin : begin + n], norm[begin : begin + n]
    for j in range(n):
        may[j] = _reaches(a[j], b[j], coarse * b[j], cosine, sine, wider, reach)
    may[n : -(-n // 8) * 8] = 0
    return _list(words, begin, n, kept, n_kept)


@part
def _sift_near(
    tiles, d, along, norm, begin, n, w, cosine, sine, coarse, wider, reach, beyond, square, may,
    words, kept, n_kept,
):  # fmt: skip
    """As :func:`_sift`, for keys that also may score ``beyond`` more than key ``w``."""
    for j in range(n):
        square[j] = 0
    at = w // TILE * TILE * d + w % TILE
    for f in range(d):
        feature = tiles[at + f * TILE]
        x = tiles[begin * d + f * TILE : begin * d + f * TILE + n]
        for j in range(n):
            gap = x[j] - feature
            square[j] += gap * gap
    a, b = along[begin : begin + n], norm[begin : begin + n]
    w_along, w_norm = along[w], norm[w]
    for j in range(n):
        slack = coarse * (b[j] + w_norm)
        size = math.sqrt(square[j]) * wider + slack
        may[j] = _reaches(a[j], b[j], coarse * b[j], cosine, sine, wider, reach) & _reaches(
            a[j] - w_along, size, slack, cosine, sine, wider, beyond
        )
    may[n : -(-n // 8) * 8] = 0
    return _list(words, begin, n, kept, n_kept)


@part
def _sift_differences(
    key, index, norm, kept, begin, end, to, step, factor, w, w_norm, guard, centre, cosine, sine,
    reach,
):  # fmt: skip
    """Of every ``step``-th of some kept keys, how many may score ``reach`` more than key ``w``.

    If all are tested, those that may are moved to place ``to`` and on.
    """
    number = key.dtype.type
    wider = number(1) + guard
    n_passed = 0
    for t in range(begin, end, step):
        j = kept[t]
        slack = guard * (number(norm[j]) + w_norm)
        passed = _beats(key, index[j], factor, w, centre, slack, cosine, sine, wider, reach)
        if step == 1:
            kept[to + n_passed] = j
        n_passed += passed
    return n_passed


@inlined
def _rounded_down(reach, coarse):
    """In single precision, if at all."""
    single = np.float32(reach)
    return single - coarse * abs(single)


@part
def _increasing(numbers, n, words):
    """Sort ``n`` different numbers, by a bit of ``words`` (all clear) for each."""
    low, high = len(words), 0
    for t in range(n):
        at = numbers[t] >> 6
        words[at] |= np.uint64(1) << np.uint64(numbers[t] & 63)
        low, high = min(low, at), max(high, at)
    t = 0
    for at in range(low, high + 1):
        word, words[at] = words[at], np.uint64(0)
        while word:
            numbers[t] = at * 64 + lowest_bit(word)
            t += 1
            word &= word - np.uint64(1)


@part
def keep_all(norm, index, count, words, out_index):
    """List all keys in increasing order; returns the largest norm."""
    kept, largest = 0, np.float32(0)
    for t in range(len(count)):
        for j in range(t * TILE, t * TILE + count[t]):
            largest = max(largest, norm[j])
            out_index[kept] = index[j]
            kept += 1
    _increasing(out_index, kept, words)
    return largest


@compiled
def narrow(
    unit, size, best, start, stop, key, factor, norm_of, tiles, norm, index, balls, n_keys, floor,
    short, exactly, guard, coarse, absolute, n_probes, probes, panel, table, vectors, unroll, most,
    room, out_tiles, out_norm, out_index,
):  # fmt: skip
    """Find the keys that may win for a query of rows start..stop-1.

    Returns their number, their largest norm, and what every query's winner reaches; the number is
    -1 where keys whose norm is at most ``floor``, none of which are given, may win too. ``best``
    (n,), lower bounds of the queries' best scores, is raised by a few probed keys. Kept keys are
    listed in increasing order, and up to ``most`` of them copied out in tiles; up to ``short``
    given keys are all kept, unlisted. If not ``exactly``, the number is an estimate and nothing is
    kept.
    """
    d = unit.shape[1]
    number, single = unit.dtype.type, np.float32
    guard, factor, coarse = number(guard), number(factor), single(coarse)
    middle, length, radius, count, owner = balls
    along, bits = room
    n_tiles = len(count)
    centre, w = np.empty((1, d), unit.dtype), np.empty((1, d), unit.dtype)
    scores, lead = (
        np.empty(TILE + fewest_keys(unit.itemsize), unit.dtype), np.empty(TILE, unit.dtype),
    )  # fmt: skip
    cosine, sine = cap(unit, start, stop, guard, centre, scores)
    # The cap again, for single precision.
    coarse_centre = np.empty(d, single)
    for f in range(d):
        coarse_centre[f] = centre[0, f]
    coarse_cosine = max(single(cosine) - coarse, single(-1))
    coarse_sine = single(
        math.sqrt(max(single(1) - coarse_cosine * coarse_cosine + coarse, single(0)))
    )
    tile_along = np.empty(n_tiles, single)
    seen, skipped = np.zeros(n_tiles, np.bool_), np.empty(n_tiles, np.bool_)
    at_centre(middle, d, n_tiles, 0, n_tiles, coarse_centre, tile_along)
    n_probed = min(n_tiles, _PROBED_TILES)
    probed: Any = np.arange(n_probed)
    if n_tiles > n_probed:
        promising(
            tile_along, length, radius, n_tiles, coarse_cosine, coarse_sine, n_probed,
            np.empty(n_probed, single), probed,
        )  # fmt: skip
    per_tile = max(1, min(n_probes, len(probes)) // n_probed)
    top, chosen = np.empty(per_tile, single), np.empty(per_tile, np.int64)
    found, leader, largest = 0, probed[0] * TILE, single(0)
    for t in probed:
        begin, n = t * TILE, count[t]
        seen[t] = True
        at_centre(tiles, d, TILE, begin * d, n, coarse_centre, along[begin : begin + n])
        n_classes = min(per_tile, n)
        promising(
            along[begin : begin + n], norm[begin : begin + n], None, n, coarse_cosine, coarse_sine,
            n_classes, top, chosen,
        )  # fmt: skip
        for c in range(n_classes):
            j = begin + chosen[c]
            for f in range(d):
                probes[found, f] = key[index[j], f] * factor
            found += 1
            largest = max(largest, norm[j])
            if along[j] > along[leader]:
                leader = j
    reach = probe(
        unit, start, stop, probes, found, guard * number(largest), absolute, size, best, panel,
        table, vectors, unroll,
    )  # fmt: skip

    least = _rounded_down(reach, coarse)
    if not spares(floor, least, coarse):
        return -1, largest, least
    if n_keys <= short:
        for t in range(n_tiles):
            for j in range(t * TILE, t * TILE + count[t]):
                largest = max(largest, norm[j])
        return n_keys, largest, least
    square, may = np.empty(TILE, single), np.empty(TILE, np.uint8)
    words = may.view(np.uint64)
    wider = single(1) + coarse
    kept = begin = tried = dropped = 0
    while begin < n_tiles:
        before, end = kept, begin
        while end < n_tiles and owner[end] == owner[begin]:
            skipped[end] = not _reaches(
                tile_along[end], length[end], coarse * length[end], coarse_cosine, coarse_sine,
                wider, least - wider * radius[end],
            )  # fmt: skip
            if not skipped[end]:
                at, n = end * TILE, count[end]
                if not seen[end]:
                    at_centre(tiles, d, TILE, at * d, n, coarse_centre, along[at : at + n])
                kept = _sift(
                    along, norm, at, n, coarse_cosine, coarse_sine, coarse, wider, least, may,
                    words, out_index, kept,
                )  # fmt: skip
            end += 1
        # Differences to a key are small where keys lie close together.
        if kept - before >= _MANY and _FUTILE * dropped + _FREE >= tried:
            tried += kept - before
            dropped += kept - before
            near = out_index[before]
            for t in range(before, kept):
                near = out_index[t] if along[out_index[t]] > along[near] else near
            for f in range(d):
                w[0, f] = key[index[near], f] * factor
            beyond = _rounded_down(what_is_beyond(unit, start, stop, best, w, scores, lead), coarse)
            kept = before
            for t in range(begin, end):
                if not skipped[t]:
                    kept = _sift_near(
                        tiles, d, along, norm, t * TILE, count[t], near, coarse_cosine, coarse_sine,
                        coarse, wider, least, beyond, square, may, words, out_index, kept,
                    )  # fmt: skip
            dropped -= kept - before
        begin = end
    # To test those to the best key in full is worth its while if it drops half of a sample.
    for f in range(d):
        w[0, f] = key[index[leader], f] * factor
    lead_reach = what_is_beyond(unit, start, stop, best, w, scores, lead)
    for step in (max(1, kept // _SAMPLE), 1):
        passed = _sift_differences(
            key, index, norm, out_index, 0, kept, 0, step, factor, w, number(norm[leader]), guard,
            centre, cosine, sine, lead_reach,
        )  # fmt: skip
        if step == 1:
            kept = passed
            break
        if not exactly:
            return min(passed * step, kept), largest, least
        if 2 * passed * step > kept:
            break
    for t in range(kept):
        out_index[t] = index[out_index[t]]
    _increasing(out_index, kept, bits)
    largest = single(0)
    copied = kept <= most
    for t in range(kept):
        j = out_index[t]
        out_norm[t] = norm_of[j]
        largest = max(largest, out_norm[t])
        if copied:
            put(key, j, factor, t, out_tiles)
    return kept, largest, least
