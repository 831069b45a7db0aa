"""The table of engines: what each is, and what it can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module, util
from types import ModuleType

from .._problem import Problem

__all__ = ["ENGINES", "SELECTIVE", "Engine", "engine_names", "module_name"]

_load = lru_cache(import_module)  # sys.modules may hold a module that is not yet whole


def module_name(engine: str) -> str:
    """The full name of an engine's module."""
    return f"{__package__}.{engine}"


@dataclass(frozen=True, slots=True)
class Engine:
    """One row of the table: its name, what it is, and where it lives."""

    name: str
    summary: str
    refusal: Callable[[], str | None]  # why this installation cannot run it, or None

    def can_run(self, problem: Problem | None = None) -> tuple[bool, str]:
        """Whether it can run ``problem`` (or anything at all), and the reason in words."""
        reason = self.obstacle(problem)
        return (False, reason) if reason else (True, f"can run: {self.summary}")

    def obstacle(self, problem: Problem | None = None) -> str | None:
        """Why it cannot run ``problem`` (or anything at all), or None."""
        reason = self.refusal()
        if reason is None and problem is not None and self.name in SELECTIVE:
            reason = self.load().refusal(problem)
        return reason

    def load(self) -> ModuleType:
        """The module with ``run`` and ``list_winners``, imported at first use."""
        return _load(module_name(self.name))


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
                module_name("_compiled"),
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

# Engines for some problems only. Their modules have a ``refusal(problem)`` with the reason, and a
# ``forecast(problem, all_pairs, rival)`` of the nanoseconds that they take on one core, as the
# direct engine's ``forecast(problem)`` of what all pairs take without bytes. ``rival`` is what
# another engine may take; infinity stands for too many, and for problems so small that a look at
# them does not pay; ``longest`` also takes a function that tells, given what it promises so far,
# what another may take. A look's by-products come with it, for ``run`` of the same problem.
SELECTIVE: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            "cones",
            "Numba, an index of query directions; one to six features, no masks",
            _NUMBA,
        ),
        Engine(
            "longest",
            "Numba, all pairs with the longest keys and a bound for the rest; no masks",
            _NUMBA,
        ),
        Engine(
            "pruned",
            "Numba, bounds for groups of like queries; clustered or middle-sized, no masks",
            _NUMBA,
        ),
    )
}


@cache
def engine_names() -> tuple[str, ...]:
    """What ``engine=`` accepts."""
    return ("auto", *ENGINES, *SELECTIVE)
