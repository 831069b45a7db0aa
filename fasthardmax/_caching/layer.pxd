"""All heads of a layer: insert, answer, prune."""

from libc.stdint cimport int64_t
from libc.stddef cimport size_t

from .line cimport Line
from .plane cimport Plane
from .spread cimport Spread
from .store cimport Store
from .winners cimport Ties

cdef union Index:
    Line line
    Plane plane
    Spread spread

cdef struct Head:
    Store store
    Index index
    int ties
    int64_t before_compacting  # stored tokens at which dropped ones are given up

cdef struct Layer:
    Head *head
    int heads
    int d
    int dv
    bint single
    bint prune
    bint broken  # memory ran out half-way
    int64_t tokens
    Ties winners
    int64_t *renumber
    int64_t renumber_room

cdef enum Refusal:  # beside the codes of a store
    BAD_NUMBER = 10
    SCORE_OVERFLOWS = 11
    BROKEN = 12

cdef bint open_layer(Layer *layer, int heads, int d, int dv, bint single, bint prune) noexcept nogil
cdef void close_layer(Layer *layer) noexcept nogil
cdef int layer_step(
    Layer *layer, const char *keys, const char *queries, const char *values, char *out
) noexcept nogil
cdef int layer_append(Layer *layer, const char *keys, const char *values) noexcept nogil
cdef int layer_query(Layer *layer, const char *queries, char *out) noexcept nogil
cdef bint head_insert(Layer *layer, int h, const char *key, const char *value) noexcept nogil
cdef int64_t head_kept(Layer *layer, int h) noexcept nogil
cdef bint head_compact(Layer *layer, int h) noexcept nogil
cdef size_t layer_bytes(const Layer *layer) noexcept nogil
