"""Kernels for a few queries against many keys: each key is read from memory once.

Threads take turns of some blocks of keys of one entry of the batch, with all queries that attend to
it. Where the keys are still to be checked, a turn finds out what the check needs, and whoever calls
has it made before anything is decided.
"""

from __future__ import annotations

from ._decide import pack
from ._direct_kernels import allow, decide, screen
from ._jit import compiled, part
from ._rows import sweep
from ._sharing import share_turns

__all__ = ["decide_all", "screen_all"]


@part
def _screen_rows(query, key, start, stop, peak, entry, looks, tables, blk):
    """Fill row ``blk`` of ``tables`` (P, blocks, width) from a few queries, one by one."""
    n_queries, width = query.shape[0], tables.shape[2]
    top = query.dtype.type(0)
    for lane in range(tables.shape[0] * width):
        if lane < n_queries:
            if looks and lane == 0:
                top = sweep(query, lane, key, start, stop, peak, entry)
            else:
                top = sweep(query, lane, key, start, stop, None, entry)
        tables[lane // width, blk, lane % width] = top  # spare lanes repeat the last query


@part
def _screen_turn(slot, number, inputs, masks, plan, places, among):
    """Screen some blocks of keys against all queries that attend to them."""
    query, key, _, query_of, key_of, _, mask_of = inputs
    causal, rule, allowed, added, verdict = masks
    _, _, _, blocks, block, stride, vectors, unroll = plan
    packed, bias, margins, tables = places[:4]
    users, begins, by_rows, looks, peaks = among
    n_keys, per_batch, n_blocks = key.shape[1], tables.shape[1], tables.shape[2]
    n_parts = -(-n_blocks // blocks)
    entry, first = number // n_parts, number % n_parts * blocks
    last = min(first + blocks, n_blocks)
    k, peak = key[entry], peaks[slot]
    if by_rows:
        for blk in range(first, last):
            start, stop = blk * block, min((blk + 1) * block, n_keys)
            for u in range(begins[entry], begins[entry + 1]):
                b = users[u]
                again = u == begins[entry]
                _screen_rows(
                    query[query_of[b]], k, start, stop, peak, entry, looks and again, tables[b], blk
                )
        return
    if looks and causal:  # most keys are seen by none of a few queries
        sweep(None, 0, k, first * block, min(last * block, n_keys), peak, entry)
        looks = False
    for u in range(begins[entry], begins[entry + 1]):
        b = users[u]
        panel = b * per_batch
        screen(
            query, key, query_of, key_of, mask_of, None, None, causal, rule, allowed, added,
            panel, panel, panel + per_batch, first, last, block, stride, verdict,
            packed[slot], bias[slot], tables[b], margins[b], None, slot,
            peak if looks else peak[:0], vectors, unroll,
        )  # fmt: skip
        looks = False


@part
def _decide_turn(slot, b, inputs, masks, plan, places, outputs):
    """Decide the queries of one entry of the batch."""
    query, _, _, query_of, key_of, _, _, slack, key_peak, _ = inputs
    packed, _, margins, tables = places[:4]
    _, per_batch, _, width = tables.shape
    q = query[query_of[b]]
    for p in range(per_batch):
        pack(q, p * width, min(width, len(q) - p * width), width, packed[slot], 0)
        allow(packed[slot], 0, q.shape[1], slack, key_peak, key_of[b], margins[b, 0], p)
    decide(slot, b * per_batch, (b + 1) * per_batch, b, inputs, masks, plan, places, outputs, None)


@compiled
def screen_all(run_job, n_helpers, begin, end, inputs, masks, plan, places, among):
    """Take the turns begin..end-1, each some blocks of one entry of keys.

    ``among`` is ``(users, begins, by_rows, looks, peaks)``: entry e of the keys serves the entries
    ``users[begins[e]:begins[e + 1]]`` of the batch; queries are scored by rows of keys or in
    panels; and each slot of ``peaks`` (slots, Bk, d) is raised if anyone ``looks``.
    """
    share_turns(run_job, n_helpers, begin, end, _screen_turn, (inputs, masks, plan, places, among))


@compiled
def decide_all(run_job, n_helpers, begin, end, inputs, masks, plan, places, outputs):
    """Turn the tables of the entries begin..end-1 of the batch into winners and means."""
    share_turns(
        run_job, n_helpers, begin, end, _decide_turn, (inputs, masks, plan, places, outputs)
    )
