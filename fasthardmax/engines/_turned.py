"""Keys turned for canonical scores, as explicit vector IR: each feature of neighbours side by side.

Rows of keys are taken apart once, and not again for each query that looks at them.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._canonical import Lanes
from ._rounding import Rows

__all__ = ["turn_rows"]

_TILE = 4  # features of a transposed tile
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def turn_rows(typingctx, key, start, stop, turned):
    """Copy keys start..stop-1 to ``turned`` (vectors, d, ``fewest_keys``), NaN beyond the last key.

    ``start`` and ``stop`` are where vectors begin.
    """

    def codegen(context, builder, signature, args):
        b = builder
        start, stop = args[1:3]
        bare = Lanes(context, b, key.dtype)
        data = bare.data(signature.args[3], args[3])
        n_keys = b.extract_value(context.make_array(key)(context, b, args[0]).shape, 0)
        last = b.sub(n_keys, _I64(1))
        own = ir.Constant(ir.VectorType(_I64, bare.count), list(range(bare.count)))
        blank = ir.Constant(bare.vector, [float("nan")] * bare.count)

        def turn(first):
            rows = Rows(context, b, key, args[0], first, last)
            left = b.insert_element(own, b.sub(n_keys, first), _I32(0))
            present = b.icmp_signed("<", own, rows.shuffle(left, left, [0] * rows.count))
            to = b.mul(first, rows.d)  # vectors of ``count`` rows with d features of as many each

            def write(word, _):
                f = b.mul(word, _I64(_TILE))
                for t, x in enumerate(rows.columns(f)):
                    place = b.add(f, _I64(t))
                    with b.if_then(b.icmp_signed("<", place, rows.d), likely=True):
                        at = b.add(to, b.mul(place, _I64(rows.count)))
                        rows.store(b.select(present, x, blank), b.gep(data, [at]))
                return []

            rows.fold([], write)

        with cgutils.for_range_slice(b, start, stop, _I64(bare.count)) as (first, _):
            turn(first)
        return context.get_dummy_value()

    intp = types.intp
    return types.void(key, intp, intp, turned), codegen
