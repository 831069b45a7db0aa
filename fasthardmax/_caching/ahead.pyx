# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Searches in the hulls of many heads side by side.

A search in a large tree waits for memory at every node. The heads of a layer do not depend on each
other, so all go down one node, ask for the next, and find it there when their turn comes again.
"""

from libc.math cimport INFINITY, fabs

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


cdef void find_places(
    Head *heads, int n, bint single, const char *keys, Spot *places
) noexcept nogil:
    """Where each head's key stands in its four hulls, (n, 4); nothing where the apex covers it."""
    cdef Node *node[4 * ABREAST]
    cdef int left[4 * ABREAST]  # searches that are not at their leaf
    cdef double x, y
    cdef Quadrant *quadrant
    cdef int h, q, i, waiting = 0, still
    for h in range(n):
        for q in range(4):
            i = 4 * h + q
            quadrant = &heads[h].index.plane.quadrant[q]
            x = reflected(single, keys, h, q, 0)
            y = reflected(single, keys, h, q, 1)
            node[i] = NULL if covered(quadrant, x, y) else quadrant.hull.root
            if node[i] != NULL and not node[i].is_leaf:
                left[waiting] = i
                waiting += 1
    while waiting:
        still = 0
        for q in range(waiting):
            i = left[q]
            x = reflected(single, keys, i // 4, i % 4, 0)
            y = reflected(single, keys, i // 4, i % 4, 1)
            node[i] = towards(node[i], x, y)
            soon(node[i])
            soon_numbers(node[i].key, 0, WIDTH)
            left[still] = i
            still += 1
        waiting = 0
        for q in range(still):
            if not node[left[q]].is_leaf:
                left[waiting] = left[q]
                waiting += 1
    for i in range(4 * n):
        places[i].node = node[i]
        places[i].at = 0
        if node[i] != NULL:
            x = reflected(single, keys, i // 4, i % 4, 0)
            y = reflected(single, keys, i // 4, i % 4, 1)
            places[i].at = lower(node[i], x, y)
            # What comes after it will be moved.
            q = max(places[i].at - 1, node[i].start)
            soon_numbers(node[i].low, q, node[i].stop)
            soon_numbers(node[i].mark, q, node[i].stop)
            soon_numbers(<const double *>node[i].item, q, node[i].stop)


cdef inline double reflected(
    bint single, const char *keys, int h, int q, int f
) noexcept nogil:
    cdef double x = number(single, keys, 2 * h + f)
    return -x if q & (1 << f) else x


cdef void find_peaks(
    Head *heads, int n, bint single, const char *queries, Spot *peaks
) noexcept nogil:
    """Each head's best key but for rounding; nothing where its hull does not say."""
    cdef Node *node[ABREAST]
    cdef double mark[ABREAST]
    cdef double x, y
    cdef const Tree *hull
    cdef int h
    cdef bint waiting = False
    for h in range(n):
        x = number(single, queries, 2 * h)
        y = number(single, queries, 2 * h + 1)
        node[h] = NULL
        if heads[h].store.count and (x != 0 or y != 0):
            hull = plane_hull(&heads[h].index.plane, &heads[h].store, x, y)
            if hull != NULL:
                node[h] = hull.root
                waiting = waiting or not node[h].is_leaf
        mark[h] = fabs(x) / fabs(y) if y != 0 else INFINITY
    while waiting:
        for h in range(n):
            if node[h] != NULL and not node[h].is_leaf:
                node[h] = towards_mark(node[h], mark[h])
                soon(node[h])
                soon_numbers(node[h].mark, 0, WIDTH)
        waiting = False
        for h in range(n):
            if node[h] != NULL and not node[h].is_leaf:
                waiting = True
    for h in range(n):
        peaks[h].node = NULL
        peaks[h].at = 0
        if node[h] != NULL:
            peaks[h] = at_mark(node[h], mark[h])
            soon(&peaks[h].node.key[peaks[h].at])
            soon(&peaks[h].node.low[peaks[h].at])
            soon(&peaks[h].node.item[peaks[h].at])
    for h in range(n):
        if peaks[h].node != NULL:
            soon(value_of(&heads[h].store, peaks[h].node.item[peaks[h].at]))
