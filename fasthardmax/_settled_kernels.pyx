# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Who settles, and where settled points are: one pass over some rows, without the GIL.

The arrays are those of :class:`fasthardmax._settled.Settled`; none is larger than the points.
``begin`` is where all points were at layer 0. Who settled then has ``entry`` 0; who did not has
k > 0 for row k - 1 of the arrays ``late``, ``error`` and ``since``; before, all have -1.
"""

from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from ._since cimport since_when

ctypedef fused real:
    float
    double

cdef enum:
    HOME = 1
    ARRIVED = 2


cdef inline const real *_stood(
    const real *begin, const real *late, const int32_t *entry, Py_ssize_t d, Py_ssize_t i
) noexcept nogil:
    """Where point i settled, or was last searched for."""
    return begin + i * d if entry[i] <= 0 else late + (entry[i] - 1) * d


cdef inline bint _put(
    const real *begin, const real *late, const real *error, const real *means,
    const int64_t *goes, const int32_t *entry, const int32_t *since, const real *remaining,
    int64_t layer, real near, Py_ssize_t d, Py_ssize_t i, real *out,
) noexcept nogil:
    """Where point i is at this layer, and whether that is its limit, to within ``near``."""
    cdef const real *here
    cdef const real *limit
    cdef int64_t began = since_when(entry, since, i), goal = goes[i]
    cdef bint arrived = began >= 0
    cdef real offset
    cdef Py_ssize_t f
    if not arrived or goal == i:
        here = _stood(begin, late, entry, d, i)
        for f in range(d):
            out[f] = here[f]
        return arrived
    limit = _stood(begin, late, entry, d, goal) if goal >= 0 else means + (-2 - goal) * d
    if remaining[began] == 0 and began != layer:
        for f in range(d):
            out[f] = limit[f]
        return True
    here = _stood(begin, late, entry, d, i)
    for f in range(d):
        arrived = arrived and here[f] == limit[f]
        out[f] = here[f]
    if arrived or began == layer or remaining[began] == 1:
        return arrived
    arrived = True
    for f in range(d):
        offset = here[f] - limit[f]
        if began > 0:
            offset = offset + error[(entry[i] - 1) * d + f]
        offset = offset * remaining[began]
        arrived = arrived and fabs(offset) <= near
        out[f] = limit[f] + offset
    if arrived:
        for f in range(d):
            out[f] = limit[f]
    return arrived


def place(
    const real[:, ::1] begin, const real[:, ::1] late, const real[:, ::1] error,
    const real[:, ::1] means, const int64_t[::1] goes, const int32_t[::1] entry,
    const int32_t[::1] since, const real[::1] remaining, int64_t layer, const real[::1] near,
    Py_ssize_t n,
    const int64_t[::1] blocks, Py_ssize_t length, Py_ssize_t start, Py_ssize_t stop,
    real[:, ::1] out, unsigned char[::1] arrived,
):
    """Where the points of blocks ``start`` to ``stop`` are, and who is at its limit.

    Block b is ``length`` points of one cloud, from ``blocks[b] * length`` on. Where ``blocks`` is
    None, it is point b.
    """
    cdef Py_ssize_t d = begin.shape[1], b, at, end, there = start * length
    cdef bint single = near.shape[0] == 1
    cdef real bound
    with nogil:
        while blocks is None and start < stop:
            b = start // n
            end = min(stop, (b + 1) * n)
            _put_range(
                &begin[0, 0], &late[0, 0], &error[0, 0], &means[0, 0], &goes[0],
                &entry[0], &since[0], &remaining[0], layer, near[b], d, start, end,
                &out[0, 0], &arrived[0],
            )
            start = end
        for b in range(start, stop):
            at = blocks[b] * length
            bound = near[0] if single else near[at // n]
            _put_range(
                &begin[0, 0], &late[0, 0], &error[0, 0], &means[0, 0], &goes[0],
                &entry[0], &since[0], &remaining[0], layer, bound, d, at, at + length,
                &out[there, 0] - at * d, &arrived[there] - at,
            )
            there += length


cdef void _put_range(
    const real *begin, const real *late, const real *error, const real *means,
    const int64_t *goes, const int32_t *entry, const int32_t *since, const real *remaining,
    int64_t layer, real near, Py_ssize_t d, Py_ssize_t start, Py_ssize_t stop, real *out,
    unsigned char *arrived,
) noexcept nogil:
    """Where points start..stop-1 are, and who is at its limit, into their rows of ``out``."""
    cdef Py_ssize_t i
    # A number of features that the C compiler knows makes loops of none.
    if d == 2:
        for i in range(start, stop):
            arrived[i] = _put(
                begin, late, error, means, goes, entry, since, remaining, layer, near, 2, i,
                out + i * 2,
            )
    elif d == 3:
        for i in range(start, stop):
            arrived[i] = _put(
                begin, late, error, means, goes, entry, since, remaining, layer, near, 3, i,
                out + i * 3,
            )
    else:
        for i in range(start, stop):
            arrived[i] = _put(
                begin, late, error, means, goes, entry, since, remaining, layer, near, d, i,
                out + i * d,
            )


def settle_at_once(
    const int64_t[::1] first, const int64_t[::1] count, Py_ssize_t n,
    Py_ssize_t start, Py_ssize_t stop, int64_t[::1] goes, int32_t[::1] entry,
):
    """At layer 0, tell where all go who have a leader for their only winner, and -1 of the others.

    Returns how many are left, how many have several winners, and how many lead: are their own only
    winners.
    """
    cdef Py_ssize_t i = start, end, base, left = 0, tied = 0, leads = 0
    cdef int64_t winner
    with nogil:
        while i < stop:
            base = i // n * n
            end = min(stop, base + n)
            while i < end:
                winner = base + first[i]
                if count[i] == 1 and count[winner] == 1 and base + first[winner] == winner:
                    goes[i] = winner
                    entry[i] = 0
                    leads += winner == i
                else:
                    goes[i] = entry[i] = -1
                    left += 1
                    tied += count[i] > 1
                i += 1
    return left, tied, leads


def list_left(
    const int64_t[::1] first, const int64_t[::1] count, Py_ssize_t n, const int64_t[::1] goes,
    Py_ssize_t start, Py_ssize_t stop, Py_ssize_t k, Py_ssize_t t, Py_ssize_t l,
    int32_t[::1] entry, int64_t[::1] left, int64_t[::1] winners, unsigned char[::1] alone,
    int64_t[::1] tied, int64_t[::1] leads,
):
    """After :func:`settle_at_once`, list who is left from ``k`` on, and number their entries so.

    With their first ``winners`` and whether it is ``alone``. Who is ``tied`` is listed from ``t``
    on, and who ``leads`` from ``l`` on.
    """
    cdef Py_ssize_t i
    with nogil:
        for i in range(start, stop):
            if goes[i] == i:
                leads[l] = i
                l += 1
            elif goes[i] < 0:
                left[k], winners[k], alone[k] = i, i // n * n + first[i], count[i] == 1
                k += 1
                entry[i] = <int32_t>k
                if count[i] > 1:
                    tied[t] = i
                    t += 1


def put_back(
    const int64_t[::1] slots, const real[:, ::1] at, const real[:, ::1] drift,
    Py_ssize_t start, Py_ssize_t stop, real[:, ::1] late, real[:, ::1] error,
):
    """Where points are, and their roundings, into their slots among those left at layer 0."""
    cdef Py_ssize_t d = late.shape[1], r, f
    with nogil:
        for r in range(start, stop):
            for f in range(d):
                late[slots[r], f] = at[r, f]
                error[slots[r], f] = drift[r, f]


def aim(
    const real[:, ::1] begin, const real[:, ::1] late, const real[:, ::1] error,
    const real[:, ::1] means, const int64_t[::1] goes, const int32_t[::1] entry,
    const int32_t[::1] since, const real[::1] remaining, int64_t layer, const real[::1] near,
    Py_ssize_t n,
    const real[:, ::1] at, const int64_t[::1] winner, const unsigned char[::1] together,
    Py_ssize_t start, Py_ssize_t stop,
    real[:, ::1] goal, real[:, ::1] goal_error, unsigned char[::1] rest,
):
    """The goals of points ``at`` (m, d) with winners ``together`` at one place.

    Their ``rest`` is HOME for those who are there, else ARRIVED where the winner is at its limit.
    """
    cdef Py_ssize_t d = begin.shape[1], r, f
    cdef int64_t w
    cdef real bound = near[0] if near.shape[0] == 1 else 0
    cdef bint single = near.shape[0] == 1, moves, home, arrived
    with nogil:
        for r in range(start, stop):
            rest[r] = 0
            if not together[r]:
                continue
            w = winner[r]
            if not single:
                bound = near[w // n]
            arrived = _put(
                &begin[0, 0], &late[0, 0], &error[0, 0], &means[0, 0], &goes[0],
                &entry[0], &since[0], &remaining[0], layer, bound, 2, w, &goal[r, 0],
            ) if d == 2 else _put(
                &begin[0, 0], &late[0, 0], &error[0, 0], &means[0, 0], &goes[0],
                &entry[0], &since[0], &remaining[0], layer, bound, d, w, &goal[r, 0],
            )
            moves = entry[w] > 0 and since[entry[w] - 1] < 0
            home = True
            for f in range(d):
                goal_error[r, f] = error[entry[w] - 1, f] if moves else 0
                home = home and goal[r, f] == at[r, f]
            rest[r] = HOME if home else (ARRIVED if arrived else 0)


def settle_at_home(
    const int64_t[::1] rows, const int64_t[::1] winner, const unsigned char[::1] rest,
    const int64_t[::1] first, Py_ssize_t n, int32_t layer, Py_ssize_t start, Py_ssize_t stop,
    int64_t[::1] goes, const int32_t[::1] entry, int32_t[::1] since,
):
    """Settle points that win where they are: each goes where its winner does, or is that place."""
    cdef Py_ssize_t r
    cdef int64_t i
    with nogil:
        for r in range(start, stop):
            if rest[r] == HOME:
                i = rows[r]
                goes[i] = goes[winner[r]] if goes[winner[r]] >= 0 else i // n * n + first[i]
                since[entry[i] - 1] = layer


def settle_followers(
    const real[:, ::1] begin, const real[:, ::1] late, const real[:, ::1] error,
    const real[:, ::1] means, int64_t[::1] goes, const int32_t[::1] entry,
    int32_t[::1] since, const real[::1] remaining, int64_t layer, const real[::1] near,
    Py_ssize_t n,
    const int64_t[::1] rows, const int64_t[::1] winner, const unsigned char[::1] together,
    const unsigned char[::1] rest, Py_ssize_t start, Py_ssize_t stop, int64_t[::1] first,
):
    """Settle points whose only winner is a leader, or has come so near to one as to be it."""
    cdef Py_ssize_t d = begin.shape[1], r
    cdef int64_t w, i, began
    cdef bint single = near.shape[0] == 1, arrived
    cdef real *there = <real *>malloc((d + 1) * sizeof(real))
    if there == NULL:
        raise MemoryError("found no memory for one point")
    with nogil:
        for r in range(start, stop):
            w = winner[r]
            if rest[r] == HOME or not together[r] or goes[w] < 0:
                continue
            began = since_when(&entry[0], &since[0], w)
            if began < 0:
                continue
            arrived = rest[r] == ARRIVED
            if began == layer and not arrived:  # who settled after it was aimed at
                arrived = _put(
                    &begin[0, 0], &late[0, 0], &error[0, 0], &means[0, 0], &goes[0],
                    &entry[0], &since[0], &remaining[0], layer, near[0 if single else w // n],
                    d, w, there,
                )
            if arrived:
                i = rows[r]
                first[i] = goes[w] - i // n * n
                goes[i] = goes[w]
                since[entry[i] - 1] = <int32_t>layer
    free(there)


def step(
    const real[::1] at, const real[::1] error, const real[::1] goal, const real[::1] goal_error,
    real c, Py_ssize_t start, Py_ssize_t stop, real[::1] moved, real[::1] new_error,
):
    """One update ``x + c (goal - x)`` of numbers with their errors, and its own error.

    Knuth's two-sum: the error of the last addition is exact, so roundings do not add up over the
    layers; what is lost is relative to the way gone.
    """
    cdef Py_ssize_t k
    cdef real move, part
    with nogil:
        for k in range(start, stop):
            move = c * ((goal[k] - at[k]) + (goal_error[k] - error[k])) + error[k]
            moved[k] = at[k] + move
            part = moved[k] - at[k]
            new_error[k] = (at[k] - (moved[k] - part)) + (move - part)


def outside(
    const real[:, ::1] at, bint everyone, const int32_t[::1] entry, const int32_t[::1] since,
    double radius, Py_ssize_t start, Py_ssize_t stop, unsigned char[::1] out,
):
    """Tell who is not inside a ball about the origin.

    ``at`` is where some points are, or all, of which those that are not settled count as inside.
    The inverse of ``radius`` must be finite; roundings are not counted.
    """
    cdef Py_ssize_t d = at.shape[1], r, f
    cdef double share, part, inverse = 1 / radius
    with nogil:
        for r in range(start, stop):
            share = 0
            for f in range(d):
                part = at[r, f] * inverse
                share += part * part
            out[r] = share >= 1 and (not everyone or since_when(&entry[0], &since[0], r) >= 0)


def settled(
    const int32_t[::1] entry, const int32_t[::1] since, Py_ssize_t start, Py_ssize_t stop,
    int64_t[::1] settled_at,
):
    """The layers at which points settled; -1 for the others."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(start, stop):
            settled_at[i] = since_when(&entry[0], &since[0], i)
