"""Translates the vector kernels for Arm and writes them to stdout, each after a line "=== NAME".

Run as ``python -m tests.arm float32`` (or float64), where Numba compiles for a plain processor:
what is left then names no processor.
"""

from __future__ import annotations

import re
import sys

import llvmlite.binding as llvm
import numpy as np
from numba import njit, types

from fasthardmax.engines import _processor
from fasthardmax.engines._canonical import score_keys, tied, top_score
from fasthardmax.engines._cones_groups import bound_groups, reaching, score_group
from fasthardmax.engines._cones_lanes import (
    find_cells,
    outside_body,
    settle_streams,
    stream,
    write_eight,
)
from fasthardmax.engines._cones_vectors import extent, highest, screen_list, survivors
from fasthardmax.engines._few_keys import decide
from fasthardmax.engines._lone_blocks import decide_lone, decide_lone_turned
from fasthardmax.engines._rows import sweep
from fasthardmax.engines._table_search import column_top, hits, lone_hits, next_hit
from fasthardmax.engines._turned import turn_rows
from fasthardmax.engines._vectors import geometry, prefetch, screen_block

NAME = sys.argv[1] if __name__ == "__main__" else "float32"
KIND = types.float32 if NAME == "float32" else types.float64
ITEMSIZE = np.dtype(NAME).itemsize
WORD = types.int32 if NAME == "float32" else types.int64
N = types.intp

NUMBERS, ROWS, TABLES = KIND[::1], KIND[:, ::1], KIND[:, :, ::1]
PLACES, SHORT_PLACES, BITS = types.int64[::1], types.int32[::1], types.uint64
COLUMNS, LINE = types.float64[:, ::1], types.float64[::1]  # cones are divided in float64


def _screening(d):
    _, vectors, unroll = geometry(d, 100, ITEMSIZE)

    def screen(panels, key, n_keys, tables):
        screen_block(panels, 0, key, 0, n_keys, None, None, tables, 0, vectors, unroll)
        screen_block(panels, 0, key, 0, n_keys, None, 0, tables, 0, vectors, unroll)

    return screen, (ROWS, ROWS, N, TABLES)


def _sweep(query, i, key, n_keys, peak, entry):
    sweep(None, 0, key, 0, n_keys, peak, entry)
    return sweep(query, i, key, 0, n_keys, None, 0), sweep(query, i, key, 0, n_keys, peak, entry)


def _scores(query, key, n_keys, scores):
    score_keys(query, 0, key, 0, n_keys, scores)
    top = top_score(scores, n_keys)
    return top, tied(scores, 0, n_keys, top)


def _lone(query, key, n_keys, found, scores, best, last, first, count):
    return decide_lone(
        query, 0, key, 8, n_keys, found, 0, 4, scores, best, last, first, count
    )  # fmt: skip


def _turned(query, key, turned, found, best, last, first, count):
    turn_rows(key, 0, len(key), turned)
    return decide_lone_turned(query, 0, turned, 8, found, 0, 4, best, last, first, count)


def _groups(query, corners, n, columns, least, room):
    top = bound_groups(query, 0, corners, 0, n, room, (0,) * 3)
    return score_group(query, 0, columns, 0, least, room, (0,) * 3), reaching(room, 0, top)


def _few(panels, key, n_keys, best, first, last, count):
    decide(panels, 0, key, n_keys, best, first, last, count, 0, (0, 0))


def _search(table, n_blocks, least, done, found):
    column_top(table, 0, 4, n_blocks, least, 0)
    several = lone_hits(table, 0, 4, n_blocks, least, None, 0, found)
    several |= lone_hits(table, 0, 4, n_blocks, least, done, 0, found)
    return next_hit(table, 0, 4, 0, n_blocks, least, 0, several), hits(table, 0, least, 0)


def _divide(columns, n, weights, tops, places, upper, walls, reach):
    highest(columns, weights, 0, 0, n, tops, places)
    extent(columns, 0, n, tops, upper)
    return survivors(columns, 0, weights, 0, upper, walls, 0, n, reach)


def _screen_list(packs, n, columns, slack):
    return screen_list(packs, 0, n, columns, 0, slack, (0,) * 4)


def _stream(source, n, target):
    stream(source, 0, n, target, 0)
    settle_streams()


def _cells(query, grid, least, cells):
    prefetch(query, 0)
    find_cells(query, 0, grid, least, cells, 0, (0,) * 3)


def _outside(keys, frames, shear, radius, offsets, kept):
    write_eight(offsets, 0, kept, 0)
    return outside_body(keys, 0, frames, shear, 0, radius, False, (0,) * 3)


KERNELS = {
    **{f"screen, d={d}": _screening(d) for d in (2, 3, 8)},
    "sweep": (_sweep, (ROWS, N, ROWS, N, WORD[:, ::1], N)),
    "screen list": (
        _screen_list,
        (types.float32[:, :, ::1], N, types.float32[:, ::1], types.float32),
    ),
    "canonical scores": (_scores, (ROWS, ROWS, N, NUMBERS)),
    "lone blocks": (
        _lone,
        (ROWS, ROWS, N, PLACES, NUMBERS, NUMBERS, PLACES, PLACES, PLACES),
    ),
    "turned": (
        _turned,
        (ROWS, ROWS, TABLES, PLACES, NUMBERS, PLACES, PLACES, PLACES),
    ),
    "groups": (_groups, (ROWS, TABLES, N, TABLES, KIND, NUMBERS)),
    "few keys": (_few, (ROWS, ROWS, N, NUMBERS, PLACES, PLACES, PLACES)),
    "table search": (_search, (TABLES, N, NUMBERS, NUMBERS, PLACES)),
    "divide": (_divide, (COLUMNS, N, COLUMNS, LINE, PLACES, LINE, COLUMNS, LINE)),
    "cells": (_cells, (ROWS, N, KIND, SHORT_PLACES)),
    "outside": (_outside, (ROWS, ROWS, ROWS, KIND, BITS, PLACES)),
    "stream": (_stream, (ROWS, N, ROWS)),
}


def main() -> None:
    assert _processor.VECTOR_BYTES == 16, _processor.VECTOR_BYTES
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    arm = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(opt=3)
    for name, (function, signature) in KERNELS.items():
        kernel = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
        kernel.compile(signature)
        (ours,) = kernel.inspect_llvm().values()
        for what, whose in (("triple", arm.triple), ("datalayout", arm.target_data)):
            ours = re.sub(f"target {what} = .*", f'target {what} = "{whose}"', ours)
        module = llvm.parse_assembly(ours)
        module.verify()
        print(f"=== {name}")
        print(arm.emit_assembly(module))


if __name__ == "__main__":
    main()
