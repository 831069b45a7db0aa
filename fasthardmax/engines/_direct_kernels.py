"""Machine code of the direct engine: vector screening of a panel of queries, canonical decision.

A *panel* is ``width`` queries, one in each vector lane, stored feature-major. Keys stream past it in
blocks; the screening kernel keeps, for each block and lane, the largest approximate (fused) score.
Only blocks whose maximum lies within the screening slack of the lane's best are scored again,
canonically, and decide. Everything here lives in one file because Numba's disk cache notices
changes of this file only.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_FEATURES = cpu_target.target_context.codegen().magic_tuple()
_X86 = _FEATURES[0].startswith(("x86_64", "i686"))

_compiled = njit(nogil=True, cache=True, error_model="numpy")


def _has(feature: str) -> bool:
    return f"+{feature}" in _FEATURES[2].split(",")


VECTOR_BYTES = 64 if _has("avx512f") else 32 if _has("avx") else 16
_REGISTERS = 16 if _X86 and not _has("avx512f") else 32
# So few features stay in registers; more are looped over.
_UNROLLED = (2, 3)

# What a problem's mask is, and what its ties give.
NO_MASK, ALLOWED, ADDED = 0, 1, 2
MEAN, FIRST, LAST = 0, 1, 2


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


def _keys_at_once(vectors: int, unroll: int) -> int:
    """Keys per register tile: as many accumulators as the registers hold beside the operands."""
    if unroll:
        return 2 if unroll == 3 else 4
    # vectors panel operands, one broadcast key
    return max(1, min(8, (_REGISTERS - vectors - 1) // vectors))


@intrinsic
def _screen(typingctx, panel, key, start, stop, d, bias, table, at, vectors, unroll):  # type: ignore[no-untyped-def]
    """Write to ``table[at:at+width]`` the lanes' maxima of score + bias over keys start..stop-1.

    ``panel`` (d * width,), ``key`` (S, d), ``bias`` None or (stop - start, width), ``table`` flat.
    """
    n_vectors, n_unroll = len(vectors), len(unroll)
    element = ir.FloatType() if panel.dtype == types.float32 else ir.DoubleType()
    itemsize = panel.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(element, lanes)
    i64 = ir.IntType(64)
    at_once = _keys_at_once(n_vectors, n_unroll)
    biased = not isinstance(bias, types.NoneType)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        b = builder

        def data(position):  # type: ignore[no-untyped-def]
            kind = signature.args[position]
            return context.make_array(kind)(context, b, args[position]).data

        def load(pointer, offset):  # type: ignore[no-untyped-def]
            value = b.load(b.bitcast(b.gep(pointer, [offset]), vector.as_pointer()))
            value.align = itemsize
            return value

        def broadcast(pointer):  # type: ignore[no-untyped-def]
            undefined = ir.Constant(vector, ir.Undefined)
            low = b.insert_element(undefined, b.load(pointer), ir.IntType(32)(0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return b.shuffle_vector(low, undefined, zeros)

        def larger(x, y):  # type: ignore[no-untyped-def]
            return b.select(b.fcmp_ordered(">", x, y), x, y)

        # fmuladd fuses where the machine can; the screening bound holds either way.
        name = f"llvm.fmuladd.v{lanes}f{8 * itemsize}"
        fmuladd = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(vector, [vector] * 3), name
        )
        panel_data, key_data, table_data = data(0), data(1), data(6)
        bias_data = data(5) if biased else None
        first, end, n_features, out = args[2], args[3], args[4], args[7]
        width = i64(n_vectors * lanes)
        held = [
            [load(panel_data, i64((f * n_vectors + v) * lanes)) for v in range(n_vectors)]
            for f in range(n_unroll)
        ]

        def scores(rows):  # type: ignore[no-untyped-def]
            """Approximate scores of ``rows`` (pointers to keys): a list over rows of vectors."""
            if held:
                result = []
                for row in rows:
                    parts = [broadcast(b.gep(row, [i64(f)])) for f in range(n_unroll)]
                    sums = [b.fmul(parts[0], held[0][v]) for v in range(n_vectors)]
                    for f in range(1, n_unroll):
                        sums = [
                            b.call(fmuladd, [parts[f], held[f][v], sums[v]])
                            for v in range(n_vectors)
                        ]
                    result.append(sums)
                return result
            before = b.block
            loop = b.append_basic_block("features")
            after = b.append_basic_block("scored")
            zero = ir.Constant(vector, [0.0] * lanes)
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
                grown.append(
                    [b.call(fmuladd, [k, p, s]) for p, s in zip(parts, line, strict=True)]
                )
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

        def stream(begin, limit, best, n_rows):  # type: ignore[no-untyped-def]
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
            for v in range(n_vectors):
                top = running[v]
                for line in tile:
                    top = larger(line[v], top)
                running[v].add_incoming(top, b.block)
            j.add_incoming(following, b.block)
            b.branch(head)
            b.position_at_end(done)
            return j, running

        lowest = [ir.Constant(vector, [float("-inf")] * lanes)] * n_vectors
        j, best = stream(first, end, lowest, at_once)
        if at_once > 1:
            _, best = stream(j, end, best, 1)
        for v in range(n_vectors):
            place = b.gep(table_data, [b.add(out, i64(v * lanes))])
            b.store(best[v], b.bitcast(place, vector.as_pointer())).align = itemsize
        return context.get_dummy_value()

    intp = types.intp
    signature = types.void(panel, key, intp, intp, intp, bias, table, intp, vectors, unroll)
    return signature, codegen


@intrinsic
def _hits(typingctx, table, at, least, vectors):  # type: ignore[no-untyped-def]
    """Bit set of the lanes with ``table[at + lane] >= least[lane]``."""
    element = ir.FloatType() if table.dtype == types.float32 else ir.DoubleType()
    itemsize = table.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(element, lanes)
    i64 = ir.IntType(64)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        def load(position, offset):  # type: ignore[no-untyped-def]
            data = context.make_array(signature.args[position])(context, b, args[position]).data
            value = b.load(b.bitcast(b.gep(data, [offset]), vector.as_pointer()))
            value.align = itemsize
            return value

        bits = i64(0)
        for v in range(len(vectors)):
            shift = i64(v * lanes)
            reached = b.fcmp_ordered(">=", load(0, b.add(args[1], shift)), load(2, shift))
            part = b.zext(b.bitcast(reached, ir.IntType(lanes)), i64)
            bits = b.or_(bits, b.shl(part, shift))
        return bits

    return types.uint64(table, types.intp, least, vectors), codegen


@intrinsic
def _prefetch(typingctx, key, row):  # type: ignore[no-untyped-def]
    """Ask for the cache lines of ``key[row]`` ahead of their use."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
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
def _lowest_bit(typingctx, bits):  # type: ignore[no-untyped-def]
    """The position of the lowest set bit."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        return b.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@_compiled
def _score_keys(query, keys, rule, added, scores, unroll):  # type: ignore[no-untyped-def]
    """Canonical scores of one query (d,) against ``keys`` (n, d), the float mask added last."""
    n, d = keys.shape
    if len(unroll) == 2:
        for j in range(n):
            scores[j] = query[0] * keys[j, 0] + query[1] * keys[j, 1]
    elif len(unroll) == 3:
        for j in range(n):
            scores[j] = (query[0] * keys[j, 0] + query[1] * keys[j, 1]) + query[2] * keys[j, 2]
    elif d == 0:
        scores[:n] = 0
    else:
        # Four keys side by side: each sum is a chain of dependent additions.
        whole = n - n % 4
        for j in range(0, whole, 4):
            q = query[0]
            s0, s1 = q * keys[j, 0], q * keys[j + 1, 0]
            s2, s3 = q * keys[j + 2, 0], q * keys[j + 3, 0]
            for f in range(1, d):
                q = query[f]
                s0 += q * keys[j, f]
                s1 += q * keys[j + 1, f]
                s2 += q * keys[j + 2, f]
                s3 += q * keys[j + 3, f]
            scores[j], scores[j + 1], scores[j + 2], scores[j + 3] = s0, s1, s2, s3
        for j in range(whole, n):
            s0 = query[0] * keys[j, 0]
            for f in range(1, d):
                s0 += query[f] * keys[j, f]
            scores[j] = s0
    if rule == ADDED:
        for j in range(n):
            scores[j] += added[j]


@_compiled
def _forbidden(i, j, causal, rule, allowed, added):  # type: ignore[no-untyped-def]
    if causal and j > i:
        return True
    if rule == ALLOWED:
        return not allowed[i, j]
    return rule == ADDED and added[i, j] == -np.inf


@_compiled
def _score_block(
    query, key, i, start, stop, causal, rule, allowed, added, scores, unroll
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Canonical scores of query i against keys start..stop-1, NaN where forbidden."""
    plus = added[i, start:stop] if rule == ADDED else added[0, :0]
    _score_keys(query[i], key[start:stop], rule, plus, scores, unroll)
    if causal or rule != NO_MASK:
        for j in range(start, stop):
            if _forbidden(i, j, causal, rule, allowed, added):
                scores[j - start] = np.nan


@_compiled
def _pack(query, i0, lanes, width, panel):  # type: ignore[no-untyped-def]
    """Queries i0..i0+lanes-1, feature-major; spare lanes repeat the last query."""
    for lane in range(width):
        row = query[i0 + min(lane, lanes - 1)]
        for f in range(len(row)):
            panel[f * width + lane] = row[f]


@_compiled
def _fill_bias(start, stop, i0, lanes, causal, rule, allowed, added, bias):  # type: ignore[no-untyped-def]
    """What the masks add to keys start..stop-1, -inf where forbidden; False if all are."""
    width = bias.shape[1]
    never = bias.dtype.type(-np.inf)
    # Looked up, not branched on: masks are as unpredictable as they like.
    verdict = np.zeros(2, bias.dtype)
    verdict[0] = never
    some = 0
    for lane in range(width):
        i = i0 + min(lane, lanes - 1)
        visible = max(start, min(stop, i + 1)) - start if causal else stop - start
        if rule == ALLOWED:
            row = allowed[i, start:stop]
            for j in range(visible):
                bias[j, lane] = verdict[int(row[j])]
                some |= int(row[j])
        elif rule == ADDED:
            plus = added[i, start:stop]
            for j in range(visible):
                bias[j, lane] = plus[j]
                some |= int(plus[j] > never)
        else:
            for j in range(visible):
                bias[j, lane] = 0
            some |= int(visible > 0)
        for j in range(visible, stop - start):
            bias[j, lane] = never
    return some != 0


@_compiled
def screen(
    key, i0, lanes, causal, rule, allowed, added,
    block, first_block, last_block, n_visible, panel, bias, table, vectors, unroll,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Fill rows first_block..last_block-1 of ``table`` (blocks, width) for one panel."""
    width, d = table.shape[1], key.shape[1]
    flat = table.reshape(-1)
    for blk in range(first_block, last_block):
        start, stop = blk * block, min((blk + 1) * block, n_visible)
        at = blk * width
        if rule == NO_MASK and not (causal and stop > i0 + 1):
            _screen(panel, key, start, stop, d, None, flat, at, vectors, unroll)
        elif _fill_bias(start, stop, i0, lanes, causal, rule, allowed, added, bias):
            _screen(panel, key, start, stop, d, bias, flat, at, vectors, unroll)
        else:
            table[blk] = -np.inf


@_compiled
def _thresholds(panel, lanes, rule, slack, key_peak, table, n_blocks, least):  # type: ignore[no-untyped-def]
    """The approximate score that each lane's winners must reach; inf where nothing is allowed."""
    width = table.shape[1]
    top = np.full(width, -np.inf, table.dtype)
    for blk in range(n_blocks):
        for lane in range(width):
            if table[blk, lane] > top[lane]:
                top[lane] = table[blk, lane]
    reach = np.zeros(width, table.dtype)
    for f in range(len(key_peak)):
        for lane in range(width):
            reach[lane] += abs(panel[f * width + lane]) * key_peak[f]
    for lane in range(width):
        least[lane] = np.inf
        if lane < lanes and top[lane] > -np.inf:
            allowance = slack[0] * reach[lane] + slack[1]
            if rule == ADDED:
                allowance += slack[2] * abs(top[lane])
            least[lane] = top[lane] - allowance


@_compiled
def decide(
    query, key, value, i0, lanes, causal, rule, allowed, added, slack, key_peak,
    block, n_visible, panel, table, scores, ties, mean, first, count, vectors, unroll,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Turn a panel's table into winners and means; returns how many blocks were rescored."""
    width, n_values = table.shape[1], value.shape[1]
    number = query.dtype.type
    n_blocks = -(-n_visible // block)
    flat = table.reshape(-1)
    least = np.empty(width, query.dtype)
    _thresholds(panel, lanes, rule, slack, key_peak, table, n_blocks, least)
    best = np.full(width, -np.inf, query.dtype)
    last = np.full(width, -1, np.int64)
    first[i0 : i0 + lanes] = -1
    count[i0 : i0 + lanes] = 0
    rescored = 0
    for blk in range(n_blocks):
        hits = _hits(flat, blk * width, least, vectors)
        while hits:
            lane = _lowest_bit(hits)
            hits &= hits - np.uint64(1)
            rescored += 1
            i = i0 + lane
            start, stop = blk * block, min((blk + 1) * block, n_visible)
            _score_block(query, key, i, start, stop, causal, rule, allowed, added, scores, unroll)
            top = best[lane]
            for j in range(stop - start):
                if scores[j] > top:
                    top = scores[j]
            if top > best[lane]:
                best[lane] = top
                count[i] = 0
            for j in range(stop - start):
                if scores[j] == top:
                    if count[i] == 0:
                        first[i] = start + j
                    count[i] += 1
                    last[lane] = start + j

    for lane in range(lanes if n_values else 0):
        i = i0 + lane
        if count[i] == 0:
            mean[i] = 0
            continue
        mean[i] = value[last[lane] if ties == LAST else first[i]]
        if ties != MEAN or count[i] < 2:
            continue
        for blk in range(first[i] // block, last[lane] // block + 1):
            if table[blk, lane] < least[lane]:
                continue
            start, stop = blk * block, min((blk + 1) * block, n_visible)
            _score_block(query, key, i, start, stop, causal, rule, allowed, added, scores, unroll)
            for j in range(max(start, first[i] + 1), stop):
                if scores[j - start] == best[lane]:
                    for c in range(n_values):
                        mean[i, c] += value[j, c]
        divisor = number(count[i])
        for c in range(n_values):
            mean[i, c] /= divisor
    return rescored


@_compiled
def attend(
    query, key, value, query_of, key_of, value_of, mask_of, causal, rule, allowed, added,
    slack, key_peak, start, stop, block, stride, panels, bias, tables, scores,
    ties, mean, first, count, vectors, unroll,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Answer flat rows start..stop-1 of (B, L); returns how many blocks were rescored.

    ``panels`` (P, d * width) and ``tables`` (P, blocks, width): P panels share each run of
    ``stride`` blocks of keys while it is in cache.
    """
    n_queries, n_keys = query.shape[1], key.shape[1]
    width = tables.shape[2]
    rescored = 0
    row = start
    while row < stop:
        b, i0 = row // n_queries, row % n_queries
        rows = min(len(panels) * width, stop - row, n_queries - i0)
        n_panels = -(-rows // width)
        q, k, v = query[query_of[b]], key[key_of[b]], value[value_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        n_visible = min(n_keys, i0 + rows) if causal else n_keys
        n_blocks = -(-n_visible // block)
        for p in range(n_panels):
            _pack(q, i0 + p * width, min(width, rows - p * width), width, panels[p])
        for blk in range(0, n_blocks, stride):
            end = min(blk + stride, n_blocks)
            # The next run of keys comes into cache while this one is worked on.
            ahead = min(stride * block, max(0, n_visible - end * block))
            for p in range(n_panels):
                for j in range(ahead * p // n_panels, ahead * (p + 1) // n_panels):
                    _prefetch(k, end * block + j)
                screen(
                    k, i0 + p * width, min(width, rows - p * width), causal, rule, yes, plus,
                    block, blk, end, n_visible, panels[p], bias, tables[p], vectors, unroll,
                )  # fmt: skip
        for p in range(n_panels):
            rescored += decide(
                q, k, v, i0 + p * width, min(width, rows - p * width), causal, rule, yes, plus,
                slack, key_peak[key_of[b]], block, n_visible, panels[p], tables[p], scores,
                ties, mean[b], first[b], count[b], vectors, unroll,
            )  # fmt: skip
        row += rows
    return rescored


@_compiled
def pack_shared(query, query_of, b, i0, width, panel):  # type: ignore[no-untyped-def]
    """Pack the one panel that several threads share."""
    _pack(query[query_of[b]], i0, min(width, query.shape[1] - i0), width, panel)


@_compiled
def screen_shared(
    query, key, query_of, key_of, mask_of, causal, rule, allowed, added,
    b, i0, block, first_block, last_block, n_visible, panel, bias, table, vectors, unroll,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Screen some blocks of keys for the one packed panel that several threads share."""
    lanes = min(table.shape[1], query.shape[1] - i0)
    screen(
        key[key_of[b]], i0, lanes, causal, rule, allowed[0, mask_of[b]], added[0, mask_of[b]],
        block, first_block, last_block, n_visible, panel, bias, table, vectors, unroll,
    )  # fmt: skip


@_compiled
def decide_shared(
    query, key, value, query_of, key_of, value_of, mask_of, causal, rule, allowed, added,
    slack, key_peak, b, i0, block, n_visible, panel, table, scores,
    ties, mean, first, count, vectors, unroll,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Decide the panel that :func:`screen_shared` screened."""
    return decide(
        query[query_of[b]], key[key_of[b]], value[value_of[b]],
        i0, min(table.shape[1], query.shape[1] - i0),
        causal, rule, allowed[0, mask_of[b]], added[0, mask_of[b]],
        slack, key_peak[key_of[b]], block, n_visible, panel, table, scores,
        ties, mean[b], first[b], count[b], vectors, unroll,
    )  # fmt: skip


@_compiled
def list_ties(
    query, key, query_of, key_of, mask_of, causal, rule, allowed, added,
    first, count, indptr, start, stop, scores, indices,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Write every winner of flat rows start..stop-1, walking on from the first one."""
    n_queries, block = query.shape[1], len(scores)
    for row in range(start, stop):
        b, i = row // n_queries, row % n_queries
        q, k = query[query_of[b]], key[key_of[b]]
        yes, plus = allowed[0, mask_of[b]], added[0, mask_of[b]]
        at = indptr[row]
        begin = first[b, i]
        best = q.dtype.type(0)
        while at < indptr[row + 1]:
            end = min(begin + block, len(k))
            _score_block(q, k, i, begin, end, causal, rule, yes, plus, scores, ())
            if begin == first[b, i]:
                best = scores[0]
            for j in range(end - begin):
                if scores[j] == best:
                    indices[at] = begin + j
                    at += 1
            begin = end
