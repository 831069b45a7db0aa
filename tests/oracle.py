"""The oracle: hardmax attention and its dynamics as plain loops over NumPy scalars.

It shares no code with the package. Every product and sum below is one NumPy scalar operation,
rounded to the dtype of its operands, and nothing is fused or vectorised. Arrays must have the
compute dtype already; broadcasting and slicing only say which numbers meet.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

INT = np.int64


class Attention(NamedTuple):
    """Everything that can be said about one problem."""

    mean: np.ndarray  # (..., L, Ev)
    first: np.ndarray  # (..., L), -1 where no key is allowed
    count: np.ndarray  # (..., L)
    indptr: np.ndarray  # CSR over the flat queries
    indices: np.ndarray


class Run(NamedTuple):
    """Stepped dynamics of one cloud: entry k of each list belongs to layer k."""

    points: list[np.ndarray]
    first: list[np.ndarray]
    count: list[np.ndarray]
    leader_layer: np.ndarray
    labels: np.ndarray


def score(query, key):
    """The canonical score: features in increasing order, each product and each sum rounded."""
    total = query.dtype.type(0)
    for f in range(len(query)):
        product = query[f] * key[f]
        total = product if f == 0 else total + product
    return total


def tie_set(query, keys, *, allowed=None, bias=None, last=None):
    """The allowed keys j <= last whose score equals the maximum, in increasing order."""
    best, winners = None, []
    for j in range(len(keys)):
        if (last is not None and j > last) or (allowed is not None and not allowed[j]):
            continue
        s = score(query, keys[j])
        if bias is not None:
            if bias[j] == -np.inf:
                continue
            s = s + bias[j]
        if best is None or s > best:
            best, winners = s, [j]
        elif s == best:
            winners.append(j)
    return winners


def mean(values, winners, ties):
    """The winners' values summed in increasing index and divided once; zeros for no winner."""
    out = np.zeros(values.shape[1], values.dtype)
    if not winners:
        return out
    if ties != "mean":
        winners = [winners[0] if ties == "first" else winners[-1]]
    for f in range(values.shape[1]):
        total = values[winners[0], f]
        for j in winners[1:]:
            total = total + values[j, f]
        out[f] = total / values.dtype.type(len(winners))
    return out


def attention(
    query, key, value=None, *, attn_mask=None, is_causal=False, ties="mean", enable_gqa=False
):
    """Means and tie sets of (..., L, E) queries over (..., S, E) keys and (..., S, Ev) values."""
    if value is None:
        value = np.zeros((*key.shape[:-1], 0), key.dtype)
    if enable_gqa:
        shared = query.shape[-3] // key.shape[-3]
        key, value = np.repeat(key, shared, axis=-3), np.repeat(value, shared, axis=-3)
    lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    query = np.broadcast_to(query, lead + query.shape[-2:])
    key = np.broadcast_to(key, lead + key.shape[-2:])
    value = np.broadcast_to(value, lead + value.shape[-2:])
    rows = lead + query.shape[-2:-1]
    if attn_mask is not None:
        attn_mask = np.broadcast_to(attn_mask, rows + key.shape[-2:-1])

    out = np.zeros(rows + value.shape[-1:], value.dtype)
    first, count = np.full(rows, -1, INT), np.zeros(rows, INT)
    indptr, indices = [0], []
    for row in np.ndindex(rows):
        batch, i = row[:-1], row[-1]
        boolean = attn_mask is not None and attn_mask.dtype == bool
        winners = tie_set(
            query[row],
            key[batch],
            allowed=attn_mask[row] if boolean else None,
            bias=attn_mask[row] if attn_mask is not None and not boolean else None,
            last=i if is_causal else None,
        )
        out[row] = mean(value[batch], winners, ties)
        first[row] = winners[0] if winners else -1
        count[row] = len(winners)
        indices += winners
        indptr.append(len(indices))
    return Attention(out, first, count, np.array(indptr, INT), np.array(indices, INT))


def soft_means(queries, points, beta):
    """Means of points under weights exp(beta score) of each query, in NumPy's longest floats."""
    beta, far = np.longdouble(beta), points.astype(np.longdouble)
    means = []
    for query in queries:
        scores = np.array([score(query, point) for point in points], np.longdouble)
        weights = np.exp(beta * (scores - scores.max()))
        means.append((weights[:, None] * far).sum(axis=0) / weights.sum())
    return np.array(means)


def step_size(alpha, dtype):
    """alpha / (1 + alpha), rounded once, half to even, from exact rational arithmetic."""
    if math.isinf(alpha):
        return np.dtype(dtype).type(1)
    exact = Fraction(alpha) / (1 + Fraction(alpha))
    info = np.finfo(dtype)
    scale = Fraction(1)  # of the last bit kept, which is never below the smallest subnormal
    while exact * scale < 2**info.nmant and scale * Fraction(float(info.smallest_subnormal)) < 1:
        scale *= 2
    return np.dtype(dtype).type(float(round(exact * scale) / scale))


def simulate(points, alpha, n_layers, A=None):
    """n_layers steps x <- x + c (m - x) of one cloud (n, d), and who led whom."""
    n, d = points.shape
    c = step_size(alpha, points.dtype)
    leader_layer, labels = np.full(n, -1, INT), np.full(n, -1, INT)
    run = Run([], [], [], leader_layer, labels)
    for layer in range(n_layers + 1):
        queries = points.copy()
        if A is not None:
            for i in range(n):
                for f in range(d):
                    queries[i, f] = score(points[i], A[f])
        winners = [tie_set(queries[i], points) for i in range(n)]
        for i in range(n):
            if winners[i] == [i] and leader_layer[i] < 0:
                leader_layer[i] = layer
        for i in range(n):
            if len(winners[i]) == 1 and leader_layer[winners[i][0]] >= 0 and labels[i] < 0:
                labels[i] = winners[i][0]
        run.points.append(points)
        run.first.append(np.array([w[0] for w in winners], INT))
        run.count.append(np.array([len(w) for w in winners], INT))
        moved = points.copy()
        for i in range(n):
            goal = mean(points, winners[i], "mean")
            for f in range(d):
                moved[i, f] = points[i, f] + c * (goal[f] - points[i, f])
        points = moved
    return run
