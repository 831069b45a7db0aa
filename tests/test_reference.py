"""The reference engine against the oracle: the link between plain loops and every other engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fasthardmax import hardmax_attention, hardmax_winners, numerics
from fasthardmax.engines import reference

from . import oracle
from .cases import CASES, n_products
from .clouds import DTYPES
from .compare import assert_same_bits, assert_same_fields

# More would take the oracle seconds; the other cases are the same shapes made larger.
SMALL = 100_000

_SMALL_CASES = [name for name in CASES if n_products(CASES[name](DTYPES[0])) <= SMALL]


def _native(arguments: dict[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Arrays as the oracle takes them: of the compute dtype, bytes in this machine's order."""
    arrays = ("query", "key", "value")
    return {
        name: np.asarray(value, dtype) if name in arrays else value
        for name, value in arguments.items()
    }


def _without_value(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "value"}


def test_most_cases_are_small_enough_for_the_oracle() -> None:
    assert len(_SMALL_CASES) > 0.9 * len(CASES)


@pytest.mark.parametrize("ties", ["mean", "first", "last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", _SMALL_CASES)
def test_answers_equal_the_oracle(name: str, dtype: np.dtype[Any], ties: str) -> None:
    arguments = CASES[name](dtype)
    truth = oracle.attention(**_native(arguments, dtype), ties=ties)
    assert_same_bits(hardmax_attention(**arguments, ties=ties, engine="reference"), truth.mean)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", _SMALL_CASES)
def test_tie_sets_equal_the_oracle(name: str, dtype: np.dtype[Any]) -> None:
    arguments = _without_value(CASES[name](dtype))
    truth = oracle.attention(**_native(arguments, dtype))
    winners = hardmax_winners(**arguments, return_all=True, engine="reference")
    assert_same_fields(winners, truth, ("first", "count", "indptr", "indices"), "winners")


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize(
    "name",
    [
        "border: ties far apart",
        "causal: and boolean, 65 x 33",
        "mask: -inf, 20 x 65",
        "self: circle",
    ],
)
def test_blocks_do_not_show(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = CASES[name](DTYPES[0])
    truth = oracle.attention(**arguments)
    monkeypatch.setattr(reference, "_BLOCK", block)
    monkeypatch.setattr(numerics, "_ROWS_IN_CACHE", block)
    assert_same_bits(hardmax_attention(**arguments, engine="reference"), truth.mean)
    winners = hardmax_winners(**_without_value(arguments), return_all=True, engine="reference")
    assert_same_fields(winners, truth, ("first", "count", "indptr", "indices"), "winners")
