# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Keys, values and running sums of one head, in chunks that never move.

Sums over all tokens, and over tokens with equal keys, are kept as they grow: adding in increasing
order is what the contract asks for, so a mean over many of them is one division. What a sum was
before a chunk stands in the chunk: forgetting tokens adds up one chunk again, in the same order.
"""

from libc.math cimport fabs
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from .tree cimport soon

cdef enum:
    AHEAD = 8


cdef int64_t chunk_bytes(const Store *store) noexcept nogil:
    cdef int64_t numbers = (CHUNK * (store.d + store.dv) + store.dv) * item_size(store)
    return (numbers + 7) // 8 * 8 + store.features * <int64_t>sizeof(double) + sizeof(Slab *)


cdef char *sum_before(const Store *store, int64_t chunk) noexcept nogil:
    return store.chunk[chunk] + CHUNK * (store.d + store.dv) * item_size(store)


cdef double *peak_before(const Store *store, int64_t chunk) noexcept nogil:
    cdef int64_t at = (CHUNK * (store.d + store.dv) + store.dv) * item_size(store)
    return <double *>(store.chunk[chunk] + (at + 7) // 8 * 8)


cdef inline Slab **slab_of(const Store *store, int64_t chunk) noexcept nogil:
    """The memory that a chunk shares with others; NULL where it is alone."""
    return <Slab **>(store.chunk[chunk] + chunk_bytes(store) - sizeof(Slab *))


cdef bint grow(int64_t **array, int64_t *room, int64_t needed) noexcept nogil:
    """At least double the room of an array; False where no memory is found."""
    cdef int64_t wanted = max(needed, 2 * room[0], 16)
    cdef int64_t *wider = <int64_t *>realloc(array[0], wanted * sizeof(int64_t))
    if wider == NULL:
        return False
    array[0] = wider
    room[0] = wanted
    return True


cdef bint open_store(
    Store *store, int d, int features, int dv, bint single, bint prune
) noexcept nogil:
    """An empty store; False where no memory is found."""
    memset(store, 0, sizeof(Store))
    store.d = d
    store.features = features
    store.dv = dv
    store.single = single
    store.prune = prune
    store.peak = <double *>calloc(features, sizeof(double))
    store.total = <char *>calloc(3 * dv + 1, item_size(store))
    if store.peak == NULL or store.total == NULL:
        return False
    store.opening = store.total + dv * item_size(store)
    store.newest = store.opening + dv * item_size(store)
    return True


cdef void close_store(Store *store) noexcept nogil:
    while store.chunks:
        drop_chunk(store)
    free(store.chunk)
    free(store.peak)
    free(store.total)
    free(store.repeated)
    free(store.repeat)
    free(store.repeat_sum)
    memset(store, 0, sizeof(Store))


cdef size_t store_bytes(const Store *store) noexcept nogil:
    cdef size_t item = item_size(store)
    return (
        store.chunks * chunk_bytes(store)
        + store.room * sizeof(char *)
        + store.features * sizeof(double)
        + (3 * store.dv + 1) * item
        + store.repeated_room * sizeof(int64_t)
        + store.repeat_room * (sizeof(Repeat) + store.dv * item)
    )


cdef void add_values(real *total, const real *value, int dv) noexcept nogil:
    cdef int f
    for f in range(dv):
        total[f] += value[f]


cdef inline void add(const Store *store, char *total, const char *value) noexcept nogil:
    if store.single:
        add_values[float](<float *>total, <const float *>value, store.dv)
    else:
        add_values[double](<double *>total, <const double *>value, store.dv)


cdef void add_first(
    const Store *store, char *total, const char *value, bint is_first
) noexcept nogil:
    """Start or go on with a sum; it starts with its first value, the sign of a zero included."""
    if is_first:
        memcpy(total, value, store.dv * item_size(store))
    else:
        add(store, total, value)


cdef void raise_peak(Store *store, const char *key) noexcept nogil:
    cdef int f
    cdef double size
    for f in range(store.features):
        size = fabs((<const float *>key)[f] if store.single else (<const double *>key)[f])
        if size > store.peak[f]:
            store.peak[f] = size


cdef bint new_chunk(Store *store, Slab *slab) noexcept nogil:
    """Begin a chunk, in a slab where there is one with room; False where no memory is found."""
    cdef char **wider
    cdef char *chunk
    cdef int64_t wanted
    if store.chunks == store.room:
        wanted = max(4, 2 * store.room)
        wider = <char **>realloc(store.chunk, wanted * sizeof(char *))
        if wider == NULL:
            return False
        store.chunk = wider
        store.room = wanted
    if slab != NULL:
        chunk = slab.free
        slab.free += chunk_bytes(store)
        slab.chunks += 1
    else:
        chunk = <char *>malloc(chunk_bytes(store))
        if chunk == NULL:
            return False
    store.chunk[store.chunks] = chunk
    slab_of(store, store.chunks)[0] = slab
    store.chunks += 1
    return True


cdef void drop_chunk(Store *store) noexcept nogil:
    """Drop the last chunk, and its slab with the last of those in it."""
    cdef Slab *slab
    store.chunks -= 1
    slab = slab_of(store, store.chunks)[0]
    if slab == NULL:
        free(store.chunk[store.chunks])
    else:
        slab.chunks -= 1
        if slab.chunks == 0:
            free(slab)


cdef int64_t add_token(Store *store, const char *key, const char *value) noexcept nogil:
    """Store a key and a value; the token's number, or -1 where no memory is found."""
    cdef int64_t token = store.count, at = token % CHUNK, chunk = token // CHUNK
    cdef int item = item_size(store), f
    cdef char *keys
    if chunk == store.chunks and not new_chunk(store, NULL):
        return -1
    if at == 0:
        memcpy(sum_before(store, chunk), store.total, store.dv * item)
        memcpy(peak_before(store, chunk), store.peak, store.features * sizeof(double))
    keys = store.chunk[chunk]
    if at + AHEAD < CHUNK:  # where the next tokens will be written
        for f in range(store.d):
            soon(keys + (f * CHUNK + at + AHEAD) * item)
        soon(value_of(store, token + AHEAD))
    if store.single:
        for f in range(store.d):
            (<float *>keys)[f * CHUNK + at] = (<const float *>key)[f]
    else:
        for f in range(store.d):
            (<double *>keys)[f * CHUNK + at] = (<const double *>key)[f]
    memcpy(value_of(store, token), value, store.dv * item)
    raise_peak(store, key)
    add_first(store, store.total, value, store.tokens == 0)
    if store.prune:
        if store.tokens == 0:
            memcpy(store.opening, value, store.dv * item)
        memcpy(store.newest, value, store.dv * item)
    store.count += 1
    store.tokens += 1
    return token


cdef void forget_repeats(Store *store) noexcept nogil:
    if store.repeats:
        memset(store.repeated, 0, store.repeated_room * sizeof(int64_t))
        store.repeats = 0


cdef void forget_tokens(Store *store, int64_t count) noexcept nogil:
    """Keep the first ``count`` tokens; keys that an index keeps leave their peak to it."""
    cdef int64_t chunk = count // CHUNK, token, used = (count + CHUNK - 1) // CHUNK
    cdef int item = item_size(store), f
    cdef Repeat *repeat
    while store.repeats > 0 and store.repeat[store.repeats - 1].token >= count:
        store.repeats -= 1
        repeat = &store.repeat[store.repeats]
        store.repeated[repeat.original] = repeat.before
    if chunk < store.chunks and count < store.count:
        memcpy(store.total, sum_before(store, chunk), store.dv * item)
        memcpy(store.peak, peak_before(store, chunk), store.features * sizeof(double))
        for token in range(chunk * CHUNK, count):
            add_first(store, store.total, value_of(store, token), token == 0)
            for f in range(store.d):
                store.peak[f] = max(store.peak[f], fabs(key_of(store, token, f)))
    # One chunk more is kept, so that going back and forth over its border allocates nothing.
    while store.chunks > used + 1:
        drop_chunk(store)
    store.count = count
    store.tokens = count


cdef bint add_repeat(Store *store, int64_t original, int64_t token) noexcept nogil:
    """Note that a token has the key of an earlier one; False where no memory is found."""
    cdef int64_t room = store.repeated_room, wanted, before
    cdef int size = store.dv * item_size(store)
    cdef void *wider
    cdef Repeat *repeat
    cdef char *total
    if original >= room:
        if not widen(&store.repeated, &store.repeated_room, original + 1):
            return False
        memset(store.repeated + room, 0, (store.repeated_room - room) * sizeof(int64_t))
    if store.repeats == store.repeat_room:
        wanted = max(16, 2 * store.repeat_room)
        wider = realloc(store.repeat, wanted * sizeof(Repeat))
        if wider == NULL:
            return False
        store.repeat = <Repeat *>wider
        wider = realloc(store.repeat_sum, max(1, wanted * size))
        if wider == NULL:
            return False
        store.repeat_sum = <char *>wider
        store.repeat_room = wanted
    before = store.repeated[original]
    repeat = &store.repeat[store.repeats]
    repeat.original = original
    repeat.token = token
    repeat.before = before
    repeat.count = store.repeat[before - 1].count + 1 if before else 2
    total = store.repeat_sum + store.repeats * size
    memcpy(
        total, store.repeat_sum + (before - 1) * size if before else value_of(store, original), size
    )
    add(store, total, value_of(store, token))
    store.repeats += 1
    store.repeated[original] = store.repeats
    return True


cdef void compact(Store *store, int64_t *renumber) noexcept nogil:
    """Drop tokens: ``renumber`` is nonzero for those to keep, and becomes their new numbers."""
    cdef int64_t token, to = 0, used, r
    cdef int item = item_size(store), f
    cdef char *here
    cdef char *there
    cdef Repeat *repeat
    for token in range(store.count):
        if renumber[token] == 0:
            renumber[token] = -1
            continue
        renumber[token] = to
        if to != token:
            here = store.chunk[token // CHUNK]
            there = store.chunk[to // CHUNK]
            for f in range(store.d):
                memcpy(
                    there + (f * CHUNK + to % CHUNK) * item,
                    here + (f * CHUNK + token % CHUNK) * item,
                    item,
                )
            memcpy(value_of(store, to), value_of(store, token), store.dv * item)
        to += 1
    store.count = to
    if store.repeats:
        memset(store.repeated, 0, store.repeated_room * sizeof(int64_t))
    # Records of dropped tokens go; the others keep their order, and so their chains.
    used = 0
    for r in range(store.repeats):
        repeat = &store.repeat[r]
        if renumber[repeat.original] < 0:
            continue
        repeat.original = renumber[repeat.original]
        repeat.token = renumber[repeat.token]
        repeat.before = store.repeated[repeat.original]
        store.repeat[used] = repeat[0]
        memcpy(
            store.repeat_sum + used * store.dv * item,
            store.repeat_sum + r * store.dv * item,
            store.dv * item,
        )
        used += 1
        store.repeated[repeat.original] = used
    store.repeats = used
    used = (to + CHUNK - 1) // CHUNK
    while store.chunks > used + 1:
        drop_chunk(store)
