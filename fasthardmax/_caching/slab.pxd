"""Many tokens at once into the store of a head, checked on the way."""

from libc.stdint cimport int64_t

from .store cimport Slab, Store, real

cdef struct Room:  # for the chunks of some heads
    Slab *slab
    int64_t chunks  # that still fit in it
    int64_t wanted  # that will be begun

cdef bint fold(const real *numbers, int64_t n, real *top) noexcept nogil
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
) noexcept nogil
