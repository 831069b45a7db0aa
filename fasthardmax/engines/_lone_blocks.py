"""Deciding the queries that have one block of keys to look at, as explicit vector IR.

That is most of them: one query follows the other with little between.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._canonical import Lanes, emit_scores, emit_ties, emit_top, emit_turned_scores

__all__ = ["WORD", "decide_lone"]

WORD = 64  # keys whose ties make one number
_I1, _I64 = ir.IntType(1), ir.IntType(64)


@intrinsic
def decide_lone(
    typingctx, query, i0, key, block, n_visible, found, begin, end, scores, best, last, first, count
):  # fmt: skip
    """Let block ``found[lane]`` compete with the winners so far of lanes begin..end-1, if not -1.

    Lane l is row ``i0 + l`` of ``query``, ``first`` and ``count``. All keys of these blocks before
    ``n_visible`` are allowed, at least ``fewest_keys`` in each; or any number where ``key`` is
    turned (vectors, d, ``fewest_keys``), and the blocks are whole vectors. Returns the bit set of
    the lanes that had winners before.
    """
    turned = not isinstance(key, types.NoneType) and key.ndim == 3

    def codegen(context, b, signature, args):
        if isinstance(key, types.NoneType):  # compiled where no keys are turned, and never run
            return _I64(0)
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
                if turned:
                    emit_turned_scores(lanes, own, b.gep(key_data, [b.mul(start, d)]), d, n, data)
                else:
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
