# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Three features and more: keys by their length, the longest first.

A score is at most |q| |k|, so a query looks at shells of keys of about one length, from the longest
inwards, and stops where that bound falls below the best score. Within a shell tokens are in order:
forgetting the newest takes them from the ends.

The bound is computed in float64 with room for its own rounding and for that of the canonical score,
gamma_d |q| |k| + d eta (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1).

Lengths of many features are all alike and rule little out. Such keys are kept in few bits as well,
and a query first looks at those: only blocks that may hold a winner are scored.
"""

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, fabs, frexp, ldexp, sqrt
from libc.stdint cimport int16_t, int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from .rough cimport BLOCK, Rough, bound_block, padded, rough_bytes, round_key, round_query
from .scores cimport largest, score
from .store cimport FINE, NO_MEMORY, Store, real
from .winners cimport Ties, note


cdef enum:
    WIDE = 24  # features from which on rough keys pay


cdef bint open_spread(Spread *spread, int d, bint single) noexcept nogil:
    """No keys yet; False where no memory is found."""
    memset(spread, 0, sizeof(Spread))
    spread.d = d
    spread.single = single
    if d < WIDE:
        return True
    spread.rough = rough_bytes(d)
    spread.step = <int16_t *>malloc(padded(d) * sizeof(int16_t))
    return spread.step != NULL


cdef void empty(Spread *spread) noexcept nogil:
    cdef int64_t s, b
    for s in range(spread.shells):
        for b in range(spread.shell[s].blocks):
            free(spread.shell[s].block[b])
        free(spread.shell[s].block)
        free(spread.shell[s].reach)
    free(spread.shell)
    spread.shell = NULL
    spread.shells = 0
    spread.room = 0
    spread.bytes = 0


cdef void close_spread(Spread *spread) noexcept nogil:
    empty(spread)
    free(spread.step)
    spread.step = NULL


cdef inline int item_size(const Spread *spread) noexcept nogil:
    return 4 if spread.single else 8


cdef inline int64_t *tokens(const Spread *spread, const Shell *shell, int64_t block) noexcept nogil:
    return <int64_t *>(shell.block[block] + spread.d * BLOCK * item_size(spread))


cdef inline int64_t block_bytes(const Spread *spread) noexcept nogil:
    return BLOCK * (spread.d * item_size(spread) + 8) + spread.rough


cdef inline char *rough_keys(const Spread *spread, const Shell *shell, int64_t block) noexcept nogil:
    return <char *>(tokens(spread, shell, block) + BLOCK)


cdef double length(bint single, int d, const char *vector) noexcept nogil:
    """Euclidean, scaled so that no square overflows or underflows into nothing."""
    cdef double size, most = 0, total = 0
    cdef int f, exponent
    for f in range(d):
        size = fabs((<const float *>vector)[f] if single else (<const double *>vector)[f])
        most = max(most, size)
    if most == 0:
        return 0
    if 1e-100 < most < 1e100:
        for f in range(d):
            size = (<const float *>vector)[f] if single else (<const double *>vector)[f]
            total += size * size
        return sqrt(total)
    frexp(most, &exponent)
    for f in range(d):
        size = (<const float *>vector)[f] if single else (<const double *>vector)[f]
        size = ldexp(size, -exponent)
        total += size * size
    return min(ldexp(sqrt(total), exponent), DBL_MAX)


cdef Shell *shell_of(Spread *spread, double longest) noexcept nogil:
    """The shell for a length, made where there is none; NULL where no memory is found."""
    cdef int exponent = -2000, rank
    cdef double part = frexp(longest, &exponent) if longest > 0 else 0.5
    cdef int64_t start = 0, stop = spread.shells, middle, wanted
    cdef Shell *wider
    rank = 8 * exponent + <int>(16 * (part - 0.5))  # eight to an octave
    while start < stop:
        middle = (start + stop) // 2
        if spread.shell[middle].rank > rank:
            start = middle + 1
        else:
            stop = middle
    if start < spread.shells and spread.shell[start].rank == rank:
        return &spread.shell[start]
    if spread.shells == spread.room:
        wanted = max(16, 2 * spread.room)
        wider = <Shell *>realloc(spread.shell, wanted * sizeof(Shell))
        if wider == NULL:
            return NULL
        spread.bytes += (wanted - spread.room) * <int64_t>sizeof(Shell)
        spread.shell = wider
        spread.room = wanted
    memmove(
        &spread.shell[start + 1], &spread.shell[start], (spread.shells - start) * sizeof(Shell)
    )
    memset(&spread.shell[start], 0, sizeof(Shell))
    spread.shell[start].rank = rank
    spread.shell[start].exponent = exponent
    spread.shells += 1
    return &spread.shell[start]


cdef bint spread_insert(Spread *spread, const char *key, int64_t token) noexcept nogil:
    """Take in a key; False where no memory is found."""
    cdef double size = length(spread.single, spread.d, key)
    cdef Shell *shell = shell_of(spread, size)
    cdef int64_t block, at, wanted, bytes
    cdef char **wider
    cdef float *reach
    cdef char *keys
    cdef int f
    if shell == NULL:
        return False
    block = shell.count // BLOCK
    at = shell.count % BLOCK
    if block == shell.blocks:
        if block == shell.room:
            wanted = max(4, 2 * shell.room)
            wider = <char **>realloc(shell.block, wanted * sizeof(char *))
            if wider == NULL:
                return False
            shell.block = wider
            reach = <float *>realloc(shell.reach, wanted * sizeof(float))
            if reach == NULL:
                return False
            spread.bytes += (wanted - shell.room) * <int64_t>(sizeof(char *) + sizeof(float))
            shell.reach = reach
            shell.room = wanted
        bytes = block_bytes(spread)
        keys = <char *>malloc(bytes)
        if keys == NULL:
            return False
        memset(keys, 0, bytes)
        spread.bytes += bytes
        shell.block[block] = keys
        shell.blocks += 1
    keys = shell.block[block]
    for f in range(spread.d):
        if spread.single:
            (<float *>keys)[f * BLOCK + at] = (<const float *>key)[f]
        else:
            (<double *>keys)[f * BLOCK + at] = (<const double *>key)[f]
    tokens(spread, shell, block)[at] = token
    if spread.rough:
        keys = rough_keys(spread, shell, block)
        if spread.single:
            round_key[float](<const float *>key, spread.d, shell.exponent, keys, at)
        else:
            round_key[double](<const double *>key, spread.d, shell.exponent, keys, at)
    shell.count += 1
    shell.longest = max(shell.longest, size)
    return True


cdef void spread_forget(Spread *spread, int64_t count) noexcept nogil:
    """Keep the first ``count`` tokens."""
    cdef Shell *shell
    cdef int64_t s
    if count == 0:
        empty(spread)
    for s in range(spread.shells):
        shell = &spread.shell[s]
        while shell.count and tokens(spread, shell, (shell.count - 1) // BLOCK)[
            (shell.count - 1) % BLOCK
        ] >= count:
            shell.count -= 1
        # One block more is kept, so that going back and forth over its border allocates nothing.
        while shell.blocks > (shell.count + BLOCK - 1) // BLOCK + 1:
            shell.blocks -= 1
            free(shell.block[shell.blocks])
            spread.bytes -= block_bytes(spread)


cdef void spread_raise(const Spread *spread, Store *store, int64_t start) noexcept nogil:
    """Raise the store's peaks to the keys of the tokens from ``start`` on."""
    cdef const Shell *shell
    cdef int64_t s, i, at
    cdef const char *keys
    cdef int f
    cdef double size
    for s in range(spread.shells):
        shell = &spread.shell[s]
        i = shell.count - 1
        while i >= 0 and tokens(spread, shell, i // BLOCK)[i % BLOCK] >= start:
            keys = shell.block[i // BLOCK]
            for f in range(spread.d):
                at = f * BLOCK + i % BLOCK
                size = fabs(
                    (<const float *>keys)[at] if spread.single else (<const double *>keys)[at]
                )
                store.peak[f] = max(store.peak[f], size)
            i -= 1


cdef inline double room_for_rounding(const Spread *spread) noexcept nogil:
    """By what factor a canonical score can exceed |q| |k|, underflow aside."""
    return 1 + 4 * (spread.d + 8) * (2.0**-24 if spread.single else 2.0**-53)


cdef inline double lost_by_underflow(const Spread *spread) noexcept nogil:
    return 4 * spread.d * (2.0**-149 if spread.single else 5e-324)


cdef inline int look_at(
    const Spread *spread,
    const Shell *shell,
    int64_t block,
    const char *after,
    const real *query,
    real *best,
    Ties *winners,
) noexcept nogil:
    """Score a block, and note its keys where they tie with the best so far, or beat it."""
    cdef real scores[BLOCK]
    cdef int width = <int>min(BLOCK, shell.count - block * BLOCK), j
    score(query, <const real *>shell.block[block], <const real *>after, spread.d, scores)
    if width == BLOCK and largest(scores) < best[0]:
        return FINE
    for j in range(width):
        if scores[j] < best[0]:
            continue
        if scores[j] > best[0]:
            best[0] = scores[j]
            winners.count = 0
        if not note(winners, tokens(spread, shell, block)[j]):
            return NO_MEMORY
    return FINE


cdef int look(const Spread *spread, const real *query, double size, Ties *winners) noexcept nogil:
    cdef double room = room_for_rounding(spread), lost = lost_by_underflow(spread)
    cdef real best = -INFINITY
    cdef const Shell *shell
    cdef const char *after
    cdef int64_t s, b
    for s in range(spread.shells):
        shell = &spread.shell[s]
        if size * shell.longest * room + lost < best:
            break
        for b in range((shell.count + BLOCK - 1) // BLOCK):
            after = shell.block[b + 1 if b + 1 < shell.blocks else b]
            if look_at(spread, shell, b, after, query, &best, winners) != FINE:
                return NO_MEMORY
    return FINE


cdef int look_roughly(
    const Spread *spread, const real *query, double size, Ties *winners
) noexcept nogil:
    """Bound the scores of all blocks, then score those that may hold a winner, the best first."""
    cdef double room = room_for_rounding(spread), lost = lost_by_underflow(spread)
    # A block's least is below its best score by at most ``doubt``, its most above it likewise: by
    # what the query misses, by float32, and by the rounding of the score.
    cdef double doubt, lead = -INFINITY, scale
    cdef real best = -INFINITY
    cdef Rough rough
    cdef Shell *shell
    cdef float least
    cdef int64_t s, b, blocks, first_shell = -1, first_block = 0, stop = 0
    rough.step = spread.step
    if not round_query(query, spread.d, &rough):
        return look(spread, query, size, winners)
    doubt = rough.missed + (rough.stepped + rough.missed) * (2.0**-18 + room - 1)
    while stop < spread.shells:
        shell = &spread.shell[stop]
        if size * shell.longest * room + lost < lead:
            break
        blocks = (shell.count + BLOCK - 1) // BLOCK
        scale = scale_of(&rough, shell)
        for b in range(blocks):
            bound_block(
                &rough,
                rough_keys(spread, shell, b),
                rough_keys(spread, shell, b + 1 if b + 1 < blocks else b),
                spread.d,
                <int>min(BLOCK, shell.count - b * BLOCK),
                &shell.reach[b],
                &least,
            )
            if scale > 0 and scale * (least - doubt) - lost > lead:
                lead = scale * (least - doubt) - lost
                first_shell = stop
                first_block = b
        stop += 1
    if first_shell >= 0:
        shell = &spread.shell[first_shell]
        if look_at(
            spread, shell, first_block, shell.block[first_block], query, &best, winners
        ) != FINE:
            return NO_MEMORY
    for s in range(stop):
        shell = &spread.shell[s]
        scale = scale_of(&rough, shell)
        for b in range((shell.count + BLOCK - 1) // BLOCK):
            if s == first_shell and b == first_block:
                continue
            if scale > 0 and scale * (shell.reach[b] + doubt) + lost < best:
                continue
            if look_at(spread, shell, b, shell.block[b], query, &best, winners) != FINE:
                return NO_MEMORY
    return FINE


cdef inline double scale_of(const Rough *rough, const Shell *shell) noexcept nogil:
    """The number that rough scores count; 0 where it is too large or too small to count with."""
    cdef int exponent = rough.exponent + shell.exponent
    return ldexp(1, exponent) if -900 < exponent < 900 and shell.exponent < 1000 else 0


cdef int spread_query(const Spread *spread, const char *query, Ties *winners) noexcept nogil:
    """The winners over at least one key, in any order."""
    cdef double size = length(spread.single, spread.d, query)
    winners.count = 0
    winners.alone = True
    if spread.single:
        if spread.rough:
            return look_roughly[float](spread, <const float *>query, size, winners)
        return look[float](spread, <const float *>query, size, winners)
    if spread.rough:
        return look_roughly[double](spread, <const double *>query, size, winners)
    return look[double](spread, <const double *>query, size, winners)


cdef void spread_keys(const Spread *spread, char *out, int64_t stride) noexcept nogil:
    """Write key after key in the order of their tokens, ``stride`` bytes apart."""
    cdef const Shell *shell
    cdef int item = item_size(spread), f
    cdef int64_t s, i
    for s in range(spread.shells):
        shell = &spread.shell[s]
        for i in range(shell.count):
            for f in range(spread.d):
                memcpy(
                    out + tokens(spread, shell, i // BLOCK)[i % BLOCK] * stride + f * item,
                    shell.block[i // BLOCK] + (f * BLOCK + i % BLOCK) * item,
                    item,
                )
