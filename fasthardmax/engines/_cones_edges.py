"""Machine code that leaves out keys of the plane: those that lie inside of all edges of a polygon.

The corners w of the polygon are keys. With normals a_1, ..., a_k that turn once around to the left,
|a_e|_inf = 1, a query of direction t, |t|_inf = 1, lies between the normals of two edges that meet
in a corner: t = x a_e + y a_(e+1), x, y >= 0, and x + y >= 1. So a key p with
<a, p> + m < <a, w> for both normals has <t, p> + m < <t, w>; m is
relative (|p|_1 + |w|_1) + absolute P, as ``_cones_margins`` derives it. The normals need not be
perpendicular to the edges: that only tells where w is tight. What is formed in float64, or fused,
errs by less than what the margin has room for: no term is rounded more than six times.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._cones_lanes import PLACES, write_eight
from ._cones_vectors import LANES
from ._jit import compiled
from ._vectors import bit_count, lowest_bit

__all__ = ["outside", "polygon"]

_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_F64, LANES)
_LINE, _AHEAD = 64, 8192  # bytes of a cache line; a processor foresees no reads across pages
# Turns are at least so much: rounding does not decide whether one is to the left.
_TURN = 2.0**-40


@intrinsic
def _beyond(typingctx, keys, row, edges, n_edges, relative):
    """Bit set of a vector of keys, those that are not safely inside of all edges (a_x, a_y, c).

    They are the rows of ``keys`` (n, 2) from ``row`` on.
    """

    def codegen(context, b, signature, args):
        number = ir.FloatType() if signature.args[0].dtype.bitwidth == 32 else _F64
        itemsize = signature.args[0].dtype.bitwidth // 8
        data = context.make_array(signature.args[0])(context, b, args[0]).data
        place = b.gep(data, [b.mul(args[1], _I64(2))])
        pairs = ir.VectorType(number, 2 * LANES)
        together = b.load(b.bitcast(place, pairs.as_pointer()))
        together.align = itemsize
        touched = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _I32, _I32, _I32])
        touch = cgutils.get_or_insert_function(b.module, touched, "llvm.prefetch.p0")
        ahead = b.bitcast(place, ir.IntType(8).as_pointer())
        for line in range(0, 2 * LANES * itemsize, _LINE):
            b.call(touch, [b.gep(ahead, [_I64(_AHEAD + line)]), _I32(0), _I32(3), _I32(1)])

        def every_other(first):
            lanes = ir.Constant(
                ir.VectorType(_I32, LANES), [first + 2 * lane for lane in range(LANES)]
            )
            some = b.shuffle_vector(together, ir.Constant(pairs, ir.Undefined), lanes)
            return some if number is _F64 else b.fpext(some, _VECTOR)

        def splat(value):
            low = b.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, _I32(0))
            nowhere = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
            return b.shuffle_vector(low, ir.Constant(_VECTOR, ir.Undefined), nowhere)

        def call(name, *values):
            kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
            function = cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}.v{LANES}f64")
            return b.call(function, values)

        x, y = every_other(0), every_other(1)
        farthest = cgutils.alloca_once(b, _VECTOR)
        b.store(ir.Constant(_VECTOR, [float("-inf")] * LANES), farthest)
        table = context.make_array(signature.args[2])(context, b, args[2]).data
        with cgutils.for_range(b, args[3]) as loop:
            edge = b.gep(table, [b.mul(loop.index, _I64(3))])
            a, c, reach = (splat(b.load(b.gep(edge, [_I64(part)]))) for part in range(3))
            beyond = call("fmuladd", a, x, call("fmuladd", c, y, b.fneg(reach)))
            so_far = b.load(farthest)
            b.store(b.select(b.fcmp_ordered(">", beyond, so_far), beyond, so_far), farthest)
        size = b.fadd(call("fabs", x), call("fabs", y))
        beyond = b.fadd(b.load(farthest), b.fmul(splat(args[4]), size))
        out = b.fcmp_unordered(">=", beyond, ir.Constant(_VECTOR, [0.0] * LANES))
        return b.zext(b.bitcast(out, ir.IntType(LANES)), _I64)

    intp = types.intp
    return types.uint64(keys, intp, edges, intp, types.float64), codegen


@compiled
def outside(keys, edges, relative, start, stop, kept):
    """Write to ``kept[start:]`` the rows start..stop-1 that may win; returns how many.

    Others lie inside of all ``edges`` of :func:`polygon`.
    """
    found = start
    n_edges = len(edges)
    whole = stop - (stop - start) % LANES
    for i in range(start, whole, LANES):
        bits = _beyond(keys, i, edges, n_edges, relative)
        # What is written in vain is written over.
        if found + 8 <= stop:
            write_eight(PLACES[bits], i, kept, found)
            found += bit_count(bits)
            continue
        while bits:
            kept[found] = i + lowest_bit(bits)
            found += 1
            bits &= bits - np.uint64(1)
    for i in range(whole, stop):
        x, y = np.float64(keys[i, 0]), np.float64(keys[i, 1])
        farthest = -np.inf
        for e in range(n_edges):
            farthest = max(farthest, edges[e, 0] * x + edges[e, 1] * y - edges[e, 2])
        if not farthest + relative * (abs(x) + abs(y)) < 0:
            kept[found] = i
            found += 1
    return found - start


@compiled
def polygon(columns, heads, scale, relative, absolute, edges):
    """Write to ``edges`` those of a polygon with corners ``columns[:, heads]``; returns how many.

    They are (a_x, a_y, c), <a, p> <= c on the inner side, c less the margin but for what p adds.
    The corners are in order, to the left; those where the polygon turns too little are left out.
    ``scale`` holds powers of two by which both features become alike. 0 where it has no inside.
    """
    n = 0
    corners, normals = np.empty((len(heads), 2)), np.empty((len(heads), 2))
    for h in heads:
        x, y = columns[0, h], columns[1, h]
        if n == 0 or corners[n - 1, 0] != x or corners[n - 1, 1] != y:
            corners[n, 0], corners[n, 1] = x, y
            n += 1
    while n > 1 and corners[n - 1, 0] == corners[0, 0] and corners[n - 1, 1] == corners[0, 1]:
        n -= 1
    straight = True
    while straight and n >= 3:
        straight = dropped = False
        left = 0
        for i in range(n):
            j = i + 1 if i + 1 < n else 0
            x = (corners[j, 1] - corners[i, 1]) * scale[1]
            y = (corners[i, 0] - corners[j, 0]) * scale[0]
            longer = max(abs(x), abs(y))
            normals[i, 0], normals[i, 1] = x / longer, y / longer
        for i in range(n):
            before = i - 1 if i else n - 1
            turn = normals[before, 0] * normals[i, 1] - normals[before, 1] * normals[i, 0]
            # Not two in a row: the first of them changes the turn of the other.
            dropped = not (turn > _TURN or dropped)
            straight |= dropped
            if not dropped:
                corners[left, 0], corners[left, 1] = corners[i, 0], corners[i, 1]
                left += 1
        n = left
    if n < 3:
        return 0
    rounds = 0
    for i in range(n):
        rounds += normals[i - 1 if i else n - 1, 1] < 0 <= normals[i, 1]
    if rounds != 1:
        return 0
    for i in range(n):
        x, y = normals[i, 0] * scale[0], normals[i, 1] * scale[1]
        longer = max(abs(x), abs(y))
        x, y = x / longer, y / longer
        edges[i, 0], edges[i, 1], edges[i, 2] = x, y, np.inf
        for j in (i, i + 1 if i + 1 < n else 0):
            size = abs(corners[j, 0]) + abs(corners[j, 1])
            reach = x * corners[j, 0] + y * corners[j, 1] - relative * size
            edges[i, 2] = min(edges[i, 2], reach - absolute)
    return n
