# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What is wrong with a token or a query, in any head of a layer."""

from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport fabs

from .hit cimport plane_underflows, plane_would_underflow
from .layer cimport BAD_NUMBER, BROKEN, SCORE_OVERFLOWS, Head, Layer
from .line cimport line_underflows, line_would_underflow
from .store cimport FINE, UNDERFLOWS, real


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
