"""What was done to an index, token after token, in pieces that never move."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

cdef enum:
    PIECE = 256  # entries; one long array would be copied every so often, within one step

cdef struct Log:
    int64_t **piece
    int64_t pieces
    int64_t room
    int64_t count
    int64_t marked  # the newest token of which something is logged, or -1

cdef bint log_grow(Log *log) noexcept nogil
cdef bint log_back(Log *log, int64_t count, int64_t *entry) noexcept nogil
cdef void log_clear(Log *log) noexcept nogil
cdef void log_free(Log *log) noexcept nogil
cdef size_t log_bytes(const Log *log) noexcept nogil


cdef inline int64_t *logged(const Log *log, int64_t at) noexcept nogil:
    return &log.piece[at >> 8][at & (PIECE - 1)]


cdef inline bint log_put(Log *log, int64_t token, int64_t entry) noexcept nogil:
    """Write down something about a token, not before the newest; False where no memory is found.

    A token is written, as -1 - token, before its first entry, which is not negative.
    """
    if log.count + 2 > log.pieces * PIECE and not log_grow(log):
        return False
    if log.marked != token:
        log.marked = token
        logged(log, log.count)[0] = -1 - token
        log.count += 1
    logged(log, log.count)[0] = entry
    log.count += 1
    return True
