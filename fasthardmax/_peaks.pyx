# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The largest magnitude of every feature, and whether all numbers are finite, in one pass."""

from libc.math cimport NAN, fabs
from libc.stdlib cimport calloc, free
from libc.string cimport memset

ctypedef fused real:
    float
    double

cdef enum:
    SPAN = 64  # running maxima held side by side, so that few features vectorise as well as many


def raise_peaks(const real[:, :, ::1] batch, real[:, ::1] peak):
    """Raise ``peak`` (B, d) to the magnitudes in ``batch`` (B, n, d).

    Returns the largest magnitude, or NaN if any number is NaN or infinite.
    """
    cdef Py_ssize_t n = batch.shape[1], d = batch.shape[2]
    cdef Py_ssize_t together = SPAN // d if 0 < d <= SPAN else 1
    cdef Py_ssize_t width = together * d, group, b, i, t
    cdef real total = 0, largest = 0
    cdef real *most
    cdef real *doubt
    if n == 0 or d == 0:
        return 0.0
    most = <real *>calloc(2 * width, sizeof(real))
    if most == NULL:
        raise MemoryError("found no memory for one row of features")
    doubt = most + width
    with nogil:
        for b in range(batch.shape[0]):
            memset(most, 0, 2 * width * sizeof(real))
            for group in range(n // together):
                fold(&batch[b, group * together, 0], width, most, doubt)
            for i in range(n - n % together, n):
                fold(&batch[b, i, 0], d, most, doubt)
            for t in range(width):
                peak[b, t % d] = max(peak[b, t % d], most[t])
                largest = max(largest, most[t])
                total += doubt[t]
        free(most)
    return largest if total == 0 else NAN


cdef inline void fold(
    const real *numbers, Py_ssize_t width, real *most, real *doubt
) noexcept nogil:
    cdef Py_ssize_t t
    cdef real magnitude, zero = 0  # of this type: the constant 0 would be a double
    for t in range(width):
        magnitude = fabs(numbers[t])
        most[t] = magnitude if magnitude > most[t] else most[t]
        doubt[t] += magnitude * zero  # NaN for ever after a NaN or an infinity
