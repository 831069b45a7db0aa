"""Two features: which keys may win, found by the direction of a query."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stddef cimport size_t

from .store cimport Store
from .tree cimport Spot, Tree

cdef enum:
    DROP = 32

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
    bint dropped  # some key is in no tree
    double floor_x  # least peaks when a key was dropped
    double floor_y
    int64_t *log  # what was done to the trees, to be undone; none when pruning
    int64_t logged
    int64_t log_room
    int64_t marked  # the token whose changes are being logged
    int64_t built  # the first tokens, taken in at once: nothing is logged about them
    double *popped  # (x, y) pairs
    int64_t *popped_token
    int64_t popped_room
    int64_t popped_token_room

cdef void reset(Plane *plane) noexcept nogil
cdef bint loses(
    const Plane *plane, const double *peak, int q, double x, double y, Point a, Point b
) noexcept nogil
cdef void drop(Plane *plane, const double *peak) noexcept nogil
cdef void find_apex(const Plane *plane, Quadrant *quadrant, const double *peak) noexcept nogil
cdef bint fringe_put(
    Quadrant *quadrant, const double *peak, double x, double y, int64_t token
) noexcept nogil
cdef void open_plane(Plane *plane, bint single) noexcept nogil
cdef void close_plane(Plane *plane) noexcept nogil
cdef bint plane_insert(
    Plane *plane, Store *store, int64_t token, const Spot *places
) noexcept nogil
cdef bint plane_forget(Plane *plane, Store *store, int64_t count) noexcept nogil
cdef void plane_mark(const Plane *plane, int64_t *mark) noexcept nogil
cdef void plane_renumber(Plane *plane, const int64_t *renumber) noexcept nogil
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
