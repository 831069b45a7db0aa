# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A B+-tree of points in order, with a second sorted number to search by.

Entries are sorted by (key ascending, low descending); ``mark`` is sorted as well wherever
``find_mark`` is used. Insertion, removal and both searches take O(log n); neighbours O(1). Nodes
are filled to the last entry where insertions come in order, and merge with a neighbour where both
together are at most half full.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove


cdef inline int slot(const Node *node) noexcept nogil:
    """Where a node stands in its parent."""
    cdef int at = 0
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
        spot.node = child(spot.node, 0)
    return spot


cdef Spot last(const Tree *tree) noexcept nogil:
    cdef Spot spot
    spot.node = tree.root
    spot.at = 0
    while spot.node != NULL and not spot.node.is_leaf:
        spot.node = child(spot.node, spot.node.count - 1)
    if spot.node != NULL:
        spot.at = spot.node.count - 1
    return spot


cdef void tell_parents(Node *node) noexcept nogil:
    """Write the first entry of a node into its ancestors."""
    cdef int at = 0
    cdef Node *parent
    while at == 0 and node.parent != NULL:
        parent = node.parent
        at = slot(node)
        parent.key[at] = node.key[0]
        parent.low[at] = node.low[0]
        parent.mark[at] = node.mark[0]
        node = parent


cdef void set_mark(Spot spot, double mark) noexcept nogil:
    spot.node.mark[spot.at] = mark
    if spot.at == 0:
        tell_parents(spot.node)


cdef void shift(Node *node, int start, int by) noexcept nogil:
    """Move the entries from ``start`` on; the count follows."""
    cdef size_t size = (node.count - start) * sizeof(double)
    memmove(&node.key[start + by], &node.key[start], size)
    memmove(&node.low[start + by], &node.low[start], size)
    memmove(&node.mark[start + by], &node.mark[start], size)
    memmove(&node.item[start + by], &node.item[start], size)
    node.count += by


cdef void take(Node *node, Node *other, int start) noexcept nogil:
    """Move the entries of ``other`` from ``start`` on behind those of ``node``."""
    cdef int moved = other.count - start, at = node.count, i
    cdef size_t size = moved * sizeof(double)
    memmove(&node.key[at], &other.key[start], size)
    memmove(&node.low[at], &other.low[start], size)
    memmove(&node.mark[at], &other.mark[start], size)
    memmove(&node.item[at], &other.item[start], size)
    node.count += moved
    other.count = start
    if not node.is_leaf:
        for i in range(at, node.count):
            child(node, i).parent = node


cdef void put(
    Node *node, int at, double key, double low, double mark, int64_t item
) noexcept nogil:
    shift(node, at, 1)
    node.key[at] = key
    node.low[at] = low
    node.mark[at] = mark
    node.item[at] = item


cdef Node *fresh(Tree *tree, bint is_leaf) noexcept nogil:
    cdef Node *node = tree.spare
    tree.spare = node.parent
    tree.nodes += 1
    node.parent = NULL
    node.before = NULL
    node.after = NULL
    node.count = 0
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


cdef Spot place(
    Tree *tree, Node *node, int at, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Put an entry in a node, splitting it and its ancestors where they are full."""
    cdef Spot spot
    cdef Node *right
    cdef Node *root
    cdef int start
    spot.node = node
    spot.at = at
    if node.count < WIDTH:
        put(node, at, key, low, mark, item)
    else:
        right = fresh(tree, node.is_leaf)
        # In order, upwards or downwards: leave a full node behind.
        start = WIDTH // 2
        if at == WIDTH and node.after == NULL:
            start = WIDTH
        elif at == 0 and node.before == NULL:
            start = 0
        take(right, node, start)
        if at > start or at == WIDTH:
            spot.node = right
            spot.at = at - start
        put(spot.node, spot.at, key, low, mark, item)
        if not node.is_leaf:
            child(spot.node, spot.at).parent = spot.node
        else:
            right.before = node
            right.after = node.after
            if node.after != NULL:
                node.after.before = right
            node.after = right
        if node.parent == NULL:
            root = fresh(tree, False)
            put(root, 0, node.key[0], node.low[0], node.mark[0], <int64_t><size_t>node)
            node.parent = root
            tree.root = root
            tree.height += 1
        start = slot(node) + 1
        right.parent = node.parent
        place(
            tree,
            node.parent,
            start,
            right.key[0],
            right.low[0],
            right.mark[0],
            <int64_t><size_t>right,
        )
        if spot.node == node and spot.at == 0:
            tell_parents(node)
        return spot
    if not node.is_leaf:
        child(node, at).parent = node
    if at == 0:
        tell_parents(node)
    return spot


cdef Spot insert(
    Tree *tree, Spot spot, double key, double low, double mark, int64_t item
) noexcept nogil:
    """Insert at a place that keeps the order; the node is NULL where no memory is found."""
    cdef Spot none
    none.node = NULL
    none.at = 0
    if tree.root == NULL:
        if not reserve(tree, 1):
            return none
        tree.root = fresh(tree, True)
        tree.height = 1
        spot.node = tree.root
        spot.at = 0
    elif spot.node.count == WIDTH and not reserve(tree, tree.height + 1):
        return none
    tree.count += 1
    return place(tree, spot.node, spot.at, key, low, mark, item)


cdef void drop(Tree *tree, Node *node) noexcept nogil:
    """Take an empty node out of the tree."""
    cdef Node *parent = node.parent
    cdef int at
    if node.before != NULL:
        node.before.after = node.after
    if node.after != NULL:
        node.after.before = node.before
    if parent == NULL:
        tree.root = NULL
        tree.height = 0
    else:
        at = slot(node)
        shift(parent, at + 1, -1)
        if parent.count == 0:
            drop(tree, parent)
        elif at == 0:
            tell_parents(parent)
    give_back(tree, node)


cdef Spot merge(Tree *tree, Node *left, Node *right, Spot spot) noexcept nogil:
    if spot.node == right:
        spot.node = left
        spot.at += left.count
    take(left, right, 0)
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
        if at + 1 < parent.count and node.count + child(parent, at + 1).count <= WIDTH // 2:
            merge(tree, node, child(parent, at + 1), ignored)
        elif at > 0 and node.count + child(parent, at - 1).count <= WIDTH // 2:
            merge(tree, child(parent, at - 1), node, ignored)
        else:
            break
        node = parent
    while not tree.root.is_leaf and tree.root.count == 1:
        node = tree.root
        tree.root = child(node, 0)
        tree.root.parent = NULL
        tree.height -= 1
        give_back(tree, node)


cdef Spot remove(Tree *tree, Spot spot) noexcept nogil:
    """Remove an entry; the place where it was."""
    cdef Node *node = spot.node
    cdef Node *parent = node.parent
    cdef Node *other
    shift(node, spot.at + 1, -1)
    tree.count -= 1
    if node.count == 0:
        if node.after != NULL:
            spot.node = node.after
            spot.at = 0
        else:
            spot.node = node.before
            spot.at = 0 if node.before == NULL else node.before.count
        drop(tree, node)
        if spot.node != NULL and spot.node.parent != NULL:
            thin(tree, spot.node.parent)
        return spot
    if spot.at == 0:
        tell_parents(node)
    if parent != NULL and node.count <= WIDTH // 4:
        other = node.after
        if other != NULL and other.parent == parent and node.count + other.count <= WIDTH // 2:
            spot = merge(tree, node, other, spot)
            thin(tree, parent)
            return spot
        other = node.before
        if other != NULL and other.parent == parent and node.count + other.count <= WIDTH // 2:
            spot = merge(tree, other, node, spot)
            thin(tree, parent)
    return spot


cdef void free_below(Node *node) noexcept nogil:
    cdef int i
    if not node.is_leaf:
        for i in range(node.count):
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
