# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Two features: keys below a hull by so little that rounding may let them win."""

from libc.stdint cimport int64_t
from libc.string cimport memset

from .plane cimport (
    FRINGE_GAINED,
    FRINGE_LOST,
    TINY,
    Plane,
    Quadrant,
    drop,
    hull_point,
    loses,
    place,
    record,
)
from .store cimport Store
from .tree cimport (
    Spot,
    Tree,
    find,
    first,
    following,
    insert,
    preceding,
    release,
    settled,
)

cdef enum:
    SELDOM = 64  # a fringe is looked through when it has doubled and gained this many


cdef void weigh(Quadrant *quadrant, const double *peak) noexcept nogil:
    """Both features count alike; any weights are right."""
    quadrant.weight_x = 1 / peak[0] if peak[0] > TINY else 1
    quadrant.weight_y = 1 / peak[1] if peak[1] > TINY else 1


cdef Spot fringe_find(const Quadrant *quadrant, double x, double y) noexcept nogil:
    """A key in the fringe; its node is NULL where there is none."""
    cdef double along = place(quadrant, x, y)
    cdef Spot spot = settled(find(&quadrant.fringe, along, y))
    while spot.node != NULL:
        if spot.node.key[spot.at] != along or spot.node.low[spot.at] != y:
            spot.node = NULL
        elif spot.node.mark[spot.at] == x:
            break
        else:
            spot = following(spot)
    return spot


cdef bint fringe_put(
    Quadrant *quadrant, const double *peak, double x, double y, int64_t token
) noexcept nogil:
    cdef double along
    if quadrant.fringe.count == 0:
        weigh(quadrant, peak)
    along = place(quadrant, x, y)
    return insert(
        &quadrant.fringe, find(&quadrant.fringe, along, y), along, y, x, token
    ).node != NULL


cdef bint look_through(Plane *plane, Store *store, int q) noexcept nogil:
    """Take keys out of a fringe that have come to lose by more than rounding."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    cdef Tree old = quadrant.fringe
    cdef Spot spot = first(&old), at
    cdef double x, y
    cdef int64_t token
    cdef bint fine = True
    memset(&quadrant.fringe, 0, sizeof(Tree))
    while spot.node != NULL and fine:
        x = spot.node.mark[spot.at]
        y = spot.node.low[spot.at]
        token = spot.node.item[spot.at]
        at = find(&quadrant.hull, x, y)
        if loses(plane, store.peak, q, x, y, hull_point(preceding(at)), hull_point(settled(at))):
            drop(plane, store.peak)
            fine = record(plane, store, token, q, FRINGE_LOST)
        else:
            fine = fringe_put(quadrant, store.peak, x, y, token)
        spot = following(spot)
    release(&old)
    quadrant.clean = quadrant.fringe.count
    return fine


cdef bint fringe_take(
    Plane *plane, Store *store, int q, double x, double y, int64_t token
) noexcept nogil:
    """Take in a key below the hull that may win; False where no memory is found."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    if not fringe_put(quadrant, store.peak, x, y, token):
        return False
    if not record(plane, store, token, q, FRINGE_GAINED):
        return False
    if quadrant.fringe.count > 2 * quadrant.clean + SELDOM:
        return look_through(plane, store, q)
    return True
