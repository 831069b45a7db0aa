"""Two features: keys taken back, by undoing what the log says was done to the trees."""

from libc.stdint cimport int64_t

from .plane cimport Plane
from .store cimport Store

cdef bint plane_forget(Plane *plane, Store *store, int64_t count) noexcept nogil
