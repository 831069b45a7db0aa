"""What the tests of engines for some problems only share: the table's cases, and their check."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from fasthardmax._assemble import attention_problem
from fasthardmax._problem import Problem

from .cases import CASES
from .compare import assert_same_bits, assert_same_fields

__all__ = ["MASKED", "TIES", "UNMASKED", "case", "check_engine"]

TIES = ("mean", "first", "last")
MASKED = [n for n in CASES if n.startswith(("mask:", "causal:")) or n.endswith("causal")]
UNMASKED = [name for name in CASES if name not in MASKED]


def check_engine(engine: ModuleType, problem: Problem, ties: str, oracle: Any) -> None:
    """Fail unless the engine gives the oracle's means, winners and lists."""
    problem = problem._replace(ties=ties)
    expected, answer = oracle.run(problem), engine.run(problem)
    assert_same_fields(answer, expected, ("first", "count", "mean"), ties)
    indptr = np.concatenate([[0], np.cumsum(expected.count.reshape(-1))]).astype(np.int64)
    assert_same_bits(
        engine.list_winners(problem, answer, indptr),
        oracle.list_winners(problem, expected, indptr),
        "winners",
    )


def case(name: str, dtype: np.dtype[Any], num_threads: int, ties: str = "mean") -> Problem:
    """A case of the table as a problem."""
    plain = {"attn_mask": None, "is_causal": False, "enable_gqa": False}
    arguments = {**plain, **CASES[name](dtype)}
    return attention_problem(**arguments, ties=ties, num_threads=num_threads)[0]
