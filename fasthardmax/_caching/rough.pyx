# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Keys and queries in few bits: what a score can be at most and at least.

A pass over many wide keys takes as long as reading them. Read as bytes, they are an eighth of
float64; a few of their blocks are then scored canonically.

Bound. In multiples of powers of two, let k = c K + y and q = a X + x, where K and X are whole. Then
q.k - a c X.K = a X.y + x.k, so by Cauchy and Schwarz it is at most |a X| |y| + |x| |k|. K has 8
bits, and c is that key's own, so |y| is at most c sqrt(d) / 2. X has as many bits as X.K leaves
room for in 32, at most 14, which makes |x| small.
"""

from libc.math cimport INFINITY, fabs, frexp, ldexp, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t

from .store cimport real
from .tree cimport soon

cdef extern from *:
    """
    #include <stdint.h>
    #include <limits.h>
    #if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
    /* The machine that runs it chooses, as it was not there when this was compiled. */
    __attribute__((target_clones("avx2", "default")))
    #endif
    static void multiply(const int8_t *keys, const int16_t *query, int64_t width, int32_t *out) {
        for (int j = 0; j < 64; j++) {
            int32_t sum = 0;
            for (int64_t f = 0; f < width; f++)
                sum += (int32_t)(int16_t)keys[j * width + f] * query[f];
            out[j] = sum;
        }
    }
    """
    void multiply(
        const int8_t *keys, const int16_t *query, int64_t width, int32_t *out
    ) noexcept nogil

cdef enum:
    KEY_STEPS = 127
    QUERY_STEPS = 8191


cdef inline double whole(double number) noexcept nogil:
    """The nearest whole number to one that is far below 2^51; ``rint`` is a call, and no vector."""
    cdef double shift = 3 * 2.0**51
    return (number + shift) - shift


cdef void round_key(
    const real *key, int d, int exponent, char *rough, int64_t at
) noexcept nogil:
    """Write a key, no longer than 2^exponent, as number ``at`` of a block's rough keys."""
    cdef int64_t width = padded(d)
    cdef int8_t *steps = <int8_t *>rough + at * width
    cdef float *size = <float *>(rough + BLOCK * width)
    cdef double most = 0, part, step, squares = 0, up = 1, further = 1
    cdef int f
    for f in range(d):
        part = fabs(key[f])
        most = part if part > most else most
    if most > 0:
        # In two factors, as one may be too large or too small for a number.
        up = ldexp(1, -exponent // 2)
        further = ldexp(1, -exponent - -exponent // 2)
    most = most * up * further
    step = <float>(most / KEY_STEPS * (1 + 2.0**-22))
    part = 1 / step if step > 0 else 0
    for f in range(d):
        steps[f] = <int8_t>whole(key[f] * up * further * part)
    for f in range(d):
        part = key[f] * up * further - step * steps[f]
        squares += part * part
    for f in range(d, <int>width):
        steps[f] = 0
    size[at] = <float>step
    # The differences are exact to 2^-53 of the key's length.
    size[BLOCK + at] = <float>((sqrt(squares) + d * 2.0**-50) * (1 + 2.0**-20))


cdef bint round_query(const real *query, int d, Rough *rough) noexcept nogil:
    """Round a query that is not zero, into ``rough.step``; False where it has too many features."""
    cdef double most = 0, part, up, further, length = 0, squares = 0
    cdef double steps = min(<double>QUERY_STEPS, 2147483647.0 / KEY_STEPS / d - 1)
    cdef int f
    for f in range(d):
        part = fabs(query[f])
        most = part if part > most else most
    frexp(most, &rough.exponent)
    if steps < 64:
        return False
    up = ldexp(1, -rough.exponent // 2)
    further = ldexp(1, -rough.exponent - -rough.exponent // 2)
    rough.size = most * up * further / steps
    for f in range(d):
        rough.step[f] = <int16_t>whole(query[f] * up * further / rough.size)
        part = query[f] * up * further - rough.size * rough.step[f]
        squares += part * part
        length += <double>rough.step[f] * rough.step[f]
    for f in range(d, <int>padded(d)):
        rough.step[f] = 0
    rough.stepped = sqrt(length) * rough.size * (1 + 2.0**-20)
    rough.missed = (sqrt(squares) + d * 2.0**-50) * (1 + 2.0**-20)
    return True


cdef void bound_block(
    const Rough *query,
    const char *rough,
    const char *after,
    int d,
    int n,
    float *most,
    float *least,
) noexcept nogil:
    """Between what the best score of a block's ``n`` keys lies, but for ``missed`` and rounding it to float32.

    That is in the multiples of the query and of the block; every key's score is at most ``most``.
    The rough keys ``after`` are fetched meanwhile.
    """
    cdef int32_t product[BLOCK]
    cdef float high[BLOCK]
    cdef float low[BLOCK]
    cdef int64_t width = padded(d), i
    cdef const float *size = <const float *>(rough + BLOCK * width)
    cdef float step = <float>query.size, stepped = <float>query.stepped, middle, off
    cdef int j, half = BLOCK // 2
    for i in range(rough_bytes(d) // 64):
        soon(after + 64 * i)
    multiply(<const int8_t *>rough, query.step, width, product)
    for j in range(BLOCK):
        middle = step * (size[j] * <float>product[j])
        off = stepped * size[BLOCK + j]
        high[j] = middle + off
        low[j] = middle - off
    for j in range(n, BLOCK):
        high[j] = low[j] = -INFINITY
    while half >= 1:
        for j in range(half):
            high[j] = high[j] if high[j] > high[j + half] else high[j + half]
            low[j] = low[j] if low[j] > low[j + half] else low[j + half]
        half //= 2
    most[0] = high[0]
    least[0] = low[0]
