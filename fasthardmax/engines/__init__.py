"""The table of engines, and the one place where an engine is chosen.

    hardmax_attention, hardmax_winners, simulate
              |  one checked Problem
              v
        choose(problem) --- small, or Numba not yet ------> compiled  (Cython, no warm-up)
              |             worth loading
              +------------ everything else --------------> direct    (Numba, all pairs, threads)

        on request: reference (NumPy), cones (few features), pruned (clustered or middle-sized)

An engine is a module with two functions over a ``Problem``: ``run`` returns an ``Answer`` and
``list_winners`` fills in the tie sets. No engine imports another, none checks its input, and all
give the same bits, so the choice changes only the time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, util
from types import ModuleType

from .._problem import Problem

__all__ = [
    "ENGINES",
    "LOADING_WORK",
    "SELECTIVE",
    "SMALL_WORK",
    "Engine",
    "choose",
    "engine_names",
    "resolve",
]

# Below this many multiply-adds (a few milliseconds) the compiled engine is about as fast.
SMALL_WORK = 1 << 24
# Loading the direct engine costs a process about as long as these take the compiled one: once it
# has spent as much, loading was due. So neither one call nor a thousand cost twice the least.
LOADING_WORK = 1 << 33
_spent = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """One row of the table: its name, what it is, and where it lives."""

    name: str
    summary: str
    refusal: Callable[[], str | None]  # why this installation cannot run it, or None

    def can_run(self, problem: Problem | None = None) -> tuple[bool, str]:
        """Whether it can run ``problem`` (or anything at all), and the reason in words."""
        reason = self.refusal()
        if reason is None and problem is not None and self.name in SELECTIVE:
            reason = self.load().refusal(problem)
        return (False, reason) if reason else (True, f"can run: {self.summary}")

    def load(self) -> ModuleType:
        """The module with ``run`` and ``list_winners``, imported at first use."""
        return _load(f"{__name__}.{self.name}")


_load = lru_cache(import_module)  # sys.modules may hold a module that is not yet whole


def _needs(module: str, sentence: str) -> Callable[[], str | None]:
    return lru_cache(lambda: None if util.find_spec(module) else sentence)


_NUMBA = _needs("numba", "the package numba is missing: pip install numba")

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            "reference",
            "the definition in NumPy, for checking; never chosen by auto",
            lambda: None,
        ),
        Engine(
            "compiled",
            "Cython, ahead of time; small problems and first calls",
            _needs(
                f"{__name__}._compiled",
                "its extension is missing: reinstall fasthardmax with a C compiler at hand",
            ),
        ),
        Engine(
            "direct",
            "Numba, all pairs, vectorised and threaded; everything else",
            _NUMBA,
        ),
    )
}

# Engines for some problems only: their modules have a ``refusal(problem)`` with the reason.
SELECTIVE: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            "cones",
            "Numba, an index of query directions; one to six features, no masks; on request",
            _NUMBA,
        ),
        Engine("pruned", "Numba, bounds for groups of like queries; no masks; on request", _NUMBA),
    )
}


def engine_names() -> tuple[str, ...]:
    """What ``engine=`` accepts."""
    return ("auto", *ENGINES, *SELECTIVE)


def choose(problem: Problem, calls: int = 1) -> Engine:
    """The engine that ``engine="auto"`` runs for so many calls of this size.

    It depends on the number of multiply-adds and on whether this process has the direct engine
    loaded, or has by now done enough to load it. The answer depends on neither.
    """
    global _spent
    work = problem.n_pairs * (problem.n_features + 2)
    if work < SMALL_WORK:
        return ENGINES["compiled"]
    if f"{__name__}.direct" not in sys.modules:
        _spent += work * calls
        if _spent < LOADING_WORK:
            return ENGINES["compiled"]
    return ENGINES["direct"]


def resolve(name: str, problem: Problem, calls: int = 1) -> ModuleType:
    """The module of engine ``name`` (or of the chosen one), or why it cannot run."""
    engine = choose(problem, calls) if name == "auto" else (ENGINES | SELECTIVE)[name]
    for what, error, asked in (("here", RuntimeError, None), ("this", ValueError, problem)):
        able, reason = engine.can_run(asked)
        if not able:
            raise error(f"engine: {engine.name!r} cannot run {what}: {reason}")
    return engine.load()
