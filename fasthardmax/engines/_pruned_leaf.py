"""Kernels of the pruned engine that answer one leaf, a few panels of queries, among its keys.

Rows of the leaf's queries and keys are gathered, so that it is a small problem of its own: its
rows i and j are rows ``order[start + i]`` of the queries and ``index[j]`` of the keys. Among few
keys it is decided at once; more are screened first.

The margin of its screening is that of ``screening_slack`` with B <= |q| |k| in place of the sum,
for the largest |k| in its list. Where |q| is subnormal its own rounding takes a third at most, and
the factor 8 in place of 4 has room for that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from ._canonical import fewest_keys
from ._decide import NO_MASK, block_size, find_winners, pack
from ._few_keys import decide
from ._jit import compiled, part
from ._processor import VECTOR_BYTES
from ._pruned_keys import keep_all, narrow, spares
from ._pruned_panels import gather, write_panel
from ._pruned_queries import refine
from ._pruned_rough import answer_roughly
from ._pruned_tiles import TILE
from ._table_search import column_top
from ._vectors import prefetch, screen_block

__all__ = ["answer", "count_probes"]

# The bytes of keys that share the second-level cache with packed queries.
_KEY_BYTES = 1 << 16
# Keys scored early, for lower bounds: so many or more, one of so many.
_LEAST_PROBES, _KEYS_PER_PROBE = 64, 64
# Once a leaf keeps more than this share of its keys, the leaves after it keep all.
_USELESS = 0.75
# So few keys are all scored canonically.
_FEW = 384
# And of so few that a top group kept, its leaves drop none.
_BRIEF = 96


@part
def _screen(asked, n_queries, key, n_keys, block, stride, panels, tables, vectors, unroll):
    """Fill the tables of all panels; each run of ``stride`` blocks stays in cache for them."""
    width = tables.shape[2]
    n_panels, n_blocks = -(-n_queries // width), -(-n_keys // block)
    for p in range(n_panels):
        pack(asked, p * width, min(width, n_queries - p * width), width, panels, p)
    for run in range(0, n_blocks, stride):
        # The next run of keys comes into cache while this one is worked on.
        next_run = (run + stride) * block
        ahead = min(stride * block, max(0, n_keys - next_run))
        for p in range(n_panels):
            for j in range(ahead * p // n_panels, ahead * (p + 1) // n_panels):
                prefetch(key, next_run + j)
            for blk in range(run, min(run + stride, n_blocks)):
                at = (p * tables.shape[1] + blk) * width
                first, end = blk * block, min((blk + 1) * block, n_keys)
                screen_block(panels, p, key, first, end, None, None, tables, at, vectors, unroll)


@part
def _thresholds(size, start, p, lanes, n_blocks, reach, absolute, tables, least):
    """The approximate score that each lane's winners must reach; ``reach`` times |q| below top."""
    width = tables.shape[2]
    at = p * tables.shape[1] * width
    for lane in range(0, width, VECTOR_BYTES // tables.itemsize):
        column_top(tables, at + lane, width, n_blocks, least, lane)
    for lane in range(lanes):
        least[lane] -= reach * size[start + p * width + lane] + absolute
    for lane in range(lanes, width):
        least[lane] = np.inf


@part
def _decide_few(
    asked, i0, lanes, key, n_keys, panels, tables, p, least, best, last, first, count, vectors
):  # fmt: skip
    """Decide a panel among all ``n_keys``: one block, which all lanes reach."""
    width = tables.shape[2]
    pack(asked, i0, lanes, width, panels, p)
    decide(panels, p, key, n_keys, best, first, last, count, i0, vectors)
    for lane in range(width):
        tables[p, 0, lane] = least[lane] = best[lane]


@compiled
def _answer_leaf(
    query, size, order, start, stop, key, index, n_keys, value, reach, absolute,
    asked, panels, tables, allowed, ties, mean, first, count, indptr, indices, vectors, unroll,
):  # fmt: skip
    """Screen the keys for rows start..stop-1, decide canonically, and average or list the winners.

    ``index`` is increasing. With ``indptr`` the winners are listed, else averaged.
    """
    number, n_queries = query.dtype.type, stop - start
    width = tables.shape[2]
    few = n_keys <= _FEW and query.shape[1] > 0
    block = n_keys if few else block_size(n_keys, query.shape[1], query.itemsize)
    stride = max(1, _KEY_BYTES // (block * max(1, query.shape[1]) * query.itemsize))
    n_panels, n_blocks = -(-n_queries // width), -(-n_keys // block)
    gather(query, order, start, stop, asked, 0)
    if not few:
        _screen(asked, n_queries, key, n_keys, block, stride, panels, tables, vectors, unroll)
    least = np.empty(width, query.dtype)
    best = np.empty(width, query.dtype)
    last = np.empty(width, np.int64)
    tries = np.empty(width, np.int64)
    scores = np.empty(block + fewest_keys(tables.itemsize), query.dtype)
    leaf_first = np.empty(n_panels * width, np.int64)
    leaf_count = np.empty(n_panels * width, np.int64)
    for p in range(n_panels):
        i0 = p * width
        lanes = min(width, n_queries - i0)
        if few:
            _decide_few(
                asked, i0, lanes, key, n_keys, panels, tables, p, least, best, last,
                leaf_first, leaf_count, vectors,
            )  # fmt: skip
        else:
            _thresholds(
                size, start, p, lanes, n_blocks, number(reach), number(absolute), tables, least
            )
            find_winners(
                asked, key, i0, lanes, False, NO_MASK, allowed, panels, least, block, n_blocks,
                n_keys, tables, p, tries, best, last, scores, leaf_first, leaf_count,
            )  # fmt: skip
        write_panel(
            asked, key, index, order, start, i0, lanes, least, block, n_keys, tables, p, best,
            scores, leaf_first, last, leaf_count, value, allowed, panels, ties, mean, first, count,
            indptr, indices,
        )  # fmt: skip


@register_jitable
def count_probes(n_keys: int, most: int) -> int:
    """How many of so many keys are scored early."""
    return min(most, max(_LEAST_PROBES, n_keys // _KEYS_PER_PROBE))


@register_jitable
def _list(lists: Any, c: Any, last: Any) -> Any:
    """List c of some keys, as :func:`narrow` takes it; no other key may win beside the last."""
    tiles, norm, which, balls, starts, ends, sizes, floors = lists
    middle, length, radius, count, owner = balls
    begin, end = starts[c], ends[c]
    d = len(middle) // len(length)
    return (
        tiles[begin * TILE * d :], norm[begin * TILE :], which[begin * TILE :],
        (
            middle[begin * d : end * d], length[begin:end], radius[begin:end], count[begin:end],
            owner[begin:end],
        ),
        sizes[c], floors[c] if c < last else np.float32(0),
    )  # fmt: skip


@compiled
def _answer_top(
    query, unit, size, order, best, start, stop, leaf, key, factor, norm_of, value,
    lists, last, guard, coarse, absolute, probes, probe_panel, table, room,
    out_tiles, out_norm, out_index, rows, read, asked, panels, tables, allowed, ties, mean, first,
    count, indptr, indices, vectors, unroll, rough,
):  # fmt: skip
    """Answer rows start..stop-1, ``leaf`` at a time; returns how many keys were screened for them.

    Of lists 0..last of the keys that may win, a leaf looks at the shortest that does. ``read`` is
    ``rows``, for reading.
    """
    floors = lists[7]
    c, reach = 0, np.float32(-np.inf)
    useless, fine = last == 0 and lists[6][0] <= _BRIEF, False
    listed = gathered = False  # all keys of a list: their numbers, their bytes
    longest = np.float32(0)
    screened = 0
    for begin in range(start, stop, leaf):
        end = min(begin + leaf, stop)
        found, largest = -1, np.float32(0)
        while found < 0:
            tiles, norm, which, balls, among, floor = _list(lists, c, last)
            if useless:
                found = among
                if not listed:
                    longest = keep_all(norm, which, balls[3], room[1], out_index)
                listed, largest = True, longest
                break
            n_probes = count_probes(among, len(probes))
            found, largest, reach = narrow(
                unit, size, best, begin, end, key, factor, norm_of, tiles, norm, which, balls,
                among, floor, 0, True, guard, coarse, absolute, n_probes, probes, probe_panel,
                table, vectors, unroll, 0, room, out_tiles, out_norm, out_index,
            )  # fmt: skip
            if found < 0:
                c += 1
                while c < last and not spares(floors[c], reach, coarse):
                    c += 1
        # Neighbours reach about as much.
        useless |= last == 0 and found > _USELESS * among
        while c and spares(floors[c - 1], reach, coarse):
            c -= 1
        answered = 0
        if rough is not None:  # noqa: SIM102  # alone, Numba leaves out what cannot run
            # Where bytes do not pay for a panel, they will not for its neighbours.
            if found > _FEW and not fine:
                if not gathered:
                    gather(rough[0], out_index, 0, found, rough[7], 0)
                gather(query, order, begin, end, asked, 0)
                answered = answer_roughly(
                    size, order, begin, end, key, out_index, found, value, guard * largest,
                    absolute, asked, rows, read, allowed, ties, mean, first, count, indptr, indices,
                    rough, not gathered,
                )  # fmt: skip
                gathered = listed
                fine = answered < end - begin
        if begin + answered < end:
            all_keys = found == len(key)
            if not all_keys:
                gather(key, out_index, 0, found, rows, 0)
            _answer_leaf(
                query, size, order, begin + answered, end, key if all_keys else read, out_index,
                found, value, guard * largest, absolute, asked, panels, tables, allowed, ties, mean,
                first, count, indptr, indices, vectors, unroll,
            )  # fmt: skip
        screened += found * (end - begin)
    return screened


@compiled
def answer(
    query, unit, size, order, best, tops, first_top, last_top, likely, leaf, key, factor, norm_of,
    value, keys, guard, coarse, absolute, n_probes, short, probes, probe_panel, table, room, copy,
    out_tiles, out_norm, out_index, rows, read, asked, panels, tables, allowed, ties, mean, first,
    count, indptr, indices, vectors, unroll, rough,
):  # fmt: skip
    """Answer some top groups; returns how many keys were screened, and a likely list.

    Of the lists ``keys`` a group looks at the shortest that does, from ``likely`` on; the keys that
    may win there go to ``copy``, a list with room for half of all keys.
    """
    screened = 0
    floors, balls = keys[7], copy[3]
    most = len(key) // 2
    for top in range(first_top, last_top):
        start, stop = tops[top], tops[top + 1]
        c, kept, among = likely, -1, 0
        while kept < 0:
            tiles, norm, which, around, among, floor = _list(keys, c, len(floors))
            kept, _, reach = narrow(
                unit, size, best, start, stop, key, factor, norm_of, tiles, norm, which, around,
                among, floor, short, True, guard, coarse, absolute, n_probes, probes, probe_panel,
                table, vectors, unroll, most, room, copy[0], copy[1], copy[2],
            )  # fmt: skip
            likely = 0
            while not spares(floors[likely], reach, coarse):
                likely += 1
            if kept < 0:
                c = max(c + 1, likely)
        lists, last = keys, c
        if kept < among and kept <= most:
            lists, last = copy, 0
            n_tiles = -(-kept // TILE)
            for t in range(n_tiles):
                balls[3][t] = min(TILE, kept - t * TILE)
            copy[5][0], copy[6][0] = n_tiles, kept
        if kept > _BRIEF:
            refine(unit, size, order, best, leaf, start, stop)
        screened += _answer_top(
            query, unit, size, order, best, start, stop, leaf, key, factor, norm_of, value,
            lists, last, guard, coarse, absolute, probes,
            probe_panel, table, room, out_tiles, out_norm, out_index, rows, read, asked, panels,
            tables, allowed, ties, mean, first, count, indptr, indices, vectors, unroll, rough,
        )  # fmt: skip
    return screened, likely
