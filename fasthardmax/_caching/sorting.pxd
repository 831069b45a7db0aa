"""Keys sorted as a hull runs, by counting digits."""

from libc.stdint cimport int64_t

cdef enum:
    FEW = 24  # keys of a quadrant that are not worth a look before they are sorted one by one

cdef struct Key:  # as a quadrant sees it
    double x
    double y
    int64_t token

cdef Key *sort_along(Key *key, Key *other, int64_t n) noexcept nogil
