# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Two features: keys taken back, by undoing what the log says was done to the trees."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from .fringe cimport fringe_find, fringe_put
from .log cimport log_back
from .plane cimport (
    FRINGE_GAINED,
    HULL_GAINED,
    HULL_LOST,
    Plane,
    Point,
    Quadrant,
    hull_point,
    reset,
    slope,
)
from .store cimport Store, key_of
from .tree cimport Spot, find, insert, preceding, remove, set_mark, settled


cdef void hull_take(Quadrant *quadrant, double x, double y) noexcept nogil:
    cdef Spot here = remove(&quadrant.hull, settled(find(&quadrant.hull, x, y)))
    cdef Spot at = preceding(here)
    cdef Point a = hull_point(at), b = hull_point(settled(here))
    if a.there:
        set_mark(at, slope(a.x, a.y, b.x, b.y) if b.there else INFINITY)


cdef bint hull_give(Quadrant *quadrant, double x, double y, int64_t token) noexcept nogil:
    cdef Spot here = find(&quadrant.hull, x, y)
    cdef Point a = hull_point(preceding(here)), b = hull_point(settled(here))
    here = insert(
        &quadrant.hull, here, x, y, slope(x, y, b.x, b.y) if b.there else INFINITY, token
    )
    if here.node == NULL:
        return False
    if a.there:
        set_mark(preceding(here), slope(a.x, a.y, x, y))
    return True


cdef bint undo(Plane *plane, Store *store, int64_t entry) noexcept nogil:
    cdef int64_t token = entry // 16
    cdef int q = entry // 4 % 4, what = entry % 4
    cdef Quadrant *quadrant = &plane.quadrant[q]
    cdef double x = key_of(store, token, 0), y = key_of(store, token, 1)
    x = -x if q & 1 else x
    y = -y if q & 2 else y
    if what == HULL_GAINED:
        hull_take(quadrant, x, y)
    elif what == HULL_LOST:
        return hull_give(quadrant, x, y, token)
    elif what == FRINGE_GAINED:
        remove(&quadrant.fringe, fringe_find(quadrant, x, y))
    else:
        return fringe_put(quadrant, store.peak, x, y, token)
    return True


cdef bint plane_forget(Plane *plane, Store *store, int64_t count) noexcept nogil:
    """Undo the newest tokens, before the store forgets them; False where no memory is found."""
    cdef int64_t entry
    cdef int q
    if count == 0:
        reset(plane)
        return True
    while log_back(&plane.log, count, &entry):
        if not undo(plane, store, entry):
            return False
    for q in range(4):
        plane.quadrant[q].apex_x = -INFINITY
        plane.quadrant[q].apex_y = -INFINITY
        plane.quadrant[q].apex_is_old = True
    return True
