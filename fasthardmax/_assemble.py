"""From the arrays and options of an attention call to one checked problem."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._extent import feature_peaks
from ._keys import Keys, may_wait
from ._problem import Problem, counting, zeros
from ._validate import (
    TIES,
    as_array,
    check_choice,
    check_finite,
    check_scores,
    check_threads,
)
from .numerics import compute_dtype, peak_score, score_limit

__all__ = ["attention_problem", "take"]

_MASK_BLOCK = 1 << 18  # mask elements looked at at once


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
    """The checked problem and the leading shape of its answer; no value asks for winners only.

    Keys that few queries attend to are checked no later than anyone has them from the problem.
    """
    check_choice("ties", ties, TIES)
    threads = check_threads(num_threads)
    q, k = as_array("query", query), as_array("key", key)
    arrays = {"query": q, "key": k}
    if value is not None:
        arrays["value"] = as_array("value", value)
    elif k.ndim >= 2:
        arrays["value"] = k[..., :0]
    for name, array in arrays.items():
        if array.ndim < 2:
            expected = {"query": "(..., L, E)", "key": "(..., S, E)", "value": "(..., S, Ev)"}
            raise ValueError(f"{name}: got shape {array.shape}, expected {expected[name]}")
    n_queries, d = q.shape[-2:]
    n_keys, d_key = k.shape[-2:]
    if d_key != d:
        raise ValueError(
            f"key: got {d_key} features, expected {d} as in query (shapes {k.shape} and {q.shape})"
        )
    v = arrays["value"]
    if v.shape[-2] != n_keys:
        raise ValueError(f"value: got {v.shape[-2]} rows, expected {n_keys}, one for each key")
    mask = None if attn_mask is None else _check_mask(attn_mask)
    float_mask = [mask.dtype] if mask is not None and mask.dtype != bool else []
    dtype = compute_dtype(q.dtype, k.dtype, v.dtype, *float_mask)
    lead, maps = _leading_dimensions(arrays, bool(enable_gqa))
    n_batch = math.prod(lead)
    wait = n_batch * n_queries > 0 and may_wait(n_queries, k.shape, dtype)
    mask_of = zeros(n_batch)
    try:
        flat, peaks, largest = _flatten(arrays, dtype, threads, "key" if wait else None)
        if mask is not None:
            mask, mask_of = _flatten_mask(mask, lead, n_queries, n_keys, dtype)
    except ValueError as fault:
        raise (_earlier_fault(arrays) if wait else None) or fault from None
    reach = _Reach(peaks["query"], largest["query"], maps, mask, mask_of)
    if wait:
        check = partial(_check_keys, k, reach, dtype)
        keys = Keys(flat["key"], num_threads=threads, check=check)
    else:
        if n_queries > 0 < n_keys:
            _check_reach(reach, dtype, peaks["key"], largest["key"])
        keys = Keys(flat["key"], peaks["key"])
    problem = Problem(
        query=flat["query"],
        keys=keys,
        value=flat["value"],
        query_of=maps["query"],
        key_of=maps["key"],
        value_of=maps["value"],
        mask_of=mask_of,
        mask=mask,
        is_causal=bool(is_causal),
        ties=ties,
        num_threads=threads,
        sums_may_overflow=not largest["value"] * n_keys <= score_limit(dtype),
    )
    return problem, lead


def _leading_dimensions(
    arrays: dict[str, NDArray[Any]], enable_gqa: bool
) -> tuple[tuple[int, ...], dict[str, NDArray[np.int64]]]:
    """The broadcast leading shape, and for each array which flat entry each batch reads."""
    q, k, v = arrays.values()
    lead = q.shape[:-2]
    if k.shape[:-2] == lead == v.shape[:-2] and not enable_gqa:
        return lead, dict.fromkeys(arrays, counting(math.prod(lead)))
    index = {
        name: np.arange(math.prod(a.shape[:-2]), dtype=np.int64).reshape(a.shape[:-2])
        for name, a in arrays.items()
    }
    if enable_gqa:
        index = _share_heads(index)
    try:
        lead = np.broadcast_shapes(*(i.shape for i in index.values()))
    except ValueError:
        given = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(
            f"query, key and value: got leading dimensions that do not broadcast ({given}), "
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
        few = index[name].shape[-1]
        if few != index["key"].shape[-1]:
            raise ValueError(
                f"{name}: got {few} heads, expected {index['key'].shape[-1]} as in key under "
                "enable_gqa"
            )
        if few == 0 or heads % few:
            raise ValueError(
                f"{name}: got {few} heads, expected a divisor of query's {heads} heads under "
                "enable_gqa"
            )
        shared[name] = np.repeat(index[name], heads // few, axis=-1)
    return shared


def _earlier_fault(arrays: dict[str, NDArray[Any]]) -> ValueError | None:
    """What is said of query and key before all that is wrong with value and mask."""
    try:
        for name in ("query", "key"):
            check_finite(name, arrays[name])
    except ValueError as fault:
        return fault
    return None


class _Reach(NamedTuple):
    """What bounds the scores, but for the keys."""

    query_peak: NDArray[Any]  # (Bq, d)
    largest: float  # of them
    maps: dict[str, NDArray[np.int64]]
    mask: NDArray[Any] | None
    mask_of: NDArray[np.int64]


def _check_keys(
    key: NDArray[Any], reach: _Reach, dtype: np.dtype[Any], peak: NDArray[Any], largest: float
) -> None:
    """``ValueError`` if keys with such magnitudes are not finite, or if scores could overflow."""
    if math.isnan(largest):
        check_finite("key", key)
    _check_reach(reach, dtype, peak, largest)


def _check_reach(
    reach: _Reach, dtype: np.dtype[Any], key_peak: NDArray[Any], largest: float
) -> None:
    """``ValueError`` if scores of keys with such magnitudes could overflow, or sums with a mask."""
    mask = reach.mask
    added = mask is not None and mask.dtype != bool
    # One product bounds all scores; where it is small enough, the finer bound is not needed.
    far = 2 * key_peak.shape[1] * reach.largest * largest > score_limit(dtype)
    if far or added:
        maps = reach.maps
        peak = peak_score(reach.query_peak[maps["query"]], key_peak[maps["key"]])
        check_scores("query and key", peak, dtype)
        if mask is not None and added:
            _check_sums(peak, mask, reach.mask_of, dtype)


def _flatten(
    arrays: dict[str, NDArray[Any]], dtype: np.dtype[Any], threads: int, unread: str | None
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], dict[str, float]]:
    """Each array as (B, rows, features) of ``dtype``, its features' largest magnitudes, and its.

    Of the one that stays ``unread`` the latter is NaN.
    """
    flat: dict[str, NDArray[Any]] = {}
    peaks: dict[str, NDArray[Any]] = {}
    largest: dict[str, float] = {}
    for name, array in arrays.items():
        # Self-attention passes one array under several names: it is read once.
        for twin, ready in flat.items():
            if _same(arrays[twin], array):
                flat[name], peaks[name], largest[name] = ready, peaks[twin], largest[twin]
                break
        else:
            if name == unread:
                flat[name] = _ready(array, dtype)
                peaks[name], largest[name] = np.empty(0, dtype), math.nan
            else:
                flat[name], peaks[name], largest[name] = take(name, array, dtype, threads)
    return flat, peaks, largest


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether both are the same memory, read alike, as an array and a slice of it all are."""
    if a is b:
        return True
    if a.base is not b and b.base is not a and (a.base is None or a.base is not b.base):
        return False  # which a pointer to the data would take longer to tell
    alike = a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
    return alike and a.ctypes.data == b.ctypes.data


def take(
    name: str, array: NDArray[Any], dtype: np.dtype[Any], threads: int
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """A finite array as (B, rows, features) of ``dtype``, and its largest magnitudes.

    These are (B, features), and the largest of all. It is copied only where it is not
    C-contiguous, aligned and of ``dtype``.
    """
    flat = _ready(array, dtype)
    peaks, largest = feature_peaks(flat, threads)
    if math.isnan(largest):
        check_finite(name, array)
    return flat, peaks, largest


def _ready(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array as (B, rows, features), C-contiguous, aligned and of ``dtype``; a copy if need be.

    Most arrays are so, or up to one axis: what then takes longer than a look is left out.
    """
    flags = array.flags
    if not (array.dtype == dtype and flags.c_contiguous and flags.aligned):
        array = np.require(array, dtype, ["C", "A"])  # contiguous and aligned
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3:
        return array
    return array.reshape(math.prod(array.shape[:-2]), *array.shape[-2:])


def _check_mask(attn_mask: ArrayLike) -> NDArray[Any]:
    mask = as_array("attn_mask", attn_mask)
    if mask.dtype.kind not in "fb":
        raise TypeError(f"attn_mask: got dtype {mask.dtype}, expected boolean or floating point")
    if mask.dtype.kind == "f" and mask.size:
        top = float(mask.max())  # NaN propagates, so one pass finds NaN and +inf
        if not top < math.inf:
            bad = tuple(int(i) for i in np.argwhere(~(mask < math.inf))[0])
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
        mask = np.require(mask, dtype, "A")  # aligned
    index = np.arange(math.prod(mask.shape[:-2]), dtype=np.int64).reshape(mask.shape[:-2])
    mask_of = np.broadcast_to(index, lead).reshape(-1)
    flat = mask.reshape(index.size, *mask.shape[-2:])
    return np.broadcast_to(flat, (index.size, n_queries, n_keys)), mask_of


def _mask_peak(entry: NDArray[Any]) -> float:
    """Largest finite magnitude in a float mask (L, S), in blocks that never reach its full size."""
    # A stride of 0 repeats one row: look at it once.
    rows = entry[:1] if entry.strides[0] == 0 else entry
    height = max(1, _MASK_BLOCK // max(1, entry.shape[1]))
    peak = 0.0
    for start in range(0, len(rows), height):
        block = rows[start : start + height]
        low = float(block.min(initial=math.inf, where=block > -math.inf))
        peak = max(peak, float(block.max(initial=0.0)), -low)
    return peak


def _check_sums(
    peak: NDArray[Any],
    mask: NDArray[Any],
    mask_of: NDArray[np.int64],
    dtype: np.dtype[Any],
) -> None:
    """``ValueError`` if a float mask's sum with a score could overflow.

    The mask has no headroom of its own: finfo.min is a common stand-in for -inf.
    """
    largest = float(np.finfo(dtype).max)
    ulp = largest - float(np.nextafter(dtype.type(largest), dtype.type(0)))
    room = ulp / 4  # so small a score rounds away beside the largest number
    if np.all(peak <= room):
        return
    mask_peak = np.array([_mask_peak(entry) for entry in mask])[mask_of]
    with np.errstate(over="ignore"):
        fits = (peak + mask_peak <= largest) | (peak <= room)
    if not np.all(fits):
        raise ValueError(
            f"attn_mask: got magnitudes up to {mask_peak.max():.3g}, whose sums with scores up to "
            f"{peak.max():.3g} overflow {dtype}; expected -inf, or smaller numbers"
        )
