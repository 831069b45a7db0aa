"""A B+-tree of points in order, with a second sorted number to search by."""

from libc.stdint cimport int64_t
from libc.string cimport memmove

from .._soon cimport soon

cdef enum:
    WIDTH = 64  # entries in a node: a binary search in it touches two or three cache lines

cdef struct Node:
    Node *parent
    Node *before  # neighbouring leaves
    Node *after
    int start  # entries stand from start to before stop: there may be room on both sides,
    int stop  # where keys and marks are -inf and inf
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

cdef struct Spot:  # an entry, or a place between two: then ``at`` may be the leaf's stop
    Node *node
    int at

cdef Spot find(const Tree *tree, double key, double low) noexcept nogil
cdef Spot find_mark(const Tree *tree, double mark) noexcept nogil
cdef Spot insert_at_full(
    Tree *tree, Spot spot, double key, double low, double mark, int64_t item
) noexcept nogil
cdef Spot remove(Tree *tree, Spot spot) noexcept nogil
cdef void slide(Node *node, int start) noexcept nogil
cdef void tell_parents(Node *node) noexcept nogil
cdef Spot first(const Tree *tree) noexcept nogil
cdef Spot last(const Tree *tree) noexcept nogil
cdef void release(Tree *tree) noexcept nogil


# --- Neighbours ----------------------------------------------------------------------------------


cdef inline Spot settled(Spot spot) noexcept nogil:
    """The entry at or after a place; its node is NULL behind the last."""
    if spot.node != NULL and spot.at >= spot.node.stop:
        spot.node = spot.node.after
        spot.at = spot.node.start if spot.node != NULL else 0
    return spot


cdef inline Spot following(Spot spot) noexcept nogil:
    """The next entry of an entry; its node is NULL behind the last."""
    spot.at += 1
    return settled(spot)


cdef inline Spot preceding(Spot spot) noexcept nogil:
    """The entry before an entry or a place; its node is NULL before the first."""
    if spot.node == NULL:
        return spot
    if spot.at == spot.node.start:
        spot.node = spot.node.before
        if spot.node != NULL:
            spot.at = spot.node.stop - 1
    else:
        spot.at -= 1
    return spot


cdef inline Node *child(const Node *node, int at) noexcept nogil:
    return <Node *><size_t>node.item[at]


# --- Searching -----------------------------------------------------------------------------------


cdef inline int smaller(const Node *node, const double *rising, double than) noexcept nogil:
    """How many numbers of one of a node's sorted arrays, empty places too, are smaller than one.

    No branch depends on them: half of those of a binary search would be mispredicted.
    """
    cdef int start = 0, at, j
    if node.stop - node.start <= 8:
        start = min(node.start, WIDTH - 8)
    else:
        for j in range(WIDTH // 8 - 1):
            start += rising[8 * j + 7] < than
        start *= 8
    rising += start
    at = start
    for j in range(8):
        at += rising[j] < than
    return at


cdef inline int lower(const Node *node, double key, double low) noexcept nogil:
    """Where the entries of a node stop being before (key, low)."""
    cdef int at = smaller(node, node.key, key), stop = node.stop, middle
    if at == stop or node.key[at] != key:
        return at
    while at < stop:
        middle = (at + stop) >> 1
        if node.key[middle] == key and node.low[middle] > low:
            at = middle + 1
        else:
            stop = middle
    return at


cdef inline int below(const Node *node, double mark) noexcept nogil:
    """Where the entries of a node stop having a smaller mark."""
    return smaller(node, node.mark, mark)


cdef inline Node *towards(const Node *node, double key, double low) noexcept nogil:
    """The child of an inner node in which to look for (key, low)."""
    cdef int at = lower(node, key, low)
    return child(node, at - (at > node.start))


cdef inline Node *towards_mark(const Node *node, double mark) noexcept nogil:
    cdef int at = below(node, mark)
    return child(node, at - (at > node.start))


cdef inline Spot at_mark(Node *leaf, double mark) noexcept nogil:
    """The first entry of at least this mark, given the leaf where the search ends."""
    cdef Spot spot
    spot.node = leaf
    spot.at = below(leaf, mark)
    if spot.at == leaf.stop:
        if leaf.after != NULL:
            spot.node = leaf.after
            spot.at = leaf.after.start
        else:
            spot.at -= 1
    return spot


cdef inline void soon_numbers(const double *numbers, int start, int stop) noexcept nogil:
    """Fetch a part of an array, a cache line at a time."""
    while start < stop:
        soon(numbers + start)
        start += 8


# --- Changing ------------------------------------------------------------------------------------


cdef inline void move(Node *node, int start, int stop, int by) noexcept nogil:
    """Move some entries; start and stop of the node follow elsewhere."""
    cdef size_t size = (stop - start) * sizeof(double)
    if size == 0:
        return
    memmove(&node.key[start + by], &node.key[start], size)
    memmove(&node.low[start + by], &node.low[start], size)
    memmove(&node.mark[start + by], &node.mark[start], size)
    memmove(&node.item[start + by], &node.item[start], size)


cdef inline void write(
    Node *node, int at, double key, double low, double mark, int64_t item
) noexcept nogil:
    node.key[at] = key
    node.low[at] = low
    node.mark[at] = mark
    node.item[at] = item


cdef inline int put(
    Node *node, int at, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Put an entry in a node that has room, moving the fewer of its neighbours; where it is."""
    cdef int before = at - node.start, behind = node.stop - at
    cdef bint downwards = before < behind
    if node.stop == WIDTH:
        downwards = True
        if behind == 0 and before > 0:  # in order: make room for more
            slide(node, (WIDTH - before) // 2)
            at = node.stop
            downwards = False
    elif node.start == 0:
        downwards = False
        if before == 0 and behind > 0:
            slide(node, (WIDTH - behind + 1) // 2)
            at = node.start
            downwards = True
    if downwards:
        move(node, node.start, at, -1)
        node.start -= 1
        at -= 1
    else:
        move(node, at, node.stop, 1)
        node.stop += 1
    write(node, at, key, low, mark, item)
    return at


cdef inline Spot insert(
    Tree *tree, Spot spot, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Insert at a place that keeps the order; the node is NULL where no memory is found."""
    if spot.node == NULL or spot.node.stop - spot.node.start == WIDTH:
        return insert_at_full(tree, spot, key, low, mark, item)
    tree.count += 1
    spot.at = put(spot.node, spot.at, key, low, mark, item)
    if spot.at == spot.node.start:
        tell_parents(spot.node)
    return spot


cdef inline void overwrite(
    Spot spot, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Put an entry in place of another, where that keeps the order."""
    write(spot.node, spot.at, key, low, mark, item)
    if spot.at == spot.node.start:
        tell_parents(spot.node)


cdef inline void set_mark(Spot spot, double mark) noexcept nogil:
    spot.node.mark[spot.at] = mark
    if spot.at == spot.node.start:
        tell_parents(spot.node)
