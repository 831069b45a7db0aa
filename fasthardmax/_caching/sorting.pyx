# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Keys sorted as a hull runs, by counting digits."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    DIGIT = 11  # bits of a rank that one pass of sorting looks at, at most; with few keys 7
    MANY = 4096  # keys that are worth counting more digits for


cdef inline uint64_t rank(const Key *key, bint by_y) noexcept nogil:
    """A number that rises with x, or falls with y."""
    cdef uint64_t bits
    memcpy(&bits, &key.y if by_y else &key.x, sizeof(bits))
    bits = ~bits if bits >> 63 else bits | (<uint64_t>1 << 63)
    return ~bits if by_y else bits


cdef Key *sort(Key *key, Key *other, int64_t n, bint by_y) noexcept nogil:
    """Sort by x upwards, or by y downwards, stably; the one of two arrays that has the result."""
    cdef int64_t start[1 << DIGIT]
    cdef int64_t i, total, here
    cdef uint64_t number, before = 0, varying = 0
    cdef int low = 0, high = 64, passes, width, value, most = DIGIT if n > MANY else 7
    cdef bint in_order = True
    for i in range(n):
        number = rank(&key[i], by_y)
        in_order = in_order and number >= before
        before = number
        varying |= number ^ rank(key, by_y)
    if in_order:
        return key
    while not varying >> low & 1:
        low += 1
    while not varying >> (high - 1) & 1:
        high -= 1
    passes = (high - low + most - 1) // most
    width = (high - low + passes - 1) // passes
    while low < high:
        memset(start, 0, sizeof(int64_t) << width)
        for i in range(n):
            start[rank(&key[i], by_y) >> low & ((1 << width) - 1)] += 1
        total = 0
        for value in range(1 << width):
            here = start[value]
            start[value] = total
            total += here
        for i in range(n):
            value = rank(&key[i], by_y) >> low & ((1 << width) - 1)
            other[start[value]] = key[i]
            start[value] += 1
        key, other = other, key
        low += width
    return key


cdef void sort_few(Key *key, int64_t n) noexcept nogil:
    """Sort as a hull runs, by insertion."""
    cdef Key one
    cdef int64_t i, at
    for i in range(1, n):
        one = key[i]
        at = i
        while at and (
            key[at - 1].x > one.x or (key[at - 1].x == one.x and key[at - 1].y < one.y)
        ):
            key[at] = key[at - 1]
            at -= 1
        key[at] = one


cdef Key *sort_along(Key *key, Key *other, int64_t n) noexcept nogil:
    """Sort as a hull runs: by x upwards, equal ones by y downwards, equal keys by token."""
    cdef Key *both[2]
    cdef Key *by_x
    cdef int64_t i
    if n <= FEW:
        sort_few(key, n)
        return key
    by_x = sort(key, other, n, False)
    both[0] = key
    both[1] = other
    for i in range(1, n):
        if by_x[i].x == by_x[i - 1].x and by_x[i].y > by_x[i - 1].y:
            # Equal keys still have their tokens in order.
            key = sort(by_x, both[by_x == key], n, True)
            return sort(key, both[key == both[0]], n, False)
    return by_x
