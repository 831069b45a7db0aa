# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Searches in the hulls of many heads side by side.

A search in a large tree waits for memory at every node. The heads of a layer do not depend on each
other, so all go down one node, ask for the next, and find it there when their turn comes again.
"""

from libc.math cimport fabs

from .hit cimport plane_hull
from .layer cimport Head
from .plane cimport Quadrant, covered
from .store cimport value_of
from .tree cimport (
    Node,
    Spot,
    Tree,
    WIDTH,
    at_mark,
    lower,
    soon,
    soon_numbers,
    towards,
    towards_mark,
)


cdef inline double number(bint single, const char *numbers, int at) noexcept nogil:
    return (<const float *>numbers)[at] if single else (<const double *>numbers)[at]


cdef inline double reflected(
    bint single, const char *keys, int i, int f
) noexcept nogil:
    """A feature of a head's key as a quadrant sees it, where i counts quadrants of all heads."""
    cdef double x = number(single, keys, 2 * (i >> 2) + f)
    return -x if i & (1 << f) else x


cdef void find_places(
    Head *heads, int n, bint single, const char *keys, Spot *places
) noexcept nogil:
    """Where each head's key stands in its four hulls, (n, 4); -1 where the apex covers it."""
    cdef int sought[4 * ABREAST]  # searches in trees that are not empty
    cdef int left[4 * ABREAST]  # those of them that are not at their leaf
    cdef double x, y
    cdef const Quadrant *quadrant
    cdef Node *node
    cdef int h, q, i, k, seeking = 0, waiting = 0, still
    for h in range(n):
        x = number(single, keys, 2 * h)
        y = number(single, keys, 2 * h + 1)
        for q in range(4):
            i = 4 * h + q
            quadrant = &heads[h].index.plane.quadrant[q]
            places[i].node = quadrant.hull.root
            places[i].at = 0
            if covered(quadrant, -x if q & 1 else x, -y if q & 2 else y):
                places[i].node = NULL
                places[i].at = -1
            elif places[i].node != NULL:
                sought[seeking] = i
                seeking += 1
                left[waiting] = i
                waiting += not places[i].node.is_leaf
    while waiting:
        for k in range(waiting):
            i = left[k]
            node = towards(
                places[i].node, reflected(single, keys, i, 0), reflected(single, keys, i, 1)
            )
            places[i].node = node
            soon(node)
            soon_numbers(node.key, 0, WIDTH)
        still = 0
        for k in range(waiting):
            left[still] = left[k]
            still += not places[left[k]].node.is_leaf
        waiting = still
    for k in range(seeking):
        i = sought[k]
        node = places[i].node
        q = lower(node, reflected(single, keys, i, 0), reflected(single, keys, i, 1))
        places[i].at = q
        # Its neighbours, and some of the entries that will be moved.
        q = max(q - 1, 0)
        soon(&node.low[q])
        soon(&node.mark[q])
        soon(&node.item[q])
        if node.stop - node.start > 8:
            q = max(q - 8, 0) if q - node.start < node.stop - q else min(q + 8, WIDTH - 1)
            soon(&node.low[q])
            soon(&node.mark[q])
            soon(&node.item[q])


cdef void find_peaks(
    Head *heads, int n, bint single, const char *queries, Spot *peaks
) noexcept nogil:
    """Each head's best key but for rounding; nothing where its hull does not say."""
    cdef double mark[ABREAST]
    cdef int sought[ABREAST]
    cdef int left[ABREAST]
    cdef double x, y
    cdef const Tree *hull
    cdef Node *node
    cdef int h, k, seeking = 0, waiting = 0, still
    for h in range(n):
        x = number(single, queries, 2 * h)
        y = number(single, queries, 2 * h + 1)
        peaks[h].node = NULL
        peaks[h].at = 0
        mark[h] = fabs(x) / fabs(y)
        if heads[h].store.count == 0 or (x == 0 and y == 0):
            continue
        hull = plane_hull(&heads[h].index.plane, &heads[h].store, x, y)
        if hull == NULL:
            continue
        peaks[h].node = hull.root
        sought[seeking] = h
        seeking += 1
        left[waiting] = h
        waiting += not peaks[h].node.is_leaf
    while waiting:
        for k in range(waiting):
            node = towards_mark(peaks[left[k]].node, mark[left[k]])
            peaks[left[k]].node = node
            soon(node)
            soon_numbers(node.mark, 0, WIDTH)
        still = 0
        for k in range(waiting):
            left[still] = left[k]
            still += not peaks[left[k]].node.is_leaf
        waiting = still
    for k in range(seeking):
        h = sought[k]
        peaks[h] = at_mark(peaks[h].node, mark[h])
        soon(&peaks[h].node.key[peaks[h].at])
        soon(&peaks[h].node.low[peaks[h].at])
        soon(&peaks[h].node.item[peaks[h].at])
    for k in range(seeking):
        h = sought[k]
        soon(value_of(&heads[h].store, peaks[h].node.item[peaks[h].at]))
