"""The checks of arrays and options, each one sentence on what came and what is expected."""

from __future__ import annotations

import math
import numbers
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .numerics import peak_score, score_limit

__all__ = [
    "TIES",
    "as_array",
    "check_alpha",
    "check_beta",
    "check_choice",
    "check_count",
    "check_finite",
    "check_matrix",
    "check_mean",
    "check_points",
    "check_reach",
    "check_scores",
    "check_shape",
    "check_threads",
]

TIES = ("mean", "first", "last")


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """``value`` as an array of real numbers, or one sentence saying why it is none."""
    try:
        array = np.asarray(value)
    except Exception as error:  # noqa: BLE001  # whatever __array__ raises is about this object
        if isinstance(value, (list, tuple)) and isinstance(error, ValueError):
            raise ValueError(
                f"{name}: got sequences of unequal lengths, expected an array of numbers"
            ) from None
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
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= minimum:
            return number
    raise ValueError(f"{name}: got {value!r}, expected an integer of at least {minimum}")


def check_threads(num_threads: object) -> int:
    """The number of threads to use: all cores that this process may run on for ``None``."""
    if num_threads is None:
        affinity = getattr(os, "sched_getaffinity", None)  # Linux only
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return check_count("num_threads", num_threads, 1)


def check_alpha(alpha: object) -> float:
    """``alpha`` as a float in [0, inf]."""
    if isinstance(alpha, numbers.Real) and not isinstance(alpha, bool):
        try:
            number = float(alpha)
        except OverflowError:
            raise ValueError(
                "alpha: got an integer too large for float64, expected a number of at least 0 "
                "(inf is allowed)"
            ) from None
        if number >= 0:
            return number
    raise ValueError(f"alpha: got {alpha!r}, expected a number of at least 0 (inf is allowed)")


def check_beta(beta: object, dtype: np.dtype[Any]) -> float:
    """``beta`` as a float that is infinite, or from 0 to a quarter of the dtype's largest number.

    The quarter leaves room for a change of base.
    """
    limit = score_limit(dtype)
    try:
        number = float(beta) if isinstance(beta, numbers.Real) else math.nan
    except OverflowError:
        number = math.nan
    if isinstance(beta, bool) or not (0 <= number <= limit or number == math.inf):
        raise ValueError(
            f"beta: got {beta!r}, expected a number from 0 to {limit:.3g} (in {dtype}), or inf for "
            "hardmax"
        )
    return number


def check_points(points: ArrayLike) -> NDArray[Any]:
    """``points`` as a finite array (n, d) or (B, n, d), not yet promoted."""
    array = check_shape(points)
    check_finite("points", array)
    return array


def check_shape(points: ArrayLike) -> NDArray[Any]:
    """``points`` as an array (n, d) or (B, n, d), not yet promoted; it may not be finite."""
    array = as_array("points", points)
    if array.ndim not in (2, 3):
        raise ValueError(f"points: got shape {array.shape}, expected (n, d) or (B, n, d)")
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


def check_reach(points: NDArray[Any], matrix: NDArray[Any] | None, peak: NDArray[Any]) -> None:
    """``ValueError`` if scores or sums of points (B, n, d) could overflow at any layer.

    Points stay in the convex hull of their start, so the largest magnitudes ``peak`` (d,) of its
    features are enough.
    """
    if points.size == 0:
        return
    limit = score_limit(points.dtype)
    query_peak = peak if matrix is None else peak_score(np.abs(matrix), peak[None, :])
    if float(peak.max()) * points.shape[1] > limit:
        raise ValueError(
            f"points: got {points.shape[1]} points with magnitudes up to {peak.max():.3g}, "
            f"expected their sum to stay below {limit:.3g} in {points.dtype} "
            "(a quarter of its largest number)"
        )
    if not np.all(query_peak <= limit):
        raise ValueError(
            f"A: got products A x that may reach {query_peak.max():.3g}, expected at most "
            f"{limit:.3g} in {points.dtype} (a quarter of its largest number)"
        )
    check_scores("points", peak_score(query_peak, peak), points.dtype)


def check_mean(name: str, mean: NDArray[Any]) -> None:
    """``ValueError`` if means of values named ``name`` overflowed."""
    if not np.isfinite(mean).all():
        raise ValueError(
            f"{name}: got tied values whose sum overflows {mean.dtype}, expected smaller values"
        )


def check_scores(name: str, peak: NDArray[Any], dtype: np.dtype[Any]) -> None:
    limit = score_limit(dtype)
    if not np.all(peak <= limit):
        raise ValueError(
            f"{name}: got scores that may reach {peak.max():.3g}, expected at most {limit:.3g} in "
            f"{dtype} (a quarter of its largest number); scale the inputs down"
        )
