# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A B+-tree of points in order, with a second sorted number to search by.

Entries are sorted by (key ascending, low descending); ``mark`` is sorted as well wherever
``find_mark`` is used. Insertion, removal and both searches take O(log n); neighbours O(1). Nodes
are filled to the last entry where insertions come in order, either way, and merge with a neighbour
where both together are at most half full.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef inline int slot(const Node *node) noexcept nogil:
    """Where a node stands in its parent."""
    cdef int at = node.parent.start
    while node.parent.item[at] != <int64_t><size_t>node:
        at += 1
    return at


cdef Spot find(const Tree *tree, double key, double low) noexcept nogil:
    """The place before the first entry that is not before (key, low)."""
    cdef Spot spot
    cdef Node *node = tree.root
    spot.node = NULL
    spot.at = 0
    if node == NULL:
        return spot
    while not node.is_leaf:
        node = towards(node, key, low)
    spot.node = node
    spot.at = lower(node, key, low)
    return spot


cdef Spot find_mark(const Tree *tree, double mark) noexcept nogil:
    """The first entry with at least this mark, or the last; in a tree that is not empty."""
    cdef Node *node = tree.root
    while not node.is_leaf:
        node = towards_mark(node, mark)
    return at_mark(node, mark)


cdef Spot first(const Tree *tree) noexcept nogil:
    cdef Spot spot
    spot.node = tree.root
    spot.at = 0
    while spot.node != NULL and not spot.node.is_leaf:
        spot.node = child(spot.node, spot.node.start)
    if spot.node != NULL:
        spot.at = spot.node.start
    return spot


cdef Spot last(const Tree *tree) noexcept nogil:
    cdef Spot spot
    spot.node = tree.root
    spot.at = 0
    while spot.node != NULL and not spot.node.is_leaf:
        spot.node = child(spot.node, spot.node.stop - 1)
    if spot.node != NULL:
        spot.at = spot.node.stop - 1
    return spot


cdef void tell_parents(Node *node) noexcept nogil:
    """Write the first entry of a node into its ancestors."""
    cdef Node *parent = node.parent
    cdef int at
    while parent != NULL:
        at = slot(node)
        parent.key[at] = node.key[node.start]
        parent.low[at] = node.low[node.start]
        parent.mark[at] = node.mark[node.start]
        if at != parent.start:
            break
        node = parent
        parent = node.parent


cdef void pad(Node *node, int start, int stop, double by) noexcept nogil:
    """Mark a part of a node as empty, on the side of the entries that a sign says."""
    cdef int i
    for i in range(start, stop):
        node.key[i] = by
        node.mark[i] = by


cdef void slide(Node *node, int start) noexcept nogil:
    """Move all entries of a node."""
    cdef int by = start - node.start
    move(node, node.start, node.stop, by)
    node.start += by
    node.stop += by
    pad(node, 0, node.start, -INFINITY)
    pad(node, node.stop, WIDTH, INFINITY)


cdef int take_out(Node *node, int at) noexcept nogil:
    """Remove an entry of a node, moving the fewer of its neighbours; the place where it was."""
    if at - node.start < node.stop - 1 - at:
        move(node, node.start, at, 1)
        pad(node, node.start, node.start + 1, -INFINITY)
        node.start += 1
        return at + 1
    move(node, at + 1, node.stop, -1)
    node.stop -= 1
    pad(node, node.stop, node.stop + 1, INFINITY)
    return at


cdef void take(Node *node, Node *other, int start) noexcept nogil:
    """Move the entries of ``other`` from ``start`` on behind those of ``node``."""
    cdef int moved = other.stop - start, at, i
    cdef size_t size = moved * sizeof(double)
    if node.stop + moved > WIDTH:
        slide(node, 0)
    at = node.stop
    memcpy(&node.key[at], &other.key[start], size)
    memcpy(&node.low[at], &other.low[start], size)
    memcpy(&node.mark[at], &other.mark[start], size)
    memcpy(&node.item[at], &other.item[start], size)
    node.stop += moved
    pad(other, start, other.stop, INFINITY)
    other.stop = start
    if not node.is_leaf:
        for i in range(at, node.stop):
            child(node, i).parent = node


cdef Node *fresh(Tree *tree, bint is_leaf, int start) noexcept nogil:
    """An empty node whose first entry will stand at ``start``."""
    cdef Node *node = tree.spare
    tree.spare = node.parent
    tree.nodes += 1
    node.parent = NULL
    node.before = NULL
    node.after = NULL
    node.start = start
    node.stop = start
    pad(node, 0, start, -INFINITY)
    pad(node, start, WIDTH, INFINITY)
    node.is_leaf = is_leaf
    return node


cdef void give_back(Tree *tree, Node *node) noexcept nogil:
    """Free a node; one is kept, for a hull that loses its only entry to the next key."""
    tree.nodes -= 1
    if tree.spare == NULL:
        node.parent = NULL
        tree.spare = node
    else:
        free(node)


cdef bint reserve(Tree *tree, int number) noexcept nogil:
    """Have this many spare nodes; False where no memory is found."""
    cdef Node *node = tree.spare
    while node != NULL and number > 0:
        node = node.parent
        number -= 1
    while number > 0:
        node = <Node *>malloc(sizeof(Node))
        if node == NULL:
            return False
        node.parent = tree.spare
        tree.spare = node
        number -= 1
    return True


cdef void beside(Tree *tree, Node *node, Node *right) noexcept nogil:
    """Put a new node behind another in their parent, which is made where there is none."""
    cdef Node *root
    cdef Spot place
    cdef int at
    if node.parent == NULL:
        root = fresh(tree, False, 0)
        at = node.start
        put(root, 0, node.key[at], node.low[at], node.mark[at], <int64_t><size_t>node)
        node.parent = root
        tree.root = root
        tree.height += 1
    place.node = node.parent
    place.at = slot(node) + 1
    right.parent = node.parent
    at = right.start
    lodge(tree, place, right.key[at], right.low[at], right.mark[at], <int64_t><size_t>right)


cdef Spot lodge(
    Tree *tree, Spot spot, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Put an entry in a node, splitting it and its ancestors where they are full."""
    cdef Node *node = spot.node
    cdef Node *right = NULL
    cdef int start = WIDTH // 2
    if node.stop - node.start == WIDTH:
        # In order, upwards or downwards: leave a full node behind.
        if spot.at == WIDTH and node.after == NULL:
            start = WIDTH
        elif spot.at == 0 and node.before == NULL:
            start = 0
        right = fresh(tree, node.is_leaf, WIDTH // 4 if start == WIDTH // 2 else 0)
        take(right, node, start)
        if start == 0:
            slide(node, WIDTH)
            spot.at = WIDTH
        elif spot.at > start or start == WIDTH:
            spot.node = right
            spot.at += right.start - start
        if node.is_leaf:
            right.before = node
            right.after = node.after
            if node.after != NULL:
                node.after.before = right
            node.after = right
    spot.at = put(spot.node, spot.at, key, low, mark, item)
    if not node.is_leaf:
        child(spot.node, spot.at).parent = spot.node
    if right != NULL:
        beside(tree, node, right)
    if spot.node != right and spot.at == node.start:
        tell_parents(node)
    return spot


cdef Spot insert_at_full(
    Tree *tree, Spot spot, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Insert in an empty tree, or at a place in a full node, as ``insert`` does."""
    cdef Spot none
    none.node = NULL
    none.at = 0
    if tree.root == NULL:
        if not reserve(tree, 1):
            return none
        tree.root = fresh(tree, True, 0)
        tree.height = 1
        spot.node = tree.root
        spot.at = 0
    elif not reserve(tree, tree.height + 1):
        return none
    tree.count += 1
    return lodge(tree, spot, key, low, mark, item)


cdef void drop(Tree *tree, Node *node) noexcept nogil:
    """Take an empty node out of the tree."""
    cdef Node *parent = node.parent
    cdef int at
    cdef bint was_first
    if node.before != NULL:
        node.before.after = node.after
    if node.after != NULL:
        node.after.before = node.before
    if parent == NULL:
        tree.root = NULL
        tree.height = 0
    else:
        at = slot(node)
        was_first = at == parent.start
        take_out(parent, at)
        if parent.start == parent.stop:
            drop(tree, parent)
        elif was_first:
            tell_parents(parent)
    give_back(tree, node)


cdef inline bint fit(const Node *node, const Node *other) noexcept nogil:
    """Whether two nodes are at most half full together."""
    return node.stop - node.start + other.stop - other.start <= WIDTH // 2


cdef Spot merge(Tree *tree, Node *left, Node *right, Spot spot) noexcept nogil:
    cdef int at = spot.at - (left.start if spot.node == left else right.start)
    cdef int held = left.stop - left.start
    take(left, right, right.start)
    if spot.node == right:
        spot.node = left
        at += held
    spot.at = left.start + at
    drop(tree, right)
    return spot


cdef void thin(Tree *tree, Node *node) noexcept nogil:
    """Merge an inner node with a neighbour where both are small, and so its ancestors."""
    cdef Node *parent
    cdef Spot ignored
    cdef int at
    ignored.node = NULL
    ignored.at = 0
    while node.parent != NULL:
        parent = node.parent
        at = slot(node)
        if at + 1 < parent.stop and fit(node, child(parent, at + 1)):
            merge(tree, node, child(parent, at + 1), ignored)
        elif at > parent.start and fit(node, child(parent, at - 1)):
            merge(tree, child(parent, at - 1), node, ignored)
        else:
            break
        node = parent
    while not tree.root.is_leaf and tree.root.stop - tree.root.start == 1:
        node = tree.root
        tree.root = child(node, node.start)
        tree.root.parent = NULL
        tree.height -= 1
        give_back(tree, node)


cdef Spot remove(Tree *tree, Spot spot) noexcept nogil:
    """Remove an entry; the place where it was."""
    cdef Node *node = spot.node
    cdef Node *parent = node.parent
    cdef Node *other
    cdef bint was_first = spot.at == node.start
    spot.at = take_out(node, spot.at)
    tree.count -= 1
    if node.start == node.stop:
        if node.after != NULL:
            spot.node = node.after
            spot.at = node.after.start
        else:
            spot.node = node.before
            spot.at = 0 if node.before == NULL else node.before.stop
        drop(tree, node)
        if spot.node != NULL and spot.node.parent != NULL:
            thin(tree, spot.node.parent)
        return spot
    if was_first:
        tell_parents(node)
    if parent != NULL and node.stop - node.start <= WIDTH // 4:
        other = node.after
        if other != NULL and other.parent == parent and fit(node, other):
            spot = merge(tree, node, other, spot)
            thin(tree, parent)
            return spot
        other = node.before
        if other != NULL and other.parent == parent and fit(node, other):
            spot = merge(tree, other, node, spot)
            thin(tree, parent)
    return spot


cdef void free_below(Node *node) noexcept nogil:
    cdef int i
    if not node.is_leaf:
        for i in range(node.start, node.stop):
            free_below(child(node, i))
    free(node)


cdef void release(Tree *tree) noexcept nogil:
    """Free all nodes; the tree is empty."""
    cdef Node *node
    if tree.root != NULL:
        free_below(tree.root)
    while tree.spare != NULL:
        node = tree.spare
        tree.spare = node.parent
        free(node)
    tree.root = NULL
    tree.height = 0
    tree.count = 0
    tree.nodes = 0
