"""The operator: hardmax attention and its tie sets, checked, dispatched and reshaped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import engines
from ._assemble import attention_problem
from ._validate import as_array, check_choice, check_mean

__all__ = ["Winners", "hardmax_attention", "hardmax_winners"]


@dataclass(frozen=True, slots=True, eq=False)
class Winners:
    """The tie set of every query.

    Attributes
    ----------
    first : ndarray of int64, shape (..., L)
        The lowest winning key; -1 where no key is allowed.
    count : ndarray of int64, shape (..., L)
        How many keys win; 0 where no key is allowed.
    indptr, indices : ndarray of int64 or None
        All winners in CSR form, if asked for: those of flat query ``r`` (C order over (..., L))
        are ``indices[indptr[r]:indptr[r + 1]]``, in increasing order.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    indptr: NDArray[np.int64] | None = None
    indices: NDArray[np.int64] | None = None


def hardmax_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    attn_mask: ArrayLike | None = None,
    is_causal: bool = False,
    ties: str = "mean",
    enable_gqa: bool = False,
    engine: str = "auto",
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Give every query the mean of the values whose keys score highest.

    ``out_i = mean of v_j over C_i``, ``C_i = {j : <q_i, k_j> = max_l <q_i, k_l>}``. Shapes and
    meaning follow ``torch.nn.functional.scaled_dot_product_attention``; there is no scale,
    because no positive scale changes which keys win.

    Parameters
    ----------
    query : array_like, shape (..., H, L, E)
        Leading dimensions are optional and broadcast with those of ``key`` and ``value``.
    key : array_like, shape (..., H, S, E)
    value : array_like, shape (..., H, S, Ev)
    attn_mask : array_like, shape broadcastable to (..., H, L, S), optional
        Boolean: True where the query may attend the key. Floating point: added to the score with
        one rounding; -inf forbids the pair.
    is_causal : bool, default False
        Query i may attend key j only if ``j <= i``. Combines with ``attn_mask``: both must allow.
    ties : {"mean", "first", "last"}, default "mean"
        Average the values of all winners, or take the leftmost or the rightmost winner's.
    enable_gqa : bool, default False
        ``key`` and ``value`` may have fewer heads, a divisor of H; each serves a run of them.
    engine : {"auto", "compiled", "direct", "cones", "longest", "pruned", "reference"}, optional
        By default "auto". All give the same bits. "auto" takes "compiled" below 2^17
        multiply-adds, and above until the process has done 2^33 of them in calls of at least 2^24,
        which is what loading "direct" costs; then "direct". Without masks it takes "cones" (up to
        four features), "longest" or "pruned" where size and a look at a sample promise less time,
        once the process has done 2^37. :func:`fasthardmax.explain` tells which one ran, and why.
    num_threads : int, optional
        At most this many threads; all cores that the process may run on by default.

    Returns
    -------
    ndarray, shape (..., H, L, Ev)
        In the promoted dtype of the inputs (and of a floating-point mask): float32 or float64.
        float16 is computed and returned as float32, integers and booleans as float64. A query
        that may attend no key gets zeros, as does every query where S = 0; with E = 0 all scores
        are 0 and all allowed keys tie.

    Raises
    ------
    ValueError
        For shapes that do not fit, NaN or infinity, scores or sums that could overflow, unknown
        options.
    TypeError
        For inputs that are not real numbers of at most 64 bits.

    Notes
    -----
    Scores are canonical: features in increasing order, each product and sum rounded, no fused
    multiply-add; winners are the keys whose score equals the maximum exactly; several values are
    summed in increasing key order and divided once. So the answer never depends on the engine,
    the number of threads, memory layout or batch split. Cost: O(L S E) time and no L x S array:
    memory is inputs, outputs and a fixed workspace per thread.

    References
    ----------
    Alcalde, Fantuzzi, Zuazua, "Clustering in pure-attention hardmax transformers and its role in
    sentiment analysis", SIAM J. Math. Data Sci. 7(3), 2025, arXiv:2407.01602 (the model).

    Examples
    --------
    >>> import numpy as np
    >>> from fasthardmax import hardmax_attention
    >>> key = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> value = np.array([[1.0], [5.0], [3.0]])
    >>> hardmax_attention([[2.0, 1.0], [0.0, 1.0]], key, value)
    array([[2.],
           [5.]])
    """
    check_choice("engine", engine, engines.engine_names())
    problem, lead = attention_problem(
        query,
        key,
        as_array("value", value),
        attn_mask=attn_mask,
        is_causal=is_causal,
        ties=ties,
        enable_gqa=enable_gqa,
        num_threads=num_threads,
    )
    mean = engines.Runner(engine, problem).run(problem).mean
    if problem.sums_may_overflow:
        check_mean("value", mean)
    return mean.reshape(*lead, *mean.shape[1:])


def hardmax_winners(
    query: ArrayLike,
    key: ArrayLike,
    *,
    attn_mask: ArrayLike | None = None,
    is_causal: bool = False,
    enable_gqa: bool = False,
    return_all: bool = False,
    engine: str = "auto",
    num_threads: int | None = None,
) -> Winners:
    """Find the tie set of every query: the keys whose canonical score equals the row's maximum.

    Parameters
    ----------
    query, key, attn_mask, is_causal, enable_gqa, engine, num_threads
        As for :func:`hardmax_attention`.
    return_all : bool, default False
        Also list every winner, in CSR form; memory grows by one int64 for each.

    Returns
    -------
    Winners
        ``first`` (-1 where nothing is allowed) and ``count`` (0 there), each of shape
        (..., H, L), and ``indptr`` and ``indices`` if ``return_all``.

    Raises
    ------
    ValueError, TypeError
        As :func:`hardmax_attention`.

    Notes
    -----
    Cost: O(L S E) time, twice that with ``return_all`` where ties are many.

    Examples
    --------
    >>> from fasthardmax import hardmax_winners
    >>> winners = hardmax_winners([[1.0], [-1.0]], [[3.0], [0.0], [3.0]], return_all=True)
    >>> winners.first, winners.count
    (array([0, 1]), array([2, 1]))
    >>> winners.indptr, winners.indices
    (array([0, 2, 3]), array([0, 2, 1]))
    """
    check_choice("engine", engine, engines.engine_names())
    problem, lead = attention_problem(
        query,
        key,
        None,
        attn_mask=attn_mask,
        is_causal=is_causal,
        ties="mean",
        enable_gqa=enable_gqa,
        num_threads=num_threads,
    )
    runner = engines.Runner(engine, problem)
    answer = runner.run(problem)
    indptr = indices = None
    if return_all:
        indptr = np.concatenate([[0], np.cumsum(answer.count.reshape(-1))]).astype(np.int64)
        indices = runner.list_winners(problem, answer, indptr)
    shape = (*lead, problem.n_queries)
    return Winners(answer.first.reshape(shape), answer.count.reshape(shape), indptr, indices)
