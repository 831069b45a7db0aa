"""The judge: two arrays are the same when dtype, shape and every bit are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def assert_same_bits(actual: Any, expected: NDArray[Any], what: str = "array") -> None:
    """Fail unless ``actual`` is an array with the dtype, shape and bits of ``expected``.

    0.0 and -0.0 differ; NaN is never right, whatever is expected.
    """
    assert type(actual) is np.ndarray, f"{what}: got {type(actual).__name__}, expected an ndarray"
    assert actual.dtype == expected.dtype, (
        f"{what}: got dtype {actual.dtype}, expected {expected.dtype}"
    )
    assert actual.shape == expected.shape, (
        f"{what}: got shape {actual.shape}, expected {expected.shape}"
    )
    wrong = _bits(actual) != _bits(expected)
    if actual.dtype.kind == "f":
        wrong |= np.isnan(actual)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        got, want = actual[first], expected[first]
        raise AssertionError(
            f"{what}: {np.count_nonzero(wrong)} of {wrong.size} elements differ, first at {first}: "
            f"got {got!r}, expected {want!r} ({_distance(got, want)})"
        )


def assert_same_fields(actual: Any, expected: Any, fields: tuple[str, ...], what: str) -> None:
    """:func:`assert_same_bits` for the named attributes of two answers."""
    for name in fields:
        assert_same_bits(getattr(actual, name), getattr(expected, name), f"{what}: {name}")


def ulps(a: np.generic, b: np.generic) -> int:
    """How many representable numbers lie between two finite floats of one dtype; 0.0 is -0.0."""
    return abs(_rank(a) - _rank(b))


def _rank(x: np.generic) -> int:
    bits = int(_bits(np.asarray(x)))
    sign = 1 << (8 * x.dtype.itemsize - 1)
    return bits if bits < sign else sign - bits


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def _distance(got: np.generic, want: np.generic) -> str:
    if got.dtype.kind != "f":
        return f"off by {int(got) - int(want)}"
    if not (np.isfinite(got) and np.isfinite(want)):
        return "not finite"
    return f"{ulps(got, want)} ulp apart"
