# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Two features: the winners of a query, from the hull and the fringe that face it.

With B, E, u and eta as in plane.pyx: the search compares slopes with a relative error of a few u,
which costs at most 12 u B, as <q, .> is concave along the hull. A winner w has s_w >= s_h for the
best h seen, and everything between them on the hull is, by concavity, within 12 u B + 4 E(q) =
20 u B + 8 eta of it: ``NEAR`` = 64 has room for rounding the bound itself. A winner in the fringe
lies under the hull there, so neither further left nor higher than where the hull leaves twice that
bound on the left side, and likewise on the right; in the order along the chain these ends enclose
it.
"""

from libc.math cimport INFINITY, fabs
from libc.stdint cimport int64_t

from .plane cimport Plane, Quadrant, place
from .store cimport FINE, NO_MEMORY, UNDERFLOWS, Store
from .tree cimport Spot, Tree, find, first, following, preceding, settled
from .winners cimport Ties, note, scan

cdef enum:
    NEAR = 64


cdef inline double score(
    bint single, double qx, double qy, double x, double y
) noexcept nogil:
    if single:
        return <float>(<float>qx * <float>x) + <float>(<float>qy * <float>y)
    return qx * x + qy * y


cdef inline double bound(double x, double y, double peak_x, double peak_y) noexcept nogil:
    # A feature without a peak yet has an infinite floor, and 0 times it says nothing.
    return (x * peak_x if x > 0 else 0) + (y * peak_y if y > 0 else 0)


cdef bint plane_underflows(const Plane *plane, double x, double y) noexcept nogil:
    """Whether a query is so small that keys once dropped could tie with the best."""
    if not plane.dropped:
        return False
    return underflows(plane, fabs(x), fabs(y), plane.floor_x, plane.floor_y)


cdef inline bint underflows(
    const Plane *plane, double x, double y, double floor_x, double floor_y
) noexcept nogil:
    return bound(x, y, floor_x, floor_y) < plane.tiny


cdef bint plane_would_underflow(
    const Plane *plane, double x, double y, double peak_x, double peak_y
) noexcept nogil:
    """The same once a key was taken in that may raise the peaks to these."""
    if not plane.dropped and (peak_x == 0 or peak_y == 0):  # then nothing will be dropped either
        return False
    return underflows(
        plane, fabs(x), fabs(y), min(peak_x, plane.floor_x), min(peak_y, plane.floor_y)
    )


cdef const Tree *plane_hull(
    const Plane *plane, const Store *store, double x, double y
) noexcept nogil:
    """The hull to search for a query that is not zero; NULL where all keys must be scored."""
    cdef double peak_x = store.peak[0], peak_y = store.peak[1]
    if plane_underflows(plane, x, y) or (
        (peak_x > 1e270 * peak_y or peak_y > 1e270 * peak_x) and peak_x > 0 and peak_y > 0
    ):
        return NULL
    return &plane.quadrant[(x < 0) + 2 * (y < 0)].hull


cdef int plane_scan(
    const Plane *plane, const Store *store, double x, double y, Ties *winners
) noexcept nogil:
    """The winners among all keys, one by one."""
    cdef double raw64[2]
    cdef float raw32[2]
    if store.prune and plane_underflows(plane, x, y):
        return UNDERFLOWS
    raw64[0] = x
    raw64[1] = y
    raw32[0] = <float>x
    raw32[1] = <float>y
    return scan(store, <const char *>raw32 if store.single else <const char *>raw64, winners)


cdef inline bint consider(
    Ties *winners, double *best, double s, int64_t token
) noexcept nogil:
    """Keep a key's token if none scores higher; False where no memory is found."""
    if s > best[0]:
        best[0] = s
        winners.count = 0
    return s != best[0] or note(winners, token)


cdef inline Spot walk(
    bint single, double x, double y, double near, Spot spot, bint forwards, double *best,
    Ties *winners, bint *fine,
) noexcept nogil:
    """Look at the hull's keys to one side of one; the first that scores too low."""
    cdef double s, top = best[0]
    spot = following(spot) if forwards else preceding(spot)
    while spot.node != NULL:
        s = score(single, x, y, spot.node.key[spot.at], spot.node.low[spot.at])
        if s < top - near:
            break
        if not consider(winners, &top, s, spot.node.item[spot.at]):
            fine[0] = False
            break
        spot = following(spot) if forwards else preceding(spot)
    best[0] = top
    return spot


cdef int plane_query(
    const Plane *plane, const Store *store, double x, double y, Spot peak, Ties *winners
) noexcept nogil:
    """The winners of a query that is not zero, given the hull's best key but for rounding."""
    cdef const Quadrant *quadrant = &plane.quadrant[(x < 0) + 2 * (y < 0)]
    cdef const Tree *fringe = &quadrant.fringe
    cdef double best, near, s, stop = INFINITY
    cdef Spot left, right, at
    cdef bint single = store.single, fine
    winners.alone = False
    winners.count = 0
    x = fabs(x)
    y = fabs(y)
    near = NEAR * plane.unit * bound(x, y, store.peak[0], store.peak[1])
    if near < plane.tiny:  # or the first term has room for the second
        near += 32 * plane.least
    best = score(single, x, y, peak.node.key[peak.at], peak.node.low[peak.at])
    fine = note(winners, peak.node.item[peak.at])
    left = walk(single, x, y, near, peak, False, &best, winners, &fine)
    right = walk(single, x, y, near, peak, True, &best, winners, &fine)
    if fringe.count == 0 or not fine:
        return FINE if fine else NO_MEMORY
    # How far the hull stays within twice the bound of the best, to both sides.
    at = first(fringe)
    if left.node != NULL:
        s = cut(plane, quadrant, single, x, y, left, following(left), best - 2 * near, -1)
        at = settled(find(fringe, s, INFINITY))
    if right.node != NULL:
        stop = cut(plane, quadrant, single, x, y, right, preceding(right), best - 2 * near, 1)
    while at.node != NULL and at.node.key[at.at] <= stop:
        s = score(single, x, y, at.node.mark[at.at], at.node.low[at.at])
        if not consider(winners, &best, s, at.node.item[at.at]):
            return NO_MEMORY
        at = following(at)
    return FINE


cdef double cut(
    const Plane *plane,
    const Quadrant *quadrant,
    bint single,
    double x,
    double y,
    Spot outside,
    Spot inside,
    double threshold,
    int side,
) noexcept nogil:
    """Where along the chain an edge passes a score, moved outwards by what rounding may do."""
    cdef double out_x = outside.node.key[outside.at], in_x = inside.node.key[inside.at]
    cdef double out_y = outside.node.low[outside.at], in_y = inside.node.low[inside.at]
    cdef double low = score(single, x, y, out_x, out_y)
    cdef double high = score(single, x, y, in_x, in_y)
    cdef double part = 0, size
    if low < threshold and high > low:
        part = min((threshold - low) / (high - low), 1)
    out_x += part * (in_x - out_x)
    out_y += part * (in_y - out_y)
    size = quadrant.weight_x * fabs(out_x) + quadrant.weight_y * fabs(out_y)
    return place(quadrant, out_x, out_y) + side * 16 * 2.0**-53 * size
