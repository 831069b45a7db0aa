"""Canonical scores of a block of keys, and the largest of them."""

from .store cimport real

cdef void score(
    const real *query, const real *keys, const real *after, int d, real *scores
) noexcept nogil
cdef real largest(const real *scores) noexcept nogil
