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

from .plane cimport Plane, Quadrant, place
from .store cimport FINE, NO_MEMORY, UNDERFLOWS, Store, Ties, note, scan
from .tree cimport Spot, Tree, find, first, following, preceding, settled

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


cdef int plane_query(
    const Plane *plane, const Store *store, double x, double y, Spot peak, Ties *winners
) noexcept nogil:
    """The winners of a query that is not zero, given the hull's best key but for rounding."""
    cdef const Quadrant *quadrant = &plane.quadrant[(x < 0) + 2 * (y < 0)]
    cdef const Tree *fringe = &quadrant.fringe
    cdef double best, near, s, part, start = -INFINITY, stop = INFINITY
    cdef double cut_x, cut_y
    cdef Spot left, right, at, end
    cdef bint single = store.single
    winners.alone = False
    winners.count = 0
    x = fabs(x)
    y = fabs(y)
    near = NEAR * plane.unit * bound(x, y, store.peak[0], store.peak[1])
    if near < plane.tiny:  # or the first term has room for the second
        near += 32 * plane.least
    best = score(single, x, y, peak.node.key[peak.at], peak.node.low[peak.at])
    if not note(winners, peak.node.item[peak.at]):
        return NO_MEMORY
    left = preceding(peak)
    while left.node != NULL:
        s = score(single, x, y, left.node.key[left.at], left.node.low[left.at])
        if s < best - near:
            break
        if s > best:
            best = s
            winners.count = 0
        if s == best and not note(winners, left.node.item[left.at]):
            return NO_MEMORY
        left = preceding(left)
    right = following(peak)
    while right.node != NULL:
        s = score(single, x, y, right.node.key[right.at], right.node.low[right.at])
        if s < best - near:
            break
        if s > best:
            best = s
            winners.count = 0
        if s == best and not note(winners, right.node.item[right.at]):
            return NO_MEMORY
        right = following(right)
    if fringe.count == 0:
        return FINE
    # How far the hull stays within twice the bound of the best, to both sides.
    at = first(fringe)
    if left.node != NULL:
        end = following(left)
        part = share(single, x, y, left, end, best - 2 * near)
        cut_x = left.node.key[left.at]
        cut_x += part * (end.node.key[end.at] - cut_x)
        cut_y = left.node.low[left.at]
        cut_y += part * (end.node.low[end.at] - cut_y)
        start = end_place(quadrant, plane, cut_x, cut_y, -1)
        at = settled(find(fringe, start, INFINITY))
    if right.node != NULL:
        end = preceding(right)
        part = share(single, x, y, right, end, best - 2 * near)
        cut_x = right.node.key[right.at]
        cut_x += part * (end.node.key[end.at] - cut_x)
        cut_y = right.node.low[right.at]
        cut_y += part * (end.node.low[end.at] - cut_y)
        stop = end_place(quadrant, plane, cut_x, cut_y, 1)
    while at.node != NULL and at.node.key[at.at] <= stop:
        s = score(single, x, y, at.node.mark[at.at], at.node.low[at.at])
        if s > best:
            best = s
            winners.count = 0
        if s == best and not note(winners, at.node.item[at.at]):
            return NO_MEMORY
        at = following(at)
    return FINE


cdef inline double share(
    bint single, double x, double y, Spot outside, Spot inside, double threshold
) noexcept nogil:
    """How much of an edge, from its outer end, stays below a score."""
    cdef double low = score(single, x, y, outside.node.key[outside.at], outside.node.low[outside.at])
    cdef double high = score(single, x, y, inside.node.key[inside.at], inside.node.low[inside.at])
    if low >= threshold or high <= low:
        return 0
    return min((threshold - low) / (high - low), 1)


cdef inline double end_place(
    const Quadrant *quadrant, const Plane *plane, double x, double y, int side
) noexcept nogil:
    """The place of a point, moved outwards by what rounding may do to it."""
    cdef double size = quadrant.weight_x * fabs(x) + quadrant.weight_y * fabs(y)
    return place(quadrant, x, y) + side * 16 * 2.0**-53 * size
