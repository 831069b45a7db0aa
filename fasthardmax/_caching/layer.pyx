# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""All heads of a layer: check, insert, answer, forget.

Everything about a token is checked in all heads before anything is stored; where an answer cannot
be given after all (a sum of tied values that overflows), the token is taken back.
"""

from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport fabs
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from .ahead cimport ABREAST, find_peaks, find_places
from .bulk cimport build_bytes, build_plane
from .hit cimport plane_query, plane_scan, plane_underflows, plane_would_underflow
from .entry cimport plane_insert
from .line cimport (
    close_line,
    line_bytes,
    line_forget,
    line_insert,
    line_mark,
    line_query,
    line_renumber,
    line_underflows,
    line_would_underflow,
    open_line,
)
from .plane cimport (
    close_plane,
    open_plane,
    plane_bytes,
    plane_mark,
    plane_renumber,
)
from .spread cimport (
    close_spread,
    open_spread,
    spread_forget,
    spread_insert,
    spread_query,
    spread_raise,
)
from .store cimport (
    CHUNK,
    FINE,
    NO_MEMORY,
    UNDERFLOWS,
    Store,
    Ties,
    add_token,
    answer,
    answer_all,
    close_store,
    compact,
    forget_tokens,
    key_of,
    open_store,
    real,
    store_bytes,
    widen,
)

from .undo cimport plane_forget
from .tree cimport Spot

cdef enum:
    SELDOM = 1024  # tokens stored before the first look for dropped ones


cdef bint open_head(Layer *layer, Head *head) noexcept nogil:
    head.before_compacting = SELDOM
    if layer.d == 1:
        open_line(&head.index.line, layer.single)
    elif layer.d == 2:
        open_plane(&head.index.plane, layer.single)
    else:
        open_spread(&head.index.spread, layer.d, layer.single)
    return open_store(
        &head.store, layer.d if layer.d < 3 else 0, layer.d, layer.dv, layer.single, layer.prune
    )


cdef void close_head(Layer *layer, Head *head) noexcept nogil:
    if layer.d == 1:
        close_line(&head.index.line)
    elif layer.d == 2:
        close_plane(&head.index.plane)
    else:
        close_spread(&head.index.spread)
    close_store(&head.store)


cdef bint open_layer(
    Layer *layer, int heads, int d, int dv, bint single, bint prune
) noexcept nogil:
    """An empty layer; False where no memory is found."""
    cdef int h
    memset(layer, 0, sizeof(Layer))
    layer.d = d
    layer.dv = dv
    layer.single = single
    layer.prune = prune
    layer.head = <Head *>calloc(heads, sizeof(Head))
    if layer.head == NULL:
        return False
    layer.heads = heads
    for h in range(heads):
        if not open_head(layer, &layer.head[h]):
            return False
    return True


cdef void close_layer(Layer *layer) noexcept nogil:
    cdef int h
    for h in range(layer.heads):
        close_head(layer, &layer.head[h])
    free(layer.head)
    free(layer.winners.token)
    free(layer.winners.every)
    free(layer.renumber)
    memset(layer, 0, sizeof(Layer))


cdef size_t layer_bytes(const Layer *layer) noexcept nogil:
    cdef size_t total = layer.heads * sizeof(Head)
    cdef int h
    total += (layer.winners.room + layer.winners.every_room + layer.renumber_room) * 8
    for h in range(layer.heads):
        total += store_bytes(&layer.head[h].store)
        if layer.d == 1:
            total += line_bytes(&layer.head[h].index.line)
        elif layer.d == 2:
            total += plane_bytes(&layer.head[h].index.plane)
        else:
            total += layer.head[h].index.spread.bytes
    return total


# --- Checks --------------------------------------------------------------------------------------


cdef int check(
    const Layer *layer,
    const real *keys,
    const real *queries,
    const real *values,
    double limit,
    double most,
) noexcept nogil:
    """What is wrong with a token, a query, or both."""
    cdef int h, f, d = layer.d
    cdef double size, key_size, bound
    cdef double widening = 1 + d * 2.0**-22
    cdef const Head *head
    if values != NULL:
        # Where pruning forbids taking a token back, no sum may ever overflow.
        if layer.prune:
            most = limit / <double>(layer.tokens + 1)
        for f in range(layer.heads * layer.dv):
            if not fabs(values[f]) <= most:
                return BAD_NUMBER
    if keys != NULL:
        for f in range(layer.heads * d):
            if not fabs(keys[f]) <= limit:
                return BAD_NUMBER
    if queries == NULL:
        return FINE
    for h in range(layer.heads):
        head = &layer.head[h]
        bound = 0
        for f in range(d):
            size = head.store.peak[f]
            if keys != NULL:
                key_size = fabs(keys[h * d + f])
                size = key_size if key_size > size else size
            key_size = fabs(queries[h * d + f])
            if not key_size <= most_of(layer):
                return BAD_NUMBER
            bound += key_size * size
        if not bound * widening <= limit:
            return SCORE_OVERFLOWS
        if layer.prune and d < 3 and underflows(
            head, d, &keys[h * d] if keys != NULL else <const real *>NULL, &queries[h * d]
        ):
            return UNDERFLOWS
    return FINE


cdef inline double most_of(const Layer *layer) noexcept nogil:
    return FLT_MAX if layer.single else DBL_MAX


cdef bint underflows(const Head *head, int d, const real *key, const real *query) noexcept nogil:
    """Whether keys that were dropped, or may be with this one, could tie under a tiny query."""
    cdef double x = query[0], y = query[1] if d == 2 else 0
    if x == 0 and y == 0:
        return False
    if d == 1:
        if key == NULL:
            return line_underflows(&head.index.line, x)
        return line_would_underflow(&head.index.line, x, key[0])
    if key == NULL:
        return plane_underflows(&head.index.plane, x, y)
    return plane_would_underflow(
        &head.index.plane,
        x,
        y,
        max(head.store.peak[0], fabs(key[0])),
        max(head.store.peak[1], fabs(key[1])),
    )


cdef int layer_check(
    const Layer *layer, const char *keys, const char *queries, const char *values
) noexcept nogil:
    if layer.broken:
        return BROKEN
    if layer.single:
        return check[float](
            layer,
            <const float *>keys,
            <const float *>queries,
            <const float *>values,
            FLT_MAX / 4,
            FLT_MAX,
        )
    return check[double](
        layer,
        <const double *>keys,
        <const double *>queries,
        <const double *>values,
        DBL_MAX / 4,
        DBL_MAX,
    )


# --- Tokens --------------------------------------------------------------------------------------


cdef inline bint insert(
    Layer *layer, Head *head, const char *key, const char *value, const Spot *places
) noexcept nogil:
    cdef int64_t token = add_token(&head.store, key, value)
    if token < 0:
        return False
    if layer.d == 1:
        return line_insert(&head.index.line, &head.store, token)
    if layer.d == 2:
        return plane_insert(&head.index.plane, &head.store, token, places)
    return spread_insert(&head.index.spread, key, token)


cdef bint head_insert(Layer *layer, int h, const char *key, const char *value) noexcept nogil:
    """Put a token in one head only, as when a pruned cache is read back."""
    cdef Spot places[4]
    if layer.d == 2:
        find_places(&layer.head[h], 1, layer.single, key, places)
    return insert(layer, &layer.head[h], key, value, places)


cdef int insert_all(Layer *layer, const char *keys, const char *values) noexcept nogil:
    cdef int item = 4 if layer.single else 8, h, ahead = 0
    cdef int64_t key_size = layer.d * item, value_size = layer.dv * item
    cdef Spot places[4 * ABREAST]
    for h in range(layer.heads):
        if layer.d == 2 and h == ahead:
            ahead = min(h + ABREAST, layer.heads)
            find_places(&layer.head[h], ahead - h, layer.single, keys + h * key_size, places)
        if not insert(
            layer,
            &layer.head[h],
            keys + h * key_size,
            values + h * value_size,
            &places[4 * (h % ABREAST)],
        ):
            layer.broken = True
            return NO_MEMORY
    layer.tokens += 1
    if layer.prune and layer.d < 3:
        for h in range(layer.heads):
            if layer.head[h].store.count >= layer.head[h].before_compacting:
                if not head_compact(layer, h):
                    layer.broken = True
                    return NO_MEMORY
    return FINE


cdef inline int ask(
    const Layer *layer, const Head *head, const char *query, Spot peak, Ties *winners, char *out
) noexcept nogil:
    cdef double x, y
    cdef int f, code
    cdef bint zero = True
    if head.store.count == 0:
        return answer_all(&head.store, head.ties, out)
    if layer.d > 2:
        for f in range(layer.d):
            x = (<const float *>query)[f] if layer.single else (<const double *>query)[f]
            zero = zero and x == 0
        if zero:
            return answer_all(&head.store, head.ties, out)
        code = spread_query(&head.index.spread, query, winners)
    else:
        x = (<const float *>query)[0] if layer.single else (<const double *>query)[0]
        y = 0
        if layer.d == 2:
            y = (<const float *>query)[1] if layer.single else (<const double *>query)[1]
        if x == 0 and y == 0:
            return answer_all(&head.store, head.ties, out)
        if layer.d == 1:
            code = line_query(&head.index.line, &head.store, x, winners)
        elif peak.node == NULL:
            code = plane_scan(&head.index.plane, &head.store, x, y, winners)
        else:
            code = plane_query(&head.index.plane, &head.store, x, y, peak, winners)
    if code != FINE:
        return code
    return answer(&head.store, winners, head.ties, out)


cdef int ask_all(Layer *layer, const char *queries, char *out) noexcept nogil:
    cdef int item = 4 if layer.single else 8, h, code, ahead = 0
    cdef int64_t key_size = layer.d * item, value_size = layer.dv * item
    cdef Spot peaks[ABREAST]
    for h in range(layer.heads):
        if layer.d == 2 and h == ahead:
            ahead = min(h + ABREAST, layer.heads)
            find_peaks(&layer.head[h], ahead - h, layer.single, queries + h * key_size, peaks)
        code = ask(
            layer,
            &layer.head[h],
            queries + h * key_size,
            peaks[h % ABREAST],
            &layer.winners,
            out + h * value_size,
        )
        if code != FINE:
            return code
    return FINE


cdef int layer_append(Layer *layer, const char *keys, const char *values) noexcept nogil:
    cdef int code = layer_check(layer, keys, NULL, values)
    return code if code != FINE else insert_all(layer, keys, values)


cdef int layer_query(Layer *layer, const char *queries, char *out) noexcept nogil:
    cdef int code = layer_check(layer, NULL, queries, NULL)
    return code if code != FINE else ask_all(layer, queries, out)


cdef int layer_step(
    Layer *layer, const char *keys, const char *queries, const char *values, char *out
) noexcept nogil:
    cdef int code = layer_check(layer, keys, queries, values)
    if code == FINE:
        code = insert_all(layer, keys, values)
        if code != FINE:
            return code
        code = ask_all(layer, queries, out)
        if code != FINE and not layer.prune and layer_forget(layer, layer.tokens - 1) != FINE:
            return NO_MEMORY
    return code


cdef bint rebuild(Layer *layer, Head *head, int64_t count, char *scratch) noexcept nogil:
    """Index the first ``count`` stored tokens anew; False where no memory is found.

    The last eighth goes in token by token, so that going back further is quick.
    """
    cdef double raw64[2]
    cdef float raw32[2]
    cdef Spot places[4]
    cdef int64_t token, built = count - count // 8
    cdef Store *store = &head.store
    if not build_plane(&head.index.plane, store, built, scratch):
        return False
    for token in range(built, count):
        raw64[0] = raw32[0] = key_of(store, token, 0)
        raw64[1] = raw32[1] = key_of(store, token, 1)
        store.count = token + 1
        find_places(
            head,
            1,
            layer.single,
            <const char *>raw32 if layer.single else <const char *>raw64,
            places,
        )
        if not plane_insert(&head.index.plane, store, token, places):
            return False
    return True


cdef int forget_planes(Layer *layer, int64_t count) noexcept nogil:
    """Keep the first ``count`` tokens of two features."""
    cdef int h
    cdef Head *head
    cdef char *scratch = NULL
    cdef int code = FINE
    for h in range(layer.heads):
        head = &layer.head[h]
        if count == 0 or head.index.plane.built <= count:
            if not plane_forget(&head.index.plane, &head.store, count):
                code = NO_MEMORY
            forget_tokens(&head.store, count)
            continue
        forget_tokens(&head.store, count)
        if scratch == NULL:
            scratch = <char *>malloc(build_bytes(count))
        if scratch == NULL or not rebuild(layer, head, count, scratch):
            code = NO_MEMORY
    free(scratch)
    return code


cdef int layer_forget(Layer *layer, int64_t count) noexcept nogil:
    """Keep the first ``count`` tokens."""
    cdef int h
    cdef Head *head
    if count >= layer.tokens:
        return FINE
    if layer.d == 2 and forget_planes(layer, count) != FINE:
        layer.broken = True
        return NO_MEMORY
    for h in range(layer.heads):
        head = &layer.head[h]
        if layer.d == 2:
            break
        if layer.d == 1:
            line_forget(&head.index.line, &head.store, count)
        else:
            spread_forget(&head.index.spread, count)
        forget_tokens(&head.store, count)
        if layer.d > 2:
            spread_raise(&head.index.spread, &head.store, count // CHUNK * CHUNK)
    layer.tokens = count
    return FINE


# --- Pruning -------------------------------------------------------------------------------------


cdef int64_t mark_kept(Layer *layer, Head *head) noexcept nogil:
    """Mark the tokens that may still win, repeats included, and count them; -1 without memory."""
    cdef Store *store = &head.store
    cdef int64_t token, kept = 0
    if not widen(&layer.renumber, &layer.renumber_room, store.count + 1):
        return -1
    memset(layer.renumber, 0, store.count * sizeof(int64_t))
    if layer.d == 1:
        line_mark(&head.index.line, layer.renumber)
    else:
        plane_mark(&head.index.plane, layer.renumber)
    for token in range(store.repeats):
        if layer.renumber[store.repeat[token].original]:
            layer.renumber[store.repeat[token].token] = 1
    for token in range(store.count):
        kept += layer.renumber[token]
    return kept


cdef int64_t head_kept(Layer *layer, int h) noexcept nogil:
    """How many tokens of a head may still win, or are kept all the same; -1 without memory."""
    if layer.d > 2 or not layer.prune:
        return layer.head[h].store.count
    return mark_kept(layer, &layer.head[h])


cdef bint head_compact(Layer *layer, int h) noexcept nogil:
    """Give up the dropped tokens of a head; False where no memory is found."""
    cdef Head *head = &layer.head[h]
    cdef int64_t kept = mark_kept(layer, head)
    if kept < 0:
        return False
    head.before_compacting = 2 * kept + SELDOM
    if kept < head.store.count:
        compact(&head.store, layer.renumber)
        if layer.d == 1:
            line_renumber(&head.index.line, layer.renumber)
        else:
            plane_renumber(&head.index.plane, layer.renumber)
    return True
