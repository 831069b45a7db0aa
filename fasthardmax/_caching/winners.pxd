"""The winners of a query: found by looking at all keys, and what they answer."""

from libc.stdint cimport int64_t

from .store cimport Store, widen

cdef struct Ties:  # winners in progress: tokens that stand for themselves and their repeats
    int64_t *token
    int64_t count
    int64_t room
    bint alone  # each token is listed, repeats included
    int64_t *every
    int64_t every_room

cdef int answer_all(const Store *store, int ties, char *out) noexcept nogil
cdef int answer(const Store *store, Ties *winners, int ties, char *out) noexcept nogil
cdef int scan(const Store *store, const char *query, Ties *winners) noexcept nogil


cdef inline bint note(Ties *winners, int64_t token) noexcept nogil:
    """Add a winner; False where no memory is found."""
    if winners.count == winners.room and not widen(
        &winners.token, &winners.room, winners.count + 1
    ):
        return False
    winners.token[winners.count] = token
    winners.count += 1
    return True
