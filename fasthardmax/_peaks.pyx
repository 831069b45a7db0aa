# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The largest magnitude of every feature, and whether all numbers are finite, in one pass."""

cimport numpy as cnp
from libc.math cimport NAN, fabs, isfinite, isnan
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from ._soon cimport soon

cnp.import_array()

ctypedef fused real:
    float
    double

cdef enum:
    SPAN = 64  # running maxima held side by side, so that few features vectorise as well as many
    AHEAD = 8192  # bytes: a processor foresees few streams, and none across pages


def find_peaks(cnp.ndarray batch):
    """The largest magnitudes (B, d) in a C-contiguous ``batch`` (B, n, d), and that of all.

    The latter is NaN if any number is NaN or infinite. Without views, it takes a fraction of a
    microsecond where numbers are few.
    """
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(batch)
    cdef cnp.npy_intp[2] sizes = [shape[0], shape[2]]
    cdef cnp.ndarray peak = cnp.PyArray_ZEROS(2, sizes, cnp.PyArray_TYPE(batch), 0)
    cdef void *numbers = cnp.PyArray_DATA(batch)
    cdef void *to = cnp.PyArray_DATA(peak)
    if cnp.PyArray_TYPE(batch) == cnp.NPY_FLOAT:
        return peak, raise_to(<const float *>numbers, shape[0], shape[1], shape[2], <float *>to)
    return peak, raise_to(<const double *>numbers, shape[0], shape[1], shape[2], <double *>to)


def raise_peaks(const real[:, :, ::1] batch, real[:, ::1] peak):
    """Raise ``peak`` (B, d) to the magnitudes in ``batch`` (B, n, d).

    Returns the largest magnitude, or NaN if any number is NaN or infinite.
    """
    if batch.shape[0] == 0 or batch.shape[1] == 0 or batch.shape[2] == 0:
        return 0.0
    return raise_to(&batch[0, 0, 0], batch.shape[0], batch.shape[1], batch.shape[2], &peak[0, 0])


cdef double raise_to(
    const real *batch, Py_ssize_t n_batch, Py_ssize_t n, Py_ssize_t d, real *peak
) except -1:
    """As :func:`raise_peaks`."""
    cdef Py_ssize_t together = SPAN // d if 0 < d <= SPAN else 1
    cdef Py_ssize_t width = together * d, whole = n - n % together, b, t
    cdef bint lost = False
    cdef real largest = 0
    cdef real[2 * SPAN] few
    cdef real *most = few
    cdef real *total  # of magnitudes: NaN for ever after a NaN, and only then
    if n == 0 or d == 0:
        return 0.0
    if d > SPAN:
        most = <real *>malloc(2 * width * sizeof(real))
    if most == NULL:
        raise MemoryError("found no memory for one row of features")
    total = most + width
    with nogil:
        for b in range(n_batch):
            memset(most, 0, 2 * width * sizeof(real))
            fold(batch + b * n * d, n // together, width, most, total)
            if whole < n:
                fold(batch + (b * n + whole) * d, n - whole, d, most, total)
            for t in range(width):
                peak[b * d + t % d] = max(peak[b * d + t % d], most[t])
                largest = max(largest, most[t])
                lost |= isnan(total[t])
        if most != few:
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
