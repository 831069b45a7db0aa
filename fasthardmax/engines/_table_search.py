"""Searching the tables of block maxima, as explicit vector IR: a query in each lane.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._processor import VECTOR_BYTES

__all__ = ["column_top", "hits", "lone_hits", "next_hit"]

_I64 = ir.IntType(64)


class _Column:
    """One vector of lanes in a table of block maxima, for IR loops over blocks.

    ``at`` is its place in the flattened array, ``pitch`` the elements from block to block.
    """

    def __init__(self, context, builder, kind, array, at, pitch):
        self.b = builder
        self.itemsize = kind.dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.itemsize
        element = ir.FloatType() if self.itemsize == 4 else ir.DoubleType()
        self.vector = ir.VectorType(element, self.lanes)
        self.pitch = pitch
        self.data = builder.gep(context.make_array(kind)(context, builder, array).data, [at])

    def load(self, pointer):
        value = self.b.load(self.b.bitcast(pointer, self.vector.as_pointer()))
        value.align = self.itemsize
        return value

    def block(self, position):
        return self.load(self.b.gep(self.data, [self.b.mul(position, self.pitch)]))

    def loop(self, begin, end):
        """Open a loop over blocks: (position phi, body, done, close); ``close`` ends the body."""
        b = self.b
        before = b.block
        head, body, done = (b.append_basic_block(name) for name in ("blocks", "block", "seen"))
        b.branch(head)
        b.position_at_end(head)
        position = b.phi(_I64)
        position.add_incoming(begin, before)
        b.cbranch(b.icmp_signed("<", position, end), body, done)

        def close():
            position.add_incoming(b.add(position, _I64(1)), b.block)
            b.branch(head)

        return position, head, body, done, close


@intrinsic
def column_top(typingctx, table, at, pitch, n_blocks, top, lane):
    """Write the maxima over the blocks of one vector of lanes to ``top[lane:]``."""

    def codegen(context, b, signature, args):
        column = _Column(context, b, signature.args[0], args[0], args[1], args[2])
        before = b.block
        position, head, body, done, close = column.loop(_I64(0), args[3])
        b.position_at_start(head)
        best = b.phi(column.vector)
        best.add_incoming(ir.Constant(column.vector, [float("-inf")] * column.lanes), before)
        b.position_at_end(body)
        row = column.block(position)
        best.add_incoming(b.select(b.fcmp_ordered(">", row, best), row, best), body)
        close()
        b.position_at_end(done)
        data = context.make_array(signature.args[4])(context, b, args[4]).data
        place = b.bitcast(b.gep(data, [args[5]]), column.vector.as_pointer())
        b.store(best, place).align = column.itemsize
        return context.get_dummy_value()

    intp = types.intp
    return types.void(table, intp, intp, intp, top, intp), codegen


@intrinsic
def lone_hits(typingctx, table, at, pitch, n_blocks, least, done, lane, found):
    """Write to ``found[lane:]`` the block where a lane reaches ``least[lane:]``, if just one does.

    Else -1; what reaches ``done[lane:]`` too (None: nothing) does not count. Returns the bit set of
    the lanes that reach it in several blocks. No branch depends on the data.
    """
    some_done = not isinstance(done, types.NoneType)

    def codegen(context, b, signature, args):
        column = _Column(context, b, signature.args[0], args[0], args[1], args[2])

        def limit(position):
            data = context.make_array(signature.args[position])(context, b, args[position]).data
            return column.load(b.gep(data, [args[6]]))

        wanted = limit(4)
        beyond = limit(5) if some_done else None
        integers = ir.VectorType(ir.IntType(8 * column.itemsize), column.lanes)

        def constant(number):
            return ir.Constant(integers, [number] * column.lanes)

        before = b.block
        position, head, body, finished, close = column.loop(_I64(0), args[3])
        b.position_at_start(head)
        place, number = b.phi(integers), b.phi(integers)
        place.add_incoming(constant(-1), before)
        number.add_incoming(constant(0), before)
        b.position_at_end(body)
        row = column.block(position)
        reached = b.fcmp_ordered(">=", row, wanted)
        if some_done:
            reached = b.and_(reached, b.fcmp_unordered("<", row, beyond))
        this = b.trunc(position, integers.element) if column.itemsize < 8 else position
        this = b.insert_element(ir.Constant(integers, ir.Undefined), this, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), column.lanes), [0] * column.lanes)
        this = b.shuffle_vector(this, ir.Constant(integers, ir.Undefined), zeros)
        place.add_incoming(b.select(reached, this, place), body)
        number.add_incoming(b.add(number, b.zext(reached, integers)), body)
        close()
        b.position_at_end(finished)
        alone = b.select(b.icmp_signed("==", number, constant(1)), place, constant(-1))
        if column.itemsize < 8:
            alone = b.sext(alone, ir.VectorType(_I64, column.lanes))
        data = context.make_array(signature.args[7])(context, b, args[7]).data
        b.store(alone, b.bitcast(b.gep(data, [args[6]]), alone.type.as_pointer())).align = 8
        several = b.icmp_signed(">", number, constant(1))
        return b.zext(b.bitcast(several, ir.IntType(column.lanes)), _I64)

    intp = types.intp
    return types.uint64(table, intp, intp, intp, least, done, intp, found), codegen


@intrinsic
def next_hit(typingctx, table, at, pitch, begin, n_blocks, least, lane, among):
    """The first block from ``begin`` on where a lane reaches ``least[lane:]``, or ``n_blocks``.

    Of the lanes of the bit set ``among``.
    """

    def codegen(context, b, signature, args):
        column = _Column(context, b, signature.args[0], args[0], args[1], args[2])
        data = context.make_array(signature.args[5])(context, b, args[5]).data
        wanted = column.load(b.gep(data, [args[6]]))
        bits = ir.IntType(column.lanes)
        asked = b.trunc(args[7], bits)
        position, _, body, done, close = column.loop(args[3], args[4])
        b.position_at_end(body)
        reached = b.bitcast(b.fcmp_ordered(">=", column.block(position), wanted), bits)
        some = b.icmp_unsigned("!=", b.and_(reached, asked), bits(0))
        onward = b.append_basic_block("onward")
        b.cbranch(some, done, onward)
        b.position_at_end(onward)
        close()
        b.position_at_end(done)
        return position

    intp = types.intp
    return intp(table, intp, intp, intp, intp, least, intp, types.uint64), codegen


@intrinsic
def hits(typingctx, table, at, least, lane):
    """Bit set of one vector of lanes, at ``table[at:]``, that reach ``least[lane:]``."""

    def codegen(context, b, signature, args):
        column = _Column(context, b, signature.args[0], args[0], args[1], _I64(0))
        data = context.make_array(signature.args[2])(context, b, args[2]).data
        reached = b.fcmp_ordered(
            ">=", column.load(column.data), column.load(b.gep(data, [args[3]]))
        )
        return b.zext(b.bitcast(reached, ir.IntType(column.lanes)), _I64)

    return types.uint64(table, types.intp, least, types.intp), codegen
