# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Many tokens at once into the store of a head, checked on the way.

A chunk at a time: its keys are transposed and its values copied where they come from memory, and
then checked and added up where they lie in the processor's cache.
"""

from libc.math cimport fabs
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from .store cimport (
    CHUNK,
    FINE,
    NO_MEMORY,
    Slab,
    Store,
    chunk_bytes,
    new_chunk,
    peak_before,
    real,
    sum_before,
    value_of,
)

cdef enum:
    ALONE = 16  # chunks of a head before any shares its memory
    LANES = 64  # running maxima side by side: with fewer, compilers make no vectors of them
    BAD = 10  # BAD_NUMBER of a layer


cdef extern from *:
    """
    #include <stdlib.h>
    #define HUGE_PAGE ((size_t)1 << 21)
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* A huge page is filled after one page fault, where small ones take 512. */
    static void *huge_pages(size_t bytes) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        void *room;
        if (posix_memalign(&room, HUGE_PAGE, bytes)) return NULL;
        madvise(room, bytes, MADV_HUGEPAGE);
        return room;
    #else
        return malloc(bytes);
    #endif
    }
    """
    size_t HUGE_PAGE
    void *huge_pages(size_t bytes) noexcept nogil


cdef Slab *slab_for(Room *room, const Store *store) noexcept nogil:
    """The slab for the next chunk of a store; NULL where it is to be alone.

    The first chunks are: so a cache that forgets nearly all tokens keeps little memory. Pruned
    heads' are, as they drop them in threads of their own.
    """
    cdef int64_t most = (HUGE_PAGE - sizeof(Slab)) // chunk_bytes(store)
    if store.prune or store.chunks < ALONE:
        return NULL
    if room.chunks == 0 and room.wanted >= most > 1:
        room.slab = <Slab *>huge_pages(HUGE_PAGE)
        if room.slab != NULL:
            room.slab.chunks = 0
            room.slab.free = <char *>(room.slab + 1)
            room.chunks = most
    if room.chunks == 0:
        return NULL
    room.chunks -= 1
    return room.slab


cdef bint fold(const real *numbers, int64_t n, real *top) noexcept nogil:
    """Raise ``top`` to the magnitudes of numbers; False if one is NaN or infinite."""
    cdef real most[LANES]
    cdef real doubt[LANES]
    cdef real size, zero = 0  # of this type: the constant 0 would be a double
    cdef int64_t group
    cdef int j, half = LANES // 2
    for j in range(LANES):
        most[j] = doubt[j] = 0
    for group in range(n // LANES):
        for j in range(LANES):
            size = fabs(numbers[j])
            most[j] = size if size > most[j] else most[j]
            doubt[j] += size * zero  # NaN for ever after a NaN or an infinity
        numbers += LANES
    for j in range(n % LANES):
        size = fabs(numbers[j])
        most[j] = size if size > most[j] else most[j]
        doubt[j] += size * zero
    while half >= 4:
        for j in range(half):
            most[j] = most[j] if most[j] > most[j + half] else most[j + half]
            doubt[j] += doubt[j + half]
        half //= 2
    for j in range(4):
        top[0] = most[j] if most[j] > top[0] else top[0]
        zero += doubt[j]
    return zero == 0


cdef void add_up(real *total, const real *values, int width, int dv) noexcept nogil:
    """Add rows to a sum in their order; a few features side by side stay in registers."""
    cdef real a, b, c, e
    cdef int f = 0, j
    while f + 4 <= dv:
        a, b, c, e = total[f], total[f + 1], total[f + 2], total[f + 3]
        for j in range(width):
            a += values[j * dv + f]
            b += values[j * dv + f + 1]
            c += values[j * dv + f + 2]
            e += values[j * dv + f + 3]
        total[f], total[f + 1], total[f + 2], total[f + 3] = a, b, c, e
        f += 4
    while f + 2 <= dv:
        a, b = total[f], total[f + 1]
        for j in range(width):
            a += values[j * dv + f]
            b += values[j * dv + f + 1]
        total[f], total[f + 1] = a, b
        f += 2
    if f < dv:
        a = total[f]
        for j in range(width):
            a += values[j * dv + f]
        total[f] = a


cdef bint raise_peaks(
    Store *store, const real *keys, int64_t stride, int width, real most
) noexcept nogil:
    """Raise the peaks to keys that an index keeps; False for a bad one."""
    cdef int j, f, bad = 0
    cdef double size
    for j in range(width):
        for f in range(store.features):
            size = fabs(keys[f])
            bad += not size <= most
            store.peak[f] = size if size > store.peak[f] else store.peak[f]
        keys += stride
    return bad == 0


cdef bint add_run(
    Store *store,
    const real *keys,
    const real *values,
    int64_t key_stride,
    int64_t value_stride,
    int width,
    real most_key,
    real most_value,
) noexcept nogil:
    """Store tokens that fit in the last chunk, strides counting numbers; False for a bad one."""
    cdef int64_t start = store.count % CHUNK
    cdef int dv = store.dv, j, f, first = 0
    cdef real *total = <real *>store.total
    cdef real *out
    cdef real top
    cdef bint fine = True
    if store.d == 0:
        fine = raise_peaks(store, keys, key_stride, width, most_key)
    for f in range(store.d):
        out = <real *>store.chunk[store.count // CHUNK] + f * CHUNK + start
        for j in range(width):
            out[j] = keys[j * key_stride + f]
        top = <real>store.peak[f]
        fine = fold(out, width, &top) and top <= most_key and fine
        store.peak[f] = top
    out = <real *>value_of(store, store.count)
    for j in range(width):
        for f in range(dv):
            out[j * dv + f] = values[j * value_stride + f]
    top = 0
    fine = fold(out, <int64_t>width * dv, &top) and top <= most_value and fine
    if store.tokens == 0:
        memcpy(total, out, dv * sizeof(real))
        first = 1
    add_up(total, out + first * dv, width - first, dv)
    if store.prune:
        if store.tokens == 0:
            memcpy(store.opening, out, dv * sizeof(real))
        memcpy(store.newest, out + (width - 1) * dv, dv * sizeof(real))
    store.count += width
    store.tokens += width
    return fine


cdef int add_tokens(
    Store *store,
    const char *keys,
    const char *values,
    int64_t key_stride,
    int64_t value_stride,
    int64_t count,
    double most_key,
    double most_value,
    Room *room,
) noexcept nogil:
    """Store many tokens, strides counting bytes.

    Where a number is NaN or beyond its limit the caller has to take all of them back.
    """
    cdef int item = 4 if store.single else 8, width
    cdef int64_t chunk
    cdef bint fine
    while count > 0:
        chunk = store.count // CHUNK
        width = <int>min(count, CHUNK - store.count % CHUNK)
        if chunk == store.chunks and not new_chunk(store, slab_for(room, store)):
            return NO_MEMORY
        if store.count % CHUNK == 0:
            memcpy(sum_before(store, chunk), store.total, store.dv * item)
            memcpy(peak_before(store, chunk), store.peak, store.features * sizeof(double))
        if store.single:
            fine = add_run[float](
                store, <const float *>keys, <const float *>values, key_stride // item,
                value_stride // item, width, <float>most_key, <float>most_value,
            )
        else:
            fine = add_run[double](
                store, <const double *>keys, <const double *>values, key_stride // item,
                value_stride // item, width, most_key, most_value,
            )
        if not fine:
            return BAD
        keys += width * key_stride
        values += width * value_stride
        count -= width
    return FINE
