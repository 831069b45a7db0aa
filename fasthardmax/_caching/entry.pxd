"""Two features: a key taken in by the hulls that it belongs to."""

from libc.stdint cimport int64_t

from .plane cimport Plane
from .store cimport Store
from .tree cimport Spot

cdef bint plane_insert(
    Plane *plane, Store *store, int64_t token, const Spot *places
) noexcept nogil
