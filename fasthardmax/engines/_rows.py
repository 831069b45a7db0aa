"""A row of keys against one query, as explicit LLVM IR, and the magnitudes of keys on the way.

Where few queries meet many keys, a vector holds features of one key rather than a number of each of
many queries, and reading the keys takes longer than scoring them. So whatever must be known of the
keys is found in the same pass: the largest magnitude of each feature, in which NaN and infinity
show, because magnitudes are ordered as their bits are, and those two come last.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._processor import VECTOR_BYTES

__all__ = ["sweep"]

_AT_ONCE = 8  # keys, one accumulator each
_AHEAD = 8192  # bytes: a processor foresees few streams, and none across pages
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def sweep(typingctx, query, i, key, start, stop, peak, entry):
    """The largest approximate score of ``query[i]`` against keys start..stop-1; NaN count for none.

    ``key`` (S, d) has rows of at least a vector; ``query`` (L, d), or None to score nothing.
    ``peak`` None, or an array of integers as wide as a number, (B, d): the row ``entry`` is raised
    to the bits of the keys' magnitudes.
    """
    itemsize = key.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    element = ir.FloatType() if itemsize == 4 else ir.DoubleType()
    vector = ir.VectorType(element, lanes)
    bits = ir.VectorType(ir.IntType(8 * itemsize), lanes)
    scoring = not isinstance(query, types.NoneType)
    looking = not isinstance(peak, types.NoneType)
    all_but_sign = ir.Constant(bits, [2 ** (8 * itemsize - 1) - 1] * lanes)
    lowest = ir.Constant(vector, [float("-inf")] * lanes)

    def codegen(context, builder, signature, args):
        b = builder

        def data(position):
            kind = signature.args[position]
            return context.make_array(kind)(context, b, args[position]).data

        def place(pointer, offset, kind):
            return b.bitcast(b.gep(pointer, [offset]), kind.as_pointer())

        def load(pointer, offset, kind):
            value = b.load(place(pointer, offset, kind))
            value.align = itemsize
            return value

        def function(name, result, arguments):
            return cgutils.get_or_insert_function(
                b.module, ir.FunctionType(result, arguments), name
            )

        def larger(x, y):
            return b.select(b.fcmp_ordered(">", x, y), x, y)

        # fmuladd fuses where the machine can; the screening bound holds either way.
        fused = function(f"llvm.fmuladd.v{lanes}f{8 * itemsize}", vector, [vector] * 3)
        byte = ir.IntType(8).as_pointer()
        fetch = function("llvm.prefetch.p0i8", ir.VoidType(), [byte, _I32, _I32, _I32])

        n_features = b.extract_value(context.make_array(key)(context, b, args[2]).shape, 1)
        first, end, key_data = args[3], args[4], data(2)
        # The last vector of a row is a whole one: it overlaps the one before, with zeros for what
        # that has scored already.
        tail = b.sub(n_features, _I64(lanes))
        n_before = b.sdiv(b.add(tail, _I64(lanes - 1)), _I64(lanes))
        if scoring:
            query_data = b.gep(data(0), [b.mul(args[1], n_features)])
            scored = b.sub(b.mul(n_before, _I64(lanes)), tail)
            own = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
            splat = cgutils.get_null_value(own.type)
            for lane in range(lanes):
                splat = b.insert_element(splat, scored, _I32(lane))
            nothing = ir.Constant(vector, [0.0] * lanes)
            tail_query = b.select(
                b.icmp_signed(">=", own, splat), load(query_data, tail, vector), nothing
            )
        if looking:
            peak_data = b.gep(data(5), [b.mul(args[6], n_features)])

        def visit(rows, offset, part, sums):
            """Take in a vector of each of some rows; the grown sums."""
            grown = []
            high = load(peak_data, offset, bits) if looking else None
            for r, row in enumerate(rows):
                ahead = b.bitcast(b.gep(row, [offset]), byte)
                b.call(fetch, [b.gep(ahead, [_I64(_AHEAD)]), _I32(0), _I32(3), _I32(1)])
                k = load(row, offset, vector)
                if looking:
                    size = b.and_(b.bitcast(k, bits), all_but_sign)
                    high = b.select(b.icmp_signed(">", size, high), size, high)
                if scoring:
                    grown.append(
                        b.fmul(k, part) if sums is None else b.call(fused, [k, part, sums[r]])
                    )
            if looking:
                b.store(high, place(peak_data, offset, bits)).align = itemsize
            return grown

        def shuffled(x, y, sources):
            return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, lanes), sources))

        def totals(sums):
            """A vector whose lanes hold the sums of the lanes of each of some vectors."""
            size = lanes
            while len(sums) > 1:
                size //= 2
                low = [j for j in range(2 * lanes) if j % (2 * size) < size]
                high = [j for j in range(2 * lanes) if j % (2 * size) >= size]
                sums = [
                    b.fadd(shuffled(x, y, low), shuffled(x, y, high))
                    for x, y in zip(sums[::2], sums[1::2], strict=True)
                ]
            (total,) = sums
            while size > 1:
                size //= 2
                across = [j ^ size for j in range(lanes)]
                total = b.fadd(total, shuffled(total, total, across))
            return total

        def stream(begin, best, n_rows):
            """Fold rows begin, begin + n_rows, ... into ``best``."""
            before = b.block
            head, body, loop, after, done = (
                b.append_basic_block(name)
                for name in ("keys", "some", "features", "scored", "done")
            )
            b.branch(head)
            b.position_at_end(head)
            j, running = b.phi(_I64), b.phi(vector)
            j.add_incoming(begin, before)
            running.add_incoming(best, before)
            following = b.add(j, _I64(n_rows))
            b.cbranch(b.icmp_signed("<=", following, end), body, done)
            b.position_at_end(body)
            rows = [b.gep(key_data, [b.mul(b.add(j, _I64(r)), n_features)]) for r in range(n_rows)]
            started = visit(rows, tail, tail_query if scoring else None, None)
            b.cbranch(b.icmp_signed(">", n_before, _I64(0)), loop, after)
            b.position_at_end(loop)
            f = b.phi(_I64)
            sums = [b.phi(vector) for _ in started]
            offset = b.mul(f, _I64(lanes))
            part = load(query_data, offset, vector) if scoring else None
            grown = visit(rows, offset, part, sums)
            next_f = b.add(f, _I64(1))
            for phi, start, more in zip(
                [f, *sums], [_I64(0), *started], [next_f, *grown], strict=True
            ):
                phi.add_incoming(start, body)
                phi.add_incoming(more, loop)
            b.cbranch(b.icmp_signed("<", next_f, n_before), loop, after)
            b.position_at_end(after)
            ends = [b.phi(vector) for _ in started]
            for phi, start, more in zip(ends, started, grown, strict=True):
                phi.add_incoming(start, body)
                phi.add_incoming(more, loop)
            running.add_incoming(larger(totals(ends), running) if scoring else running, after)
            j.add_incoming(following, after)
            b.branch(head)
            b.position_at_end(done)
            return j, running

        j, best = stream(first, lowest, min(_AT_ONCE, lanes))
        _, best = stream(j, best, 1)
        top = b.extract_element(best, _I32(0))
        for lane in range(1, lanes):
            top = larger(b.extract_element(best, _I32(lane)), top)
        return top

    intp = types.intp
    return key.dtype(query, intp, key, intp, intp, peak, intp), codegen
