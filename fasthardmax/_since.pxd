"""The layer at which a point settled, as the arrays of ``_settled_kernels.pyx`` tell it."""

from libc.stdint cimport int32_t, int64_t


cdef inline int64_t since_when(
    const int32_t *entry, const int32_t *since, Py_ssize_t i
) noexcept nogil:
    """The layer at which point i settled, or -1."""
    return entry[i] if entry[i] <= 0 else since[entry[i] - 1]
