"""Vector instructions for keys in groups of ``PACK``, each in a box, as explicit LLVM IR.

Scores are canonical: nothing is fused. The note on Numba's disk cache in ``_vectors.py`` holds for
this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._cones_vectors import PACK

__all__ = ["bound_groups", "reaching", "score_group"]

_I32, _I64 = ir.IntType(32), ir.IntType(64)


class _Packs:
    """Vectors of ``PACK`` numbers of an array's dtype."""

    def __init__(self, context, b, kind):
        self.context, self.b = context, b
        self.bits = kind.dtype.bitwidth
        self.element = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.element, PACK)

    def data(self, kind, array):
        return self.context.make_array(kind)(self.context, self.b, array)

    def _place(self, data, at):
        return self.b.bitcast(self.b.gep(data, [at]), self.vector.as_pointer())

    def load(self, data, at):
        value = self.b.load(self._place(data, at))
        value.align = self.bits // 8
        return value

    def store(self, data, at, value):
        self.b.store(value, self._place(data, at)).align = self.bits // 8

    def splat(self, value):
        undefined = ir.Constant(ir.VectorType(value.type, PACK), ir.Undefined)
        low = self.b.insert_element(undefined, value, _I32(0))
        nowhere = ir.Constant(ir.VectorType(_I32, PACK), [0] * PACK)
        return self.b.shuffle_vector(low, undefined, nowhere)

    def query(self, array, row, d):
        at = self.b.mul(row, _I64(d))
        places = [self.b.gep(array.data, [self.b.add(at, _I64(f))]) for f in range(d)]
        return [self.splat(self.b.load(place)) for place in places]

    def larger(self, x, y):
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def reach(self, x, least):
        bits = self.b.fcmp_ordered(">=", x, self.splat(least))
        return self.b.zext(self.b.bitcast(bits, ir.IntType(PACK)), _I64)


@intrinsic
def bound_groups(typingctx, query, i, corners, first, n, room, dims):
    """Write to ``room[PACK:]`` what keys in boxes first..first+n-1 score at most; the most of all.

    ``corners`` (2, d, boxes) has room for one vector more. It is the canonical score of the best
    corner: rounding is monotone.
    """
    d = len(dims)

    def codegen(context, b, signature, args):
        packs = _Packs(context, b, signature.args[0])
        asked = packs.query(packs.data(signature.args[0], args[0]), args[1], d)
        ends = packs.data(signature.args[2], args[2])
        pitch = cgutils.unpack_tuple(b, ends.shape, 3)[2]
        bounds = packs.data(signature.args[5], args[5]).data
        lowest = ir.Constant(packs.vector, [float("-inf")] * PACK)
        lanes = ir.Constant(ir.VectorType(_I32, PACK), list(range(PACK)))
        top = cgutils.alloca_once(b, packs.vector)
        b.store(lowest, top)
        with cgutils.for_range_slice(b, _I64(0), args[4], _I64(PACK)) as (start, _):
            total = None
            for f, q in enumerate(asked):
                at = [
                    b.add(b.mul(_I64(end * d + f), pitch), b.add(args[3], start)) for end in (0, 1)
                ]
                terms = [b.fmul(q, packs.load(ends.data, place)) for place in at]
                term = packs.larger(*terms)
                total = b.fadd(total, term) if f else term
            left = packs.splat(b.trunc(b.sub(args[4], start), _I32))
            total = b.select(b.icmp_signed("<", lanes, left), total, lowest)
            packs.store(bounds, b.add(start, _I64(PACK)), total)
            b.store(packs.larger(total, b.load(top)), top)
        most = b.load(top)
        apart = PACK // 2
        while apart:
            turned = ir.Constant(ir.VectorType(_I32, PACK), [lane ^ apart for lane in range(PACK)])
            most = packs.larger(most, b.shuffle_vector(most, most, turned))
            apart //= 2
        return b.extract_element(most, _I32(0))

    intp = types.intp
    return query.dtype(query, intp, corners, intp, intp, room, dims), codegen


@intrinsic
def reaching(typingctx, room, at, least):
    """Bit set of the numbers from ``room[at]`` on that are at least ``least``."""

    def codegen(context, b, signature, args):
        packs = _Packs(context, b, signature.args[0])
        data = packs.data(signature.args[0], args[0]).data
        return packs.reach(packs.load(data, args[1]), args[2])

    return types.uint64(room, types.intp, room.dtype), codegen


@intrinsic
def score_group(typingctx, query, i, columns, g, least, room, dims):
    """Write the scores of group g of ``columns`` (groups, d, ``PACK``) to ``room[:PACK]``.

    Returns a bit set of those that are at least ``least``.
    """
    d = len(dims)

    def codegen(context, b, signature, args):
        packs = _Packs(context, b, signature.args[0])
        asked = packs.query(packs.data(signature.args[0], args[0]), args[1], d)
        keys = packs.data(signature.args[2], args[2]).data
        at = b.mul(args[3], _I64(d * PACK))
        total = None
        for f, q in enumerate(asked):
            term = b.fmul(q, packs.load(keys, b.add(at, _I64(f * PACK))))
            total = b.fadd(total, term) if f else term
        packs.store(packs.data(signature.args[5], args[5]).data, _I64(0), total)
        return packs.reach(total, args[4])

    intp = types.intp
    return types.uint64(query, intp, columns, intp, query.dtype, room, dims), codegen
