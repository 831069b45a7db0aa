"""Rounding queries and keys to bytes, as explicit vector IR: a row in each lane.

Four features of a row make one word. What is lost is summed up on the way; :mod:`_rough` says why.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._byte_products import QUERY_RANGE
from ._canonical import Lanes

__all__ = ["HALF_RANGE", "PARTS", "Rows", "round_panel", "round_rows"]

HALF_RANGE = 127
PARTS = 256  # of one, in whose squares what rounding leaves is summed up
_WORD = 4  # features
_I32, _I64 = ir.IntType(32), ir.IntType(64)


class Rows(Lanes):
    """A vector of rows of numbers: row ``first`` in lane 0, the ``last`` one in all beyond it."""

    def __init__(self, context, builder, kind, array, first, last):
        super().__init__(context, builder, kind.dtype)
        b = builder
        self.d = b.extract_value(context.make_array(kind)(context, b, array).shape, 1)
        self.n_words = b.sdiv(b.add(self.d, _I64(_WORD - 1)), _I64(_WORD))
        numbers = [b.add(first, _I64(r)) for r in range(self.count)]
        self.numbers = [b.select(b.icmp_signed("<", i, last), i, last) for i in numbers]
        data = self.data(kind, array)
        self.pointers = [b.gep(data, [b.mul(i, self.d)]) for i in self.numbers]
        self.whole = ir.VectorType(_I32, self.count)
        # Beyond it floats are whole, and its last byte is 0: the sum's last byte is the number.
        self.magic = self.constant(1.5 * 2.0 ** (23 if self.itemsize == 4 else 52))

    def constant(self, number):
        return ir.Constant(self.vector, [number] * self.count)

    def integer(self, number):
        return ir.Constant(self.whole, [number] * self.count)

    def call(self, name, *args):
        kind = ir.FunctionType(args[0].type, [a.type for a in args])
        suffix = f"v{self.count}f{8 * self.itemsize}"
        function = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.{name}.{suffix}")
        return self.b.call(function, args)

    def to_integers(self, numbers):
        return self.b.fptosi(numbers, self.whole)

    def to_numbers(self, integers):
        return self.b.sitofp(integers, self.vector)

    def four(self, pointer, f):
        """Numbers f..f+3 of those at ``pointer``, 0 for those beyond feature d."""
        b, quad = self.b, ir.VectorType(self.element, _WORD)
        own = ir.Constant(ir.VectorType(_I64, _WORD), list(range(_WORD)))
        left = b.insert_element(ir.Constant(own.type, ir.Undefined), b.sub(self.d, f), _I32(0))
        left = self.shuffle(left, left, [0] * _WORD)
        inside = b.icmp_signed("<", own, left)
        kind = ir.FunctionType(quad, [quad.as_pointer(), _I32, inside.type, quad])
        name = f"llvm.masked.load.v{_WORD}f{8 * self.itemsize}.p0"
        load = cgutils.get_or_insert_function(b.module, kind, name)
        place = b.bitcast(b.gep(pointer, [f]), quad.as_pointer())
        return b.call(load, [place, _I32(self.itemsize), inside, ir.Constant(quad, [0.0] * _WORD)])

    def columns(self, f):
        """The vectors of features f..f+3."""
        return self.transposed([self.four(row, f) for row in self.pointers])

    def fold(self, starts, grow):
        """Loop over words; ``grow(word, values)`` gives what follows the values before."""
        b = self.b
        before = b.block
        body, done = b.append_basic_block("word"), b.append_basic_block("words")
        b.branch(body)
        b.position_at_end(body)
        word, running = b.phi(_I64), [b.phi(start.type) for start in starts]
        grown = grow(word, running)
        following = b.add(word, _I64(1))
        for phi, start, value in zip(
            [word, *running], [_I64(0), *starts], [following, *grown], strict=True
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(value, b.block)
        b.cbranch(b.icmp_signed("<", following, self.n_words), body, done)
        b.position_at_end(done)
        return grown

    def rounded(self, inverse, write):
        """Round ``number * inverse``; ``write(word, vector)`` takes four features of each row.

        Returns the integers' sums of squares, those of what is left in parts, and their sums.
        """
        b = self.b

        def grow(word, sums):
            kept = missed = total = self.constant(0.0)
            packed = None
            for t, x in enumerate(self.columns(b.mul(word, _I64(_WORD)))):
                # fmuladd fuses where the machine can; the bound on what is left holds either way.
                shifted = self.call("fmuladd", x, inverse, self.magic)
                whole = b.fsub(shifted, self.magic)
                left = self.call("fmuladd", x, inverse, b.fsub(self.constant(-0.0), whole))
                kept = self.call("fmuladd", whole, whole, kept)
                missed = self.call("fmuladd", left, left, missed)
                total = b.fadd(total, whole)
                integers = ir.VectorType(ir.IntType(8 * self.itemsize), self.count)
                byte = b.bitcast(shifted, integers)
                byte = b.trunc(byte, self.whole) if self.itemsize > 4 else byte
                if t < _WORD - 1:
                    byte = b.and_(byte, self.integer(255))
                byte = b.shl(byte, self.integer(8 * t))
                packed = byte if packed is None else b.or_(packed, byte)
            write(word, packed)
            # Sums of four are exact, but for that of what is left, which is rounded up.
            parts = b.fmul(missed, self.constant(float(PARTS**2)))
            more = (
                self.to_integers(kept),
                b.add(self.to_integers(parts), self.integer(1)),
                self.to_integers(total),
            )
            return list(map(b.add, sums, more))

        return self.fold([self.integer(0)] * 3, grow)


@intrinsic
def round_panel(
    typingctx, query, i0, lanes, width, least_peak, unit, near, far, part_error, key_peak, b,
    words, p, offset, scale, reach, doubt, q,
):  # fmt: skip
    """Round queries i0..i0+lanes-1 to panel p of ``words``, as ``_rough.pack_rough`` says.

    Row q of ``doubt`` gets what bytes may miss and, unless ``key_peak`` (B, d) is None, that of
    ``reach`` the sums of the magnitudes of all products with its row b. Spare lanes are left alone,
    or repeat the last query.
    """

    def codegen(context, builder, signature, args):
        (_, i0, n_lanes, width, least_peak, unit, near, far, error, _, entry) = args[:11]
        p, q = args[12], args[17]
        b = builder
        last = b.sub(b.add(i0, n_lanes), _I64(1))
        bare = Lanes(context, b, query.dtype)

        def round_some(lane):
            rows = Rows(context, b, query, args[0], b.add(i0, lane), last)

            def data(position):
                return rows.data(signature.args[position], args[position])

            def place(position, row):
                return b.gep(data(position), [b.add(b.mul(row, width), lane)])

            if isinstance(key_peak, types.NoneType):
                key_peaks = None
            else:
                key_peaks = b.gep(data(9), [b.mul(entry, rows.d)])

            def look(word, values):
                peak, reached = values
                f = b.mul(word, _I64(_WORD))
                factors = rows.four(key_peaks, f) if key_peaks is not None else None
                for t, x in enumerate(rows.columns(f)):
                    size = rows.call("fabs", x)
                    peak = b.select(b.fcmp_ordered(">", size, peak), size, peak)
                    if factors is not None:
                        factor = rows.shuffle(factors, factors, [t] * rows.count)
                        reached = rows.call("fmuladd", size, factor, reached)
                return [peak, reached]

            zero = rows.constant(0.0)
            peak, reached = rows.fold([zero, zero], look)
            if key_peaks is not None:
                rows.store(reached, place(15, q))
            # Where so little is asked that its scale overflows, all scores count as equal.
            asked = b.fcmp_ordered(">", peak, rows.broadcast(least_peak))
            inverse = b.fdiv(rows.constant(float(QUERY_RANGE)), peak)
            inverse = b.select(asked, inverse, zero)
            to = b.add(b.mul(b.mul(p, rows.n_words), width), lane)

            def write(word, packed):
                at = b.gep(data(11), [b.add(to, b.mul(word, width))])
                b.store(packed, b.bitcast(at, packed.type.as_pointer())).align = 4

            kept, missed, total = rows.rounded(inverse, write)
            offsets = b.mul(total, rows.integer(HALF_RANGE + 1))
            at = b.bitcast(place(13, p), offsets.type.as_pointer())
            b.store(offsets, at).align = 4
            scales = b.fdiv(rows.broadcast(unit), inverse)
            # No sum of products reaches 2 ** 14 times d. Exact scores may be smaller by far, where
            # other features are large in keys than in queries: that these do not overflow says
            # little.
            most = b.sitofp(b.mul(rows.d, _I64(1 << 15)), rows.element)
            finite = b.fmul(scales, rows.broadcast(most))
            finite = b.fcmp_ordered("<", finite, rows.constant(float("inf")))
            usable = b.and_(finite, b.fcmp_ordered(">", scales, zero))
            rows.store(b.select(usable, scales, zero), place(14, p))
            # As ``rounding_length``, of the queries.
            length = rows.call("sqrt", rows.to_numbers(missed))
            length = b.fmul(length, rows.constant(1.0001 / PARTS))
            length = b.fadd(length, rows.broadcast(error))
            own = b.fmul(rows.call("sqrt", rows.to_numbers(kept)), rows.broadcast(near))
            doubts = b.fadd(own, b.fmul(length, rows.broadcast(far)))
            doubts = b.fmul(b.fmul(doubts, scales), rows.constant(2.001))
            rows.store(b.select(usable, doubts, rows.constant(float("inf"))), place(16, q))

        with cgutils.for_range_slice(b, _I64(0), n_lanes, _I64(bare.count)) as (lane, _):
            round_some(lane)
        return context.get_dummy_value()

    intp, number = types.intp, query.dtype
    signature = types.void(
        query, intp, intp, intp, number, number, number, number, number, key_peak, intp,
        words, intp, offset, scale, reach, doubt, intp,
    )  # fmt: skip
    return signature, codegen


@intrinsic
def round_rows(typingctx, key, start, stop, inverse, rounded):
    """Round keys start..stop-1 to words of bytes in ``rounded`` (S, bytes), each plus 128.

    Returns the largest sums, over these keys, of the squares of the integers, and of what is left
    in parts.
    """

    def codegen(context, builder, signature, args):
        b = builder
        start, stop, inverse = args[1:4]
        bare = Lanes(context, b, key.dtype)
        whole = ir.VectorType(_I32, bare.count)
        most = [cgutils.alloca_once_value(b, ir.Constant(whole, [0] * bare.count)) for _ in "km"]
        for place in most:
            b.store(ir.Constant(whole, [0] * bare.count), place)
        last = b.sub(stop, _I64(1))
        data = b.bitcast(bare.data(signature.args[4], args[4]), _I32.as_pointer())

        def round_some(first):
            rows = Rows(context, b, key, args[0], first, last)
            flip = rows.integer(0x80808080 - (1 << 32))

            def write(word, packed):
                packed = b.xor(packed, flip)
                for r, row in enumerate(rows.numbers):
                    at = b.gep(data, [b.add(b.mul(row, rows.n_words), word)])
                    b.store(b.extract_element(packed, _I32(r)), at).align = 4

            kept, missed, _ = rows.rounded(rows.broadcast(inverse), write)
            for place, found in zip(most, (kept, missed), strict=True):
                held = b.load(place)
                b.store(b.select(b.icmp_signed(">", found, held), found, held), place)

        with cgutils.for_range_slice(b, start, stop, _I64(bare.count)) as (first, _):
            round_some(first)
        results = []
        for place in most:
            held, top = b.load(place), _I32(0)
            for lane in range(bare.count):
                part = b.extract_element(held, _I32(lane))
                top = b.select(b.icmp_signed(">", part, top), part, top)
            results.append(b.sext(top, _I64))
        return context.make_tuple(b, signature.return_type, results)

    intp = types.intp
    return types.UniTuple(types.int64, 2)(key, intp, intp, key.dtype, rounded), codegen
