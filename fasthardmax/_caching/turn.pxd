"""Which way three points turn, to about 100 bits."""

from libc.math cimport frexp, ldexp

cdef struct Pair:  # an unevaluated sum times a power of two
    double high
    double rest
    int exponent


cdef inline Pair difference(double a, double b) noexcept nogil:
    """a - b exactly (Knuth's TwoSum), with ``high`` scaled to [1/2, 1)."""
    cdef Pair pair
    cdef double high = a - b, back = high - a
    cdef double rest = (a - (high - back)) - (b + back)
    pair.high = frexp(high, &pair.exponent)
    pair.rest = ldexp(rest, -pair.exponent)
    return pair


cdef inline Pair product(Pair a, Pair b) noexcept nogil:
    """a b with a relative error of a few 2^-105 (Dekker's product, without fused operations)."""
    cdef Pair pair
    cdef double split = 134217729.0  # 2^27 + 1
    cdef double t = split * a.high, a1 = t - (t - a.high), a2 = a.high - a1
    cdef double s = split * b.high, b1 = s - (s - b.high), b2 = b.high - b1
    cdef double high = a.high * b.high
    cdef double rest = ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2
    pair.high = high
    pair.rest = rest + (a.high * b.rest + a.rest * b.high)
    pair.exponent = a.exponent + b.exponent
    return pair


cdef inline bint reflex(
    double ax, double ay, double px, double py, double bx, double by
) noexcept nogil:
    """Whether p lies strictly below the line from a to b; ax <= px <= bx and ay >= py >= by.

    That is so if the slope from a to p is steeper than from p to b.
    """
    cdef double left = (ay - py) * (bx - px), right = (py - by) * (px - ax)
    cdef Pair l, r
    cdef int apart
    # Both products carry three roundings; where that decides, and nothing underflowed, it is right.
    if left > 1e-290 and right > 1e-290:
        if left > right * (1 + 1e-14):
            return True
        if left < right * (1 - 1e-14):
            return False
    l = product(difference(ay, py), difference(bx, px))
    r = product(difference(py, by), difference(px, ax))
    if l.high == 0 or r.high == 0:
        return l.high > 0
    apart = l.exponent - r.exponent
    if apart > 3 or apart < -3:
        return apart > 0
    return (ldexp(l.high, apart) - r.high) + (ldexp(l.rest, apart) - r.rest) > 0
