# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Layers behind Python: arrays in, arrays out, in well under a microsecond."""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, intptr_t
from libc.string cimport memcpy

from .layer cimport (
    BAD_NUMBER,
    BROKEN,
    SCORE_OVERFLOWS,
    Head,
    Layer,
    close_layer,
    head_compact,
    head_insert,
    head_kept,
    layer_append,
    layer_bytes,
    layer_query,
    layer_step,
    open_layer,
)
from .prompt cimport at_once, layer_extend
from .rewind cimport layer_forget
from .spread cimport spread_keys
from .store cimport CHUNK, FINE, NO_MEMORY, SUM_OVERFLOWS, UNDERFLOWS, value_of

from .._crew import muster

cnp.import_array()

CODES = {
    NO_MEMORY: "memory",
    SUM_OVERFLOWS: "sum",
    UNDERFLOWS: "underflow",
    BAD_NUMBER: "number",
    SCORE_OVERFLOWS: "score",
    BROKEN: "broken",
}


class Refused(Exception):
    """What the engine refused, as one of the words in CODES."""


@cython.final
cdef class Core:
    """Layers of heads; arguments are trusted but for their shapes, dtypes and numbers."""

    cdef Layer *layers
    cdef bint *busy  # being extended, perhaps by threads without the GIL
    cdef readonly int n_layers, n_heads, head_dim, value_dim
    cdef readonly bint prune
    cdef int kind
    cdef bint single

    def __cinit__(
        self, int n_layers, int n_heads, int head_dim, int value_dim, bint single, bint prune
    ):
        cdef int i
        self.layers = <Layer *>PyMem_Calloc(n_layers, sizeof(Layer))
        self.busy = <bint *>PyMem_Calloc(n_layers, sizeof(bint))
        if self.layers == NULL or self.busy == NULL:
            raise MemoryError("HardmaxCache: found no memory for its layers")
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.head_dim = head_dim
        self.value_dim = value_dim
        self.single = single
        self.prune = prune
        self.kind = cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE
        for i in range(n_layers):
            if not open_layer(&self.layers[i], n_heads, head_dim, value_dim, single, prune):
                raise MemoryError("HardmaxCache: found no memory for its layers")

    def __dealloc__(self):
        cdef int i
        if self.layers != NULL:
            for i in range(self.n_layers):
                close_layer(&self.layers[i])
            PyMem_Free(self.layers)
        PyMem_Free(self.busy)

    cdef inline bint fits(self, object array, int width) noexcept:  # it calls nothing that raises
        """Whether an object is an array that can be read as it is."""
        cdef cnp.ndarray a
        if not cnp.PyArray_CheckExact(array):
            return False
        a = <cnp.ndarray>array
        return (
            cnp.PyArray_NDIM(a) == 2
            and cnp.PyArray_TYPE(a) == self.kind
            and cnp.PyArray_ISCARRAY_RO(a)
            and cnp.PyArray_DIM(a, 0) == self.n_heads
            and cnp.PyArray_DIM(a, 1) == width
        )

    cdef inline Layer *layer(self, object number) except NULL:
        cdef Py_ssize_t i
        if type(number) is not int:
            raise Refused("arguments")
        try:
            i = number
        except OverflowError:
            raise Refused("arguments") from None
        if not 0 <= i < self.n_layers:
            raise Refused("arguments")
        if self.busy[i]:
            raise RuntimeError(
                "HardmaxCache: another thread is at work in this layer, expected one at a time"
            )
        return &self.layers[i]

    cdef inline cnp.ndarray answers(self):
        cdef cnp.npy_intp shape[2]
        shape[0] = self.n_heads
        shape[1] = self.value_dim
        return cnp.PyArray_EMPTY(2, shape, self.kind, 0)

    def step(self, layer, keys, queries, values):
        """Insert a token and answer; Refused with "arguments" where they must be read first."""
        cdef Layer *to = self.layer(layer)
        cdef cnp.ndarray out
        cdef int code
        if not (
            self.fits(keys, self.head_dim)
            and self.fits(queries, self.head_dim)
            and self.fits(values, self.value_dim)
        ):
            raise Refused("arguments")
        out = self.answers()
        code = layer_step(
            to,
            cnp.PyArray_BYTES(keys),
            cnp.PyArray_BYTES(queries),
            cnp.PyArray_BYTES(values),
            cnp.PyArray_BYTES(out),
        )
        if code != FINE:
            raise Refused(CODES[code])
        return out

    def append(self, layer, keys, values):
        """Insert a token."""
        cdef Layer *to = self.layer(layer)
        cdef int code
        if not (self.fits(keys, self.head_dim) and self.fits(values, self.value_dim)):
            raise Refused("arguments")
        code = layer_append(to, cnp.PyArray_BYTES(keys), cnp.PyArray_BYTES(values))
        if code != FINE:
            raise Refused(CODES[code])

    def query(self, layer, queries):
        """Answer a query for each head."""
        cdef Layer *to = self.layer(layer)
        cdef cnp.ndarray out
        cdef int code
        if not self.fits(queries, self.head_dim):
            raise Refused("arguments")
        out = self.answers()
        code = layer_query(to, cnp.PyArray_BYTES(queries), cnp.PyArray_BYTES(out))
        if code != FINE:
            raise Refused(CODES[code])
        return out

    def extend(
        self, int layer, cnp.ndarray keys, cnp.ndarray values, queries, out, int n_threads
    ):
        """Insert C-contiguous (T, H, d) tokens, answering after each where queries are given.

        Returns what was refused; then some tokens may be in some heads, and have to be taken back.
        """
        cdef Layer *to = self.layer(layer)
        cdef int64_t total = cnp.PyArray_DIM(keys, 0), t = 0, width
        cdef int64_t item = 4 if self.single else 8
        cdef int64_t key_size = self.n_heads * self.head_dim * item
        cdef int64_t value_size = self.n_heads * self.value_dim * item
        cdef const char *k = cnp.PyArray_BYTES(keys)
        cdef const char *v = cnp.PyArray_BYTES(values)
        cdef const char *q = NULL
        cdef char *answer = NULL
        cdef intptr_t run_job = muster(n_threads - 1)
        cdef int code = FINE
        if to.broken:
            return CODES[BROKEN]
        if queries is not None:
            q = cnp.PyArray_BYTES(<cnp.ndarray>queries)
            answer = cnp.PyArray_BYTES(<cnp.ndarray>out)
        self.busy[layer] = True
        try:
            while t < total and code == FINE:
                width = at_once(to, total - t, q != NULL)
                with nogil:
                    code = layer_extend(
                        to,
                        k + t * key_size,
                        NULL if q == NULL else q + t * key_size,
                        v + t * value_size,
                        NULL if q == NULL else answer + t * value_size,
                        width,
                        run_job,
                        n_threads,
                    )
                t += width
                PyErr_CheckSignals()
        finally:
            self.busy[layer] = False
        return None if code == FINE else CODES[code]

    def extend_by_token(self, int layer, keys, values, queries, out):
        """How many of the tokens of a refused prompt are fine, and what is refused of the next.

        Those that are fine are in then, and have to be taken back.
        """
        cdef int64_t t = 0
        for t in range(len(keys)):
            if t % 4096 == 0:
                PyErr_CheckSignals()
            try:
                if queries is None:
                    self.append(layer, keys[t], values[t])
                else:
                    out[t] = self.step(layer, keys[t], queries[t], values[t])
            except Refused as refusal:
                return t, str(refusal)
        return len(keys), None

    def set_ties(self, int layer, int head, int ties):
        self.layers[layer].head[head].ties = ties

    def get_ties(self, int layer, int head):
        return self.layers[layer].head[head].ties

    def n_tokens(self, int layer):
        return self.layers[layer].tokens

    def address(self, int layer):
        """Where a layer lives, for functions that are called without Python."""
        return <size_t>&self.layers[layer]

    def truncate(self, int layer, int64_t count):
        if layer_forget(self.layer(layer), count) != FINE:
            raise Refused(CODES[NO_MEMORY])

    def clear(self, int layer):
        """Forget all tokens; ties stay."""
        cdef Layer *to = self.layer(layer)
        cdef Layer fresh
        cdef int h
        if not open_layer(
            &fresh, self.n_heads, self.head_dim, self.value_dim, self.single, self.prune
        ):
            close_layer(&fresh)
            raise MemoryError("clear: found no memory for an empty layer")
        for h in range(self.n_heads):
            fresh.head[h].ties = to.head[h].ties
        close_layer(to)
        to[0] = fresh

    def swap(self, Core other):
        """Exchange tokens and ties with a core of the same sizes; addresses stay."""
        cdef Layer between
        cdef int i
        for i in range(self.n_layers):
            between = self.layers[i]
            self.layers[i] = other.layers[i]
            other.layers[i] = between

    def kept(self, int layer, int head):
        cdef int64_t kept = head_kept(&self.layers[layer], head)
        if kept < 0:
            raise MemoryError("n_kept: found no memory to count")
        return kept

    def nbytes(self, int layer):
        return layer_bytes(&self.layers[layer])

    def stored(self, int layer, int head):
        """Keys (n, d) and values (n, dv) of a head, as far as they are kept."""
        cdef Layer *of = self.layer(layer)
        cdef Head *one = &of.head[head]
        cdef int64_t n, token, at
        cdef int item = 4 if self.single else 8, f
        cdef cnp.ndarray keys, values
        if self.prune and self.head_dim < 3 and not head_compact(of, head):
            raise MemoryError("state_dict: found no memory to count the keys kept")
        n = one.store.count
        keys = cnp.PyArray_EMPTY(2, [n, self.head_dim], self.kind, 0)
        values = cnp.PyArray_EMPTY(2, [n, self.value_dim], self.kind, 0)
        if self.head_dim > 2:
            spread_keys(&one.index.spread, cnp.PyArray_BYTES(keys), self.head_dim * item)
        for token in range(n):
            memcpy(
                cnp.PyArray_BYTES(values) + token * self.value_dim * item,
                value_of(&one.store, token),
                self.value_dim * item,
            )
            for f in range(one.store.d):
                at = token * self.head_dim + f
                memcpy(
                    cnp.PyArray_BYTES(keys) + at * item,
                    one.store.chunk[token // CHUNK] + (f * CHUNK + token % CHUNK) * item,
                    item,
                )
        return keys, values

    def summary(self, int layer, int head):
        """What the kept keys of a pruned head do not say.

        The sum of all values, the first and the newest (3, dv); peaks of keys, and below which
        queries dropped keys could tie (2, d).
        """
        cdef Head *one = &self.layers[layer].head[head]
        cdef int item = 4 if self.single else 8, f
        cdef cnp.ndarray sums = cnp.PyArray_EMPTY(2, [3, self.value_dim], self.kind, 0)
        cdef cnp.ndarray bounds = cnp.PyArray_EMPTY(2, [2, self.head_dim], cnp.NPY_DOUBLE, 0)
        cdef double *bound = <double *>cnp.PyArray_DATA(bounds)
        memcpy(cnp.PyArray_BYTES(sums), one.store.total, 3 * self.value_dim * item)
        for f in range(self.head_dim):
            bound[f] = one.store.peak[f]
            bound[self.head_dim + f] = INFINITY
        if self.head_dim == 1:
            bound[1] = min(one.index.line.side[0].floor, one.index.line.side[1].floor)
        elif self.head_dim == 2:
            bound[2] = one.index.plane.floor_x
            bound[3] = one.index.plane.floor_y
        return sums, bounds

    def restore(
        self,
        int layer,
        int head,
        cnp.ndarray keys,
        cnp.ndarray values,
        cnp.ndarray sums,
        cnp.ndarray bounds,
        int64_t tokens,
    ):
        """Read a pruned head back, into an empty one."""
        cdef Layer *to = &self.layers[layer]
        cdef Head *one = &to.head[head]
        cdef int64_t item = 4 if self.single else 8, t
        cdef const double *bound = <const double *>cnp.PyArray_DATA(bounds)
        cdef bint dropped = bound[self.head_dim] < INFINITY
        memcpy(one.store.peak, bound, self.head_dim * sizeof(double))
        if self.head_dim == 1:
            one.index.line.side[0].floor = bound[1]
            one.index.line.side[1].floor = bound[1]
        elif self.head_dim == 2 and dropped:
            one.index.plane.dropped = True
            one.index.plane.floor_x = bound[2]
            one.index.plane.floor_y = bound[3]
        for t in range(cnp.PyArray_DIM(keys, 0)):
            if not head_insert(
                to,
                head,
                cnp.PyArray_BYTES(keys) + t * self.head_dim * item,
                cnp.PyArray_BYTES(values) + t * self.value_dim * item,
            ):
                raise MemoryError("load_state_dict: found no memory for the keys")
        memcpy(one.store.total, cnp.PyArray_BYTES(sums), 3 * self.value_dim * item)
        one.store.tokens = tokens
        to.tokens = tokens
