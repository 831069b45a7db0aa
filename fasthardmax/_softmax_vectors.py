"""The three steps of streaming softmax attention on a panel of queries, as explicit vector IR.

One query sits in each lane, so each query's arithmetic is the same wherever the panel puts it. Keys
are their own values. Scores are canonical: each product and each sum rounded, never fused.

The note on Numba's disk cache in ``engines/_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .engines._canonical import Lanes, fewest_keys
from .engines._processor import REGISTERS

__all__ = ["collect_block", "panel_width", "score_block", "weigh_block"]

# Vectors in a panel; keys scored at a time, and features collected at a time: as many accumulators
# as the registers hold beside the operands.
_VECTORS, _TILE = (3, 8) if REGISTERS == 32 else (2, 4)
_I64 = ir.IntType(64)

# 2^r for |r| <= 1/2 is 1 + r (its Chebyshev interpolant at the zeros of T_11, or of T_6): within
# 2e-17 (float64) or 1e-8 (float32) with these rounded coefficients, a tenth of an ulp of 1. The
# evaluation by Horner's rule adds less than an ulp, as |r ln 2| < 0.35.
_POLYNOMIAL = {
    8: (
        1.0, 0.6931471805599453, 0.24022650695910097, 0.0555041086648216, 0.009618129107606888,
        0.0013333558146416936, 0.0001540353044173605, 1.525273382983612e-05,
        1.321544258792169e-06, 1.0178062445845774e-07, 7.072585949269223e-09,
        4.4549605981865186e-10,
    ),
    4: (
        1.0, 0.6931471824645996, 0.24022650718688965, 0.055503569543361664, 0.009618083015084267,
        0.0013390863314270973, 0.00015453163359779865,
    ),
}  # fmt: skip
_MANTISSA = {8: 52, 4: 23}
# Below 2^this a weight is 0: the least one times 2^-1/2 is still a normal number.
LEAST_POWER = {8: -1021.0, 4: -125.0}


@register_jitable
def panel_width(itemsize: int) -> int:
    """Queries in a panel."""
    return _VECTORS * fewest_keys(itemsize)


class _Panel(Lanes):
    """Vectors of a panel, and the arithmetic on them."""

    def __init__(self, context, builder, element):
        super().__init__(context, builder, element)
        self.width = _VECTORS * self.count
        # fmuladd fuses where the machine can.
        name = f"llvm.fmuladd.v{self.count}f{8 * self.itemsize}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fmuladd = cgutils.get_or_insert_function(builder.module, kind, name)

    def each(self, number):
        return ir.Constant(self.vector, [number] * self.count)

    def places(self, data, row):
        """Pointers to the vectors of row ``row`` of an array of rows as wide as the panel."""
        start = self.b.mul(row, _I64(self.width))
        return [
            self.b.gep(data, [self.b.add(start, _I64(v * self.count))]) for v in range(_VECTORS)
        ]

    def row(self, data, row):
        return [self.load(place) for place in self.places(data, row)]

    def set_row(self, data, row, vectors):
        for place, vector in zip(self.places(data, row), vectors, strict=True):
            self.store(vector, place)

    def variables(self, number):
        """As many vectors as the panel has, that change in loops; LLVM keeps them in registers."""
        made = [cgutils.alloca_once(self.b, self.vector) for _ in range(_VECTORS)]
        for variable in made:
            self.b.store(self.each(number), variable)
        return made

    def change(self, variable, change):
        self.b.store(change(self.b.load(variable)), variable)

    def fmuladd(self, x, y, z):
        return self.b.call(self._fmuladd, [x, y, z])

    def larger(self, x, y):
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def power_of_two(self, t):
        """2^t for t <= 0, within 2 ulps, and 1 for 0; 0 below ``LEAST_POWER``."""
        b, size = self.b, self.itemsize
        integers = ir.VectorType(ir.IntType(8 * size), self.count)
        # The addition rounds t to an integer, which its last bits then hold.
        magic = self.each(1.5 * 2.0 ** _MANTISSA[size])
        shifted = b.fadd(t, magic)
        r = b.fsub(t, b.fsub(shifted, magic))
        coefficients = [self.each(c) for c in _POLYNOMIAL[size]]
        power = coefficients.pop()
        while coefficients:
            power = self.fmuladd(power, r, coefficients.pop())
        by = ir.Constant(integers, [_MANTISSA[size]] * self.count)
        exponent = b.shl(b.bitcast(shifted, integers), by)
        power = b.bitcast(b.add(b.bitcast(power, integers), exponent), self.vector)
        large = b.fcmp_ordered(">=", t, self.each(LEAST_POWER[size]))
        return b.select(large, power, self.each(0.0))


def _tiles(builder, begin, end, sizes):
    """Loops over ``range(begin, end)`` in steps of ever smaller sizes, down to 1."""
    for size in sizes:
        whole = builder.sub(end, builder.srem(builder.sub(end, begin), _I64(size)))
        with cgutils.for_range_slice(builder, begin, whole, _I64(size)) as (at, _):
            yield at, size
        begin = whole


@intrinsic
def score_block(typingctx, panel, key, start, stop, scores, top):
    """Write canonical scores (stop - start, width) of keys to ``scores``, their maxima to ``top``.

    ``panel`` (d * width,) holds the queries, feature-major; d >= 1.
    """

    def codegen(context, b, signature, args):
        p = _Panel(context, b, panel.dtype)
        queries, keys, out, tops = (p.data(signature.args[i], args[i]) for i in (0, 1, 4, 5))
        first, end = args[2], args[3]
        d = b.extract_value(context.make_array(key)(context, b, args[1]).shape, 1)
        best = p.variables(float("-inf"))
        for j, n_rows in _tiles(b, first, end, (_TILE, 1)):
            rows = [b.gep(keys, [b.mul(b.add(j, _I64(r)), d)]) for r in range(n_rows)]
            sums = [p.variables(0.0) for _ in rows]

            def score(f, follow, rows=rows, sums=sums):
                held = p.row(queries, f)
                for row, line in zip(rows, sums, strict=True):
                    feature = p.broadcast(b.load(b.gep(row, [f])))
                    for query, total in zip(held, line, strict=True):
                        product = b.fmul(query, feature)
                        p.change(total, lambda s, product=product: follow(s, product))

            score(_I64(0), lambda _, product: product)
            with cgutils.for_range_slice(b, _I64(1), d, _I64(1)) as (f, _):
                score(f, b.fadd)
            for r, line in enumerate(sums):
                values = [b.load(total) for total in line]
                p.set_row(out, b.add(b.sub(j, first), _I64(r)), values)
                for value, highest in zip(values, best, strict=True):
                    p.change(highest, lambda h, value=value: p.larger(value, h))
        p.set_row(tops, _I64(0), [b.load(highest) for highest in best])
        return context.get_dummy_value()

    return types.void(panel, key, types.intp, types.intp, scores, top), codegen


@intrinsic
def weigh_block(typingctx, scores, n, top, scale, best, factor, total):
    """Turn ``n`` rows of scores into weights 2^(scale (score - best)), and add them to ``total``.

    ``best`` rises to ``top``, and ``factor`` is what earlier weights are to be multiplied by.
    """

    def codegen(context, b, signature, args):
        p = _Panel(context, b, scores.dtype)
        data, tops, bests, factors, totals = (
            p.data(signature.args[i], args[i]) for i in (0, 2, 4, 5, 6)
        )
        by = p.broadcast(args[3])

        def weight(score, highest):
            return p.power_of_two(b.fmul(b.fsub(score, highest), by))

        before = p.row(bests, _I64(0))
        after = [p.larger(t, o) for t, o in zip(p.row(tops, _I64(0)), before, strict=True)]
        shrink = [weight(o, a) for o, a in zip(before, after, strict=True)]
        p.set_row(bests, _I64(0), after)
        p.set_row(factors, _I64(0), shrink)
        sums = p.variables(0.0)
        with cgutils.for_range_slice(b, _I64(0), args[1], _I64(1)) as (j, _):
            weights = [weight(s, a) for s, a in zip(p.row(data, j), after, strict=True)]
            p.set_row(data, j, weights)
            for w, variable in zip(weights, sums, strict=True):
                p.change(variable, lambda s, w=w: b.fadd(s, w))
        grown = [
            p.fmuladd(t, s, b.load(v))
            for t, s, v in zip(p.row(totals, _I64(0)), shrink, sums, strict=True)
        ]
        p.set_row(totals, _I64(0), grown)
        return context.get_dummy_value()

    signature = types.void(scores, types.intp, top, scores.dtype, best, factor, total)
    return signature, codegen


@intrinsic
def collect_block(typingctx, weights, key, start, stop, factor, mean):
    """Multiply ``mean`` (d * width,) by ``factor``, and add the weighted keys start..stop-1."""

    def codegen(context, b, signature, args):
        p = _Panel(context, b, weights.dtype)
        data, keys, factors, means = (p.data(signature.args[i], args[i]) for i in (0, 1, 4, 5))
        first, end = args[2], args[3]
        d = b.extract_value(context.make_array(key)(context, b, args[1]).shape, 1)
        shrink = p.row(factors, _I64(0))
        sizes = [size for size in (8, 4, 3, 2, 1) if size <= _TILE]
        for f, size in _tiles(b, _I64(0), d, sizes):
            sums = [p.variables(0.0) for _ in range(size)]
            with cgutils.for_range_slice(b, first, end, _I64(1)) as (j, _):
                held = p.row(data, b.sub(j, first))
                row = b.gep(keys, [b.add(b.mul(j, d), f)])
                for t, line in enumerate(sums):
                    feature = p.broadcast(b.load(b.gep(row, [_I64(t)])))
                    for weight, total in zip(held, line, strict=True):
                        p.change(
                            total,
                            lambda s, weight=weight, feature=feature: p.fmuladd(weight, feature, s),
                        )
            for t, line in enumerate(sums):
                at = b.add(f, _I64(t))
                old = p.row(means, at)
                grown = [
                    p.fmuladd(o, s, b.load(total))
                    for o, s, total in zip(old, shrink, line, strict=True)
                ]
                p.set_row(means, at, grown)
        return context.get_dummy_value()

    return types.void(weights, key, types.intp, types.intp, factor, mean), codegen
