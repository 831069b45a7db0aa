# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Steps of a cache for callers without Python."""

from libc.stdint cimport int64_t

from .layer cimport Layer, layer_append, layer_query, layer_step
from .store cimport FINE

from .core import CODES as _CODES

cdef enum:
    WRONG_SIZE = 20
    WRONG_DTYPE = 21


cdef inline int suits(
    const Layer *layer, int item, int64_t keys, int64_t queries, int64_t values
) noexcept nogil:
    """Whether sizes are right, where they are not negative."""
    cdef int64_t n = layer.heads * layer.d
    if item != (4 if layer.single else 8):
        return WRONG_DTYPE
    if (
        (keys >= 0 and keys != n)
        or (queries >= 0 and queries != n)
        or (values >= 0 and values != layer.heads * layer.dv)
    ):
        return WRONG_SIZE
    return FINE


cdef int called_step(
    size_t layer,
    int item,
    const char *keys,
    int64_t n_keys,
    const char *queries,
    int64_t n_queries,
    const char *values,
    int64_t n_values,
    char *out,
    int64_t n_out,
) noexcept nogil:
    cdef int code = suits(<Layer *>layer, item, n_keys, n_queries, n_values)
    if code == FINE and n_out != n_values:
        code = WRONG_SIZE
    return code if code != FINE else layer_step(<Layer *>layer, keys, queries, values, out)


cdef int called_append(
    size_t layer,
    int item,
    const char *keys,
    int64_t n_keys,
    const char *values,
    int64_t n_values,
) noexcept nogil:
    cdef int code = suits(<Layer *>layer, item, n_keys, -1, n_values)
    return code if code != FINE else layer_append(<Layer *>layer, keys, values)


cdef int called_query(
    size_t layer, int item, const char *queries, int64_t n_queries, char *out, int64_t n_out
) noexcept nogil:
    cdef int code = suits(<Layer *>layer, item, -1, n_queries, n_out)
    return code if code != FINE else layer_query(<Layer *>layer, queries, out)


ADDRESSES = {
    "step": <size_t><void *>called_step,
    "append": <size_t><void *>called_append,
    "query": <size_t><void *>called_query,
}
CODES = {**_CODES, WRONG_SIZE: "size", WRONG_DTYPE: "dtype"}
