"""Vector instructions for rows of few features, as explicit LLVM IR: a row in each lane.

A whole number of rows is loaded at once and taken apart into features. The note on Numba's disk
cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._processor import VECTOR_BYTES

__all__ = ["PLACES", "find_cells", "outside_body", "settle_streams", "stream", "write_eight"]

_I1, _I8, _I32, _I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_LINE = 64  # bytes of a cache line
_AHEAD = 8192  # bytes: a processor foresees no reads across pages
# For each set of eight bits the positions of those set, one a byte, lowest first.
PLACES = np.array(
    [
        sum(p << 8 * at for at, p in enumerate(p for p in range(8) if bits >> p & 1))
        for bits in range(256)
    ],
    np.uint64,
)


class _Rows:
    """As many consecutive rows of an array (n, d) as a vector has lanes, feature by feature."""

    def __init__(self, context, b, kind, array, row, d):
        self.b = b
        self.itemsize = kind.dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.itemsize
        self.element = ir.FloatType() if self.itemsize == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.element, self.lanes)
        data = context.make_array(kind)(context, b, array).data
        together = ir.VectorType(self.element, d * self.lanes)
        place = b.gep(data, [b.mul(row, _I64(d))])
        numbers = b.load(b.bitcast(place, together.as_pointer()))
        numbers.align = self.itemsize
        self._ask_ahead(place, d * VECTOR_BYTES)
        self.features = [self._every(numbers, f, d) for f in range(d)]

    def _every(self, numbers, f, d):
        places = [f + d * lane for lane in range(self.lanes)]
        kind = ir.VectorType(_I32, self.lanes)
        undefined = ir.Constant(numbers.type, ir.Undefined)
        return self.b.shuffle_vector(numbers, undefined, ir.Constant(kind, places))

    def _ask_ahead(self, place, size):
        b = self.b
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        touch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        place = b.bitcast(place, _I8.as_pointer())
        for line in range(0, size, _LINE):
            b.call(touch, [b.gep(place, [_I64(_AHEAD + line)]), _I32(0), _I32(3), _I32(1)])

    def constant(self, number):
        return ir.Constant(self.vector, [float(number)] * self.lanes)

    def splat(self, value):
        kind = ir.VectorType(value.type, self.lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        low = self.b.insert_element(undefined, value, _I32(0))
        nowhere = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(low, undefined, nowhere)

    def magnitude(self, x):
        name = f"llvm.fabs.v{self.lanes}f{8 * self.itemsize}"
        kind = ir.FunctionType(self.vector, [self.vector])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), [x])


@intrinsic
def find_cells(typingctx, query, row, grid, least, cells, at, dims):
    """Write to ``cells[at:]`` (int32) the cells of a vector of queries, -1 for those too short.

    They are the rows of ``query`` (n, d) from ``row`` on, d = len(dims).
    """
    d = len(dims)

    def codegen(context, b, signature, args):
        rows = _Rows(context, b, signature.args[0], args[0], args[1], d)
        numbers = ir.VectorType(_I32, rows.lanes)

        def number(n):
            return ir.Constant(numbers, [n] * rows.lanes)

        signed, length = rows.features[0], rows.magnitude(rows.features[0])
        face = number(0)
        for f in range(1, d):
            size = rows.magnitude(rows.features[f])
            longer = b.fcmp_ordered(">", size, length)
            face = b.select(longer, number(f), face)
            signed = b.select(longer, rows.features[f], signed)
            length = b.select(longer, size, length)
        long = b.fcmp_ordered(">=", length, rows.splat(args[3]))
        length = b.select(long, length, rows.constant(1))
        down = b.fcmp_ordered("<", signed, rows.constant(0))
        cell = b.add(b.add(face, face), b.zext(down, numbers))
        side = b.trunc(args[2], _I32)
        sides, last = rows.splat(side), rows.splat(b.sub(side, _I32(1)))
        half = rows.splat(b.sitofp(b.lshr(side, _I32(1)), rows.element))
        for g in range(d - 1):
            before = b.icmp_signed("<", number(g), face)
            t = b.select(before, rows.features[g], rows.features[g + 1])
            t = b.select(long, b.fdiv(t, length), rows.constant(0))
            place = b.fptosi(b.fmul(b.fadd(t, rows.constant(1)), half), numbers)
            place = b.select(b.icmp_signed("<", place, last), place, last)
            cell = b.add(b.mul(cell, sides), place)
        cell = b.select(long, cell, number(-1))
        data = context.make_array(signature.args[4])(context, b, args[4]).data
        b.store(cell, b.bitcast(b.gep(data, [args[5]]), numbers.as_pointer())).align = 4
        return context.get_dummy_value()

    intp = types.intp
    return types.void(query, intp, intp, query.dtype, cells, intp, dims), codegen


@intrinsic
def outside_body(typingctx, keys, row, frames, shear, frame, radius, box, dims):
    """Bit set of a vector of keys, those outside of a body as ``_cones_kernels.outside`` says.

    They are the rows of ``keys`` (n, d) from ``row`` on, d = len(dims).
    """
    d = len(dims)

    def codegen(context, b, signature, args):
        rows = _Rows(context, b, signature.args[0], args[0], args[1], d)
        middle, slant = (
            context.make_array(signature.args[at])(context, b, args[at]).data for at in (2, 3)
        )
        middle = b.gep(middle, [b.mul(args[4], _I64(d))])
        away = [
            b.fsub(feature, rows.splat(b.load(b.gep(middle, [_I64(f)]))))
            for f, feature in enumerate(rows.features)
        ]
        largest = total = None
        for f in range(d):
            x = away[f]
            for g in range(f):
                part = rows.splat(b.load(b.gep(slant, [_I64(f * d + g)])))
                x = b.fadd(x, b.fmul(part, away[g]))
            x = b.fmul(x, rows.splat(b.load(b.gep(middle, [_I64(d + f)]))))
            size, square = rows.magnitude(x), b.fmul(x, x)
            if f:
                size = b.select(b.fcmp_ordered(">", size, largest), size, largest)
                square = b.fadd(total, square)
            largest, total = size, square
        boxed = rows.splat(b.trunc(args[6], _I1))
        norm = b.select(boxed, largest, total)
        out = b.fcmp_unordered(">=", norm, rows.splat(args[5]))
        return b.zext(b.bitcast(out, ir.IntType(rows.lanes)), _I64)

    intp = types.intp
    signature = types.uint64(keys, intp, frames, shear, intp, keys.dtype, types.boolean, dims)
    return signature, codegen


@intrinsic
def write_eight(typingctx, offsets, base, numbers, at):
    """Write to ``numbers[at:at+8]`` (int64) the sums of ``base`` and the bytes of ``offsets``."""

    def codegen(context, b, signature, args):
        eight = ir.VectorType(_I64, 8)
        terms = b.zext(b.bitcast(args[0], ir.VectorType(_I8, 8)), eight)
        low = b.insert_element(ir.Constant(eight, ir.Undefined), args[1], _I32(0))
        nowhere = ir.Constant(ir.VectorType(_I32, 8), [0] * 8)
        sums = b.add(terms, b.shuffle_vector(low, ir.Constant(eight, ir.Undefined), nowhere))
        data = context.make_array(signature.args[2])(context, b, args[2]).data
        b.store(sums, b.bitcast(b.gep(data, [args[3]]), eight.as_pointer())).align = 8
        return context.get_dummy_value()

    intp = types.intp
    return types.void(types.uint64, intp, numbers, intp), codegen


@intrinsic
def stream(typingctx, source, begin, n, target, at):
    """Copy n rows of ``source`` to ``target``, past the caches where that is possible.

    They begin at rows ``begin`` and ``at``. So what is written need not be read first.
    ``settle_streams`` makes it visible to others.
    """
    itemsize = target.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize

    def codegen(context, b, signature, args):
        rows = args[2]

        def place(position, row):
            array = context.make_array(signature.args[position])(context, b, args[position])
            for length in cgutils.unpack_tuple(b, array.shape)[1:]:
                row = b.mul(row, length)
            return array.data, row, array

        data, first, _ = place(0, args[1])
        source = b.gep(data, [first])
        data, first, array = place(3, args[4])
        target = b.gep(data, [first])
        n = rows
        for length in cgutils.unpack_tuple(b, array.shape)[1:]:
            n = b.mul(n, length)
        vector = ir.VectorType(context.get_data_type(signature.args[3].dtype), lanes)
        uneven = b.and_(b.neg(b.ptrtoint(target, _I64)), _I64(VECTOR_BYTES - 1))
        head = b.udiv(uneven, _I64(itemsize))
        head = b.select(b.icmp_signed("<", head, n), head, n)
        whole = b.add(head, b.and_(b.sub(n, head), _I64(-lanes)))
        for begin, end in ((_I64(0), head), (whole, n)):
            with cgutils.for_range_slice(b, begin, end, _I64(1)) as (i, _):
                b.store(b.load(b.gep(source, [i])), b.gep(target, [i]))
        with cgutils.for_range_slice(b, head, whole, _I64(lanes)) as (i, _):
            value = b.load(b.bitcast(b.gep(source, [i]), vector.as_pointer()))
            value.align = itemsize
            written = b.store(value, b.bitcast(b.gep(target, [i]), vector.as_pointer()))
            written.align = VECTOR_BYTES
            written.set_metadata("nontemporal", b.module.add_metadata([_I32(1)]))
        return context.get_dummy_value()

    intp = types.intp
    return types.void(source, intp, intp, target, intp), codegen


@intrinsic
def settle_streams(typingctx):
    """Wait until what was streamed is written."""

    def codegen(context, b, signature, args):
        b.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen
