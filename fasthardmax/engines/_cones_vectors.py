"""Vector instructions for dividing cones, as explicit LLVM IR: a key in each lane, in float64.

Keys are columns (rows, n), n a multiple of ``LANES``. The note on Numba's disk cache in
``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._vectors import VECTOR_BYTES

__all__ = ["LANES", "highest", "survivors"]

LANES = VECTOR_BYTES // 8
_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_F64, LANES)
_PLACES = ir.VectorType(_I64, LANES)


def _splat(b, kind, value):
    undefined = ir.Constant(kind, ir.Undefined)
    low = b.insert_element(undefined, value, _I32(0))
    return b.shuffle_vector(low, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


class _Columns:
    """Loads of numbers and of vectors of keys; running values in named places."""

    def __init__(self, context, b, kind, array):
        self.b = b
        self.array = context.make_array(kind)(context, b, array)
        self.rows, self.pitch = cgutils.unpack_tuple(b, self.array.shape, 2)

    def vector(self, row, at):
        place = self.b.gep(self.array.data, [self.b.add(self.b.mul(row, self.pitch), at)])
        value = self.b.load(self.b.bitcast(place, _VECTOR.as_pointer()))
        value.align = 8
        return value

    def weighted(self, weights, at):
        """The sum of the rows, each times its weight, unfused and in order."""
        b = self.b
        total = cgutils.alloca_once(b, _VECTOR)
        b.store(ir.Constant(_VECTOR, [0.0] * LANES), total)
        with cgutils.for_range(b, self.rows) as loop:
            weight = _splat(b, _VECTOR, b.load(b.gep(weights, [loop.index])))
            term = b.fmul(weight, self.vector(loop.index, at))
            b.store(b.fadd(b.load(total), term), total)
        return b.load(total)


def _store(b, data, at, value):
    b.store(value, b.bitcast(b.gep(data, [at]), value.type.as_pointer())).align = 8


@intrinsic
def highest(typingctx, columns, weights, w, n, tops, places):
    """The largest ``weights[w] @ columns[:, :n]`` in each lane, and the vector that has it."""

    def codegen(context, b, signature, args):
        keys = _Columns(context, b, signature.args[0], args[0])
        rows = _Columns(context, b, signature.args[1], args[1])
        factors = b.gep(rows.array.data, [b.mul(args[2], rows.pitch)])
        best = cgutils.alloca_once(b, _VECTOR)
        place = cgutils.alloca_once(b, _PLACES)
        b.store(ir.Constant(_VECTOR, [float("-inf")] * LANES), best)
        b.store(ir.Constant(_PLACES, [0] * LANES), place)
        with cgutils.for_range_slice(b, _I64(0), args[3], _I64(LANES)) as (at, _):
            score = keys.weighted(factors, at)
            better = b.fcmp_ordered(">", score, b.load(best))
            b.store(b.select(better, score, b.load(best)), best)
            b.store(b.select(better, _splat(b, _PLACES, at), b.load(place)), place)
        for position, value in ((4, best), (5, place)):
            data = context.make_array(signature.args[position])(context, b, args[position]).data
            _store(b, data, _I64(0), b.load(value))
        return context.get_dummy_value()

    intp = types.intp
    return types.void(columns, weights, intp, intp, tops, places), codegen


@intrinsic
def survivors(typingctx, columns, at, weights, w, upper, walls, n_walls, reach):
    """Bit set of the lanes from ``at`` on whose key no wall beats.

    ``upper`` gets ``weights[w] @ columns``. A wall (g_1, ..., g_m, s) beats a key if
    ``upper - s + sum_f reach[f] |columns[1 + f] - g_f| < 0``.
    """

    def codegen(context, b, signature, args):
        keys = _Columns(context, b, signature.args[0], args[0])
        rows = _Columns(context, b, signature.args[2], args[2])
        place, wall_kind = args[1], signature.args[5]
        above = keys.weighted(b.gep(rows.array.data, [b.mul(args[3], rows.pitch)]), place)
        data = context.make_array(signature.args[4])(context, b, args[4]).data
        _store(b, data, place, above)
        against = _Columns(context, b, wall_kind, args[5])
        lengths = context.make_array(signature.args[7])(context, b, args[7]).data
        magnitude = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.fabs.v{LANES}f64"
        )
        n_sides = b.sub(keys.rows, _I64(2))
        least = cgutils.alloca_once(b, _VECTOR)
        gap = cgutils.alloca_once(b, _VECTOR)
        b.store(ir.Constant(_VECTOR, [float("inf")] * LANES), least)
        with cgutils.for_range(b, args[6]) as loop:
            wall = b.gep(against.array.data, [b.mul(loop.index, against.pitch)])
            floor = _splat(b, _VECTOR, b.load(b.gep(wall, [n_sides])))
            b.store(b.fsub(above, floor), gap)
            with cgutils.for_range(b, n_sides) as side:
                g = side.index
                apart = b.fsub(
                    keys.vector(b.add(g, _I64(1)), place),
                    _splat(b, _VECTOR, b.load(b.gep(wall, [g]))),
                )
                length = _splat(b, _VECTOR, b.load(b.gep(lengths, [g])))
                term = b.fmul(length, b.call(magnitude, [apart]))
                b.store(b.fadd(b.load(gap), term), gap)
            closer = b.fcmp_ordered("<", b.load(gap), b.load(least))
            b.store(b.select(closer, b.load(gap), b.load(least)), least)
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        stays = b.fcmp_unordered(">=", b.load(least), zero)
        return b.zext(b.bitcast(stays, ir.IntType(LANES)), _I64)

    intp = types.intp
    signature = types.uint64(columns, intp, weights, intp, upper, walls, intp, reach)
    return signature, codegen
