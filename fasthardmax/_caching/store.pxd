"""Keys, values and running sums of one head, in chunks that never move."""

from libc.stdint cimport int64_t, uint64_t
from libc.stddef cimport size_t

ctypedef fused real:
    float
    double

cdef enum:
    CHUNK = 256  # tokens; their scores fill a few cache lines
    MEAN = 0
    FIRST = 1
    LAST = 2

cdef enum Code:
    FINE = 0
    NO_MEMORY = 1
    SUM_OVERFLOWS = 2
    UNDERFLOWS = 3

cdef struct Slab:  # memory of many chunks, of several heads; they follow it
    int64_t chunks  # in use
    char *free  # where the next one will be

cdef struct Store:
    int d  # features of keys kept here: 0 where an index keeps them
    int dv
    bint single
    bint prune
    int64_t count  # tokens, or those kept
    int64_t chunks
    int64_t room
    char **chunk  # keys (d, CHUNK), values (CHUNK, dv), sum before it (dv), peak before it, Slab *
    double *peak  # (features): largest magnitude of each key feature
    int features
    char *total  # (dv): of all tokens, in order
    char *opening  # (dv): the first value, which pruning may drop
    char *newest
    int64_t tokens  # appended, dropped ones included
    # Equal keys: the newest token of each, a chain back to its second.
    int64_t *repeated  # by first token: its newest record, plus one; NULL before there are any
    int64_t repeated_room
    Repeat *repeat
    char *repeat_sum  # (records, dv): of the values so far
    int64_t repeats
    int64_t repeat_room

cdef struct Repeat:
    int64_t original
    int64_t token
    int64_t before  # the record before it, plus one
    int64_t count  # tokens with this key so far

cdef bint open_store(
    Store *store, int d, int features, int dv, bint single, bint prune
) noexcept nogil
cdef void close_store(Store *store) noexcept nogil
cdef int64_t add_token(Store *store, const char *key, const char *value) noexcept nogil
cdef int64_t chunk_bytes(const Store *store) noexcept nogil
cdef bint new_chunk(Store *store, Slab *slab) noexcept nogil
cdef char *sum_before(const Store *store, int64_t chunk) noexcept nogil
cdef double *peak_before(const Store *store, int64_t chunk) noexcept nogil
cdef void forget_repeats(Store *store) noexcept nogil
cdef void forget_tokens(Store *store, int64_t count) noexcept nogil
cdef bint add_repeat(Store *store, int64_t original, int64_t token) noexcept nogil
cdef void add_first(
    const Store *store, char *total, const char *value, bint is_first
) noexcept nogil
cdef bint grow(int64_t **array, int64_t *room, int64_t needed) noexcept nogil
cdef void compact(Store *store, int64_t *renumber) noexcept nogil
cdef size_t store_bytes(const Store *store) noexcept nogil


cdef inline int item_size(const Store *store) noexcept nogil:
    return 4 if store.single else 8


cdef inline char *value_of(const Store *store, uint64_t token) noexcept nogil:
    cdef int item = 4 if store.single else 8
    return store.chunk[token // CHUNK] + (
        store.d * CHUNK + <int64_t>(token % CHUNK) * store.dv
    ) * item


cdef inline double key_of(const Store *store, uint64_t token, int f) noexcept nogil:
    cdef char *keys = store.chunk[token // CHUNK]
    cdef int64_t at = f * CHUNK + token % CHUNK
    return (<float *>keys)[at] if store.single else (<double *>keys)[at]


cdef inline bint widen(int64_t **array, int64_t *room, int64_t needed) noexcept nogil:
    """Give an array room for so many numbers; False where no memory is found."""
    return needed <= room[0] or grow(array, room, needed)
