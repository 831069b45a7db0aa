"""Two features: which keys may win, found by the direction of a query."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stddef cimport size_t

from .log cimport Log, log_put
from .store cimport Store
from .tree cimport Spot, Tree

cdef enum:
    DROP = 32
    # What is logged: 16 token + 4 quadrant + one of these.
    HULL_GAINED = 0
    HULL_LOST = 1
    FRINGE_GAINED = 2
    FRINGE_LOST = 3

cdef extern from *:
    """
    #define TINY 1e-290
    """
    double TINY  # below this, products of bounds may underflow

cdef struct Point:
    bint there
    double x
    double y

cdef struct Quadrant:
    # Directions with both components >= 0, after reflecting keys and queries.
    Tree hull  # (x, y, slope to the next): a chain that turns clockwise, collinear keys included
    Tree fringe  # (place along the chain, y, x): below it, but by less than rounding may hide
    double weight_x  # of the place along the chain
    double weight_y
    int64_t clean  # entries in the fringe when it was last looked through
    double apex_x  # keys below both lose everywhere in this quadrant
    double apex_y
    bint apex_is_old

cdef struct Plane:
    Quadrant quadrant[4]
    double unit  # roundoff
    double least  # smallest subnormal
    double tiny  # 64 of them in units of roundoff: arithmetic with them is slow
    bint dropped  # some key is in no tree
    double floor_x  # least peaks when a key was dropped
    double floor_y
    Log log  # what was done to the trees, to be undone; none when pruning
    int64_t built  # the first tokens, taken in at once: nothing is logged about them
    double *popped  # (x, y) pairs
    int64_t *popped_token
    int64_t popped_room
    int64_t popped_token_room

cdef void reset(Plane *plane) noexcept nogil
cdef void find_apex(const Plane *plane, Quadrant *quadrant, const double *peak) noexcept nogil
cdef void open_plane(Plane *plane, bint single) noexcept nogil
cdef void close_plane(Plane *plane) noexcept nogil
cdef void plane_mark(const Plane *plane, int64_t *mark) noexcept nogil
cdef void plane_renumber(Plane *plane, int64_t *renumber) noexcept nogil
cdef size_t plane_bytes(const Plane *plane) noexcept nogil


cdef inline bint covered(const Quadrant *quadrant, double x, double y) noexcept nogil:
    """Whether a key loses to the quadrant's apex everywhere in it."""
    return x < quadrant.apex_x and y < quadrant.apex_y


cdef inline double place(const Quadrant *quadrant, double x, double y) noexcept nogil:
    """Where a key stands along the chain: rises with x, falls with y."""
    return quadrant.weight_x * x - quadrant.weight_y * y


cdef inline double slope(double ax, double ay, double bx, double by) noexcept nogil:
    """How steeply the chain falls from a to b."""
    return (ay - by) / (bx - ax) if bx > ax else INFINITY


cdef inline Point hull_point(Spot spot) noexcept nogil:
    cdef Point point
    point.there = spot.node != NULL
    point.x = spot.node.key[spot.at] if point.there else 0
    point.y = spot.node.low[spot.at] if point.there else 0
    return point


cdef inline bint loses(
    const Plane *plane, const double *peak, int q, double x, double y, Point a, Point b
) noexcept nogil:
    """Whether a key loses in the whole quadrant to one of two, before and behind it."""
    cdef double by = DROP * plane.unit, dx, dy, least
    cdef double least_x = by * peak[0] if peak[0] == 0 or peak[0] > TINY else INFINITY
    cdef double least_y = by * peak[1] if peak[1] == 0 or peak[1] > TINY else INFINITY
    if b.there and b.x - x > least_x and b.y - y > least_y:
        return True
    if a.there and a.x - x > least_x and a.y - y > least_y:
        return True
    if a.there and b.there and b.x - x > least_x and a.y - y > least_y:
        dx = b.x - a.x
        dy = a.y - b.y
        least = by * (dy * peak[0] + dx * peak[1])
        return least > TINY and dy * (a.x - x) + dx * (a.y - y) > least
    return False


cdef inline void drop(Plane *plane, const double *peak) noexcept nogil:
    """Remember that keys are left out, and how large they may be."""
    plane.dropped = True
    plane.floor_x = min(plane.floor_x, peak[0])
    plane.floor_y = min(plane.floor_y, peak[1])


cdef inline bint record(
    Plane *plane, const Store *store, int64_t token, int q, int what
) noexcept nogil:
    """Log a change to a tree; False where no memory is found."""
    return store.prune or log_put(&plane.log, store.count - 1, 16 * token + 4 * q + what)
