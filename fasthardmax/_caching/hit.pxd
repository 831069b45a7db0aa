"""Two features: the winners of a query, from the hull and the fringe that face it."""

from .plane cimport Plane
from .store cimport Store
from .winners cimport Ties
from .tree cimport Spot, Tree

cdef const Tree *plane_hull(
    const Plane *plane, const Store *store, double x, double y
) noexcept nogil
cdef int plane_scan(
    const Plane *plane, const Store *store, double x, double y, Ties *winners
) noexcept nogil
cdef int plane_query(
    const Plane *plane, const Store *store, double x, double y, Spot peak, Ties *winners
) noexcept nogil
cdef bint plane_underflows(const Plane *plane, double x, double y) noexcept nogil
cdef bint plane_would_underflow(
    const Plane *plane, double x, double y, double peak_x, double peak_y
) noexcept nogil
