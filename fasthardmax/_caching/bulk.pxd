"""Two features, many keys at once: sort them, then one pass along each hull."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from .plane cimport Plane
from .store cimport Store

cdef size_t build_bytes(int64_t count) noexcept nogil
cdef bint build_plane(
    Plane *plane, Store *store, int64_t count, char *scratch
) noexcept nogil
