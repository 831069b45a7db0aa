"""What is wrong with a token or a query, in any head of a layer."""

from .layer cimport Layer

cdef int layer_check(
    const Layer *layer, const char *keys, const char *queries, const char *values
) noexcept nogil
