# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What was done to an index, token after token, in pieces that never move."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc


cdef bint log_grow(Log *log) noexcept nogil:
    """Make room for another piece; False where no memory is found."""
    cdef int64_t wanted
    cdef int64_t **wider
    if log.pieces == log.room:
        wanted = max(4, 2 * log.room)
        wider = <int64_t **>realloc(log.piece, wanted * sizeof(int64_t *))
        if wider == NULL:
            return False
        log.piece = wider
        log.room = wanted
    log.piece[log.pieces] = <int64_t *>malloc(PIECE * sizeof(int64_t))
    if log.piece[log.pieces] == NULL:
        return False
    log.pieces += 1
    return True


cdef bint log_back(Log *log, int64_t count, int64_t *entry) noexcept nogil:
    """Take the newest entry, if it is not about one of the first ``count`` tokens."""
    cdef int64_t at
    while log.count and log.marked >= count:
        log.count -= 1
        entry[0] = logged(log, log.count)[0]
        if entry[0] >= 0:
            return True
        at = log.count - 1
        while at >= 0 and logged(log, at)[0] >= 0:
            at -= 1
        log.marked = -1 if at < 0 else -1 - logged(log, at)[0]
    return False


cdef void log_clear(Log *log) noexcept nogil:
    log.count = 0
    log.marked = -1


cdef void log_free(Log *log) noexcept nogil:
    while log.pieces:
        log.pieces -= 1
        free(log.piece[log.pieces])
    free(log.piece)
    log.piece = NULL
    log.room = 0
    log_clear(log)


cdef size_t log_bytes(const Log *log) noexcept nogil:
    return log.pieces * PIECE * sizeof(int64_t) + log.room * sizeof(int64_t *)
