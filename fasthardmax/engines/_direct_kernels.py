"""Kernels of the direct engine: screening of query panels, canonical decision.

Keys stream past each panel of queries in blocks; the screening keeps, for each block and lane, the
largest approximate (fused) score. Only blocks whose maximum lies within the screening slack of the
lane's best are scored again, canonically, and decide.
"""

from __future__ import annotations

import numpy as np

from ._canonical import fewest_keys, reaching
from ._decide import (
    ADDED,
    ALLOWED,
    NO_MASK,
    add_winners,
    average_winners,
    forget_winners,
    pack,
    score_block,
)
from ._jit import compiled, inlined, part
from ._processor import VECTOR_BYTES
from ._rough import count_reaching, lead_blocks, pack_rough, pays, raise_least, round_keys
from ._rows import sweep
from ._sharing import share_turns
from ._table_search import column_top
from ._turned import turn_rows
from ._vectors import bit_count, itemsize_of, lowest_bit, prefetch, screen_block

# So many panels without a failure of bytes make good for two with one.
_FORGIVEN = 8


@part
def _fill_bias(start, stop, i0, lanes, causal, rule, allowed, added, verdict, bias):
    """What the masks add to keys start..stop-1, -inf where forbidden; False if all are."""
    width, never = bias.shape[1], verdict[0]
    some = 0
    for lane in range(width):
        i = i0 + min(lane, lanes - 1)
        visible = max(start, min(stop, i + 1)) - start if causal else stop - start
        if rule == ALLOWED:
            for j in range(visible):
                yes = int(allowed[i, start + j])
                bias[j, lane] = verdict[yes]
                some |= yes
        else:
            for j in range(visible):
                bias[j, lane] = added[i, start + j]
                some |= int(bias[j, lane] > never)
        for j in range(visible, stop - start):
            bias[j, lane] = never
    return some != 0


@part
def screen(
    query, key, query_of, key_of, mask_of, slack, key_peak, causal, rule, allowed, added,
    origin, start, stop, first_block, last_block, block, stride, verdict, packed, bias, tables,
    margins, rough, slot, peak, vectors, unroll,
):  # fmt: skip
    """Fill rows first_block..last_block-1 of the tables of panels start..stop-1.

    Panels are numbered through the batches; ``tables`` (from ``origin``, blocks, width). Those in
    ``packed`` (P, d * width) share each run of ``stride`` blocks of keys while it is in cache. With
    ``rough`` the screening is in bytes. ``margins`` (2, panels, width) get what rounding and, then,
    bytes may cost a winner; not if ``slack`` is None. ``peak`` (Bk, d), unless it is None or empty,
    is raised to the bits of the keys' magnitudes.
    """
    n_queries, n_keys = query.shape[1], key.shape[1]
    width = tables.shape[2]
    per_batch = -(-n_queries // width)
    panel = start
    while panel < stop:
        b, i0 = panel // per_batch, panel % per_batch * width
        together = min(len(packed), stop - panel, per_batch - panel % per_batch)
        q, k = query[query_of[b]], key[key_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        n_visible = min(n_keys, n_queries, i0 + together * width) if causal else n_keys
        end = min(last_block, -(-n_visible // block))
        for p in range(together):
            i = i0 + p * width
            lanes = min(width, n_queries - i)
            row = panel - origin + p
            if rough is None:
                pack(q, i, lanes, width, packed, p)
                if slack is not None:
                    allow(packed, p, q.shape[1], slack, key_peak, key_of[b], margins[0], row)
            else:
                _, units, least_peaks, lengths, words, offset, scale = rough
                at = key_of[b]
                pack_rough(
                    q, i, lanes, width, least_peaks[at], units[at], lengths[at, 0], lengths[at, 1],
                    key_peak, at, words[slot], offset[slot], scale[slot], p,
                    margins[0], margins[1], row,
                )  # fmt: skip
                for lane in range(lanes):
                    margins[0, row, lane] = slack[0] * margins[0, row, lane] + slack[1]
        for run in range(first_block, end, stride):
            run_end = min(run + stride, end)
            if peak is not None and len(peak) > 0:
                at = key_of[b]
                sweep(None, 0, k, run * block, min(run_end * block, n_keys), peak, at)
            # The next run of keys comes into cache while panels share this one; one panel alone
            # streams, which the processor foresees.
            ahead = 0
            if together > 1:
                ahead = min(stride * block, max(0, n_visible - run_end * block))
            for p in range(together):
                for j in range(ahead * p // together, ahead * (p + 1) // together):
                    if rough is None:
                        prefetch(k, run_end * block + j)
                    else:
                        prefetch(rough[0][key_of[b]], run_end * block + j)
                i = i0 + p * width
                lanes = min(width, n_queries - i)
                # Blocks that no lane sees are not looked at later either.
                limit = min(n_visible, i + lanes) if causal else n_visible
                for blk in range(run, min(run_end, -(-limit // block))):
                    j0, j1 = blk * block, min((blk + 1) * block, limit)
                    row = panel - origin + p
                    at = (row * tables.shape[1] + blk) * width
                    if rule != NO_MASK:
                        if _fill_bias(j0, j1, i, lanes, causal, rule, yes, plus, verdict, bias):
                            screen_block(
                                packed, p, k, j0, j1, bias, None, tables, at, vectors, unroll
                            )
                        else:
                            for lane in range(width):
                                tables[row, blk, lane] = -np.inf
                    elif rough is None:
                        if causal and j1 > i + 1:
                            screen_block(packed, p, k, j0, j1, None, i, tables, at, vectors, unroll)
                        else:
                            screen_block(
                                packed, p, k, j0, j1, None, None, tables, at, vectors, unroll
                            )
                    else:
                        small, scaling = rough[0][key_of[b]], (rough[5][slot], rough[6][slot])
                        if causal and j1 > i + 1:
                            screen_block(
                                rough[4][slot], p, small, j0, j1, scaling, i, tables, at, vectors,
                                unroll,
                            )  # fmt: skip
                        else:
                            screen_block(
                                rough[4][slot], p, small, j0, j1, scaling, None, tables, at,
                                vectors, unroll,
                            )  # fmt: skip
        panel += together


@inlined
def allow(packed, p, d, slack, key_peak, b, allowances, q):
    """How far below the best approximate score a winner's may lie, for each lane of panel p."""
    width = allowances.shape[1]
    for lane in range(width):
        allowances[q, lane] = 0
    for f in range(d):
        peak = key_peak[b, f]
        for lane in range(width):
            allowances[q, lane] += abs(packed[p, f * width + lane]) * peak
    for lane in range(width):
        allowances[q, lane] = slack[0] * allowances[q, lane] + slack[1]


@inlined
def _thresholds(lanes, rule, slack, allowances, doubts, tables, p, n_blocks, top, least):
    """The approximate score that each lane's winners must reach; inf where nothing is allowed.

    ``doubts`` where scores are in bytes, else None.
    """
    width = tables.shape[2]
    at = p * tables.shape[1] * width
    for lane in range(0, width, VECTOR_BYTES // itemsize_of(tables)):
        column_top(tables, at + lane, width, n_blocks, top, lane)
    for lane in range(width):
        least[lane] = top[lane] - allowances[p, lane]
    if doubts is not None:
        for lane in range(width):
            least[lane] -= doubts[p, lane]
    if rule == ADDED:
        for lane in range(width):
            least[lane] -= slack[2] * abs(top[lane])
    for lane in range(width):
        least[lane] = least[lane] if top[lane] > -np.inf else np.inf
    for lane in range(lanes, width):
        least[lane] = np.inf


@part
def decide(slot, start, stop, table, inputs, masks, plan, places, outputs, rough):
    """Turn the tables of panels start..stop-1 into winners and means.

    A panel of rough scores that leave too much to look at is screened again, without ``rough``.
    """
    query, key, value, query_of, key_of, value_of, mask_of, slack, key_peak, turned = inputs
    causal, rule, allowed, added, verdict = masks
    _, _, _, _, block, stride, vectors, unroll = plan
    packed, bias, all_margins, all_tables, numbers, counters, all_scores = places
    ties, mean, first, count, again, failures = outputs
    margins, tables, scores = all_margins[table], all_tables[table], all_scores[slot]
    allowances, doubts = margins[0], margins[1]
    top, least, best = numbers[slot, 0], numbers[slot, 1], numbers[slot, 2]
    lead, done = numbers[slot, 3], numbers[slot, 4]
    last, found_at = counters[slot, 0], counters[slot, 1]
    n_queries, n_keys = query.shape[1], key.shape[1]
    width, products = tables.shape[2], block * query.shape[2]
    per_batch = -(-n_queries // width)
    for panel in range(start, stop):
        b, i0, p = panel // per_batch, panel % per_batch * width, panel - start
        lanes = min(width, n_queries - i0)
        n_visible = min(n_keys, i0 + lanes) if causal else n_keys
        n_blocks = -(-n_visible // block)
        q, k, side = query[query_of[b]], key[key_of[b]], turned[key_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        _thresholds(
            lanes, rule, slack, allowances, None if rough is None else doubts,
            tables, p, n_blocks, top, least,
        )  # fmt: skip
        f, c = first[b], count[b]
        forget_winners(i0, lanes, best, last, f, c)
        done[:] = np.inf
        twice = np.uint64(0)
        if rough is not None:
            found = count_reaching(tables, p, n_blocks, least)
            if found > lanes + lanes // 2:
                lead_blocks(lanes, doubts, p, top, lead)
                if pays(
                    count_reaching(tables, p, n_blocks, lead),
                    lanes,
                    n_blocks,
                    products,
                    tables.itemsize,
                ):
                    twice = add_winners(
                        q, k, side, i0, lanes, causal, rule, yes, plus, lead, done,
                        block, n_blocks, n_visible, tables, p, found_at, best, last, scores, f, c,
                    )  # fmt: skip
                    raise_least(lanes, doubts, p, top, lead, best, least)
                    found = count_reaching(tables, p, n_blocks, least)
                    for lane in range(width):
                        done[lane] = lead[lane]
            if pays(found, lanes, n_blocks, products, tables.itemsize):
                failures[slot] = max(failures[slot] - 1, -_FORGIVEN)
            else:
                failures[slot] += _FORGIVEN // 2
                screen(
                    query, key, query_of, key_of, mask_of, slack, key_peak,
                    causal, rule, allowed, added,
                    start, panel, panel + 1, 0, tables.shape[1], block, stride, verdict,
                    packed[slot], bias[slot], tables, margins, None, slot, None, vectors, unroll,
                )  # fmt: skip
                _thresholds(lanes, rule, slack, allowances, None, tables, p, n_blocks, top, least)
                forget_winners(i0, lanes, best, last, f, c)
                done[:] = np.inf
        twice |= add_winners(
            q, k, side, i0, lanes, causal, rule, yes, plus, least, done,
            block, n_blocks, n_visible, tables, p, found_at, best, last, scores, f, c,
        )  # fmt: skip
        again[slot] += bit_count(twice)
        average_winners(
            q, k, value[value_of[b]], i0, lanes, causal, rule, yes, plus, least,
            block, n_visible, tables, p, best, last, scores, ties, None, None, f, c, mean[b],
        )  # fmt: skip


@part
def _attend(slot, start, stop, inputs, masks, plan, places, outputs, rough):
    """Screen and decide panels start..stop-1."""
    query, key, _, query_of, key_of, _, mask_of, slack, key_peak, _ = inputs
    causal, rule, allowed, added, verdict = masks
    _, _, _, _, block, stride, vectors, unroll = plan
    packed, bias, margins, tables = places[:4]
    screen(
        query, key, query_of, key_of, mask_of, slack, key_peak, causal, rule, allowed, added,
        start, start, stop, 0, tables.shape[2], block, stride, verdict,
        packed[slot], bias[slot], tables[slot], margins[slot], rough, slot, None, vectors, unroll,
    )  # fmt: skip
    decide(slot, start, stop, slot, inputs, masks, plan, places, outputs, rough)


@part
def _attend_turn(slot, number, inputs, masks, plan, places, outputs, rough):
    """Screen and decide some panels; where causal, the longest first."""
    n_panels, n_turns, panels = plan[:3]
    start = (n_turns - 1 - number if masks[0] else number) * panels
    stop = min(start + panels, n_panels)
    failures = outputs[5]
    if rough is not None:
        # Whether bytes will do for these data, a first panel tells.
        probe = start if failures[slot] else start + 1
        if probe > start:
            _attend(slot, start, probe, inputs, masks, plan, places, outputs, rough)
            start = probe
        if start < stop and failures[slot] < 0:
            _attend(slot, start, stop, inputs, masks, plan, places, outputs, rough)
            start = stop
    if start < stop:
        _attend(slot, start, stop, inputs, masks, plan, places, outputs, None)


@part
def _turn_some(slot, number, key, rows, turned):
    """Turn some keys of one entry of the batch, if any are."""
    n_turned = turned.shape[1] * turned.shape[3]
    if n_turned > 0:
        per_entry = -(-key.shape[1] // rows)
        b, start = number // per_entry, number % per_entry * rows
        last = start + rows >= key.shape[1]
        turn_rows(key[b], start, n_turned if last else start + rows, turned[b])


@part
def _prepare_turn(slot, number, key, inverse, rows, rounded, kept, missed, turned):
    """Round some keys of one entry of the batch, and turn them."""
    round_keys(slot, number, key, inverse, rows, rounded, kept, missed)
    _turn_some(slot, number, key, rows, turned)


@compiled
def prepare(run_job, n_helpers, n_turns, key, inverse, rows, rounded, kept, missed, turned):
    """Round all keys to bytes and turn them, if any are to be, some rows in each turn."""
    share_turns(
        run_job, n_helpers, 0, n_turns, _prepare_turn,
        (key, inverse, rows, rounded, kept, missed, turned),
    )  # fmt: skip


@compiled
def attend(
    run_job, n_helpers, begin, end, inputs, masks, plan, places, outputs, rough, unturned, rows
):  # fmt: skip
    """Take the turns begin..end-1, each some panels of queries with all their keys.

    ``places`` holds what a thread writes to, one of each for each slot. If keys are still
    ``unturned``, in so many turns of some ``rows``, they come first.
    """
    if unturned > 0:
        share_turns(run_job, n_helpers, 0, unturned, _turn_some, (inputs[1], rows, inputs[9]))
    share_turns(
        run_job,
        n_helpers,
        begin,
        end,
        _attend_turn,
        (inputs, masks, plan, places, outputs, rough),
    )


@compiled
def list_ties(
    query, key, query_of, key_of, mask_of, causal, rule, allowed, added,
    first, count, indptr, start, stop, indices,
):  # fmt: skip
    """Write every winner of flat rows start..stop-1, walking on from the first one."""
    n_queries, block = query.shape[1], 64
    lanes = fewest_keys(itemsize_of(query))
    scores = np.empty(block, query.dtype)
    for row in range(start, stop):
        b, i = row // n_queries, row % n_queries
        q, k = query[query_of[b]], key[key_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        at = indptr[row]
        begin = first[b, i]
        best = q.dtype.type(0)
        while at < indptr[row + 1]:
            end = min(begin + block, len(k))
            score_block(q, k, i, begin, end, causal, rule, yes, plus, scores)
            if begin == first[b, i]:
                best = scores[0]
            for j in range(0, end - begin, lanes):
                ties_here = reaching(scores, j, best)
                while ties_here:
                    indices[at] = begin + j + lowest_bit(ties_here)
                    ties_here &= ties_here - np.uint64(1)
                    at += 1
            begin = end
