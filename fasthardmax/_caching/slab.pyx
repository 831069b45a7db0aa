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
    Store,
    new_chunk,
    peak_before,
    real,
    sum_before,
    value_of,
)

cdef enum:
    LANES = 8  # running maxima side by side, so that they are one or a few vectors
    BAD = 10  # BAD_NUMBER of a layer


cdef bint fold(const real *numbers, int64_t n, real *top) noexcept nogil:
    """Raise ``top`` to the magnitudes of numbers; False if one is NaN or infinite."""
    cdef real most[LANES]
    cdef real doubt[LANES]
    cdef real size, zero = 0  # of this type: the constant 0 would be a double
    cdef int64_t group, i
    cdef int j
    for j in range(LANES):
        most[j] = doubt[j] = 0
    for group in range(n // LANES):
        for j in range(LANES):
            size = fabs(numbers[group * LANES + j])
            most[j] = size if size > most[j] else most[j]
            doubt[j] += size * zero  # NaN for ever after a NaN or an infinity
    for i in range(n // LANES * LANES, n):
        size = fabs(numbers[i])
        most[0] = size if size > most[0] else most[0]
        doubt[0] += size * zero
    for j in range(LANES):
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
        if chunk == store.chunks and not new_chunk(store):
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
