"""Keys and queries in few bits: what a score can be at most and at least."""

from libc.stdint cimport int8_t, int16_t, int64_t

from .store cimport real

cdef enum:
    BLOCK = 64  # keys scored together

cdef struct Rough:  # a query, in multiples of a power of two
    int16_t *step  # (padded features)
    double size  # of a step
    double stepped  # length of the whole steps, or more
    double missed  # length of what they miss, or more
    int exponent


cdef inline int64_t padded(int d) noexcept nogil:
    """Features in whole vectors."""
    return (d + 15) // 16 * 16


cdef inline int64_t rough_bytes(int d) noexcept nogil:
    """What a block of keys takes beside itself: steps (BLOCK, padded), sizes, lengths missed."""
    return BLOCK * (padded(d) + 2 * <int64_t>sizeof(float))


cdef void round_key(
    const real *key, int d, int exponent, char *rough, int64_t at
) noexcept nogil
cdef bint round_query(const real *query, int d, Rough *rough) noexcept nogil
cdef void bound_block(
    const Rough *query,
    const char *rough,
    const char *after,
    int d,
    int n,
    float *most,
    float *least,
) noexcept nogil
