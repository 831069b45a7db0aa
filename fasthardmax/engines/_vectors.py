"""Vector instructions for Numba kernels, as explicit LLVM IR.

Numba does not vectorise a floating-point maximum, with any flag. These intrinsics say what they
mean: a *panel* is ``width`` queries, one in each lane of a few vectors, stored feature-major, and
keys are broadcast against it. Vector width and register count follow the processor that Numba
compiles for.

Numba's disk cache looks only at what a kernel's own file says: after a change here cached kernels
are stale until they are removed (the tests keep a cache for each state of the sources).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._byte_products import SPARE_REGISTERS, add_byte_products
from ._processor import REGISTERS, VECTOR_BYTES

__all__ = [
    "bit_count",
    "copy_row",
    "geometry",
    "highest_bit",
    "itemsize_of",
    "lowest_bit",
    "panel_of_sums",
    "prefetch",
    "screen_block",
]

# So few features stay in registers; more are looped over.
_UNROLLED = (2, 3)
_SUMS = VECTOR_BYTES // 4  # of byte products, four by four
_MANY = 32  # features for which registers that do not suffice cost more than smaller panels


def geometry(d: int, n_queries: int, itemsize: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Panel width in queries, and the two tuples whose lengths choose the machine code.

    The tuples' lengths are vectors per panel and unrolled features: as types, they make Numba
    compile and cache one specialisation for each.
    """
    lanes = VECTOR_BYTES // itemsize
    few = n_queries <= lanes
    unroll = d if d in _UNROLLED and not few else 0
    vectors = 1 if few else 4 if unroll == 2 else 3
    return vectors * lanes, (0,) * vectors, (0,) * unroll


def panel_of_sums(d: int, itemsize: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """As :func:`geometry`, for panels that are screened in bytes as well.

    In float64, for which they may be screened again, few registers hold fewer of their vectors:
    that shows where features are many.
    """
    crowded = itemsize == 8 and REGISTERS < 32 and d >= _MANY
    width = (2 if crowded else 3) * _SUMS
    return width, (0,) * (width * itemsize // VECTOR_BYTES), ()


def _keys_at_once(vectors: int, unroll: int, spare: int) -> int:
    """Keys per register tile: as many accumulators as the registers hold beside the operands."""
    if unroll:
        return 2 if unroll == 3 else 4
    # vectors panel operands, one broadcast key
    return max(1, min(8, (REGISTERS - vectors - 1 - spare) // vectors))


@intrinsic
def screen_block(
    typingctx, panels, p, key, start, stop, bias, seen, tables, at, vectors, unroll
):  # fmt: skip
    """Write to ``tables.flat[at:at+width]`` the lanes' maxima of score + bias over some keys.

    ``panels`` (P, d * width) of which the p-th is scored, ``key`` (S, d) of which start..stop-1
    are, ``bias`` None or (stop - start, width). Where both are 32-bit words of four bytes, ``bias``
    is ``(offset, scale)``, each (P, width), and a score is ``scale * (product - offset)``. With
    ``seen`` a number and not None, lane l sees the keys up to ``seen + l`` only.
    """
    in_bytes = panels.dtype == types.int32
    n_vectors, n_unroll = len(vectors), len(unroll)
    itemsize = panels.dtype.bitwidth // 8
    if in_bytes:
        element = ir.IntType(32)
        n_vectors = n_vectors * itemsize // (tables.dtype.bitwidth // 8)
    else:
        element = ir.FloatType() if itemsize == 4 else ir.DoubleType()
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(element, lanes)
    i64 = ir.IntType(64)
    at_once = _keys_at_once(n_vectors, n_unroll, SPARE_REGISTERS if in_bytes else 0)
    biased = not in_bytes and not isinstance(bias, types.NoneType)
    causal = not isinstance(seen, types.NoneType)

    def codegen(context, builder, signature, args):
        b = builder

        def data(position):
            kind = signature.args[position]
            return context.make_array(kind)(context, b, args[position]).data

        def load(pointer, offset):
            value = b.load(b.bitcast(b.gep(pointer, [offset]), vector.as_pointer()))
            value.align = itemsize
            return value

        def splat(number, kind):
            undefined = ir.Constant(kind, ir.Undefined)
            low = b.insert_element(undefined, number, ir.IntType(32)(0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return b.shuffle_vector(low, undefined, zeros)

        def broadcast(pointer):
            return splat(b.load(pointer), vector)

        def larger(x, y):
            compare = b.icmp_signed if in_bytes else b.fcmp_ordered
            return b.select(compare(">", x, y), x, y)

        # fmuladd fuses where the machine can; the screening bound holds either way.
        name = f"llvm.fmuladd.v{lanes}f{8 * itemsize}"
        fused = ir.FunctionType(vector, [vector] * 3)

        def add_product(k, p, s):
            if in_bytes:
                return add_byte_products(b, k, p, s)
            return b.call(cgutils.get_or_insert_function(b.module, fused, name), [k, p, s])

        def constant(number):
            return ir.Constant(vector, [int(number) if in_bytes else number] * lanes)

        panel_data, key_data, table_data = data(0), data(2), data(7)
        bias_data = data(5) if biased else None
        first, end, out = args[3], args[4], args[8]
        lowest = constant(-(2**31) if in_bytes else float("-inf"))
        n_features = b.extract_value(context.make_array(key)(context, b, args[2]).shape, 1)
        width = i64(n_vectors * lanes)
        panel_data = b.gep(panel_data, [b.mul(args[1], b.mul(n_features, width))])
        held = [
            [load(panel_data, i64((f * n_vectors + v) * lanes)) for v in range(n_vectors)]
            for f in range(n_unroll)
        ]

        def scores(rows):
            """Approximate scores of ``rows`` (pointers to keys): a list over rows of vectors."""
            if held:
                result = []
                for row in rows:
                    parts = [broadcast(b.gep(row, [i64(f)])) for f in range(n_unroll)]
                    sums = [b.fmul(parts[0], held[0][v]) for v in range(n_vectors)]
                    for f in range(1, n_unroll):
                        sums = [
                            add_product(parts[f], held[f][v], sums[v]) for v in range(n_vectors)
                        ]
                    result.append(sums)
                return result
            before = b.block
            loop = b.append_basic_block("features")
            after = b.append_basic_block("scored")
            zero = constant(0.0)
            b.cbranch(b.icmp_signed(">", n_features, i64(0)), loop, after)
            b.position_at_end(loop)
            f = b.phi(i64)
            f.add_incoming(i64(0), before)
            sums = [[b.phi(vector) for _ in range(n_vectors)] for _ in rows]
            base = b.mul(f, width)
            parts = [load(panel_data, b.add(base, i64(v * lanes))) for v in range(n_vectors)]
            grown = []
            for row, line in zip(rows, sums, strict=True):
                k = broadcast(b.gep(row, [f]))
                grown.append([add_product(k, p, s) for p, s in zip(parts, line, strict=True)])
            following = b.add(f, i64(1))
            f.add_incoming(following, loop)
            b.cbranch(b.icmp_signed("<", following, n_features), loop, after)
            b.position_at_end(after)
            result = [[b.phi(vector) for _ in range(n_vectors)] for _ in rows]
            for phis, line, done in zip(sums, grown, result, strict=True):
                for phi, value, exit_phi in zip(phis, line, done, strict=True):
                    phi.add_incoming(zero, before)
                    phi.add_incoming(value, loop)
                    exit_phi.add_incoming(zero, before)
                    exit_phi.add_incoming(value, loop)
            return result

        def sees(v, i):
            """Which lanes of vector ``v`` see key ``i``."""
            numbers = ir.VectorType(ir.IntType(8 * itemsize), lanes)
            own = ir.Constant(numbers, list(range(v * lanes, (v + 1) * lanes)))
            beyond = b.sub(i, args[6])
            if itemsize < 8:
                beyond = b.trunc(beyond, numbers.element)
            return b.icmp_signed("<=", splat(beyond, numbers), own)

        def stream(begin, limit, best, n_rows):
            """Fold keys begin, begin + n_rows, ... below limit into ``best``."""
            before = b.block
            head = b.append_basic_block("keys")
            body = b.append_basic_block("tile")
            done = b.append_basic_block("done")
            b.branch(head)
            b.position_at_end(head)
            j = b.phi(i64)
            j.add_incoming(begin, before)
            running = [b.phi(vector) for _ in range(n_vectors)]
            for phi, value in zip(running, best, strict=True):
                phi.add_incoming(value, before)
            following = b.add(j, i64(n_rows))
            b.cbranch(b.icmp_signed("<=", following, limit), body, done)
            b.position_at_end(body)
            indices = [b.add(j, i64(r)) for r in range(n_rows)]
            rows = [b.gep(key_data, [b.mul(i, n_features)]) for i in indices]
            tile = scores(rows)
            if biased:
                for r, i in enumerate(indices):
                    at_row = b.mul(b.sub(i, first), width)
                    tile[r] = [
                        b.fadd(s, load(bias_data, b.add(at_row, i64(v * lanes))))
                        for v, s in enumerate(tile[r])
                    ]
            if causal:
                for r, i in enumerate(indices):
                    tile[r] = [b.select(sees(v, i), s, lowest) for v, s in enumerate(tile[r])]
            for v in range(n_vectors):
                top = running[v]
                for line in tile:
                    top = larger(line[v], top)
                running[v].add_incoming(top, b.block)
            j.add_incoming(following, b.block)
            b.branch(head)
            b.position_at_end(done)
            return j, running

        def scaled(products, at):
            """The scores of a vector of products, whose offsets and scales stand at ``at``."""
            offset, scale = (
                context.make_array(kind)(context, b, part).data
                for kind, part in zip(bias.types, cgutils.unpack_tuple(b, args[5]), strict=True)
            )
            number = ir.FloatType() if tables.dtype == types.float32 else ir.DoubleType()
            numbers = ir.VectorType(number, lanes)
            size = b.load(b.bitcast(b.gep(scale, [at]), numbers.as_pointer()))
            size.align = 4
            found = b.fmul(b.sitofp(b.sub(products, load(offset, at)), numbers), size)
            if causal:
                unseen = ir.Constant(numbers, [float("-inf")] * lanes)
                found = b.select(b.icmp_signed("==", products, lowest), unseen, found)
            return found

        j, best = stream(first, end, [lowest] * n_vectors, at_once)
        if at_once > 1:
            _, best = stream(j, end, best, 1)
        for v, top in enumerate(best):
            place = b.gep(table_data, [b.add(out, i64(v * lanes))])
            found = scaled(top, b.add(b.mul(args[1], width), i64(v * lanes))) if in_bytes else top
            b.store(found, b.bitcast(place, found.type.as_pointer())).align = 4
        return context.get_dummy_value()

    intp = types.intp
    signature = types.void(panels, intp, key, intp, intp, bias, seen, tables, intp, vectors, unroll)
    return signature, codegen


@intrinsic
def prefetch(typingctx, key, row):
    """Ask for the cache lines of ``key[row]`` ahead of their use."""

    def codegen(context, b, signature, args):
        i8, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32])
        touch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        array = context.make_array(signature.args[0])(context, b, args[0])
        pitch = cgutils.unpack_tuple(b, array.strides)[0]
        line = b.bitcast(array.data, i8)
        start = b.mul(args[1], pitch)
        with cgutils.for_range_slice(b, start, b.add(start, pitch), start.type(64)) as (offset, _):
            b.call(touch, [b.gep(line, [offset]), i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return types.void(key, types.intp), codegen


@intrinsic
def copy_row(typingctx, source, i, target, j):
    """``target[j] = source[i]``, whose numbers lie side by side: rows are short, and the call long.

    In vectors of which the last is cut, so that no number of features takes another branch.
    """
    itemsize = source.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    element = ir.FloatType() if itemsize == 4 else ir.DoubleType()
    vector, numbers = ir.VectorType(element, lanes), ir.VectorType(ir.IntType(64), lanes)

    def codegen(context, b, signature, args):
        i32, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        mask = ir.VectorType(ir.IntType(1), lanes)
        pointer, name = vector.as_pointer(), f"v{lanes}f{8 * itemsize}.p0"
        load, store = (
            cgutils.get_or_insert_function(
                b.module, ir.FunctionType(result, kinds), f"llvm.masked.{verb}.{name}"
            )
            for verb, result, kinds in (
                ("load", vector, [pointer, i32, mask, vector]),
                ("store", ir.VoidType(), [vector, pointer, i32, mask]),
            )
        )
        arrays = [context.make_array(signature.args[at])(context, b, args[at]) for at in (0, 2)]
        rows = [
            b.gep(
                b.bitcast(array.data, byte),
                [b.mul(args[at], cgutils.unpack_tuple(b, array.strides)[0])],
            )
            for array, at in zip(arrays, (1, 3), strict=True)
        ]
        size = b.extract_value(arrays[0].shape, 1)
        own = ir.Constant(numbers, list(range(lanes)))
        spread = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
        with cgutils.for_range_slice(b, size.type(0), size, size.type(lanes)) as (c, _):
            left = b.insert_element(own, b.sub(size, c), i32(0))
            inside = b.icmp_signed("<", own, b.shuffle_vector(left, left, spread))
            offset = b.mul(c, size.type(itemsize))
            here, there = (b.bitcast(b.gep(row, [offset]), pointer) for row in rows)
            row = b.call(load, [here, i32(itemsize), inside, ir.Constant(vector, [0.0] * lanes)])
            b.call(store, [row, there, i32(itemsize), inside])
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), codegen


@intrinsic
def lowest_bit(typingctx, bits):
    """The position of the lowest set bit."""

    def codegen(context, b, signature, args):
        return b.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def highest_bit(typingctx, bits):
    """The position of the highest set bit."""

    def codegen(context, b, signature, args):
        return b.sub(ir.IntType(64)(63), b.ctlz(args[0], ir.Constant(ir.IntType(1), 1)))

    return types.int64(types.uint64), codegen


@intrinsic
def bit_count(typingctx, bits):
    """How many bits are set."""

    def codegen(context, b, signature, args):
        return b.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def itemsize_of(typingctx, array):
    """Bytes of one element, known when a kernel is compiled, as ``array.itemsize`` is not."""

    def codegen(context, b, signature, args):
        return ir.IntType(64)(array.dtype.bitwidth // 8)

    return types.intp(array), codegen
