"""The one place where an engine is chosen, from the size of a problem and a look at its data."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from ._forecast import Forecast
from ._table import ENGINES, SELECTIVE, Engine, module_name

__all__ = ["Choice", "Runner", "choose", "resolve"]

# Below this many multiply-adds (a few milliseconds) loading another engine is never due; and below
# this many the compiled one is the fastest.
SMALL_WORK = 1 << 24
LEAST_WORK = 1 << 20
# Loading an engine costs a process about as long as so many multiply-adds take it without: once
# it has spent as many, loading was due. So neither one call nor a thousand cost twice the least.
LOADING_WORK = 1 << 33  # the direct engine, beside the compiled one
SELECTIVE_LOADING_WORK = 1 << 37  # one of the others, beside the direct one
# The next engine looks at the data if it may take less than this share of what one before promises.
_MUCH = 0.5
# Whether bytes serve is asked only for what takes less than this share of all pairs without them.
_BETTER = 0.8
_spent = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that runs a problem, why, and what speaks against the others."""

    engine: Engine
    reason: str
    others: dict[str, str]
    prepared: tuple[Any, ...] = ()  # by the look at this very problem, for its ``run``


def choose(problem: Problem, calls: int = 1) -> Choice:
    """The engine that ``engine="auto"`` runs for so many calls of this size.

    It depends on the number of multiply-adds, on what a look at the data promises, and on which
    engines this process has loaded, or has by now done enough to load. The answer depends on none.
    """
    global _spent
    work = problem.n_pairs * (problem.n_features + 2)
    if work < (LEAST_WORK if _loaded("direct") else SMALL_WORK):
        return Choice(ENGINES["compiled"], f"{work:,} multiply-adds are few", {})
    small = work < SMALL_WORK
    _spent += 0 if small else work * calls
    if not _loaded("direct") and _spent < LOADING_WORK:
        return Choice(ENGINES["compiled"], "no other is loaded, which takes longer than this", {})
    others: dict[str, str] = {}
    direct = ENGINES["direct"].load()
    all_pairs, products = direct.forecast(problem), direct.forecast(problem, bytes_serve=False)
    forecasts: dict[str, Forecast] = {}
    fastest = products
    for name, engine in SELECTIVE.items():
        if problem.keys.wait:
            others[name] = "not asked: reading the keys takes longer than scoring them"
            continue
        if not _loaded(name) and (small or _spent < SELECTIVE_LOADING_WORK):
            others[name] = "not loaded, which takes longer than this"
            continue
        able, others[name] = engine.can_run(problem)
        if not able:
            continue
        rival = min(all_pairs, _MUCH * fastest) if forecasts else all_pairs
        forecasts[name] = engine.load().forecast(problem, products, rival)
        fastest = min(fastest, forecasts[name].nanoseconds)
    # All pairs take longer where bytes do not serve, which is looked at where that would matter.
    if all_pairs <= fastest < _BETTER * products and not direct.bytes_serve(problem):
        all_pairs = products
    for name, (nanoseconds, _) in forecasts.items():
        others[name] = f"forecast: {nanoseconds / all_pairs:.2g} of the time of all pairs"
        if nanoseconds >= all_pairs:
            others[name] = "may take longer than all pairs"
        if nanoseconds == math.inf:
            others[name] = "no gain to expect that would be worth a look at the data"
    best = min(forecasts, key=lambda name: forecasts[name].nanoseconds, default=None)
    if best is None or forecasts[best].nanoseconds >= all_pairs:
        return Choice(ENGINES["direct"], "no other promises to be faster", others)
    return Choice(SELECTIVE[best], others.pop(best), others, forecasts[best].prepared)


def resolve(name: str, problem: Problem) -> ModuleType:
    """The module of engine ``name``, or why it cannot run."""
    engine = (ENGINES | SELECTIVE)[name]
    for what, error, asked in (("here", RuntimeError, None), ("this", ValueError, problem)):
        able, reason = engine.can_run(asked)
        if not able:
            _ = problem.key  # faults in them come first
            raise error(f"engine: {engine.name!r} cannot run {what}: {reason}")
    return engine.load()


class Runner:
    """The engine ``name`` for a sequence of problems; for "auto" each gets what suits it."""

    def __init__(self, name: str, first: Problem, calls: int = 1) -> None:
        """``first`` is of the size of the problems to come, about ``calls`` of them."""
        self._automatic = name == "auto"
        self._module = resolve("compiled" if self._automatic else name, first)
        self._calls = calls

    @property
    def name(self) -> str:
        """The engine that ran last."""
        return self._module.__name__.rpartition(".")[2]

    def run(self, problem: Problem) -> Answer:
        """Means, first winners and winner counts of every query."""
        prepared: tuple[Any, ...] = ()
        if self._automatic:
            # By the problem itself: what is prepared by looking at it serves no other.
            choice = choose(problem, self._calls)
            self._calls = 1
            self._module = resolve(choice.engine.name, problem)
            prepared = choice.prepared
        answer: Answer = self._module.run(problem, *prepared)
        return answer

    def list_winners(
        self, problem: Problem, answer: Answer, indptr: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """All winners of a problem like the one that ran last."""
        indices: NDArray[np.int64] = self._module.list_winners(problem, answer, indptr)
        return indices


def _loaded(name: str) -> bool:
    return module_name(name) in sys.modules
