# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Two features, many keys at once: sort them, then one pass along each hull.

The hulls and fringes hold to the rules of plane.pyx, with the peaks of all keys, but not a change
is logged: ``Plane.built`` says how many tokens cannot be taken back one by one.
"""

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.string cimport memset

from .fringe cimport fringe_put
from .plane cimport (
    DROP,
    TINY,
    Plane,
    Point,
    Quadrant,
    covered,
    drop,
    find_apex,
    loses,
    reset,
    slope,
)
from .sorting cimport FEW, Key, sort_along
from .store cimport CHUNK, Store, add_repeat, forget_repeats, key_of, real
from .tree cimport WIDTH, Spot, insert
from .turn cimport reflex

cdef enum:
    TOGETHER = 64  # keys that are looked at once for whether any of them is far out
    SAMPLED = 64  # chunks whose keys are looked at for one that covers many

cdef struct Edge:  # of two keys of a quadrant, b to the right of a and below it
    double left
    double top
    double dx
    double dy
    double inside_x  # where keys lose to the edge if they are below it by more than ``least``
    double inside_y
    double least


cdef size_t build_bytes(int64_t count) noexcept nogil:
    """How much scratch memory ``build_plane`` needs."""
    return count * (2 * sizeof(Key) + 2 * sizeof(int64_t))


# --- Which keys are worth sorting ----------------------------------------------------------------


cdef void find_apexes(
    Plane *plane, const Store *store, int64_t count, const real *either
) noexcept nogil:
    """Set each quadrant's apex from a key that is far out along its diagonal.

    Any key is right; some thousand of them, and the newest, are enough to find a good one.
    """
    cdef double best[4]
    cdef double x, y, along_x, along_y, by = DROP * plane.unit
    cdef int64_t at[4]
    cdef int64_t last = (count - 1) // CHUNK, chunk = 0
    cdef const real *keys
    cdef int q, j
    if store.peak[0] < TINY or store.peak[1] < TINY:
        return
    for q in range(4):
        best[q] = -INFINITY
        at[q] = 0
    along_x = 1 / store.peak[0]
    along_y = 1 / store.peak[1]
    while chunk <= last:
        keys = <const real *>store.chunk[chunk]
        for j in range(<int>min(CHUNK, count - chunk * CHUNK)):
            x = along_x * keys[j]
            y = along_y * keys[CHUNK + j]
            for q in range(4):
                if (-x if q & 1 else x) + (-y if q & 2 else y) > best[q]:
                    best[q] = (-x if q & 1 else x) + (-y if q & 2 else y)
                    at[q] = chunk * CHUNK + j
        chunk = last if chunk < last <= chunk + last // SAMPLED else chunk + 1 + last // SAMPLED
    for q in range(4):
        x = key_of(store, at[q], 0)
        y = key_of(store, at[q], 1)
        plane.quadrant[q].apex_x = (-x if q & 1 else x) - by * store.peak[0]
        plane.quadrant[q].apex_y = (-y if q & 2 else y) - by * store.peak[1]


cdef int64_t list_open(
    const Plane *plane, const Store *store, int64_t count, int64_t *token, const real *either
) noexcept nogil:
    """List the tokens that some quadrant's apex does not cover."""
    cdef const Quadrant *quadrant = &plane.quadrant[0]
    cdef double right = min(quadrant[0].apex_x, quadrant[2].apex_x)
    cdef double left = -min(quadrant[1].apex_x, quadrant[3].apex_x)
    cdef double upper = min(quadrant[0].apex_y, quadrant[1].apex_y)
    cdef double lower = -min(quadrant[2].apex_y, quadrant[3].apex_y)
    cdef double beyond[TOGETHER]
    cdef double over_x, over_y, other
    cdef int64_t chunk, n = 0
    cdef const real *x
    cdef const real *y
    cdef int start, j, half
    for chunk in range((count + CHUNK - 1) // CHUNK):
        for start in range(0, CHUNK, 64):
            if chunk * CHUNK + start >= count:
                break
            x = <const real *>store.chunk[chunk] + start
            y = x + CHUNK
            if chunk * CHUNK + start + TOGETHER <= count:
                # How far any of the keys is beyond any side; a difference has the right sign.
                for j in range(TOGETHER):
                    over_x = x[j] - right
                    other = left - x[j]
                    over_x = over_x if over_x > other else other
                    over_y = y[j] - upper
                    other = lower - y[j]
                    over_y = over_y if over_y > other else other
                    beyond[j] = over_x if over_x > over_y else over_y
                half = TOGETHER // 2
                while half >= 4:
                    for j in range(half):
                        other = beyond[j + half]
                        beyond[j] = beyond[j] if beyond[j] > other else other
                    half //= 2
                if max(max(beyond[0], beyond[1]), max(beyond[2], beyond[3])) < 0:
                    continue
            for j in range(<int>min(TOGETHER, count - chunk * CHUNK - start)):
                token[n] = chunk * CHUNK + start + j
                n += 1 - ((x[j] < right) & (x[j] > left) & (y[j] < upper) & (y[j] > lower))
    return n


cdef Edge edge_between(const Plane *plane, const double *peak, Key a, Key b) noexcept nogil:
    """The edge of two keys, under which keys lose as in ``loses``; none where that is in doubt."""
    cdef Edge edge
    cdef double by = DROP * plane.unit
    edge.left = a.x
    edge.top = a.y
    edge.dx = b.x - a.x
    edge.dy = a.y - b.y
    edge.inside_x = b.x - by * peak[0]
    edge.inside_y = a.y - by * peak[1]
    edge.least = by * (edge.dy * peak[0] + edge.dx * peak[1])
    if not (edge.dx > 0 and edge.dy > 0 and edge.least > TINY):
        edge.inside_x = -INFINITY
    return edge


cdef inline bint under(const Edge *edge, double x, double y) noexcept nogil:
    return (
        (x < edge.inside_x)
        & (y < edge.inside_y)
        & (edge.dy * (edge.left - x) + edge.dx * (edge.top - y) > edge.least)
    )


cdef int64_t leave_out(Plane *plane, const double *peak, Key *key, int64_t n) noexcept nogil:
    """Leave only the keys that do not lose to edges between the furthest keys of a quadrant."""
    cdef Key highest = key[0], rightmost = key[0], middle = key[0]
    cdef double along_x, along_y, most = -INFINITY
    cdef Edge first, second
    cdef int64_t i, used = 0
    if peak[0] < TINY or peak[1] < TINY:
        return n
    for i in range(n):
        if key[i].y > highest.y or (key[i].y == highest.y and key[i].x > highest.x):
            highest = key[i]
        if key[i].x > rightmost.x or (key[i].x == rightmost.x and key[i].y > rightmost.y):
            rightmost = key[i]
    along_x = highest.y - rightmost.y
    along_y = rightmost.x - highest.x
    for i in range(n):
        if along_x * key[i].x + along_y * key[i].y > most:
            most = along_x * key[i].x + along_y * key[i].y
            middle = key[i]
    first = edge_between(plane, peak, highest, middle)
    second = edge_between(plane, peak, middle, rightmost)
    for i in range(n):
        key[used] = key[i]
        used += not (under(&first, key[i].x, key[i].y) | under(&second, key[i].x, key[i].y))
    return used


# --- One quadrant --------------------------------------------------------------------------------


cdef inline Point point(const Key *key) noexcept nogil:
    cdef Point point
    point.there = True
    point.x = key.x
    point.y = key.y
    return point


cdef int64_t unite(Key *key, int64_t n, int64_t count, int64_t *original, bint *equal) noexcept nogil:
    """Leave the first of equal keys, and write it down as the original of the others."""
    cdef int64_t used = 0, i
    for i in range(n):
        if used and key[used - 1].x == key[i].x and key[used - 1].y == key[i].y:
            if not equal[0]:
                memset(original, 0xFF, count * sizeof(int64_t))
                equal[0] = True
            original[key[i].token] = key[used - 1].token
        else:
            key[used] = key[i]
            used += 1
    return used


cdef int64_t find_chain(const Key *key, int64_t n, int64_t *chain) noexcept nogil:
    """Which of the sorted keys are on the hull (Andrew's monotone chain)."""
    cdef int64_t used = 0, i
    cdef const Key *a
    cdef const Key *before
    for i in range(n):
        while used:
            a = &key[chain[used - 1]]
            if key[i].y <= a.y:
                if used == 1:
                    break
                before = &key[chain[used - 2]]
                if not reflex(before.x, before.y, a.x, a.y, key[i].x, key[i].y):
                    break
            used -= 1
        chain[used] = i
        used += 1
    return used


cdef bint fill(
    Plane *plane, Store *store, int q, const Key *key, int64_t n, int64_t *chain
) noexcept nogil:
    """Make a quadrant's hull and fringe of sorted keys; False where no memory is found."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    cdef int64_t used = find_chain(key, n, chain), i, j
    cdef const Key *here
    cdef double mark
    cdef Spot end
    cdef Point a, b, none
    none.there = False
    none.x = none.y = 0
    end.node = NULL
    end.at = 0
    for j in range(used):
        here = &key[chain[j]]
        mark = INFINITY
        if j + 1 < used:
            mark = slope(here.x, here.y, key[chain[j + 1]].x, key[chain[j + 1]].y)
        if end.node != NULL and end.at + 1 < WIDTH:
            end.at += 1
            end.node.key[end.at] = here.x
            end.node.low[end.at] = here.y
            end.node.mark[end.at] = mark
            end.node.item[end.at] = here.token
            end.node.stop += 1
            quadrant.hull.count += 1
        else:
            end.at += 1
            end = insert(&quadrant.hull, end, here.x, here.y, mark, here.token)
            if end.node == NULL:
                return False
    j = 0
    for i in range(n):
        if j < used and chain[j] == i:
            j += 1
            continue
        a = point(&key[chain[j - 1]]) if j > 0 else none
        b = point(&key[chain[j]]) if j < used else none
        if loses(plane, store.peak, q, key[i].x, key[i].y, a, b):
            drop(plane, store.peak)
        elif not fringe_put(quadrant, store.peak, key[i].x, key[i].y, key[i].token):
            return False
    quadrant.clean = quadrant.fringe.count
    find_apex(plane, quadrant, store.peak)
    return True


cdef bint build_plane(
    Plane *plane, Store *store, int64_t count, char *scratch
) noexcept nogil:
    """Take in the first ``count`` of the stored tokens, in place of all that was there.

    False where no memory is found. ``scratch`` has ``build_bytes(count)``.
    """
    cdef Key *key = <Key *>scratch
    cdef Key *other = key + count
    cdef Key *along
    cdef int64_t *listed = <int64_t *>(other + count)
    cdef int64_t *original = listed + count
    cdef int64_t n, kept, i, token
    cdef double x, y
    cdef bint equal = False
    cdef bint dropped = plane.dropped and store.prune  # keys that are gone stay gone
    cdef double floor_x = plane.floor_x, floor_y = plane.floor_y
    cdef int q
    reset(plane)
    if dropped:
        plane.dropped = True
        plane.floor_x = floor_x
        plane.floor_y = floor_y
    forget_repeats(store)
    plane.built = count
    if store.single:
        find_apexes[float](plane, store, count, NULL)
        n = list_open[float](plane, store, count, listed, NULL)
    else:
        find_apexes[double](plane, store, count, NULL)
        n = list_open[double](plane, store, count, listed, NULL)
    for q in range(4):
        kept = 0
        for i in range(n):
            # Zeros have one sign, or they would not be sorted as equal.
            x = key_of(store, listed[i], 0)
            y = key_of(store, listed[i], 1)
            key[kept].x = (-x if q & 1 else x) + 0.0
            key[kept].y = (-y if q & 2 else y) + 0.0
            key[kept].token = listed[i]
            kept += not covered(&plane.quadrant[q], key[kept].x, key[kept].y)
        if kept > FEW:
            kept = leave_out(plane, store.peak, key, kept)
        if kept < count:
            drop(plane, store.peak)
        along = sort_along(key, other, kept)
        kept = unite(along, kept, count, original, &equal)
        if not fill(
            plane, store, q, along, kept, <int64_t *>(other if along == key else key)
        ):
            return False
    if equal:
        for token in range(count):
            if original[token] >= 0 and not add_repeat(store, original[token], token):
                return False
    return True
