# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Two features: a key taken in by the hulls that it belongs to."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from .fringe cimport fringe_find, fringe_take
from .plane cimport (
    HULL_GAINED,
    HULL_LOST,
    Plane,
    Point,
    Quadrant,
    drop,
    find_apex,
    hull_point,
    loses,
    record,
    slope,
)
from .store cimport Store, add_repeat, key_of, widen
from .tree cimport (
    Spot,
    Tree,
    find,
    following,
    insert,
    overwrite,
    preceding,
    remove,
    set_mark,
    settled,
)
from .turn cimport reflex

cdef enum:
    ENTERED = -1
    FAILED = -2


cdef inline bint keep_near(
    Plane *plane, Store *store, int q, double x, double y, int64_t token, Point a, Point b
) noexcept nogil:
    """A key below the hull: into the fringe, or out where it loses."""
    if loses(plane, store.peak, q, x, y, a, b):
        drop(plane, store.peak)
        return True
    return fringe_take(plane, store, q, x, y, token)


cdef inline bint leaves(
    Plane *plane, const Store *store, int64_t count, int q, Spot spot
) noexcept nogil:
    """Write down that a key leaves the hull; False where no memory is found."""
    if not widen(&plane.popped_token, &plane.popped_token_room, count + 1):
        return False
    # Two numbers of eight bytes for each.
    if not widen(<int64_t **>&plane.popped, &plane.popped_room, 2 * count + 2):
        return False
    plane.popped_token[count] = spot.node.item[spot.at]
    plane.popped[2 * count] = spot.node.key[spot.at]
    plane.popped[2 * count + 1] = spot.node.low[spot.at]
    return record(plane, store, plane.popped_token[count], q, HULL_LOST)


cdef int64_t enter_below(
    Plane *plane, Store *store, int q, double x, double y, int64_t token, Spot here
) noexcept nogil:
    """As ``enter``, for a key that is below the hull."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    cdef Point a = hull_point(preceding(here)), b = hull_point(settled(here))
    cdef Spot at
    if quadrant.fringe.count:
        at = fringe_find(quadrant, x, y)
        if at.node != NULL:
            return at.node.item[at.at]
    if quadrant.apex_is_old and loses(plane, store.peak, q, x, y, a, b):
        find_apex(plane, quadrant, store.peak)
    return ENTERED if keep_near(plane, store, q, x, y, token, a, b) else FAILED


cdef int64_t enter(
    Plane *plane, Store *store, int q, double x, double y, int64_t token, Spot here
) noexcept nogil:
    """Put a key where it belongs in a quadrant; or give the token there that has an equal key."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    cdef Tree *hull = &quadrant.hull
    cdef Spot left = preceding(here), right = settled(here), beyond, heir = here
    cdef Point a = hull_point(left), b = hull_point(right), new
    cdef int64_t popped = 0, from_left, i
    cdef double mark
    if b.there and b.x == x and b.y == y:
        return right.node.item[right.at]
    if b.there and (
        b.y > y or (a.there and a.y >= y and reflex(a.x, a.y, x, y, b.x, b.y))
    ):
        return enter_below(plane, store, q, x, y, token, here)
    # It is on the hull: its neighbours leave while they are below the new chain.
    while left.node != NULL:
        beyond = preceding(left)
        new = hull_point(beyond)
        if y <= a.y and not (new.there and reflex(new.x, new.y, a.x, a.y, x, y)):
            break
        if not leaves(plane, store, popped, q, left):
            return FAILED
        if popped == 0:
            heir = left
        popped += 1
        left = beyond
        a = new
    from_left = popped
    while right.node != NULL:
        beyond = following(right)
        new = hull_point(beyond)
        if not (new.there and reflex(x, y, b.x, b.y, new.x, new.y)):
            break
        if not leaves(plane, store, popped, q, right):
            return FAILED
        heir = right
        popped += 1
        right = beyond
        b = new
    mark = slope(x, y, b.x, b.y) if b.there else INFINITY
    if popped == 0:
        here = insert(hull, here, x, y, mark, token)
        if here.node == NULL:
            return FAILED
    else:
        # The last of those that leave gives its place to the new key.
        here = heir
        for i in range(popped - 1):
            here = preceding(remove(hull, here))
        overwrite(here, x, y, mark, token)
    if not record(plane, store, token, q, HULL_GAINED):
        return FAILED
    if a.there:
        set_mark(preceding(here), slope(a.x, a.y, x, y))
    quadrant.apex_is_old = True
    new.there = True
    new.x = x
    new.y = y
    for i in range(popped):
        if not keep_near(
            plane,
            store,
            q,
            plane.popped[2 * i],
            plane.popped[2 * i + 1],
            plane.popped_token[i],
            a if i < from_left else new,
            new if i < from_left else b,
        ):
            return FAILED
    return ENTERED


cdef void rename(Quadrant *quadrant, double x, double y, int64_t token) noexcept nogil:
    """Let the entry of a key, if there is one, stand for an earlier token."""
    cdef Spot at = settled(find(&quadrant.hull, x, y))
    if at.node == NULL or at.node.key[at.at] != x or at.node.low[at.at] != y:
        at = fringe_find(quadrant, x, y)
    if at.node != NULL:
        at.node.item[at.at] = token


cdef bint plane_insert(
    Plane *plane, Store *store, int64_t token, const Spot *places
) noexcept nogil:
    """Take in a stored key, given its place in each hull; False where no memory is found.

    ``at`` of a place is -1 where the key is covered by the apex.
    """
    cdef double x, y
    cdef int q
    cdef int64_t found
    if (places[0].at & places[1].at & places[2].at & places[3].at) < 0:
        drop(plane, store.peak)
        return True
    x = key_of(store, token, 0)
    y = key_of(store, token, 1)
    for q in range(4):
        if places[q].at < 0:
            drop(plane, store.peak)
            continue
        found = enter(
            plane, store, q, -x if q & 1 else x, -y if q & 2 else y, token, places[q]
        )
        if found == FAILED:
            return False
        if found != ENTERED:
            # Quadrants from which the earlier token was dropped may have taken this one.
            while q > 0:
                q -= 1
                rename(&plane.quadrant[q], -x if q & 1 else x, -y if q & 2 else y, found)
            return add_repeat(store, found, token)
    return True
