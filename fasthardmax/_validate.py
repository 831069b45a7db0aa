"""The only gate for arrays and options: it turns what a user passed into one checked problem."""

from __future__ import annotations

import math
import numbers
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._problem import Problem
from .numerics import compute_dtype, peak_score, score_limit

__all__ = [
    "TIES",
    "as_array",
    "attention_problem",
    "check_alpha",
    "check_choice",
    "check_count",
    "check_finite",
    "check_matrix",
    "check_points",
    "check_reach",
    "check_threads",
]

TIES = ("mean", "first", "last")


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """``value`` as an array of real numbers, or one sentence saying why it is none."""
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever __array__ raises is about the user's object
        reason = " ".join(str(error).split())
        raise TypeError(f"{name}: cannot be read as an array of numbers: {reason}") from None
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name}: got dtype {array.dtype}, expected float16, float32, float64, an integer "
            "or a boolean"
        )
    return array


def check_finite(name: str, array: NDArray[Any]) -> float:
    """The largest magnitude in ``array``; ``ValueError`` at its first NaN or infinity."""
    if array.size == 0 or array.dtype.kind not in "f":
        return float(max(abs(int(array.max())), abs(int(array.min())))) if array.size else 0.0
    peak = max(float(array.max()), -float(array.min()))
    if not math.isfinite(peak):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}: got {array[where]} at index {where}, expected finite numbers only"
        )
    return peak


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """``value`` if it is one of ``choices``."""
    if isinstance(value, str) and value in choices:
        return value
    expected = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"{name}: got {value!r}, expected one of {expected}")


def check_count(name: str, value: object, minimum: int) -> int:
    """``value`` as an int of at least ``minimum``."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= minimum:
        return int(value)
    raise ValueError(f"{name}: got {value!r}, expected an integer of at least {minimum}")


def check_threads(num_threads: object) -> int:
    """The number of threads to use: all cores that this process may run on for ``None``."""
    if num_threads is None:
        affinity = getattr(os, "sched_getaffinity", None)  # Linux only
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return check_count("num_threads", num_threads, 1)


def check_alpha(alpha: object) -> float:
    """``alpha`` as a float in [0, inf]."""
    if isinstance(alpha, numbers.Real) and not isinstance(alpha, bool) and alpha >= 0:
        return float(alpha)
    raise ValueError(f"alpha: got {alpha!r}, expected a number of at least 0 (inf is allowed)")


def check_points(points: ArrayLike) -> NDArray[Any]:
    """``points`` as a finite array (n, d) or (B, n, d), not yet promoted."""
    array = as_array("points", points)
    if array.ndim not in (2, 3):
        raise ValueError(f"points: got shape {array.shape}, expected (n, d) or (B, n, d)")
    check_finite("points", array)
    return array


def check_matrix(name: str, matrix: ArrayLike, d: int) -> NDArray[Any]:
    """``matrix`` as a finite d x d array, not yet promoted."""
    array = as_array(name, matrix)
    if array.shape != (d, d):
        raise ValueError(
            f"{name}: got shape {array.shape}, expected ({d}, {d}) to match points of {d} features"
        )
    check_finite(name, array)
    return array


def check_reach(points: NDArray[Any], matrix: NDArray[Any] | None) -> None:
    """``ValueError`` if scores or sums of points (B, n, d) could overflow at any layer.

    Points stay in the convex hull of their start, so one look at the start is enough.
    """
    if points.size == 0:
        return
    limit = score_limit(points.dtype)
    peak = np.abs(points).max(axis=(0, 1))
    query_peak = peak if matrix is None else peak_score(np.abs(matrix), peak[None, :])
    if float(peak.max()) * points.shape[1] > limit or not np.all(query_peak <= limit):
        raise ValueError(
            f"points: got magnitudes up to {peak.max():.3g}, whose sums overflow {points.dtype}; "
            "expected points (and A) scaled down"
        )
    _check_scores("points", peak_score(query_peak, peak), points.dtype)


def attention_problem(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike | None,
    *,
    attn_mask: ArrayLike | None,
    is_causal: bool,
    ties: str,
    enable_gqa: bool,
    num_threads: int | None,
) -> tuple[Problem, tuple[int, ...]]:
    """The checked problem and the leading shape of its answer."""
    check_choice("ties", ties, TIES)
    threads = check_threads(num_threads)
    arrays = {"query": as_array("query", query), "key": as_array("key", key)}
    if value is not None:
        arrays["value"] = as_array("value", value)
    for name, array in arrays.items():
        if array.ndim < 2:
            expected = {"query": "(..., L, E)", "key": "(..., S, E)", "value": "(..., S, Ev)"}
            raise ValueError(f"{name}: got shape {array.shape}, expected {expected[name]}")
    q, k = arrays["query"], arrays["key"]
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"key: got {k.shape[-1]} features, expected {q.shape[-1]} as in query "
            f"(shapes {k.shape} and {q.shape})"
        )
    if value is not None and arrays["value"].shape[-2] != k.shape[-2]:
        raise ValueError(
            f"value: got {arrays['value'].shape[-2]} rows, expected {k.shape[-2]}, one for each key"
        )
    mask = None if attn_mask is None else _check_mask(attn_mask)
    float_mask = [mask] if mask is not None and mask.dtype != bool else []
    dtype = compute_dtype(*(a.dtype for a in [*arrays.values(), *float_mask]))
    peaks = {name: check_finite(name, array) for name, array in arrays.items()}

    lead, maps = _leading_dimensions(arrays, bool(enable_gqa))
    flat = {name: _flatten(array, dtype) for name, array in arrays.items()}
    mask_of = np.zeros(math.prod(lead), np.int64)
    if mask is not None:
        mask, mask_of = _flatten_mask(mask, lead, q.shape[-2], k.shape[-2], dtype)

    bound = peaks["query"] * peaks["key"] * q.shape[-1] + (_mask_peak(mask) if float_mask else 0.0)
    if bound > score_limit(dtype):
        _check_pairs(flat["query"], flat["key"], maps["query"], maps["key"], mask, mask_of)
    problem = Problem(
        query=flat["query"],
        key=flat["key"],
        value=flat.get("value"),
        query_of=maps["query"],
        key_of=maps["key"],
        value_of=maps.get("value", maps["key"]),
        mask_of=mask_of,
        mask=mask,
        is_causal=bool(is_causal),
        ties=ties,
        num_threads=threads,
        sums_may_overflow=peaks.get("value", 0.0) * k.shape[-2] > score_limit(dtype),
    )
    return problem, lead


def _leading_dimensions(
    arrays: dict[str, NDArray[Any]], enable_gqa: bool
) -> tuple[tuple[int, ...], dict[str, NDArray[np.int64]]]:
    """The broadcast leading shape, and for each array which flat entry each batch reads."""
    index = {
        name: np.arange(math.prod(a.shape[:-2]), dtype=np.int64).reshape(a.shape[:-2])
        for name, a in arrays.items()
    }
    if enable_gqa:
        index = _share_heads(index)
    try:
        lead = np.broadcast_shapes(*(i.shape for i in index.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(
            f"query, key and value: got leading dimensions that do not broadcast ({shapes}), "
            "expected equal ones, ones of size 1, or none"
        ) from None
    maps = {name: np.broadcast_to(i, lead).reshape(-1) for name, i in index.items()}
    return lead, maps


def _share_heads(index: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Grouped-query attention: each key and value head serves a run of query heads."""
    if any(i.ndim == 0 for i in index.values()):
        raise ValueError("enable_gqa: got inputs without a head dimension, expected (..., H, L, E)")
    heads = index["query"].shape[-1]
    shared = dict(index)
    for name in ("key", "value"):
        if name in index:
            few = index[name].shape[-1]
            if few == 0 or heads % few or few != index["key"].shape[-1]:
                raise ValueError(
                    f"{name}: got {few} heads, expected a divisor of query's {heads} heads, the "
                    "same for key and value, under enable_gqa"
                )
            shared[name] = np.repeat(index[name], heads // few, axis=-1)
    return shared


def _flatten(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    contiguous = np.ascontiguousarray(array, dtype=dtype)
    return contiguous.reshape(math.prod(array.shape[:-2]), *array.shape[-2:])


def _check_mask(attn_mask: ArrayLike) -> NDArray[Any]:
    mask = as_array("attn_mask", attn_mask)
    if mask.dtype.kind not in "fb":
        raise TypeError(f"attn_mask: got dtype {mask.dtype}, expected boolean or floating point")
    if mask.dtype.kind == "f" and mask.size:
        top = float(mask.max())  # NaN propagates, so one pass finds NaN and +inf
        if not top < math.inf:
            bad = next(i for i in np.ndindex(mask.shape) if not mask[i] < math.inf)
            raise ValueError(
                f"attn_mask: got {mask[bad]} at index {bad}, expected finite numbers or -inf"
            )
    return mask


def _flatten_mask(
    mask: NDArray[Any], lead: tuple[int, ...], n_queries: int, n_keys: int, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The mask as (Bm, L, S), never copied to a larger shape than its own, and its batch map."""
    shape = (*lead, n_queries, n_keys)
    try:
        np.broadcast_to(np.empty((), mask.dtype), np.broadcast_shapes(mask.shape, shape))
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"attn_mask: got shape {mask.shape}, expected one that broadcasts to {shape}"
        )
    mask = mask.reshape((1,) * (2 - mask.ndim) + mask.shape)
    if mask.dtype != bool:
        mask = mask.astype(dtype, copy=False)
    index = np.arange(math.prod(mask.shape[:-2]), dtype=np.int64).reshape(mask.shape[:-2])
    mask_of = np.broadcast_to(index, lead).reshape(-1)
    flat = mask.reshape(index.size, *mask.shape[-2:])
    return np.broadcast_to(flat, (index.size, n_queries, n_keys)), mask_of


def _mask_peak(mask: NDArray[Any] | None) -> float:
    """Largest finite magnitude in a float mask, in blocks that never reach its full size."""
    peak = 0.0
    for entry in mask if mask is not None else ():
        # A stride of 0 repeats one row: look at it once.
        rows = entry[:1] if entry.strides[0] == 0 else entry
        for row in rows:
            low = float(row.min(initial=math.inf, where=row > -math.inf))
            peak = max(peak, float(row.max(initial=0.0)), -low)
    return peak


def _check_pairs(
    query: NDArray[Any],
    key: NDArray[Any],
    query_of: NDArray[np.int64],
    key_of: NDArray[np.int64],
    mask: NDArray[Any] | None,
    mask_of: NDArray[np.int64],
) -> None:
    """The exact overflow rule, batch by batch and feature by feature."""
    if 0 in query.shape or 0 in key.shape:
        return
    query_peak, key_peak = np.abs(query).max(axis=1), np.abs(key).max(axis=1)
    peak = peak_score(query_peak[query_of], key_peak[key_of])
    _check_scores("query and key", peak, query.dtype)
    if mask is not None and mask.dtype != bool:
        # The mask has no headroom of its own: finfo.min is a common stand-in for -inf.
        largest = float(np.finfo(query.dtype).max)
        room = np.spacing(query.dtype.type(largest)) / 4
        mask_peak = np.array([_mask_peak(entry[None]) for entry in mask])[mask_of]
        if not np.all((peak + mask_peak <= largest) | (peak <= room)):
            raise ValueError(
                f"attn_mask: got magnitudes up to {mask_peak.max():.3g}, whose sums with scores up "
                f"to {peak.max():.3g} overflow {query.dtype}; expected -inf, or smaller numbers"
            )


def _check_scores(name: str, peak: NDArray[Any], dtype: np.dtype[Any]) -> None:
    limit = score_limit(dtype)
    if not np.all(peak <= limit):
        raise ValueError(
            f"{name}: got scores that may reach {peak.max():.3g}, expected at most {limit:.3g} in "
            f"{dtype} (a quarter of its largest number); scale the inputs down"
        )
