# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Who leads, and with whom each point ends: one pass over some rows, without the GIL."""

from libc.stdint cimport int32_t, int64_t

from ._since cimport since_when


def emerge(
    const int64_t[::1] first, const int64_t[::1] count, Py_ssize_t n, int64_t layer,
    Py_ssize_t start, Py_ssize_t stop, int64_t[::1] leader_layer,
):
    """Mark points that are their own only winner and were no leaders before."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(start, stop):
            if count[i] == 1 and leader_layer[i] < 0 and first[i] == i % n:
                leader_layer[i] = layer


def join(
    const int64_t[::1] first, const int64_t[::1] count, Py_ssize_t n,
    const int64_t[::1] leader_layer, Py_ssize_t start, Py_ssize_t stop, int64_t[::1] labels,
):
    """Label points that have none with their only winner, if that is a leader."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(start, stop):
            if count[i] == 1 and labels[i] < 0 and leader_layer[i // n * n + first[i]] >= 0:
                labels[i] = first[i]


def describe(
    const int64_t[::1] first, const int64_t[::1] count, const int64_t[::1] goes,
    const int32_t[::1] entry, const int32_t[::1] since, Py_ssize_t n,
    Py_ssize_t start, Py_ssize_t stop,
    int64_t[::1] leader_layer, int64_t[::1] labels,
):
    """The layers at which points emerged as leaders, and the leader that each point goes to."""
    cdef Py_ssize_t i = start, base, end
    with nogil:
        while i < stop:
            base = i // n * n
            end = min(stop, base + n)
            while i < end:
                leader_layer[i] = labels[i] = -1
                if goes[i] >= 0 and _leads(&first[0], &count[0], &goes[0], base, goes[i]):
                    labels[i] = goes[i] - base
                    if goes[i] == i:
                        leader_layer[i] = since_when(&entry[0], &since[0], i)
                i += 1


cdef inline bint _leads(
    const int64_t *first, const int64_t *count, const int64_t *goes, Py_ssize_t base, int64_t i
) noexcept nogil:
    return goes[i] == i and count[i] == 1 and base + first[i] == i


def number(
    const int64_t[::1] goes, const int64_t[::1] place_of_mean, Py_ssize_t n,
    Py_ssize_t start, Py_ssize_t stop, int64_t[::1] place_of, int64_t[::1] number_of,
    int64_t[::1] labels,
):
    """Number the limits of clouds ``start`` to ``stop``, each from 0 in order of first points.

    ``place_of`` a point that others go to, and ``place_of_mean`` a mean, name the place;
    ``number_of`` places is -1 at first.
    """
    cdef Py_ssize_t b, i
    cdef int64_t p, following
    with nogil:
        for b in range(start, stop):
            following = 0
            for i in range(b * n, b * n + n):
                labels[i] = -1
                if goes[i] == -1:
                    continue
                p = place_of[goes[i]] if goes[i] >= 0 else place_of_mean[-2 - goes[i]]
                if number_of[p] < 0:
                    number_of[p] = following
                    following += 1
                labels[i] = number_of[p]
