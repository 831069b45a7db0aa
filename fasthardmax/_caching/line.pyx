# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One feature: the largest keys answer queries of one sign, the least those of the other.

A product errs by at most u of itself, so a key that is smaller than the largest by more than 16 u
of the larger magnitude loses to it for good, as long as that product is no subnormal number.
Few distinct numbers are that near; equal keys share an entry.
"""

from libc.math cimport INFINITY, fabs
from libc.stdint cimport int64_t
from libc.string cimport memset

from .log cimport log_back, log_bytes, log_clear, log_free, log_put
from .store cimport FINE, NO_MEMORY, UNDERFLOWS, Store, add_repeat, key_of
from .winners cimport Ties, note, scan

cdef enum:
    GAINED = 0  # logged: 4 token + 2 side + one of these
    LOST = 1


cdef void reset(Line *line) noexcept nogil:
    cdef int s
    for s in range(2):
        line.side[s].count = 0
        line.side[s].floor = INFINITY
    log_clear(&line.log)


cdef void open_line(Line *line, bint single) noexcept nogil:
    memset(line, 0, sizeof(Line))
    line.unit = 2.0**-24 if single else 2.0**-53
    line.tiny = (2.0**-149 if single else 5e-324) / line.unit * 64
    reset(line)


cdef void close_line(Line *line) noexcept nogil:
    log_free(&line.log)
    memset(line, 0, sizeof(Line))


cdef size_t line_bytes(const Line *line) noexcept nogil:
    return log_bytes(&line.log)


cdef bint record(
    Line *line, const Store *store, int64_t token, int s, int what
) noexcept nogil:
    return store.prune or log_put(&line.log, store.count - 1, 4 * token + 2 * s + what)


cdef int rank(const Side *side, double key) noexcept nogil:
    cdef int at = 0
    while at < side.count and side.key[at] > key:
        at += 1
    return at


cdef void put(Side *side, int at, double key, int64_t token) noexcept nogil:
    cdef int i = side.count
    while i > at:
        side.key[i] = side.key[i - 1]
        side.token[i] = side.token[i - 1]
        i -= 1
    side.key[at] = key
    side.token[at] = token
    side.count += 1


cdef inline double gap(const Line *line, double most, double key) noexcept nogil:
    """The larger magnitude of two keys if the second loses to the first; infinite if it may win."""
    cdef double size = max(fabs(most), fabs(key))
    return size if most - key > 16 * line.unit * size else INFINITY


cdef bint loses(const Line *line, Side *side, double key) noexcept nogil:
    cdef double size = gap(line, side.key[0], key)
    side.floor = min(side.floor, size)
    return size < INFINITY


cdef bint line_insert(Line *line, Store *store, int64_t token) noexcept nogil:
    """Take in a stored key; False where no memory is found."""
    cdef double key
    cdef Side *side
    cdef int s, at
    cdef int64_t original
    cdef int64_t entered[2]
    for s in range(2):
        side = &line.side[s]
        key = key_of(store, token, 0)
        key = -key if s else key
        entered[s] = 0
        if side.count and loses(line, side, key):
            continue
        at = rank(side, key)
        if at < side.count and side.key[at] == key:
            original = side.token[at]
            if s == 1 and entered[0]:  # the side from which the earlier token was dropped
                side = &line.side[0]
                side.token[rank(side, -key)] = original
            return add_repeat(store, original, token)
        put(side, at, key, token)
        entered[s] = 1
        if not record(line, store, token, s, GAINED):
            return False
        while loses(line, side, side.key[side.count - 1]):
            side.count -= 1
            if not record(line, store, side.token[side.count], s, LOST):
                return False
    return True


cdef void line_forget(Line *line, Store *store, int64_t count) noexcept nogil:
    """Undo the newest tokens, before the store forgets them."""
    cdef int64_t entry, token
    cdef Side *side
    cdef double key
    cdef int at, i
    if count == 0:
        reset(line)
        return
    while log_back(&line.log, count, &entry):
        token = entry // 4
        side = &line.side[entry // 2 % 2]
        key = key_of(store, token, 0)
        key = -key if entry // 2 % 2 else key
        at = rank(side, key)
        if entry % 2 == LOST:
            put(side, at, key, token)
        else:
            side.count -= 1
            for i in range(at, side.count):
                side.key[i] = side.key[i + 1]
                side.token[i] = side.token[i + 1]


cdef bint line_underflows(const Line *line, double x) noexcept nogil:
    """Whether a query is so small that keys once dropped could tie with the best."""
    cdef double floor = line.side[1 if x < 0 else 0].floor
    return fabs(x) * floor < line.tiny


cdef bint line_would_underflow(const Line *line, double x, double key) noexcept nogil:
    """The same once a key was taken in."""
    cdef const Side *side = &line.side[1 if x < 0 else 0]
    cdef double floor = side.floor
    cdef int i
    key = -key if x < 0 else key
    if side.count:
        floor = min(floor, gap(line, side.key[0], key))
    for i in range(side.count):
        floor = min(floor, gap(line, key, side.key[i]))
    return fabs(x) * floor < line.tiny


cdef int line_query(const Line *line, const Store *store, double x, Ties *winners) noexcept nogil:
    """The winners of a query that is not zero, over at least one key."""
    cdef const Side *side = &line.side[1 if x < 0 else 0]
    cdef double raw64 = x, best
    cdef float raw32 = <float>x
    cdef int i
    if line_underflows(line, x):
        if store.prune:
            return UNDERFLOWS
        return scan(
            store, <const char *>&raw32 if store.single else <const char *>&raw64, winners
        )
    winners.alone = False
    winners.count = 0
    x = fabs(x)
    best = product(store.single, x, side.key[0])
    for i in range(side.count):
        if product(store.single, x, side.key[i]) != best:
            break
        if not note(winners, side.token[i]):
            return NO_MEMORY
    return FINE


cdef inline double product(bint single, double x, double key) noexcept nogil:
    return <float>(<float>x * <float>key) if single else x * key


cdef void line_mark(const Line *line, int64_t *mark) noexcept nogil:
    """Set ``mark`` to 1 for every key that may win."""
    cdef int s, i
    for s in range(2):
        for i in range(line.side[s].count):
            mark[line.side[s].token[i]] = 1


cdef void line_renumber(Line *line, const int64_t *renumber) noexcept nogil:
    cdef int s, i
    for s in range(2):
        for i in range(line.side[s].count):
            line.side[s].token[i] = renumber[line.side[s].token[i]]
