"""Vector instructions for cones, as explicit LLVM IR: a key in each lane.

They are divided in float64, keys as columns (rows, n), n a multiple of ``LANES``. A query screens
its candidates in float32, in packs (vectors, d, ``PACK``). The note on Numba's disk cache in
``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._processor import VECTOR_BYTES

__all__ = ["LANES", "PACK", "extent", "highest", "screen_list", "survivors"]

LANES, PACK = VECTOR_BYTES // 8, VECTOR_BYTES // 4
_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_F64, LANES)
_PLACES = ir.VectorType(_I64, LANES)
_PACK, _NUMBERS = ir.VectorType(ir.FloatType(), PACK), ir.VectorType(_I32, PACK)


def _splat(b, kind, value):
    undefined = ir.Constant(kind, ir.Undefined)
    low = b.insert_element(undefined, value, _I32(0))
    return b.shuffle_vector(
        low, undefined, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
    )


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
def highest(typingctx, columns, weights, w, begin, end, tops, places):
    """Each lane's largest ``weights[w] @ columns[:, begin:end]``, and the vector that has it."""

    def codegen(context, b, signature, args):
        keys = _Columns(context, b, signature.args[0], args[0])
        rows = _Columns(context, b, signature.args[1], args[1])
        factors = b.gep(rows.array.data, [b.mul(args[2], rows.pitch)])
        best = cgutils.alloca_once(b, _VECTOR)
        place = cgutils.alloca_once(b, _PLACES)
        b.store(ir.Constant(_VECTOR, [float("-inf")] * LANES), best)
        b.store(ir.Constant(_PLACES, [0] * LANES), place)
        with cgutils.for_range_slice(b, args[3], args[4], _I64(LANES)) as (at, _):
            score = keys.weighted(factors, at)
            better = b.fcmp_ordered(">", score, b.load(best))
            b.store(b.select(better, score, b.load(best)), best)
            b.store(b.select(better, _splat(b, _PLACES, at), b.load(place)), place)
        for position, value in ((5, best), (6, place)):
            data = context.make_array(signature.args[position])(context, b, args[position]).data
            _store(b, data, _I64(0), b.load(value))
        return context.get_dummy_value()

    intp = types.intp
    return types.void(columns, weights, intp, intp, intp, tops, places), codegen


@intrinsic
def extent(typingctx, columns, row, n, lowest, highest):
    """Write each lane's smallest and largest of ``columns[row, :n]``."""

    def codegen(context, b, signature, args):
        keys = _Columns(context, b, signature.args[0], args[0])
        ends = [cgutils.alloca_once(b, _VECTOR) for _ in range(2)]
        for end in ends:
            b.store(keys.vector(args[1], _I64(0)), end)
        with cgutils.for_range_slice(b, _I64(LANES), args[2], _I64(LANES)) as (at, _):
            x = keys.vector(args[1], at)
            for end, sign in zip(ends, "<>", strict=True):
                beyond = b.fcmp_ordered(sign, x, b.load(end))
                b.store(b.select(beyond, x, b.load(end)), end)
        for position, end in zip((3, 4), ends, strict=True):
            data = context.make_array(signature.args[position])(context, b, args[position]).data
            _store(b, data, _I64(0), b.load(end))
        return context.get_dummy_value()

    intp = types.intp
    return types.void(columns, intp, intp, lowest, highest), codegen


@intrinsic
def survivors(typingctx, columns, at, weights, w, upper, walls, begin, end, reach):
    """Bit set of the lanes from ``at`` on whose key none of the walls begin..end-1 beats.

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
        lengths = context.make_array(signature.args[8])(context, b, args[8]).data
        magnitude = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.fabs.v{LANES}f64"
        )
        n_sides = b.sub(keys.rows, _I64(2))
        least = cgutils.alloca_once(b, _VECTOR)
        gap = cgutils.alloca_once(b, _VECTOR)
        b.store(ir.Constant(_VECTOR, [float("inf")] * LANES), least)
        with cgutils.for_range(b, args[7], args[6]) as loop:
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
    signature = types.uint64(columns, intp, weights, intp, upper, walls, intp, intp, reach)
    return signature, codegen


@intrinsic
def screen_list(typingctx, packs, first, n, columns, j, slack, dims):
    """Which of ``n`` candidates alone scores within ``slack`` of the best for a query, or -1.

    The candidates are the lanes of ``packs[first:]``, the query is ``columns[:, j]``.
    """
    d = len(dims)

    def codegen(context, b, signature, args):
        packed = context.make_array(signature.args[0])(context, b, args[0]).data
        asked = context.make_array(signature.args[3])(context, b, args[3])
        _, pitch = cgutils.unpack_tuple(b, asked.shape, 2)
        packed = b.gep(packed, [b.mul(args[1], _I64(d * PACK))])
        query = [
            _splat(b, _PACK, b.load(b.gep(asked.data, [b.add(b.mul(_I64(f), pitch), args[4])])))
            for f in range(d)
        ]
        fused = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(_PACK, [_PACK] * 3), f"llvm.fmuladd.v{PACK}f32"
        )
        lowest = ir.Constant(_PACK, [float("-inf")] * PACK)
        lanes = ir.Constant(_NUMBERS, list(range(PACK)))

        def larger(x, y):
            return b.select(b.fcmp_ordered(">", x, y), x, y)

        def score(start):
            """The scores of the candidates from ``start`` on, a multiple of ``PACK``."""
            parts = []
            for f in range(d):
                place = b.gep(packed, [b.add(b.mul(start, _I64(d)), _I64(f * PACK))])
                parts.append(b.load(b.bitcast(place, _PACK.as_pointer())))
                parts[-1].align = 4
            total = b.fmul(query[0], parts[0])
            for f in range(1, d):
                total = b.call(fused, [query[f], parts[f], total])
            left = _splat(b, _NUMBERS, b.trunc(b.sub(args[2], start), _I32))
            return b.select(b.icmp_signed("<", lanes, left), total, lowest)

        best, second = cgutils.alloca_once(b, _PACK), cgutils.alloca_once(b, _PACK)
        place = cgutils.alloca_once(b, _NUMBERS)
        b.store(score(_I64(0)), best)
        b.store(lowest, second)
        b.store(ir.Constant(_NUMBERS, [0] * PACK), place)
        with cgutils.for_range_slice(b, _I64(PACK), args[2], _I64(PACK)) as (start, _):
            found, before = score(start), b.load(best)
            better = b.fcmp_ordered(">", found, before)
            here = _splat(b, _NUMBERS, b.trunc(start, _I32))
            b.store(b.select(better, here, b.load(place)), place)
            b.store(larger(b.select(better, before, found), b.load(second)), second)
            b.store(b.select(better, found, before), best)
        top = b.load(best)
        apart = PACK // 2
        while apart:
            turned = ir.Constant(_NUMBERS, [lane ^ apart for lane in range(PACK)])
            top = larger(top, b.shuffle_vector(top, top, turned))
            apart //= 2
        least = b.fsub(top, _splat(b, _PACK, args[5]))

        def reaching(scores):
            bits = b.bitcast(b.fcmp_ordered(">=", scores, least), ir.IntType(PACK))
            return b.zext(bits, _I64)

        close = reaching(b.load(best))
        others = b.or_(b.and_(close, b.sub(close, _I64(1))), reaching(b.load(second)))
        lane = b.cttz(close, ir.Constant(ir.IntType(1), 0))
        lane = b.and_(lane, _I64(PACK - 1))
        at = b.add(lane, b.zext(b.extract_element(b.load(place), b.trunc(lane, _I32)), _I64))
        return b.select(b.icmp_signed("==", others, _I64(0)), at, _I64(-1))

    intp = types.intp
    return types.intp(packs, intp, intp, columns, intp, types.float32, dims), codegen
