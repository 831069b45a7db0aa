"""Deciding the queries that have one block of keys to look at, as explicit vector IR.

That is most of them: one query follows the other with little between.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._canonical import Lanes, emit_across, emit_scores, emit_ties, emit_top, emit_turned
from ._processor import VECTOR_BYTES

__all__ = ["MOST_TURNED", "WORD", "decide_lone", "decide_lone_turned"]

WORD = 64  # keys whose ties make one number
MOST_TURNED = 4 if VECTOR_BYTES == 64 else 8  # vectors of a block whose scores stay in registers
_I1, _I64 = ir.IntType(1), ir.IntType(64)


@intrinsic
def decide_lone(
    typingctx, query, i0, key, block, n_visible, found, begin, end, scores, best, last, first, count
):  # fmt: skip
    """Let block ``found[lane]`` compete with the winners so far of lanes begin..end-1, if not -1.

    Lane l is row ``i0 + l`` of ``query``, ``first`` and ``count``. All keys of these blocks before
    ``n_visible`` are allowed, at least ``fewest_keys`` in each. Returns the bit set of the lanes
    that had winners before.
    """

    def codegen(context, b, signature, args):
        lanes = Lanes(context, b, query.dtype)
        query_data, key_data, founds, data, bests, lasts, firsts, counts = (
            lanes.data(signature.args[p], args[p]) for p in (0, 2, 5, 8, 9, 10, 11, 12)
        )
        i0, size, visible, begin, end = (args[p] for p in (1, 3, 4, 6, 7))
        d = b.extract_value(context.make_array(query)(context, b, args[0]).shape, 1)
        lowest = ir.Constant(lanes.element, float("-inf"))
        blank = ir.Constant(lanes.vector, [float("nan")] * lanes.count)
        count_bits = b.module.declare_intrinsic("llvm.ctpop", [_I64])
        again = cgutils.alloca_once_value(b, _I64(0))

        def smaller(x, y):
            return b.select(b.icmp_signed("<", x, y), x, y)

        def note(bits, start, row, lane):
            """Count winners, ``start`` and the places of the bits beyond it, to those so far."""
            place = b.gep(firsts, [row])
            lower = b.add(start, b.cttz(bits, _I1(1)))
            upper = b.sub(b.add(start, _I64(WORD - 1)), b.ctlz(bits, _I1(1)))
            before = b.load(b.gep(counts, [row]))
            fresh = b.icmp_signed("==", before, _I64(0))
            b.store(b.select(fresh, lower, smaller(lower, b.load(place))), place)
            b.store(b.add(before, b.call(count_bits, [bits])), b.gep(counts, [row]))
            place = b.gep(lasts, [lane])
            held = b.load(place)
            b.store(b.select(b.icmp_signed(">", upper, held), upper, held), place)

        with cgutils.for_range_slice(b, begin, end, _I64(1)) as (lane, _):
            block = b.load(b.gep(founds, [lane]))
            with b.if_then(b.icmp_signed(">=", block, _I64(0)), likely=True):
                row = b.add(i0, lane)
                start = b.mul(block, size)
                stop = smaller(b.add(start, size), visible)
                n = b.sub(stop, start)
                own = b.gep(query_data, [b.mul(row, d)])
                lanes.store(blank, b.gep(data, [n]))
                emit_scores(lanes, own, key_data, d, start, stop, data)
                top = emit_top(lanes, data, n)
                held = b.load(b.gep(bests, [lane]))
                had = b.zext(b.fcmp_ordered(">", held, lowest), _I64)
                b.store(b.or_(b.load(again), b.shl(had, lane)), again)
                with b.if_then(b.fcmp_ordered(">=", top, held), likely=True):
                    with b.if_then(b.fcmp_ordered(">", top, held), likely=True):
                        b.store(top, b.gep(bests, [lane]))
                        b.store(_I64(0), b.gep(counts, [row]))
                        b.store(_I64(-1), b.gep(lasts, [lane]))
                    with cgutils.for_range_slice(b, _I64(0), n, _I64(WORD)) as (j, _):
                        few = smaller(b.sub(n, j), _I64(WORD))
                        bits = emit_ties(lanes, b.gep(data, [j]), few, top)
                        with b.if_then(b.icmp_unsigned("!=", bits, _I64(0)), likely=True):
                            note(bits, b.add(start, j), row, lane)
        return b.load(again)

    intp = types.intp
    return (
        types.uint64(
            query, intp, key, intp, intp, found, intp, intp, scores, best, last, first, count
        ),
        codegen,
    )


@intrinsic
def decide_lone_turned(
    typingctx, query, i0, turned, size, found, begin, end, best, last, first, count
):
    """As :func:`decide_lone`, with all keys ``turned`` (vectors, d, lanes), in blocks of ``size``.

    A block is one to ``MOST_TURNED`` whole vectors, the last one too.
    """

    def codegen(context, b, signature, args):
        if isinstance(turned, types.NoneType):  # compiled where no keys are turned, and never run
            return _I64(0)
        lanes = Lanes(context, b, query.dtype)
        query_data, key_data, founds, bests, lasts, firsts, counts = (
            lanes.data(signature.args[p], args[p]) for p in (0, 2, 4, 7, 8, 9, 10)
        )
        i0, size, begin, end = (args[p] for p in (1, 3, 5, 6))
        d = b.extract_value(context.make_array(query)(context, b, args[0]).shape, 1)
        lowest = ir.Constant(lanes.element, float("-inf"))
        count_bits = b.module.declare_intrinsic("llvm.ctpop", [_I64])
        again = cgutils.alloca_once_value(b, _I64(0))

        def decide(lane, block, n_vectors):
            row, start = b.add(i0, lane), b.mul(block, size)
            own = b.gep(query_data, [b.mul(row, d)])
            scores = emit_turned(lanes, own, b.gep(key_data, [b.mul(start, d)]), d, n_vectors)
            largest = scores[0]
            for score in scores[1:]:
                largest = b.select(b.fcmp_ordered(">", score, largest), score, largest)
            top = emit_across(lanes, largest)
            bits = _I64(0)
            for v, score in enumerate(scores):
                tied = lanes.bits(b.fcmp_ordered(">=", score, lanes.broadcast(top)))
                bits = b.or_(bits, b.shl(tied, _I64(v * lanes.count)))
            lower = b.add(start, b.cttz(bits, _I1(1)))
            upper = b.sub(b.add(start, _I64(WORD - 1)), b.ctlz(bits, _I1(1)))
            places = (
                b.gep(data, [at])
                for data, at in ((bests, lane), (counts, row), (firsts, row), (lasts, lane))
            )
            held = [(place, b.load(place)) for place in places]
            (_, best), (_, number), (_, low), (_, high) = held
            had = b.zext(b.fcmp_ordered(">", best, lowest), _I64)
            b.store(b.or_(b.load(again), b.shl(had, lane)), again)
            better, wins = b.fcmp_ordered(">", top, best), b.fcmp_ordered(">=", top, best)
            n_tied = b.call(count_bits, [bits])
            low = b.select(b.icmp_signed("<", low, lower), low, lower)
            high = b.select(b.icmp_signed(">", high, upper), high, upper)
            now = (
                top,
                b.select(better, n_tied, b.add(number, n_tied)),
                b.select(better, lower, low),
                b.select(better, upper, high),
            )
            for (place, before), after in zip(held, now, strict=True):
                b.store(b.select(wins, after, before), place)

        done = b.append_basic_block("decided")
        switch = b.switch(b.sdiv(size, _I64(lanes.count)), done)
        for n_vectors in range(1, MOST_TURNED + 1):
            case = b.append_basic_block(f"vectors{n_vectors}")
            switch.add_case(_I64(n_vectors), case)
            b.position_at_end(case)
            with cgutils.for_range_slice(b, begin, end, _I64(1)) as (lane, _):
                block = b.load(b.gep(founds, [lane]))
                with b.if_then(b.icmp_signed(">=", block, _I64(0)), likely=True):
                    decide(lane, block, n_vectors)
            b.branch(done)
        b.position_at_end(done)
        return b.load(again)

    intp = types.intp
    return (
        types.uint64(query, intp, turned, intp, found, intp, intp, best, last, first, count),
        codegen,
    )
