"""Which engine runs a problem, why, and how many keys it scores for each query."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from . import engines
from ._assemble import attention_problem
from ._problem import Problem
from ._validate import check_choice

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What :func:`explain` found; ``str()`` of it is a few lines to read.

    Attributes
    ----------
    engine : str
        The engine that ran.
    reason : str
        Why this one.
    scored_per_query : float
        Keys scored for a query, on average; at most ``n_keys``, but for repeated looks.
    n_keys : int
        Keys of one batch entry.
    others : dict of str to str
        What speaks against each of the engines that avoid most pairs, where they were considered.
    """

    engine: str
    reason: str
    scored_per_query: float
    n_keys: int
    others: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"{self.engine}: {self.reason}",
            f"scored {self.scored_per_query:,.1f} of {self.n_keys:,} keys per query",
            *(f"not {name}: {reason}" for name, reason in self.others.items()),
        ]
        return "\n".join(lines)


def explain(
    query: ArrayLike,
    key: ArrayLike,
    *,
    attn_mask: ArrayLike | None = None,
    is_causal: bool = False,
    enable_gqa: bool = False,
    engine: str = "auto",
    num_threads: int | None = None,
) -> Explanation:
    """Find the winners as :func:`fasthardmax.hardmax_winners` does, and tell how.

    Parameters
    ----------
    query, key, attn_mask, is_causal, enable_gqa, engine, num_threads
        As for :func:`fasthardmax.hardmax_winners`.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError, TypeError
        As :func:`fasthardmax.hardmax_attention`.

    Notes
    -----
    Cost: that of the call it explains. The engine depends on what this process has loaded, so an
    earlier call may have run on another one; the answer never depends on it.

    Examples
    --------
    >>> from fasthardmax import explain
    >>> print(explain([[1.0], [-1.0]], [[3.0], [0.0], [3.0]]))
    compiled: 18 multiply-adds are few
    scored 3.0 of 3 keys per query
    """
    check_choice("engine", engine, engines.engine_names())
    problem, _ = attention_problem(
        query,
        key,
        None,
        attn_mask=attn_mask,
        is_causal=is_causal,
        ties="mean",
        enable_gqa=enable_gqa,
        num_threads=num_threads,
    )
    choice = engines.choose(problem) if engine == "auto" else None
    name = choice.engine.name if choice else engine
    module = engines.resolve(name, problem)
    if name in engines.SELECTIVE:
        scored = module.run_counting(problem, *(choice.prepared if choice else ()))[1]
    else:
        module.run(problem)
        scored = _all_allowed(problem)
    return Explanation(
        engine=name,
        reason=choice.reason if choice else "asked for",
        scored_per_query=scored,
        n_keys=problem.n_keys,
        others=choice.others if choice else {},
    )


def _all_allowed(problem: Problem) -> float:
    """Keys that a query scores, on average, where all pairs are looked at."""
    length, n_keys = problem.n_queries, problem.n_keys
    if not problem.is_causal or length == 0:
        return float(n_keys)
    seen = min(length, n_keys)  # queries that see one key more than the one before
    return (seen * (seen + 1) / 2 + (length - seen) * n_keys) / length
