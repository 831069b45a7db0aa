# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The winners of a query: found by looking at all keys, and what they answer."""

from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

from .store cimport (
    CHUNK,
    FINE,
    FIRST,
    LAST,
    MEAN,
    NO_MEMORY,
    SUM_OVERFLOWS,
    Store,
    add_first,
    item_size,
    real,
    value_of,
    widen,
)


cdef int divide(real *total, double count, int dv) noexcept nogil:
    cdef int f
    cdef real by = <real>count
    for f in range(dv):
        total[f] /= by
        if not isfinite(total[f]):
            return SUM_OVERFLOWS
    return FINE


cdef inline int mean(const Store *store, char *total, int64_t count) noexcept nogil:
    if store.single:
        return divide[float](<float *>total, <double>count, store.dv)
    return divide[double](<double *>total, <double>count, store.dv)


cdef int answer_all(const Store *store, int ties, char *out) noexcept nogil:
    """Where all tokens tie; zeros where there are none."""
    cdef int size = store.dv * item_size(store)
    if store.tokens == 0:
        memset(out, 0, size)
    elif ties == MEAN:
        memcpy(out, store.total, size)
        return mean(store, out, store.tokens)
    elif store.prune:
        memcpy(out, store.opening if ties == FIRST else store.newest, size)
    else:
        memcpy(out, value_of(store, 0 if ties == FIRST else store.count - 1), size)
    return FINE


cdef int ascending(const void *a, const void *b) noexcept nogil:
    cdef int64_t left = (<const int64_t *>a)[0], right = (<const int64_t *>b)[0]
    return (left > right) - (left < right)


cdef inline int64_t record_of(
    const Store *store, const Ties *winners, int64_t token
) noexcept nogil:
    """The newest record of the repeats that a winner stands for, plus one; 0 where it has none."""
    if winners.alone or store.repeats == 0 or token >= store.repeated_room:
        return 0
    return store.repeated[token]


cdef int answer(const Store *store, Ties *winners, int ties, char *out) noexcept nogil:
    """The value or mean of the winners, which stand for their repeats as well."""
    cdef int size = store.dv * item_size(store)
    cdef int64_t i, record, token, best, total
    cdef bint in_order = True
    if winners.count == 1:
        token = winners.token[0]
        record = record_of(store, winners, token)
        if record == 0 or ties == FIRST:
            memcpy(out, value_of(store, token), size)
            return FINE
        if ties == LAST:
            memcpy(out, value_of(store, store.repeat[record - 1].token), size)
            return FINE
        memcpy(out, store.repeat_sum + (record - 1) * size, size)
        return mean(store, out, store.repeat[record - 1].count)
    if ties != MEAN:
        best = winners.token[0]
        for i in range(winners.count):
            token = winners.token[i]
            if ties == FIRST:
                best = min(best, token)
            else:
                record = record_of(store, winners, token)
                best = max(best, store.repeat[record - 1].token if record else token)
        memcpy(out, value_of(store, best), size)
        return FINE
    total = 0
    for i in range(winners.count):
        token = winners.token[i]
        record = record_of(store, winners, token)
        if not widen(
            &winners.every,
            &winners.every_room,
            total + (store.repeat[record - 1].count if record else 1),
        ):
            return NO_MEMORY
        while record:
            winners.every[total] = store.repeat[record - 1].token
            record = store.repeat[record - 1].before
            total += 1
        winners.every[total] = token
        total += 1
    for i in range(1, total):
        if winners.every[i] < winners.every[i - 1]:
            in_order = False
            break
    if not in_order:
        qsort(winners.every, total, sizeof(int64_t), ascending)
    for i in range(total):
        add_first(store, out, value_of(store, winners.every[i]), i == 0)
    return mean(store, out, total)


cdef void score(
    const real *query, const real *keys, int d, int width, real *scores
) noexcept nogil:
    """Canonical scores of up to a chunk of keys, features outermost."""
    cdef int f, j
    cdef const real *column
    for j in range(width):
        scores[j] = query[0] * keys[j]
    for f in range(1, d):
        column = keys + f * CHUNK
        for j in range(width):
            scores[j] += query[f] * column[j]


cdef int scan_all(const Store *store, const real *query, Ties *winners) noexcept nogil:
    cdef real scores[CHUNK]
    cdef real best = 0
    cdef int64_t chunk, token
    cdef int j, width
    winners.count = 0
    winners.alone = True
    for chunk in range((store.count + CHUNK - 1) // CHUNK):
        width = <int>min(CHUNK, store.count - chunk * CHUNK)
        score(query, <const real *>store.chunk[chunk], store.d, width, scores)
        for j in range(width):
            if scores[j] < best and winners.count:
                continue
            if winners.count == 0 or scores[j] > best:
                best = scores[j]
                winners.count = 0
            if not note(winners, chunk * CHUNK + j):
                return NO_MEMORY
    return FINE


cdef int scan(const Store *store, const char *query, Ties *winners) noexcept nogil:
    """All winners by one pass over the stored keys, each for itself."""
    if store.single:
        return scan_all[float](store, <const float *>query, winners)
    return scan_all[double](store, <const double *>query, winners)
