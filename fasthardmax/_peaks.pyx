# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The largest magnitude of every feature, and whether all numbers are finite, in one pass."""

from libc.math cimport fabs
from libc.string cimport memset

ctypedef fused real:
    float
    double

cdef enum:
    SPAN = 64  # running maxima held side by side, so that few features vectorise as well as many


def raise_peaks(const real[:, :, ::1] batch, real[:, ::1] peak):
    """Raise ``peak`` (B, d) to the magnitudes in ``batch`` (B, n, d); False at NaN or infinity."""
    cdef Py_ssize_t n = batch.shape[1], d = batch.shape[2]
    cdef Py_ssize_t together = SPAN // d if 0 < d <= SPAN else 1
    cdef Py_ssize_t width, group, b, i, f, t
    cdef real most[SPAN]
    cdef real doubt[SPAN]
    cdef real total = 0
    with nogil:
        for b in range(batch.shape[0] if n > 0 else 0):
            f = 0
            while f < d:
                width = min(SPAN, d - f)
                memset(most, 0, sizeof(most))
                memset(doubt, 0, sizeof(doubt))
                for group in range(n // together):
                    fold(&batch[b, group * together, f], width * together, most, doubt)
                for i in range(n - n % together, n):
                    fold(&batch[b, i, f], width, most, doubt)
                for t in range(width * together):
                    peak[b, f + t % width] = max(peak[b, f + t % width], most[t])
                    total += doubt[t]
                f += width
    return total == 0


cdef inline void fold(
    const real *numbers, Py_ssize_t width, real *most, real *doubt
) noexcept nogil:
    cdef Py_ssize_t t
    cdef real magnitude
    for t in range(width):
        magnitude = fabs(numbers[t])
        most[t] = magnitude if magnitude > most[t] else most[t]
        doubt[t] += numbers[t] * 0  # NaN for ever after a NaN or an infinity
