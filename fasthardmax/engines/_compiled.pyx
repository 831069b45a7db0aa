# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""All pairs, ahead of time: blocks of keys scored feature by feature, without the GIL.

A block of keys is packed once for a block of queries, features outermost, so that the C compiler
vectorises over the keys while every score keeps the canonical order: it has no licence to reorder
or fuse (see setup.py). A block is looked at key by key only where its maximum reaches the row's.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

ctypedef fused real:
    float
    double

cdef enum:
    QUERIES = 64  # queries that share one packed block of keys
    KEYS = 64  # keys in a block, and its parts: a constant trip count lets loops unroll
    HALF = 32
    QUARTER = 16
    EIGHTH = 8
    SIXTEENTH = 4

QUERIES_IN_BLOCK = QUERIES


cdef struct Places:  # which entry each batch reads; a stride of 0 repeats one
    const char *start
    Py_ssize_t stride


cdef inline Places places(cnp.ndarray numbers) noexcept:  # it reads two fields: nothing raises
    cdef Places found
    found.start = <const char *>cnp.PyArray_DATA(numbers)
    found.stride = cnp.PyArray_STRIDES(numbers)[0]
    return found


cdef inline int64_t place(Places among, Py_ssize_t b) noexcept nogil:
    return (<const int64_t *>(among.start + b * among.stride))[0]


def attend(
    cnp.ndarray query,
    cnp.ndarray key,
    cnp.ndarray value,
    cnp.ndarray query_of,
    cnp.ndarray key_of,
    cnp.ndarray value_of,
    cnp.ndarray mask_of,
    const unsigned char[:, :, :] allowed,
    const real[:, :, :] bias,
    bint is_causal,
    str ties,
    cnp.ndarray mean,
    cnp.ndarray first,
    cnp.ndarray count,
    Py_ssize_t start,
    Py_ssize_t stop,
):
    """Fill in rows ``start`` to ``stop`` of the answer, counted over batches and queries.

    All but the masks are of the types and C-contiguous, as a checked problem's are; to look at
    them without views saves a small call a microsecond. ``allowed`` and ``bias`` may be None.
    """
    cdef Py_ssize_t n_queries = cnp.PyArray_DIM(query, 1), n_keys = cnp.PyArray_DIM(key, 1)
    cdef Py_ssize_t d = cnp.PyArray_DIM(key, 2), dv = cnp.PyArray_DIM(value, 2)
    cdef Places queries_at = places(query_of), keys_at = places(key_of)
    cdef Places values_at = places(value_of), masks_at = places(mask_of)
    cdef const real *all_queries = <const real *>cnp.PyArray_DATA(query)
    cdef const real *all_keys = <const real *>cnp.PyArray_DATA(key)
    cdef const real *all_values = <const real *>cnp.PyArray_DATA(value)
    cdef real *means = <real *>cnp.PyArray_DATA(mean)
    cdef int64_t *firsts = <int64_t *>cnp.PyArray_DATA(first)
    cdef int64_t *counts = <int64_t *>cnp.PyArray_DATA(count)
    cdef bint add_up = ties == "mean", take_last = ties == "last"
    cdef Py_ssize_t row = start, b, i, i0, i1, r, j, j0, width
    cdef const real *queries
    cdef const real *keys
    cdef const real *values
    cdef real *out
    cdef real top
    cdef real score[KEYS]
    cdef real best[QUERIES]
    cdef int64_t last[QUERIES]
    cdef real *block = <real *>malloc(KEYS * (d + 1) * sizeof(real))
    if block == NULL:
        raise MemoryError("engine: 'compiled' found no memory for one block of keys")
    with nogil:
        while row < stop:
            b = row // n_queries
            i0 = row % n_queries
            i1 = min(n_queries, i0 + min(QUERIES, stop - row))
            for r in range(i1 - i0):
                best[r] = -INFINITY
                firsts[row + r] = -1
                counts[row + r] = 0
            queries = all_queries + place(queries_at, b) * n_queries * d
            keys = all_keys + place(keys_at, b) * n_keys * d
            values = all_values + place(values_at, b) * n_keys * dv
            j0 = 0
            while j0 < (min(n_keys, i1) if is_causal else n_keys):
                width = min(KEYS, n_keys - j0)
                _pack(keys + j0 * d, width, d, block)
                for i in range(i0, i1):
                    _score(queries + i * d, block, d, score)
                    _mask(allowed, bias, place(masks_at, b), i, j0, width, score)
                    for j in range(max(0, min(width, i + 1 - j0)) if is_causal else width, KEYS):
                        score[j] = -INFINITY
                    top = _maximum(score)
                    if top < best[i - i0] or top == -INFINITY:
                        continue
                    r = row + i - i0
                    if top > best[i - i0]:
                        best[i - i0] = top
                        counts[r] = 0
                    for j in range(width):
                        if score[j] == top:
                            last[i - i0] = j0 + j
                            if counts[r] == 0:
                                firsts[r] = j0 + j
                            elif add_up:
                                out = means + r * dv
                                if counts[r] == 1:
                                    memcpy(out, values + firsts[r] * dv, dv * sizeof(real))
                                _add(values + (j0 + j) * dv, dv, out)
                            counts[r] += 1
                j0 += KEYS
            for r in range(row, row + i1 - i0):
                out = means + r * dv
                if counts[r] == 0:
                    memset(out, 0, dv * sizeof(real))
                elif take_last:
                    memcpy(out, values + last[r - row] * dv, dv * sizeof(real))
                elif add_up and counts[r] > 1:
                    _divide(out, dv, <real>counts[r])
                else:
                    memcpy(out, values + firsts[r] * dv, dv * sizeof(real))
            row += i1 - i0
    free(block)


def collect(
    const real[:, :, ::1] query,
    const real[:, :, ::1] key,
    const int64_t[:] query_of,
    const int64_t[:] key_of,
    const int64_t[:] mask_of,
    const unsigned char[:, :, :] allowed,
    const real[:, :, :] bias,
    bint is_causal,
    const int64_t[:, ::1] first,
    const int64_t[:, ::1] count,
    const int64_t[::1] indptr,
    int64_t[::1] indices,
    Py_ssize_t start,
    Py_ssize_t stop,
):
    """List the winners of rows ``start`` to ``stop``, given the first of each and their number."""
    cdef Py_ssize_t n_queries = query.shape[1], n_keys = key.shape[1], d = key.shape[2]
    cdef Py_ssize_t row = start, b, i, i0, i1, j, j0, width
    cdef bint packed
    cdef real score[KEYS]
    cdef real best[QUERIES]
    cdef int64_t found[QUERIES]
    cdef real *block = <real *>malloc(KEYS * (d + 1) * sizeof(real))
    if block == NULL:
        raise MemoryError("engine: 'compiled' found no memory for one block of keys")
    with nogil:
        while row < stop:
            b = row // n_queries
            i0 = row % n_queries
            i1 = min(n_queries, i0 + min(QUERIES, stop - row))
            memset(found, 0, sizeof(found))
            j0 = 0
            while j0 < (min(n_keys, i1) if is_causal else n_keys):
                width = min(KEYS, n_keys - j0)
                packed = False
                for i in range(i0, i1):
                    if found[i - i0] == count[b, i] or first[b, i] >= j0 + width:
                        continue
                    if not packed:
                        _pack(&key[key_of[b], j0, 0], width, d, block)
                        packed = True
                    _score(&query[query_of[b], i, 0], block, d, score)
                    _mask(allowed, bias, mask_of[b], i, j0, width, score)
                    if found[i - i0] == 0:
                        best[i - i0] = score[first[b, i] - j0]
                    for j in range(min(width, i + 1 - j0) if is_causal else width):
                        if score[j] == best[i - i0]:
                            indices[indptr[row + i - i0] + found[i - i0]] = j0 + j
                            found[i - i0] += 1
                j0 += KEYS
            row += i1 - i0
    free(block)


cdef inline void _pack(
    const real *keys, Py_ssize_t width, Py_ssize_t d, real *block
) noexcept nogil:
    """Transpose ``width`` keys to features outermost; zeros fill the rest of the block."""
    cdef Py_ssize_t f, j
    for j in range(width):
        for f in range(d):
            block[f * KEYS + j] = keys[j * d + f]
    for f in range(d):
        for j in range(width, KEYS):
            block[f * KEYS + j] = 0


cdef inline void _score(
    const real *q, const real *block, Py_ssize_t d, real *score
) noexcept nogil:
    """Canonical scores of one query: features in increasing order, up to four in a pass."""
    cdef Py_ssize_t f = d % 4, j
    cdef const real *k
    if f == 0:
        for j in range(KEYS):
            score[j] = 0
    elif f == 1:
        for j in range(KEYS):
            score[j] = q[0] * block[j]
    elif f == 2:
        for j in range(KEYS):
            score[j] = q[0] * block[j] + q[1] * block[KEYS + j]
    else:
        for j in range(KEYS):
            score[j] = q[0] * block[j] + q[1] * block[KEYS + j] + q[2] * block[2 * KEYS + j]
    while f < d:
        k = block + f * KEYS
        for j in range(KEYS):
            score[j] = (
                score[j]
                + q[f] * k[j]
                + q[f + 1] * k[KEYS + j]
                + q[f + 2] * k[2 * KEYS + j]
                + q[f + 3] * k[3 * KEYS + j]
            )
        f += 4


cdef inline void _mask(
    const unsigned char[:, :, :] allowed,
    const real[:, :, :] bias,
    Py_ssize_t m,
    Py_ssize_t i,
    Py_ssize_t j0,
    Py_ssize_t width,
    real *score,
) noexcept nogil:
    """Forbid or bias the scores of query ``i`` against the block at ``j0``."""
    cdef Py_ssize_t j
    if allowed is not None:
        for j in range(width):
            if not allowed[m, i, j0 + j]:
                score[j] = -INFINITY
    if bias is not None:
        for j in range(width):
            score[j] = score[j] + bias[m, i, j0 + j]


cdef inline real _maximum(const real *score) noexcept nogil:
    """The largest score of a block, by halving: a form that vectorises without reordering."""
    cdef real top[HALF]
    cdef Py_ssize_t j
    for j in range(HALF):
        top[j] = _larger(score[j], score[HALF + j])
    for j in range(QUARTER):
        top[j] = _larger(top[j], top[QUARTER + j])
    for j in range(EIGHTH):
        top[j] = _larger(top[j], top[EIGHTH + j])
    for j in range(SIXTEENTH):
        top[j] = _larger(top[j], top[SIXTEENTH + j])
    return _larger(_larger(top[0], top[1]), _larger(top[2], top[3]))


cdef inline real _larger(real a, real b) noexcept nogil:
    return a if a > b else b


cdef inline void _add(const real *value, Py_ssize_t dv, real *total) noexcept nogil:
    cdef Py_ssize_t f
    for f in range(dv):
        total[f] += value[f]


cdef inline void _divide(real *total, Py_ssize_t dv, real count) noexcept nogil:
    cdef Py_ssize_t f
    for f in range(dv):
        total[f] /= count
