"""A panel of queries decided canonically among few keys, as explicit vector IR.

A query sits in each lane, so every score keeps its own order of products and sums, each rounded:
nothing here may fuse, and no instruction carries a fast-math flag. Where keys are few this is
faster than screening them in blocks and scoring the best blocks again.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._processor import VECTOR_BYTES

__all__ = ["decide"]

_I64 = ir.IntType(64)
# Keys scored together: the registers hold as many accumulators beside what a lane keeps.
_AT_ONCE = 4


@intrinsic
def decide(typingctx, panels, p, key, n_keys, best, first, last, count, at, vectors):
    """The lanes' best scores over ``key[:n_keys]``, their first and last winners and how many.

    Of ``panels`` (P, d * width) the p-th is scored, d and ``n_keys`` at least 1. ``first[at:]`` and
    ``count[at:]`` get the winners, ``best`` and ``last`` (width,) the rest.
    """
    n_vectors = len(vectors)
    itemsize = panels.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    numbers = ir.VectorType(ir.FloatType() if itemsize == 4 else ir.DoubleType(), lanes)
    integers = ir.VectorType(ir.IntType(8 * itemsize), lanes)

    def codegen(context, b, signature, args):
        def data(position):
            kind = signature.args[position]
            return context.make_array(kind)(context, b, args[position]).data

        def splat(value, kind):
            low = b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
            places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return b.shuffle_vector(low, ir.Constant(kind, ir.Undefined), places)

        def load(pointer, offset):
            value = b.load(b.bitcast(b.gep(pointer, [offset]), numbers.as_pointer()))
            value.align = itemsize
            return value

        def store(value, pointer, offset):
            if value.type == integers and itemsize < 8:
                value = b.sext(value, ir.VectorType(_I64, lanes))
            place = b.bitcast(b.gep(pointer, [offset]), value.type.as_pointer())
            b.store(value, place).align = itemsize

        key_data = data(2)
        n_features = b.extract_value(context.make_array(key)(context, b, args[2]).shape, 1)
        width = _I64(n_vectors * lanes)
        panel = b.gep(data(0), [b.mul(args[1], b.mul(n_features, width))])

        def feature(f):
            return [load(panel, b.add(b.mul(f, width), _I64(v * lanes))) for v in range(n_vectors)]

        def scores(rows):
            """Canonical scores of ``rows`` (pointers to keys): a list over rows of vectors."""

            def products(f, parts):
                factors = [splat(b.load(b.gep(row, [f])), numbers) for row in rows]
                return [[b.fmul(part, factor) for part in parts] for factor in factors]

            begun = products(_I64(0), feature(_I64(0)))
            before = b.block
            head, body, after = (b.append_basic_block(n) for n in ("features", "add", "scored"))
            b.branch(head)
            b.position_at_end(head)
            f = b.phi(_I64)
            f.add_incoming(_I64(1), before)
            sums = [[b.phi(numbers) for _ in line] for line in begun]
            b.cbranch(b.icmp_signed("<", f, n_features), body, after)
            b.position_at_end(body)
            for phis, line, terms in zip(sums, begun, products(f, feature(f)), strict=True):
                for phi, start, term in zip(phis, line, terms, strict=True):
                    phi.add_incoming(start, before)
                    phi.add_incoming(b.fadd(phi, term), body)
            f.add_incoming(b.add(f, _I64(1)), body)
            b.branch(head)
            b.position_at_end(after)
            return sums

        def stream(begin, held, n_rows):
            """Fold keys begin, begin + n_rows, ... into what the lanes hold."""
            before = b.block
            head, body, done = (b.append_basic_block(n) for n in ("keys", "tile", "done"))
            b.branch(head)
            b.position_at_end(head)
            j = b.phi(_I64)
            j.add_incoming(begin, before)
            running = [[b.phi(value.type) for value in line] for line in held]
            for phis, line in zip(running, held, strict=True):
                for phi, value in zip(phis, line, strict=True):
                    phi.add_incoming(value, before)
            following = b.add(j, _I64(n_rows))
            b.cbranch(b.icmp_signed("<=", following, args[3]), body, done)
            b.position_at_end(body)
            places = [b.add(j, _I64(r)) for r in range(n_rows)]
            tile = scores([b.gep(key_data, [b.mul(place, n_features)]) for place in places])
            one = ir.Constant(integers, [1] * lanes)
            now = list(running)
            if itemsize < 8:
                places = [b.trunc(place, integers.element) for place in places]
            for place, line in zip(places, tile, strict=True):
                number = splat(place, integers)
                for v, score in enumerate(line):
                    top, lowest, highest, several = now[v]
                    better = b.fcmp_ordered(">", score, top)
                    ties = b.fcmp_ordered("==", score, top)
                    more = b.add(several, b.zext(ties, integers))
                    now[v] = [
                        b.select(better, score, top),
                        b.select(better, number, lowest),
                        b.select(b.or_(better, ties), number, highest),
                        b.select(better, one, more),
                    ]
            for phis, line in zip(running, now, strict=True):
                for phi, value in zip(phis, line, strict=True):
                    phi.add_incoming(value, b.block)
            j.add_incoming(following, b.block)
            b.branch(head)
            b.position_at_end(done)
            return j, running

        nothing = ir.Constant(integers, [0] * lanes)
        start = [ir.Constant(numbers, [float("-inf")] * lanes), nothing, nothing, nothing]
        j, held = stream(_I64(0), [start] * n_vectors, _AT_ONCE)
        _, held = stream(j, held, 1)
        for v, line in enumerate(held):
            places = (_I64(v * lanes), b.add(args[8], _I64(v * lanes)))
            for value, position, place in zip(line, (4, 5, 6, 7), (0, 1, 0, 1), strict=True):
                store(value, data(position), places[place])
        return context.get_dummy_value()

    intp = types.intp
    signature = types.void(panels, intp, key, intp, best, first, last, count, intp, vectors)
    return signature, codegen
