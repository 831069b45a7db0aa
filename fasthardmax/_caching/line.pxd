"""One feature: the largest and the least keys."""

from libc.stdint cimport int64_t
from libc.stddef cimport size_t

from .log cimport Log
from .store cimport Store
from .winners cimport Ties

cdef enum:
    ENOUGH = 64  # at most 35 distinct numbers are within 16 u of the largest

cdef struct Side:
    double key[ENOUGH]  # falling; reflected for negative queries
    int64_t token[ENOUGH]
    int count
    double floor  # least magnitude among the larger of two keys, one of which was dropped

cdef struct Line:
    Side side[2]
    double unit
    double tiny  # 64 of the smallest subnormals in units of roundoff
    Log log  # none when pruning

cdef void open_line(Line *line, bint single) noexcept nogil
cdef void close_line(Line *line) noexcept nogil
cdef bint line_insert(Line *line, Store *store, int64_t token) noexcept nogil
cdef void line_forget(Line *line, Store *store, int64_t count) noexcept nogil
cdef int line_query(const Line *line, const Store *store, double x, Ties *winners) noexcept nogil
cdef bint line_underflows(const Line *line, double x) noexcept nogil
cdef bint line_would_underflow(const Line *line, double x, double key) noexcept nogil
cdef void line_mark(const Line *line, int64_t *mark) noexcept nogil
cdef void line_renumber(Line *line, const int64_t *renumber) noexcept nogil
cdef size_t line_bytes(const Line *line) noexcept nogil
