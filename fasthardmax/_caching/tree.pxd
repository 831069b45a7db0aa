"""A B+-tree of points in order, with a second sorted number to search by."""

from libc.stdint cimport int64_t

from .._soon cimport soon

cdef enum:
    WIDTH = 64  # entries in a node: a binary search in it touches two or three cache lines

cdef struct Node:
    Node *parent
    Node *before  # neighbouring leaves
    Node *after
    int count
    bint is_leaf
    # Of entries in a leaf; of the first entry of each child otherwise.
    double key[WIDTH]
    double low[WIDTH]
    double mark[WIDTH]
    int64_t item[WIDTH]  # a token, or a child

cdef struct Tree:
    Node *root
    Node *spare  # linked by parent
    int height
    int64_t count  # entries
    int64_t nodes

cdef struct Spot:  # an entry, or a place between two: then ``at`` may be the leaf's count
    Node *node
    int at

cdef Spot find(const Tree *tree, double key, double low) noexcept nogil
cdef Spot find_mark(const Tree *tree, double mark) noexcept nogil
cdef Spot insert(Tree *tree, Spot spot, double key, double low, double mark, int64_t item) noexcept nogil
cdef Spot remove(Tree *tree, Spot spot) noexcept nogil
cdef void set_mark(Spot spot, double mark) noexcept nogil
cdef Spot first(const Tree *tree) noexcept nogil
cdef Spot last(const Tree *tree) noexcept nogil
cdef void release(Tree *tree) noexcept nogil


cdef inline Spot settled(Spot spot) noexcept nogil:
    """The entry at or after a place; its node is NULL behind the last."""
    if spot.node != NULL and spot.at >= spot.node.count:
        spot.node = spot.node.after
        spot.at = 0
    return spot


cdef inline Spot following(Spot spot) noexcept nogil:
    """The next entry of an entry; its node is NULL behind the last."""
    spot.at += 1
    return settled(spot)


cdef inline Spot preceding(Spot spot) noexcept nogil:
    """The entry before an entry or a place; its node is NULL before the first."""
    if spot.node == NULL:
        return spot
    if spot.at == 0:
        spot.node = spot.node.before
        if spot.node != NULL:
            spot.at = spot.node.count - 1
    else:
        spot.at -= 1
    return spot


cdef inline Node *child(const Node *node, int at) noexcept nogil:
    return <Node *><size_t>node.item[at]


cdef inline int lower(const Node *node, double key, double low) noexcept nogil:
    """How many entries of a node come before (key, low)."""
    cdef int start = 0, stop = node.count, middle
    while start < stop:
        middle = (start + stop) // 2
        if node.key[middle] < key or (node.key[middle] == key and node.low[middle] > low):
            start = middle + 1
        else:
            stop = middle
    return start


cdef inline int below(const Node *node, double mark) noexcept nogil:
    """How many entries of a node have a smaller mark."""
    cdef int start = 0, stop = node.count, middle
    while start < stop:
        middle = (start + stop) // 2
        if node.mark[middle] < mark:
            start = middle + 1
        else:
            stop = middle
    return start


cdef inline Node *towards(const Node *node, double key, double low) noexcept nogil:
    """The child of an inner node in which to look for (key, low)."""
    cdef int at = lower(node, key, low)
    return child(node, at - 1 if at > 0 else 0)


cdef inline Node *towards_mark(const Node *node, double mark) noexcept nogil:
    cdef int at = below(node, mark)
    return child(node, at - 1 if at > 0 else 0)


cdef inline Spot at_mark(Node *leaf, double mark) noexcept nogil:
    """The first entry of at least this mark, given the leaf where the search ends."""
    cdef Spot spot
    spot.node = leaf
    spot.at = below(leaf, mark)
    if spot.at == leaf.count:
        if leaf.after != NULL:
            spot.node = leaf.after
            spot.at = 0
        else:
            spot.at -= 1
    return spot


cdef inline void soon_numbers(const double *numbers, int start, int stop) noexcept nogil:
    """Fetch a part of an array, a cache line at a time."""
    while start < stop:
        soon(numbers + start)
        start += 8
