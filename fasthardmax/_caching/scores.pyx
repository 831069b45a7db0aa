# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Canonical scores of a block of keys, and the largest of them."""

from .rough cimport BLOCK
from .store cimport real
from .tree cimport soon


cdef void score(
    const real *query, const real *keys, const real *after, int d, real *scores
) noexcept nogil:
    """Canonical scores of a block; features in increasing order, four in a pass.

    The block ``after`` is fetched meanwhile: it may lie anywhere, where no processor expects it.
    """
    cdef int f = d % 4, j
    cdef const real *k
    if f == 0:
        for j in range(BLOCK):
            scores[j] = (
                query[0] * keys[j]
                + query[1] * keys[BLOCK + j]
                + query[2] * keys[2 * BLOCK + j]
                + query[3] * keys[3 * BLOCK + j]
            )
        f = 4
    elif f == 1:
        for j in range(BLOCK):
            scores[j] = query[0] * keys[j]
    elif f == 2:
        for j in range(BLOCK):
            scores[j] = query[0] * keys[j] + query[1] * keys[BLOCK + j]
    else:
        for j in range(BLOCK):
            scores[j] = (
                query[0] * keys[j] + query[1] * keys[BLOCK + j] + query[2] * keys[2 * BLOCK + j]
            )
    while f < d:
        k = keys + f * BLOCK
        for j in range(4 * BLOCK // 8):  # at least one look at each line of 64 bytes
            soon(after + f * BLOCK + 8 * j)
        for j in range(BLOCK):
            scores[j] = (
                scores[j]
                + query[f] * k[j]
                + query[f + 1] * k[BLOCK + j]
                + query[f + 2] * k[2 * BLOCK + j]
                + query[f + 3] * k[3 * BLOCK + j]
            )
        f += 4


cdef real largest(const real *scores) noexcept nogil:
    """The maximum of a block, in a form that vectorises."""
    cdef real top[8]
    cdef int i, j
    for j in range(8):
        top[j] = scores[j]
    for i in range(1, BLOCK // 8):
        for j in range(8):
            top[j] = top[j] if top[j] > scores[8 * i + j] else scores[8 * i + j]
    for j in range(1, 8):
        top[0] = top[0] if top[0] > top[j] else top[j]
    return top[0]
