# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""All heads of a layer: insert, answer, prune.

Everything about a token is checked in all heads before anything is stored; where an answer cannot
be given after all (a sum of tied values that overflows), the token is taken back.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from .ahead cimport ABREAST, find_peaks, find_places
from .check cimport layer_check
from .entry cimport plane_insert
from .hit cimport plane_query, plane_scan
from .line cimport (
    close_line,
    line_bytes,
    line_insert,
    line_mark,
    line_query,
    line_renumber,
    open_line,
)
from .plane cimport close_plane, open_plane, plane_bytes, plane_mark, plane_renumber
from .rewind cimport layer_forget
from .spread cimport close_spread, open_spread, spread_insert, spread_query
from .store cimport (
    FINE,
    NO_MEMORY,
    Store,
    add_token,
    close_store,
    compact,
    open_store,
    store_bytes,
    widen,
)
from .tree cimport Spot
from .winners cimport Ties, answer, answer_all

cdef enum:
    SELDOM = 1024  # tokens stored before the first look for dropped ones


cdef bint open_head(Layer *layer, Head *head) noexcept nogil:
    head.before_compacting = SELDOM
    if layer.d == 1:
        open_line(&head.index.line, layer.single)
    elif layer.d == 2:
        open_plane(&head.index.plane, layer.single)
    elif not open_spread(&head.index.spread, layer.d, layer.single):
        return False
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
