"""Three features and more: keys by their length."""

from libc.stdint cimport int16_t, int64_t

from .store cimport Store
from .winners cimport Ties

cdef struct Shell:  # keys of about one length
    int rank
    int exponent  # of a power of two that no key in it reaches
    double longest  # no key in it was longer
    int64_t count
    int64_t blocks
    int64_t room
    char **block  # keys (d, BLOCK), tokens (BLOCK); then rough keys, if they are wide
    float *reach  # (room): what each block's scores can be at most, in a query's multiples

cdef struct Spread:
    int d
    bint single
    Shell *shell  # the longest keys first
    int64_t shells
    int64_t room
    int64_t bytes
    int64_t rough  # bytes of a block's rough keys, if they are wide
    int16_t *step  # (padded features) of a query

cdef bint open_spread(Spread *spread, int d, bint single) noexcept nogil
cdef void close_spread(Spread *spread) noexcept nogil
cdef bint spread_insert(Spread *spread, const char *key, int64_t token) noexcept nogil
cdef void spread_forget(Spread *spread, int64_t count) noexcept nogil
cdef void spread_raise(const Spread *spread, Store *store, int64_t start) noexcept nogil
cdef int spread_query(const Spread *spread, const char *query, Ties *winners) noexcept nogil
cdef void spread_keys(const Spread *spread, char *out, int64_t stride) noexcept nogil
