# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Two features: which keys may win, found by the direction of a query.

Each quadrant of directions has the part of the keys' convex hull that faces it, reflected so that
x rises and y falls along it: the *hull*, collinear keys included. Its slopes are sorted, so a query
finds the key that is best but for rounding by one search, and walks to both sides while scores stay
within rounding of it. Keys below the hull by so little that rounding may let them win are the
*fringe*. All others are left out: each of them loses canonically to a key that was there.

*What is left out.* A canonical score errs by at most E(q) = 2 u B(q) + 2 eta, where
B(q) = |q_x| M_x + |q_y| M_y, M the largest magnitudes and eta the smallest subnormal. So p loses to
w for good where <q, w - p> > 2 E(q). If a and b are keys, max(<q, a - p>, <q, b - p>) and B are
linear in q between the axes of the quadrant and the normal of b - a: if the first exceeds
``DROP`` u B on these three rays, it does in the whole quadrant. The products that test it err by
less than 8 u B, so DROP = 32 leaves 24 u B > 2 E(q) wherever 16 u B(q) > 4 eta. For smaller
queries, whose products underflow, all keys are scored, or the query is refused if keys are gone.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from .log cimport log_bytes, log_clear, log_free
from .tree cimport Node, Spot, Tree, find_mark, first, following, last, release


cdef void reset(Plane *plane) noexcept nogil:
    cdef int q
    for q in range(4):
        release(&plane.quadrant[q].hull)
        release(&plane.quadrant[q].fringe)
        plane.quadrant[q].clean = 0
        plane.quadrant[q].apex_x = -INFINITY
        plane.quadrant[q].apex_y = -INFINITY
        plane.quadrant[q].apex_is_old = False
    plane.dropped = False
    plane.floor_x = INFINITY
    plane.floor_y = INFINITY
    log_clear(&plane.log)
    plane.built = 0


cdef void open_plane(Plane *plane, bint single) noexcept nogil:
    memset(plane, 0, sizeof(Plane))
    plane.unit = 2.0**-24 if single else 2.0**-53
    plane.least = 2.0**-149 if single else 5e-324
    plane.tiny = plane.least / plane.unit * 64
    reset(plane)


cdef void close_plane(Plane *plane) noexcept nogil:
    reset(plane)
    log_free(&plane.log)
    free(plane.popped)
    free(plane.popped_token)
    memset(plane, 0, sizeof(Plane))


cdef size_t plane_bytes(const Plane *plane) noexcept nogil:
    cdef size_t total = log_bytes(&plane.log) + plane.popped_token_room * sizeof(int64_t)
    cdef int q
    total += plane.popped_room * sizeof(double)
    for q in range(4):
        total += (plane.quadrant[q].hull.nodes + plane.quadrant[q].fringe.nodes) * sizeof(Node)
    return total


cdef void find_apex(const Plane *plane, Quadrant *quadrant, const double *peak) noexcept nogil:
    """A key whose corner covers much: the one furthest out along the chain's own diagonal."""
    cdef Spot start = first(&quadrant.hull), stop = last(&quadrant.hull), spot
    cdef double by = DROP * plane.unit
    cdef double rise, run
    quadrant.apex_is_old = False
    if start.node == NULL or peak[0] < TINY or peak[1] < TINY:
        return
    rise = start.node.low[start.at] - stop.node.low[stop.at]
    run = stop.node.key[stop.at] - start.node.key[start.at]
    spot = find_mark(&quadrant.hull, rise / run) if run > 0 else start
    quadrant.apex_x = spot.node.key[spot.at] - by * peak[0]
    quadrant.apex_y = spot.node.low[spot.at] - by * peak[1]


# --- All keys in the trees -----------------------------------------------------------------------


cdef inline void visit(const Tree *tree, int64_t *numbers, bint renumbering) noexcept nogil:
    cdef Spot spot = first(tree)
    while spot.node != NULL:
        if renumbering:
            spot.node.item[spot.at] = numbers[spot.node.item[spot.at]]
        else:
            numbers[spot.node.item[spot.at]] = 1
        spot = following(spot)


cdef void plane_mark(const Plane *plane, int64_t *mark) noexcept nogil:
    """Set ``mark`` to 1 for every key in a tree."""
    cdef int q
    for q in range(4):
        visit(&plane.quadrant[q].hull, mark, False)
        visit(&plane.quadrant[q].fringe, mark, False)


cdef void plane_renumber(Plane *plane, int64_t *renumber) noexcept nogil:
    cdef int q
    for q in range(4):
        visit(&plane.quadrant[q].hull, renumber, True)
        visit(&plane.quadrant[q].fringe, renumber, True)
