"""Whether an answer is the canonical one: the share of rows in which it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fasthardmax

from .cases import Case

__all__ = ["Truth", "Verdict", "canonical", "judge"]

_MOST_ROWS = 10_000
_CLOSE = 1e-3  # of the largest value: what softmax at a large scale may miss a mean by


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The definition's answer to the first ``rows`` queries of a case (of each batch entry)."""

    case: Case
    rows: int
    first: NDArray[np.int64] | None = None  # (rows,): the lowest winner
    count: NDArray[np.int64] | None = None  # (rows,): how many win
    mean: NDArray[Any] | None = None  # (..., rows, value width)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Shares of the checked rows.

    ``wrong``: the winner is none of the canonical ones, or the output is not their mean;
    ``inexact``: the output differs in any bit; ``not_first``: of the rows with ties, those in which
    a winner other than the lowest is named. None where the question does not arise.
    """

    checked: int
    wrong: float
    inexact: float | None = None
    tied: float | None = None
    not_first: float | None = None


def canonical(case: Case, multiply_adds: float) -> Truth:
    """The reference's answer to as many rows as so many multiply-adds allow, at least one."""
    arguments = case.arguments()
    row = case.pairs // case.n_queries * (case.d + 1)
    rows = int(min(case.n_queries, _MOST_ROWS, max(1, multiply_adds // row)))
    query = arguments.pop("query")[..., :rows, :]
    if case.form == "winners":
        winners = fasthardmax.hardmax_winners(query, arguments["key"], engine="reference")
        return Truth(case, rows, first=winners.first, count=winners.count)
    if arguments["attn_mask"] is not None:
        arguments["attn_mask"] = arguments["attn_mask"][..., :rows, :]
    mean = fasthardmax.hardmax_attention(query, **arguments, engine="reference")
    return Truth(case, rows, mean=mean)


def judge(answer: NDArray[Any], truth: Truth) -> Verdict:
    """Compare ``answer``, which may hold fewer or more rows than the truth."""
    if truth.mean is not None:
        return _judge_means(answer, truth)
    assert truth.first is not None
    assert truth.count is not None
    arguments = truth.case.arguments()
    query, key = arguments["query"], arguments["key"]
    rows = min(truth.rows, len(answer))
    named, first, count = answer[:rows], truth.first[:rows], truth.count[:rows]
    valid = (named >= 0) & (named < len(key))
    best = _pair_scores(query[:rows], key[first])
    score = _pair_scores(query[:rows], key[np.where(valid, named, 0)])
    wrong = ~valid | (score != best)
    tied = count > 1
    missed = tied & ~wrong & (named != first)
    return Verdict(
        rows,
        wrong=float(wrong.mean()),
        tied=float(tied.mean()),
        not_first=float(missed.sum() / tied.sum()) if tied.any() else None,
    )


def _judge_means(answer: NDArray[Any], truth: Truth) -> Verdict:
    assert truth.mean is not None
    answer = answer[..., : truth.rows, :]
    away = np.abs(answer - truth.mean).max(axis=-1)
    limit = _CLOSE * np.abs(truth.case.arguments()["value"]).max()
    inexact = (answer != truth.mean).any(axis=-1)
    return Verdict(
        truth.mean[..., 0].size,
        # A NaN is away from everything.
        wrong=float((~(away <= limit)).mean()),
        inexact=float(inexact.mean()),
    )


def _pair_scores(query: NDArray[Any], key: NDArray[Any]) -> NDArray[Any]:
    """Canonical scores of the pairs (query[i], key[i])."""
    scores = query[:, 0] * key[:, 0]
    for f in range(1, query.shape[1]):
        scores += query[:, f] * key[:, f]
    return scores
