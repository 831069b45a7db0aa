"""The judge accepts the right answer and rejects each kind of wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from . import oracle
from .cases import CASES
from .clouds import DTYPES
from .compare import assert_same_bits, assert_same_fields, ulps

FIELDS = ("mean", "first", "count", "indptr", "indices")


def _changed(array: NDArray[Any], at: tuple[int, ...], value: Any) -> NDArray[Any]:
    array = array.copy()
    array[at] = value
    return array


def _up(x: NDArray[Any]) -> NDArray[Any]:
    return _changed(x, (1, 2), np.nextafter(x[1, 2], x.dtype.type(np.inf)))


def _other_dtype(x: NDArray[Any]) -> NDArray[Any]:
    return x.astype(np.float64 if x.dtype == np.float32 else np.float32)


WRONG: dict[str, tuple[Callable[[NDArray[Any]], Any], str]] = {
    "an ulp up": (_up, r"1 of 12 elements differ, first at \(1, 2\): .*\(1 ulp apart\)"),
    "an ulp down": (lambda x: -_up(-x), r"\(1 ulp apart\)"),
    "sign of zero": (lambda x: _changed(x, (0, 3), -0.0), r"at \(0, 3\): .*\(0 ulp apart\)"),
    "NaN": (lambda x: _changed(x, (2, 0), np.nan), r"\(not finite\)"),
    "infinity": (lambda x: _changed(x, (2, 0), np.inf), r"\(not finite\)"),
    "swapped rows": (lambda x: x[[1, 0, 2]], "8 of 12 elements differ"),
    "reversed features": (lambda x: x[:, ::-1], "12 of 12 elements differ"),
    "other dtype": (_other_dtype, "got dtype float"),
    "transposed": (lambda x: x.T, r"got shape \(4, 3\), expected \(3, 4\)"),
    "an extra dimension": (lambda x: x[None], r"got shape \(1, 3, 4\)"),
    "a row too few": (lambda x: x[:2], r"got shape \(2, 4\)"),
    "a list": (lambda x: x.tolist(), "got list, expected an ndarray"),
    "a scalar": (lambda x: x[0, 0], "got float"),
    "a matrix": (lambda x: x.view(np.matrix), "got matrix"),
}


def _right(dtype: np.dtype[Any]) -> NDArray[Any]:
    right = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)
    right[0, 3] = 0
    return right


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_rejected(name: str, dtype: np.dtype[Any]) -> None:
    wrong, message = WRONG[name]
    with pytest.raises(AssertionError, match="^means: .*" + message):
        assert_same_bits(wrong(_right(dtype)), _right(dtype), "means")


def test_nan_is_never_right() -> None:
    nan = np.array([np.nan])
    with pytest.raises(AssertionError, match="not finite"):
        assert_same_bits(nan, nan)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_arrays_are_accepted_in_any_layout(dtype: np.dtype[Any]) -> None:
    right = _right(dtype)
    for same in (right.copy(), np.asfortranarray(right), np.tile(right, (1, 2))[:, :4]):
        assert_same_bits(same, right)
    assert_same_bits(np.empty((0, 3), dtype), np.empty((0, 3), dtype))
    assert_same_bits(np.array(1, dtype), np.array(1, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ulps_count_representable_numbers(dtype: np.dtype[Any]) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    one = dtype.type(1)
    assert ulps(one, one) == 0
    assert ulps(np.nextafter(one, dtype.type(2)), np.nextafter(one, dtype.type(0))) == 2
    assert ulps(tiny, -tiny) == 2
    assert ulps(-one, one) == ulps(one, -one) == 2 * ulps(one, dtype.type(0))


def _without_a_tie(right: oracle.Attention) -> oracle.Attention:
    row = int(np.argmax(right.count > 1))
    count, indptr = right.count.copy(), right.indptr.copy()
    count[row] -= 1
    indptr[row + 1 :] -= 1
    indices = np.delete(right.indices, right.indptr[row + 1] - 1)
    return right._replace(count=count, indptr=indptr, indices=indices)


WRONG_ANSWERS: dict[str, tuple[Callable[[oracle.Attention], oracle.Attention], str]] = {
    "the next key wins": (lambda a: a._replace(first=a.first + 1), r"first: .*\(off by 1\)"),
    "a dropped tie": (_without_a_tie, r"count: 1 of 25 elements differ.*\(off by -1\)"),
    "a dropped tie, right count": (
        lambda a: _without_a_tie(a)._replace(count=a.count),
        "indptr: ",
    ),
    "ties in another order": (lambda a: a._replace(indices=a.indices[::-1]), "indices: "),
    "the first of the ties for their mean": (
        lambda a: a._replace(mean=CASES["self: lattice d=2"](a.mean.dtype)["value"][a.first]),
        "mean: ",
    ),
    "32-bit indices": (lambda a: a._replace(first=a.first.astype(np.int32)), "first: got dtype"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_wrong_answers_are_rejected(name: str) -> None:
    wrong, message = WRONG_ANSWERS[name]
    right = oracle.attention(**CASES["self: lattice d=2"](np.dtype(np.float64)))
    assert_same_fields(right, right, FIELDS, "the truth")
    with pytest.raises(AssertionError, match="^answer: " + message):
        assert_same_fields(wrong(right), right, FIELDS, "answer")
