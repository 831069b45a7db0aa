# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The newest tokens of a layer taken back: undone one by one, or what is left indexed anew."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from .ahead cimport find_places
from .bulk cimport build_bytes, build_plane
from .entry cimport plane_insert
from .layer cimport Head, Layer
from .line cimport line_forget
from .spread cimport spread_forget, spread_raise
from .store cimport CHUNK, FINE, NO_MEMORY, Store, forget_tokens, key_of
from .tree cimport Spot
from .undo cimport plane_forget


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
