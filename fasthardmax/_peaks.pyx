# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The largest magnitude of every feature, and whether all numbers are finite, in one pass."""

from libc.math cimport NAN, fabs, isfinite, isnan
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ._soon cimport soon

ctypedef fused real:
    float
    double

cdef enum:
    SPAN = 64  # running maxima held side by side, so that few features vectorise as well as many
    AHEAD = 8192  # bytes: a processor foresees few streams, and none across pages


def raise_peaks(const real[:, :, ::1] batch, real[:, ::1] peak):
    """Raise ``peak`` (B, d) to the magnitudes in ``batch`` (B, n, d).

    Returns the largest magnitude, or NaN if any number is NaN or infinite.
    """
    cdef Py_ssize_t n = batch.shape[1], d = batch.shape[2]
    cdef Py_ssize_t together = SPAN // d if 0 < d <= SPAN else 1
    cdef Py_ssize_t width = together * d, whole = n - n % together, b, t
    cdef bint lost = False
    cdef real largest = 0
    cdef real *most
    cdef real *total  # of magnitudes: NaN for ever after a NaN, and only then
    if n == 0 or d == 0:
        return 0.0
    most = <real *>calloc(2 * width, sizeof(real))
    if most == NULL:
        raise MemoryError("found no memory for one row of features")
    total = most + width
    with nogil:
        for b in range(batch.shape[0]):
            memset(most, 0, 2 * width * sizeof(real))
            fold(&batch[b, 0, 0], n // together, width, most, total)
            if whole < n:
                fold(&batch[b, whole, 0], n - whole, d, most, total)
            for t in range(width):
                peak[b, t % d] = max(peak[b, t % d], most[t])
                largest = max(largest, most[t])
                lost |= isnan(total[t])
        free(most)
    return largest if isfinite(largest) and not lost else NAN


cdef inline void fold(
    const real *numbers, Py_ssize_t rows, Py_ssize_t width, real *most, real *total
) noexcept nogil:
    """Take in rows of numbers, four at a time, so that memory is read as fast as it can be."""
    cdef Py_ssize_t r, t, size = 4 * width * sizeof(real)
    cdef real a, b, c, d, high
    for r in range(0, rows - 3, 4):
        for t in range(0, size, 64):
            soon(<const char *>numbers + AHEAD + t)
        for t in range(width):
            a = fabs(numbers[t])
            b = fabs(numbers[t + width])
            c = fabs(numbers[t + 2 * width])
            d = fabs(numbers[t + 3 * width])
            high = most[t]
            high = a if a > high else high
            high = b if b > high else high
            high = c if c > high else high
            most[t] = d if d > high else high
            total[t] += (a + b) + (c + d)
        numbers += 4 * width
    for r in range(rows % 4):
        for t in range(width):
            a = fabs(numbers[t])
            most[t] = a if a > most[t] else most[t]
            total[t] += a
        numbers += width
