# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A whole prompt in a layer, its heads shared among threads.

Without queries the heads' tokens are stored, then each head's keys taken in at once. Else token by
token, some heads in each thread. A prompt that is refused is refused half-way: the caller
takes it back, and finds out why by one token after the other.
"""

from libc.float cimport DBL_MAX, FLT_MAX
from libc.stdint cimport int64_t, intptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from .bulk cimport build_bytes, build_plane
from .layer cimport Layer, head_compact, layer_append, layer_query
from .line cimport Line, line_insert
from .plane cimport Plane
from .slab cimport Room, add_tokens
from .spread cimport Spread, spread_insert
from .store cimport CHUNK, FINE, NO_MEMORY, Store
from .tree cimport soon

cdef enum:
    MANY = 64  # tokens that are taken in at once
    SPELL = 1 << 14  # tokens of a pruned cache between two looks for dropped ones, at least
    SHORT = 256  # tokens of all heads that are not worth waking a thread for

ctypedef void (*turn_t)(void *context, int64_t slot, int64_t turn) noexcept nogil
ctypedef void (*run_t)(
    turn_t take, void *context, int64_t begin, int64_t end, int64_t n_helpers
) noexcept nogil

cdef struct Prompt:
    Layer *layer
    const char *keys
    const char *queries  # NULL where there are none
    const char *values
    char *out
    int64_t count
    int groups  # of heads
    int *code  # what became of each group, or head
    char **scratch  # of each thread


cdef inline Layer some_heads(const Layer *layer, int start, int stop) noexcept nogil:
    """A layer of some heads of another; what it needs to work with is its own."""
    cdef Layer some = layer[0]
    some.head += start
    some.heads = stop - start
    memset(&some.winners, 0, sizeof(some.winners))
    some.renumber = NULL
    some.renumber_room = 0
    return some


cdef inline void forget_some(Layer *some) noexcept nogil:
    free(some.winners.token)
    free(some.winners.every)
    free(some.renumber)


cdef void take_tokens(void *context, int64_t slot, int64_t turn) noexcept nogil:
    """All tokens of a group of heads, one after the other."""
    cdef Prompt *prompt = <Prompt *>context
    cdef Layer *layer = prompt.layer
    cdef int item = 4 if layer.single else 8
    cdef int start = <int>(turn * layer.heads // prompt.groups), code = FINE
    cdef Layer some = some_heads(layer, start, <int>((turn + 1) * layer.heads // prompt.groups))
    cdef int64_t key_size = layer.d * item, value_size = layer.dv * item, t
    for t in range(prompt.count):
        code = layer_append(
            &some,
            prompt.keys + (t * layer.heads + start) * key_size,
            prompt.values + (t * layer.heads + start) * value_size,
        )
        # Not a step, which would give back memory that heads of other threads share.
        if code == FINE and prompt.queries != NULL:
            code = layer_query(
                &some,
                prompt.queries + (t * layer.heads + start) * key_size,
                prompt.out + (t * layer.heads + start) * value_size,
            )
        if code != FINE:
            break
    prompt.code[turn] = code
    forget_some(&some)


cdef inline void fetch(
    const Prompt *prompt, int64_t start, int64_t stop, int64_t first, int64_t heads
) noexcept nogil:
    """Fetch tokens of some heads, a part of a line of memory after the other."""
    cdef int64_t key_size = prompt.layer.d * (4 if prompt.layer.single else 8)
    cdef int64_t value_size = prompt.layer.dv * (4 if prompt.layer.single else 8)
    cdef int64_t row = prompt.layer.heads, i
    for start in range(start, min(stop, prompt.count)):
        i = 0
        while i < heads * key_size:
            soon(prompt.keys + (start * row + first) * key_size + i)
            i += 64
        i = 0
        while i < heads * value_size:
            soon(prompt.values + (start * row + first) * value_size + i)
            i += 64


cdef inline bint put_in_shells(
    Spread *spread, const char *keys, int64_t stride, int64_t token, int64_t count
) noexcept nogil:
    """Take in keys of three features or more; False where no memory is found."""
    cdef int64_t i
    for i in range(count):
        if not spread_insert(spread, keys + i * stride, token + i):
            return False
    return True


cdef void store_tokens(void *context, int64_t slot, int64_t turn) noexcept nogil:
    """Store all tokens of a group of heads; keys of many features are taken in while at hand."""
    cdef Prompt *prompt = <Prompt *>context
    cdef Layer *layer = prompt.layer
    cdef int item = 4 if layer.single else 8, h
    cdef int64_t key_size = layer.d * item, value_size = layer.dv * item, t = 0, width
    cdef double most = FLT_MAX if layer.single else DBL_MAX
    cdef double most_value = most / 4 / <double>(layer.tokens + prompt.count)
    cdef int64_t first = turn * layer.heads // prompt.groups
    cdef int64_t heads = (turn + 1) * layer.heads // prompt.groups - first
    cdef Room room
    room.slab = NULL
    room.chunks = 0
    # A chunk of all heads fits in a cache, and has whole lines of the arrays.
    while t < prompt.count and prompt.code[turn] == FINE:
        width = min(CHUNK, prompt.count - t)
        room.wanted = (prompt.count - t) // CHUNK * heads
        for h in range(first, first + heads):
            fetch(
                prompt, t + CHUNK + (h - first) * CHUNK // heads,
                t + CHUNK + (h - first + 1) * CHUNK // heads, first, heads,
            )
            prompt.code[turn] = add_tokens(
                &layer.head[h].store,
                prompt.keys + (t * layer.heads + h) * key_size,
                prompt.values + (t * layer.heads + h) * value_size,
                layer.heads * key_size,
                layer.heads * value_size,
                width,
                most / 4,
                most_value if layer.prune else most,
                &room,
            )
            if prompt.code[turn] == FINE and layer.d > 2 and not put_in_shells(
                &layer.head[h].index.spread,
                prompt.keys + (t * layer.heads + h) * key_size,
                layer.heads * key_size,
                layer.head[h].store.count - width,
                width,
            ):
                prompt.code[turn] = NO_MEMORY
            if prompt.code[turn] != FINE:
                break
        t += width


cdef void index_tokens(void *context, int64_t slot, int64_t turn) noexcept nogil:
    """Take in the stored keys of a head."""
    cdef Prompt *prompt = <Prompt *>context
    cdef Layer some = some_heads(prompt.layer, <int>turn, <int>turn + 1)
    cdef bint fine
    if some.d == 1:
        fine = index_line(&some.head.index.line, &some.head.store, prompt.count)
    else:
        fine = index_plane(prompt, &some.head.index.plane, &some.head.store, slot)
    if not fine or (some.prune and not head_compact(&some, 0)):
        prompt.code[turn] = NO_MEMORY
    forget_some(&some)


cdef bint index_line(Line *line, Store *store, int64_t count) noexcept nogil:
    """Take in the newest keys of one feature; False where no memory is found."""
    cdef int64_t stored = store.count
    store.count -= count
    while store.count < stored:
        store.count += 1
        if not line_insert(line, store, store.count - 1):
            return False
    return True


cdef bint index_plane(
    Prompt *prompt, Plane *plane, Store *store, int64_t slot
) noexcept nogil:
    """Take in all keys of two features, in place of all that was there."""
    cdef int64_t h, most = 0
    if prompt.scratch[slot] == NULL:
        for h in range(prompt.layer.heads):
            most = max(most, prompt.layer.head[h].store.count)
        prompt.scratch[slot] = <char *>malloc(build_bytes(most))
        if prompt.scratch[slot] == NULL:
            return False
    return build_plane(plane, store, store.count, prompt.scratch[slot])


cdef int64_t at_once(const Layer *layer, int64_t count, bint asked) noexcept nogil:
    """How many of some tokens go in between two looks at signals, or at dropped keys."""
    cdef int64_t stored = 0
    cdef int h
    if asked:
        return min(count, 256)
    if not layer.prune:
        return count
    for h in range(layer.heads):
        stored = max(stored, layer.head[h].store.count)
    return min(count, max(stored, SPELL))


cdef int first_bad(const Prompt *prompt, int n) noexcept nogil:
    cdef int i
    for i in range(n):
        if prompt.code[i] != FINE:
            return prompt.code[i]
    return FINE


cdef int layer_extend(
    Layer *layer,
    const char *keys,
    const char *queries,
    const char *values,
    char *out,
    int64_t count,
    intptr_t run_job,
    int n_threads,
) noexcept nogil:
    """Take in tokens, and answer after each where there are queries.

    Where it does not return FINE some tokens may be in some heads, and have to be taken back.
    """
    cdef run_t run = <run_t>run_job
    cdef Prompt prompt
    cdef int h, code, heads = layer.heads
    cdef bint at_once = queries == NULL and count >= MANY
    for h in range(heads):
        at_once = at_once and (layer.d != 2 or count >= layer.head[h].store.count)
    if count * heads < SHORT:
        n_threads = 1
    prompt.layer = layer
    prompt.keys, prompt.queries, prompt.values, prompt.out = keys, queries, values, out
    prompt.count = count
    prompt.groups = min(n_threads, heads)
    prompt.code = <int *>calloc(heads, sizeof(int))
    prompt.scratch = <char **>calloc(n_threads, sizeof(char *))
    code = FINE if prompt.code != NULL and prompt.scratch != NULL else NO_MEMORY
    if code == FINE:
        run(store_tokens if at_once else take_tokens, &prompt, 0, prompt.groups, n_threads - 1)
        code = first_bad(&prompt, heads)
    if code == FINE and at_once and layer.d < 3:
        run(index_tokens, &prompt, 0, heads, n_threads - 1)
        code = first_bad(&prompt, heads)
    if prompt.scratch != NULL:
        for h in range(n_threads):
            free(prompt.scratch[h])
    free(prompt.scratch)
    free(prompt.code)
    layer.tokens += count
    if code == NO_MEMORY:
        layer.broken = True
    return code
