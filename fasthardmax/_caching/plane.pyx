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

from .store cimport Store, add_repeat, key_of, widen
from .tree cimport (
    Node,
    Spot,
    Tree,
    find,
    find_mark,
    first,
    following,
    insert,
    last,
    preceding,
    release,
    remove,
    set_mark,
    settled,
)
from .turn cimport reflex

cdef enum:
    # What is logged: 16 token + 4 quadrant + one of these; or a token whose changes follow.
    HULL_GAINED = 0
    HULL_LOST = 1
    FRINGE_GAINED = 2
    FRINGE_LOST = 3
    ENTERED = -1
    FAILED = -2
    SELDOM = 64  # a fringe is looked through when it has doubled and gained this many


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
    plane.logged = 0
    plane.marked = -1
    plane.built = 0


cdef void open_plane(Plane *plane, bint single) noexcept nogil:
    memset(plane, 0, sizeof(Plane))
    plane.unit = 2.0**-24 if single else 2.0**-53
    plane.least = 2.0**-149 if single else 5e-324
    reset(plane)


cdef void close_plane(Plane *plane) noexcept nogil:
    reset(plane)
    free(plane.log)
    free(plane.popped)
    free(plane.popped_token)
    memset(plane, 0, sizeof(Plane))


cdef size_t plane_bytes(const Plane *plane) noexcept nogil:
    cdef size_t total = (plane.log_room + plane.popped_token_room) * sizeof(int64_t)
    cdef int q
    total += plane.popped_room * sizeof(double)
    for q in range(4):
        total += (plane.quadrant[q].hull.nodes + plane.quadrant[q].fringe.nodes) * sizeof(Node)
    return total


# --- The log -------------------------------------------------------------------------------------


cdef bint record(
    Plane *plane, const Store *store, int64_t token, int q, int what
) noexcept nogil:
    if store.prune:
        return True
    if not widen(&plane.log, &plane.log_room, plane.logged + 2):
        return False
    if plane.marked != store.count - 1:
        plane.marked = store.count - 1
        plane.log[plane.logged] = -1 - plane.marked
        plane.logged += 1
    plane.log[plane.logged] = 16 * token + 4 * q + what
    plane.logged += 1
    return True


# --- Which keys cannot win -----------------------------------------------------------------------


cdef inline Point hull_point(Spot spot) noexcept nogil:
    cdef Point point
    point.there = spot.node != NULL
    point.x = spot.node.key[spot.at] if point.there else 0
    point.y = spot.node.low[spot.at] if point.there else 0
    return point


cdef bint loses(
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


cdef void drop(Plane *plane, const double *peak) noexcept nogil:
    plane.dropped = True
    plane.floor_x = min(plane.floor_x, peak[0])
    plane.floor_y = min(plane.floor_y, peak[1])


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


# --- The fringe ----------------------------------------------------------------------------------


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


cdef bint keep_near(
    Plane *plane, Store *store, int q, double x, double y, int64_t token, Point a, Point b
) noexcept nogil:
    """A key below the hull: into the fringe, or out where it loses."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    if loses(plane, store.peak, q, x, y, a, b):
        drop(plane, store.peak)
        return True
    if not fringe_put(quadrant, store.peak, x, y, token):
        return False
    if not record(plane, store, token, q, FRINGE_GAINED):
        return False
    if quadrant.fringe.count > 2 * quadrant.clean + SELDOM:
        return look_through(plane, store, q)
    return True


# --- Insertion -----------------------------------------------------------------------------------


cdef bint push_popped(Plane *plane, int64_t count, Spot spot) noexcept nogil:
    if not widen(&plane.popped_token, &plane.popped_token_room, count + 1):
        return False
    # Two numbers of eight bytes for each.
    if not widen(<int64_t **>&plane.popped, &plane.popped_room, 2 * count + 2):
        return False
    plane.popped_token[count] = spot.node.item[spot.at]
    plane.popped[2 * count] = spot.node.key[spot.at]
    plane.popped[2 * count + 1] = spot.node.low[spot.at]
    return True


cdef int64_t enter(
    Plane *plane, Store *store, int q, double x, double y, int64_t token, Spot here
) noexcept nogil:
    """Put a key where it belongs in a quadrant; or give the token there that has an equal key."""
    cdef Quadrant *quadrant = &plane.quadrant[q]
    cdef Tree *hull = &quadrant.hull
    cdef Spot at, beyond
    cdef Point a, b, new
    cdef int64_t popped = 0, left = 0, i
    cdef bint before
    at = settled(here)
    b = hull_point(at)
    if b.there and b.x == x and b.y == y:
        return at.node.item[at.at]
    a = hull_point(preceding(here))
    if b.there and (
        b.y > y or (a.there and a.y >= y and reflex(a.x, a.y, x, y, b.x, b.y))
    ):
        if quadrant.fringe.count:
            at = fringe_find(quadrant, x, y)
            if at.node != NULL:
                return at.node.item[at.at]
        if quadrant.apex_is_old and loses(plane, store.peak, q, x, y, a, b):
            find_apex(plane, quadrant, store.peak)
        return ENTERED if keep_near(plane, store, q, x, y, token, a, b) else FAILED
    # It is on the hull: its neighbours leave while they are below the new chain.
    while a.there:
        at = preceding(here)
        beyond = preceding(at)
        new = hull_point(beyond)
        if y <= a.y and not (new.there and reflex(new.x, new.y, a.x, a.y, x, y)):
            break
        if not push_popped(plane, popped, at):
            return FAILED
        if not record(plane, store, at.node.item[at.at], q, HULL_LOST):
            return FAILED
        popped += 1
        here = remove(hull, at)
        a = new
    left = popped
    while b.there:
        at = settled(here)
        new = hull_point(following(at))
        if not (new.there and reflex(x, y, b.x, b.y, new.x, new.y)):
            break
        if not push_popped(plane, popped, at):
            return FAILED
        if not record(plane, store, at.node.item[at.at], q, HULL_LOST):
            return FAILED
        popped += 1
        here = remove(hull, at)
        b = new
    here = insert(hull, here, x, y, slope(x, y, b.x, b.y) if b.there else INFINITY, token)
    if here.node == NULL or not record(plane, store, token, q, HULL_GAINED):
        return FAILED
    if a.there:
        set_mark(preceding(here), slope(a.x, a.y, x, y))
    quadrant.apex_is_old = True
    new.there = True
    new.x = x
    new.y = y
    for i in range(popped):
        before = i < left
        if not keep_near(
            plane,
            store,
            q,
            plane.popped[2 * i],
            plane.popped[2 * i + 1],
            plane.popped_token[i],
            a if before else new,
            new if before else b,
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
    """Take in a stored key, given its place in each hull; False where no memory is found."""
    cdef double x = key_of(store, token, 0), y = key_of(store, token, 1), qx, qy
    cdef int q
    cdef int64_t found
    for q in range(4):
        qx = -x if q & 1 else x
        qy = -y if q & 2 else y
        if covered(&plane.quadrant[q], qx, qy):
            drop(plane, store.peak)
            continue
        found = enter(plane, store, q, qx, qy, token, places[q])
        if found == FAILED:
            return False
        if found != ENTERED:
            # Quadrants from which the earlier token was dropped may have taken this one.
            while q > 0:
                q -= 1
                rename(&plane.quadrant[q], -x if q & 1 else x, -y if q & 2 else y, found)
            return add_repeat(store, found, token)
    return True


# --- Undoing -------------------------------------------------------------------------------------


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
    cdef int64_t mark
    cdef int q
    if count == 0:
        reset(plane)
        return True
    while plane.logged > 0:
        mark = plane.logged - 1
        while plane.log[mark] >= 0:
            mark -= 1
        if -1 - plane.log[mark] < count:
            break
        while plane.logged > mark + 1:
            plane.logged -= 1
            if not undo(plane, store, plane.log[plane.logged]):
                return False
        plane.logged = mark
    plane.marked = -1
    for q in range(4):
        plane.quadrant[q].apex_x = -INFINITY
        plane.quadrant[q].apex_y = -INFINITY
        plane.quadrant[q].apex_is_old = True
    return True


# --- Dropping keys for good ----------------------------------------------------------------------


cdef void plane_mark(const Plane *plane, int64_t *mark) noexcept nogil:
    """Set ``mark`` to 1 for every key in a tree."""
    cdef int q, which
    cdef Spot spot
    for q in range(4):
        for which in range(2):
            if which:
                spot = first(&plane.quadrant[q].fringe)
            else:
                spot = first(&plane.quadrant[q].hull)
            while spot.node != NULL:
                mark[spot.node.item[spot.at]] = 1
                spot = following(spot)


cdef void plane_renumber(Plane *plane, const int64_t *renumber) noexcept nogil:
    cdef int q, which
    cdef Spot spot
    for q in range(4):
        for which in range(2):
            if which:
                spot = first(&plane.quadrant[q].fringe)
            else:
                spot = first(&plane.quadrant[q].hull)
            while spot.node != NULL:
                spot.node.item[spot.at] = renumber[spot.node.item[spot.at]]
                spot = following(spot)
