"""A whole prompt in a layer, its heads shared among threads."""

from libc.stdint cimport int64_t, intptr_t

from .layer cimport Layer

cdef int layer_extend(
    Layer *layer,
    const char *keys,
    const char *queries,
    const char *values,
    char *out,
    int64_t count,
    intptr_t run_job,
    int n_threads,
) noexcept nogil
cdef int64_t at_once(const Layer *layer, int64_t count, bint asked) noexcept nogil
