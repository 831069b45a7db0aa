"""Canonical scores of one query against neighbouring keys, and their ties, as explicit vector IR.

One key sits in each lane, so every score keeps its own order of products and sums, each rounded.
Keys are stored row by row: few features are taken apart by shuffling whole rows, more by
transposing tiles of lanes x 4. Nothing here may fuse: no instruction carries a fast-math flag.

The note on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from ._processor import VECTOR_BYTES

__all__ = [
    "Lanes",
    "emit_across",
    "emit_scores",
    "emit_ties",
    "emit_top",
    "emit_turned",
    "fewest_keys",
    "reaching",
    "score_keys",
    "tied",
    "top_score",
]

_TILE = 4  # features of a transposed tile
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@register_jitable
def fewest_keys(itemsize: int) -> int:
    """Lanes of one vector, and so the least number of keys that ``score_keys`` can take."""
    return max(_TILE, VECTOR_BYTES // itemsize)


class Lanes:
    """Vectors of one element type: loads, stores and shuffles."""

    def __init__(self, context, builder, element):
        self.context, self.b = context, builder
        self.itemsize = element.bitwidth // 8
        self.count = fewest_keys(self.itemsize)
        self.element = ir.FloatType() if self.itemsize == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.element, self.count)

    def data(self, kind, array):
        return self.context.make_array(kind)(self.context, self.b, array).data

    def load(self, pointer, kind=None):
        kind = kind or self.vector
        value = self.b.load(self.b.bitcast(pointer, kind.as_pointer()))
        value.align = self.itemsize
        return value

    def store(self, value, pointer):
        self.b.store(value, self.b.bitcast(pointer, self.vector.as_pointer())).align = self.itemsize

    def shuffle(self, x, y, places):
        mask = ir.Constant(ir.VectorType(_I32, len(places)), list(places))
        return self.b.shuffle_vector(x, y, mask)

    def broadcast(self, scalar):
        undefined = ir.Constant(self.vector, ir.Undefined)
        low = self.b.insert_element(undefined, scalar, _I32(0))
        return self.shuffle(low, undefined, [0] * self.count)

    def bits(self, reached):
        """The truth values of a comparison as an integer, lane 0 lowest."""
        return self.b.zext(self.b.bitcast(reached, ir.IntType(self.count)), _I64)

    def strided(self, pointer, stride):
        """The vectors of features 0..stride-1 of ``count`` keys that lie one after the other."""
        n = self.count
        parts = [self.load(self.b.gep(pointer, [_I64(p * n)])) for p in range(stride)]
        features = []
        for f in range(stride):
            taken, where = parts[0], [f + lane * stride for lane in range(n)]
            for p in range(1, stride):
                # Lanes gathered already stay; those of part p join; later ones take anything.
                kept = range(n) if p > 1 else where
                places = [
                    kept[lane] % n if at < p * n or at >= (p + 1) * n else n + at % n
                    for lane, at in enumerate(where)
                ]
                taken = self.shuffle(taken, parts[p], places)
            features.append(taken)
        return features

    def tile(self, pointer, pitch):
        """The vectors of 4 features, at ``pointer``, of ``count`` keys ``pitch`` apart."""
        b, quad = self.b, ir.VectorType(self.element, _TILE)
        return self.transposed(
            [self.load(b.gep(pointer, [b.mul(pitch, _I64(r))]), quad) for r in range(self.count)]
        )

    def transposed(self, rows):
        """The vectors of 4 features of ``count`` rows."""
        columns = []
        for r in range(_TILE):
            # Rows r, r + 4, r + 8, ... side by side: each group of 4 lanes is transposed alone.
            group = rows[r::_TILE]
            while len(group) > 1:
                width = group[0].type.count
                group = [
                    self.shuffle(x, y, range(2 * width))
                    for x, y in zip(group[::2], group[1::2], strict=True)
                ]
            columns.append(group[0])

        def mix(pair, pattern):
            (x, y), n = pair, self.count
            return self.shuffle(
                x,
                y,
                [g + p % _TILE + n * (p // _TILE) for g in range(0, n, _TILE) for p in pattern],
            )

        even = [mix(columns[r : r + 2], (0, 4, 2, 6)) for r in (0, 2)]
        odd = [mix(columns[r : r + 2], (1, 5, 3, 7)) for r in (0, 2)]
        low, high = (0, 1, 4, 5), (2, 3, 6, 7)
        return [mix(even, low), mix(odd, low), mix(even, high), mix(odd, high)]


def emit_scores(lanes, query_data, key_data, d, first, end, out):
    """IR that writes the scores of one query, at ``query_data``, against keys first..end-1."""
    b = lanes.b

    def follow(scores, factors, windows):
        """Each score plus the products of a query's factors with its window's features."""
        for f, q in enumerate(factors):
            products = [b.fmul(lanes.broadcast(q), window[f]) for window in windows]
            scores = list(map(b.fadd, scores, products)) if scores else products
        return scores

    def sweep(score_windows, together):
        """Score so many vectors of keys at a time; the last ones end at the last key."""
        before, width = b.block, _I64(together * lanes.count)
        body, done = b.append_basic_block("window"), b.append_basic_block("swept")
        b.branch(body)
        b.position_at_end(body)
        j = b.phi(_I64)
        j.add_incoming(first, before)
        last = b.sub(end, width)
        at = b.select(b.icmp_signed("<", j, last), j, last)
        starts = [b.add(at, _I64(w * lanes.count)) for w in range(together)]
        scores = score_windows([b.gep(key_data, [b.mul(row, d)]) for row in starts])
        for row, score in zip(starts, scores, strict=True):
            lanes.store(score, b.gep(out, [b.sub(row, first)]))
        following = b.add(j, width)
        j.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, end), body, done)
        b.position_at_end(done)

    def few(stride):
        factors = [b.load(b.gep(query_data, [_I64(f)])) for f in range(stride)]
        sweep(lambda keys: follow([], factors, [lanes.strided(keys[0], stride)]), 1)

    def many(keys):
        def fold(scores, f, skipped):
            windows = [lanes.tile(b.gep(k, [f]), d)[skipped:] for k in keys]
            places = [b.add(f, _I64(t)) for t in range(skipped, _TILE)]
            factors = [b.load(b.gep(query_data, [place])) for place in places]
            return follow(scores, factors, windows)

        begun = fold([], _I64(0), 0)
        before = b.block
        head, body = b.append_basic_block("tiles"), b.append_basic_block("tile")
        rest, finished = b.append_basic_block("rest"), b.append_basic_block("finished")
        b.branch(head)
        b.position_at_end(head)
        f, running = b.phi(_I64), [b.phi(lanes.vector) for _ in keys]
        following = b.add(f, _I64(_TILE))
        b.cbranch(b.icmp_signed("<=", following, d), body, rest)
        b.position_at_end(body)
        grown = fold(running, f, 0)
        b.branch(head)
        f.add_incoming(_I64(_TILE), before)
        f.add_incoming(following, body)
        for phi, start, value in zip(running, begun, grown, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, body)
        # 1 to 3 features are left: the tile that ends with the last of them holds them too.
        b.position_at_end(rest)
        ends = [(running, rest)]
        switch = b.switch(b.sub(d, f), finished)
        for left in range(1, _TILE):
            case = b.append_basic_block(f"left{left}")
            switch.add_case(_I64(left), case)
            b.position_at_end(case)
            ends.append((fold(running, b.sub(d, _I64(_TILE)), _TILE - left), case))
            b.branch(finished)
        b.position_at_end(finished)
        results = [b.phi(lanes.vector) for _ in keys]
        for values, origin in ends:
            for phi, value in zip(results, values, strict=True):
                phi.add_incoming(value, origin)
        return results

    done = b.append_basic_block("scored")
    general = b.append_basic_block("many")
    switch = b.switch(d, general)
    for stride in range(1, _TILE):
        case = b.append_basic_block(f"stride{stride}")
        switch.add_case(_I64(stride), case)
        b.position_at_end(case)
        few(stride)
        b.branch(done)
    b.position_at_end(general)
    # A score is a chain of dependent additions: two chains at a time, where there are two.
    one, two = b.append_basic_block("one"), b.append_basic_block("two")
    b.cbranch(b.icmp_signed(">=", b.sub(end, first), _I64(2 * lanes.count)), two, one)
    for block, together in ((one, 1), (two, 2)):
        b.position_at_end(block)
        sweep(many, together)
        b.branch(done)
    b.position_at_end(done)


def emit_turned(lanes, query_data, key_data, d, n_vectors):
    """IR for the scores of one query against so many vectors of turned keys."""
    b = lanes.b
    starts = [
        b.gep(key_data, [b.mul(d, _I64(v * lanes.count))]) for v in range(n_vectors)
    ]  # each ``d`` features of ``count`` keys

    def products(f):
        factor = lanes.broadcast(b.load(b.gep(query_data, [f])))
        place = b.mul(f, _I64(lanes.count))
        return [b.fmul(factor, lanes.load(b.gep(start, [place]))) for start in starts]

    begun, before = products(_I64(0)), b.block
    head, body, done = (b.append_basic_block(n) for n in ("features", "feature", "scored"))
    b.branch(head)
    b.position_at_end(head)
    f, sums = b.phi(_I64), [b.phi(lanes.vector) for _ in starts]
    b.cbranch(b.icmp_signed("<", f, d), body, done)
    b.position_at_end(body)
    grown, following = list(map(b.fadd, sums, products(f))), b.add(f, _I64(1))
    b.branch(head)
    f.add_incoming(_I64(1), before)
    f.add_incoming(following, body)
    for phi, start, value in zip(sums, begun, grown, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, body)
    b.position_at_end(done)
    return sums


@intrinsic
def score_keys(typingctx, query, i, key, start, stop, scores):
    """Write the canonical scores of ``query[i]`` against ``key[start:stop]`` to ``scores``.

    d >= 1, and stop - start >= ``fewest_keys``: the last vector may overlap the one before.
    """

    def codegen(context, b, signature, args):
        lanes = Lanes(context, b, query.dtype)
        query_data, key_data, out = (lanes.data(signature.args[p], args[p]) for p in (0, 2, 5))
        d = b.extract_value(context.make_array(query)(context, b, args[0]).shape, 1)
        emit_scores(
            lanes, b.gep(query_data, [b.mul(args[1], d)]), key_data, d, args[3], args[4], out
        )
        return context.get_dummy_value()

    return types.void(query, types.intp, key, types.intp, types.intp, scores), codegen


def emit_top(lanes, data, n):
    """IR for the largest of the ``n`` scores at ``data``."""
    b = lanes.b
    before = b.block
    body, done = b.append_basic_block("fold"), b.append_basic_block("folded")
    b.branch(body)
    b.position_at_end(body)
    j, best = b.phi(_I64), b.phi(lanes.vector)
    j.add_incoming(_I64(0), before)
    best.add_incoming(ir.Constant(lanes.vector, [float("-inf")] * lanes.count), before)
    score = lanes.load(b.gep(data, [j]))
    larger = b.select(b.fcmp_ordered(">", score, best), score, best)
    best.add_incoming(larger, body)
    following = b.add(j, _I64(lanes.count))
    j.add_incoming(following, body)
    b.cbranch(b.icmp_signed("<", following, n), body, done)
    b.position_at_end(done)
    return emit_across(lanes, larger)


def emit_across(lanes, top):
    """IR for the largest number of a vector."""
    b, width = lanes.b, lanes.count
    while width > 1:
        width //= 2
        half = lanes.shuffle(top, top, range(width, 2 * width))
        top = lanes.shuffle(top, top, range(width))
        top = b.select(b.fcmp_ordered(">", half, top), half, top)
    return b.extract_element(top, _I32(0))


def emit_ties(lanes, data, n, least):
    """IR for the bit set of the ``n`` scores at ``data``, at most 64, that are at least that."""
    b = lanes.b
    before = b.block
    body, done = b.append_basic_block("compare"), b.append_basic_block("compared")
    b.branch(body)
    b.position_at_end(body)
    j, bits = b.phi(_I64), b.phi(_I64)
    j.add_incoming(_I64(0), before)
    bits.add_incoming(_I64(0), before)
    reached = b.fcmp_ordered(">=", lanes.load(b.gep(data, [j])), lanes.broadcast(least))
    grown = b.or_(bits, b.shl(lanes.bits(reached), j))
    bits.add_incoming(grown, body)
    following = b.add(j, _I64(lanes.count))
    j.add_incoming(following, body)
    b.cbranch(b.icmp_signed("<", following, n), body, done)
    b.position_at_end(done)
    return grown


@intrinsic
def top_score(typingctx, scores, n):
    """The largest of ``scores[:n]``, n >= 1 and padded to whole vectors; NaN never wins."""

    def codegen(context, b, signature, args):
        lanes = Lanes(context, b, scores.dtype)
        return emit_top(lanes, lanes.data(signature.args[0], args[0]), args[1])

    return scores.dtype(scores, types.intp), codegen


@intrinsic
def reaching(typingctx, scores, at, least):
    """Bit set of the lanes of ``scores[at:at + fewest_keys]`` that are at least ``least``."""

    def codegen(context, b, signature, args):
        lanes = Lanes(context, b, scores.dtype)
        data = b.gep(lanes.data(signature.args[0], args[0]), [args[1]])
        return lanes.bits(b.fcmp_ordered(">=", lanes.load(data), lanes.broadcast(args[2])))

    return types.uint64(scores, types.intp, scores.dtype), codegen


@intrinsic
def tied(typingctx, scores, at, n, least):
    """Bit set of those of ``scores[at:at + n]`` that are at least ``least``; 1 <= n <= 64.

    They are padded to whole vectors.
    """

    def codegen(context, b, signature, args):
        lanes = Lanes(context, b, scores.dtype)
        data = b.gep(lanes.data(signature.args[0], args[0]), [args[1]])
        return emit_ties(lanes, data, args[2], args[3])

    return types.uint64(scores, types.intp, types.intp, scores.dtype), codegen
