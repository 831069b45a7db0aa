"""Two features: keys below a hull by so little that rounding may let them win."""

from libc.stdint cimport int64_t

from .plane cimport Plane, Quadrant
from .store cimport Store
from .tree cimport Spot

cdef Spot fringe_find(const Quadrant *quadrant, double x, double y) noexcept nogil
cdef bint fringe_put(
    Quadrant *quadrant, const double *peak, double x, double y, int64_t token
) noexcept nogil
cdef bint fringe_take(
    Plane *plane, Store *store, int q, double x, double y, int64_t token
) noexcept nogil
