"""The one place where an engine is chosen, from the size of a problem and a look at its data."""

from __future__ import annotations

import math
import sys
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._problem import Answer, Problem
from ._forecast import Forecast
from ._table import ENGINES, SELECTIVE, Engine, module_name

__all__ = ["Choice", "Runner", "choose", "resolve"]

# Below this many multiply-adds (a few milliseconds) loading another engine is never due; and below
# this many the compiled one is the fastest (measured: 0.7 to 1.25 times as long as the direct one).
SMALL_WORK = 1 << 24
LEAST_WORK = 1 << 17
# All pairs of so few take less time than any other engine takes to start.
LEAST_ASKED = 1 << 22
# Loading an engine costs a process about as long as so many multiply-adds take it without: once
# it has spent as many, loading was due. So neither one call nor a thousand cost twice the least.
LOADING_WORK = 1 << 33  # the direct engine, beside the compiled one
SELECTIVE_LOADING_WORK = 1 << 37  # one of the others, beside the direct one
# An engine looks at the data for long if it may take less than this share of what another promises.
_MUCH = 0.8
# Whether bytes serve is asked only for what takes less than this share of all pairs without them.
_BETTER = 0.8
# To ask takes 0.2 to 3 ms: where a glance finds so many close keys that bytes hardly can serve, it
# is not done for an engine that takes less than so many times their time.
_FAIR = 1.25
_NOTHING = Forecast(math.inf)
_MODULES = {name: module_name(name) for name in (*ENGINES, *SELECTIVE)}
# The engine that looks at little, and the one that tells by a glance what its look may promise.
# Rounding or a far key deceive a glance: it never promises enough to go without a look. Another
# engine is looked at for long only where the first of its look promises less than the glance, or
# than any glance may: of 12 kinds of points, d = 3 to 16, n = 2e4 and 1e5, it was never the faster
# of both where that promised more.
_FIRST, _GLANCING = "cones", "pruned"
_spent = 0


class Choice(NamedTuple):
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
    if work < LEAST_ASKED and _loaded("direct"):
        return Choice(ENGINES["direct"], f"{work:,} multiply-adds are few for any other", {})
    small = work < SMALL_WORK
    _spent += 0 if small else work * calls
    if not _loaded("direct") and _spent < LOADING_WORK:
        return Choice(ENGINES["compiled"], "no other is loaded, which takes longer than this", {})
    able, others = _candidates(problem, small)
    direct = ENGINES["direct"].load()
    products = direct.forecast(problem, bytes_serve=False)
    in_bytes = direct.forecast(problem)
    looks = _Looks(problem, able, in_bytes, products)
    looks.take()
    rounded: tuple[Any, ...] = ()
    # All pairs may be in bytes: whether those serve, data tell, where something depends on it.
    may_gain = looks.fastest < _BETTER * products or able not in ([], [_FIRST])
    at_stake = in_bytes < _BETTER * products and in_bytes <= looks.fastest
    if may_gain and at_stake and not (looks.crowded and looks.fastest < _FAIR * in_bytes):
        serve, rounded = direct.bytes_serve(problem)
        looks.all_pairs = in_bytes if serve else products
    if looks.all_pairs > in_bytes:
        looks.take()
    all_pairs, forecasts = looks.all_pairs, looks.forecasts
    for name, (nanoseconds, _) in forecasts.items():
        others[name] = f"forecast: {nanoseconds / all_pairs:.2g} of the time of all pairs"
        if nanoseconds >= all_pairs:
            others[name] = "may take longer than all pairs"
        if nanoseconds == math.inf:
            others[name] = "no gain to expect that would be worth a look at the data"
    best = min(forecasts, key=lambda name: forecasts[name].nanoseconds, default=None)
    if best is None or forecasts[best].nanoseconds >= all_pairs:
        return Choice(ENGINES["direct"], "no other promises to be faster", others, rounded)
    return Choice(SELECTIVE[best], others.pop(best), others, forecasts[best].prepared)


class _Looks:
    """What each of the engines ``able`` promises, by looks at the data as long as they may pay.

    ``all_pairs`` is what all pairs may take as far as is known, ``products`` what without bytes.
    """

    def __init__(
        self, problem: Problem, able: list[str], all_pairs: float, products: float
    ) -> None:
        self._problem, self._able, self._products = problem, able, products
        self._promised = math.inf  # by a glance; as yet, or where even that would be in vain
        self._rivals: dict[str, float] = {}
        self.all_pairs = all_pairs
        self.crowded = False  # by a glance, bytes may not serve
        self.forecasts: dict[str, Forecast] = {}
        self.fastest = math.inf

    def take(self) -> None:
        """Look at those that have promised nothing yet."""
        for name in self._able:
            if self.forecasts.get(name, _NOTHING).nanoseconds == math.inf:
                self.forecasts[name] = self._look(name)
                self.fastest = min(self.fastest, self.forecasts[name].nanoseconds)

    def _rival(self) -> float:
        """What is promised, or less: so long a look would not pay."""
        return _MUCH * self.fastest if self.fastest < self.all_pairs else self.all_pairs

    def _look(self, name: str) -> Forecast:
        # A glance may tell that all pairs take longer, so that the rival is another after it.
        if name == _GLANCING and self._glance(self._rival()) >= self._rival():
            return _NOTHING
        rival = self._rival()
        others: tuple[Any, ...] = ()
        if name not in (_FIRST, _GLANCING):
            rival = min(rival, self._promised)
            others = (partial(self._compare, name),)
        if rival <= self._rivals.get(name, 0.0):
            return _NOTHING
        self._rivals[name] = rival
        engine = SELECTIVE[name].load()
        found: Forecast = engine.forecast(self._problem, self._products, rival, *others)
        return found

    def _compare(self, name: str, in_floats: float) -> tuple[float, bool]:
        """The rival of an engine that promises so much in floats, and whether bytes may serve."""
        promised = self._glance(min(self._rival(), in_floats))
        self._rivals[name] = min(self._rival(), promised)
        return self._rivals[name], not self.crowded

    def _glance(self, rival: float) -> float:
        """What the engine that glances promises, infinite where that is more than ``rival``."""
        if self._promised == math.inf and _GLANCING in self._able:
            glancing = SELECTIVE[_GLANCING].load()
            self._promised, close = glancing.promise(self._problem, self._products, rival)
            if not ENGINES["direct"].load().bytes_may_serve(self._problem, close):
                self.crowded, self.all_pairs = True, self._products
        return self._promised


def _candidates(problem: Problem, small: bool) -> tuple[list[str], dict[str, str]]:
    """The engines to ask beside the direct one, and why not the others."""
    able, others = [], {}
    for name, engine in SELECTIVE.items():
        if problem.keys.wait:
            others[name] = "not asked: reading the keys takes longer than scoring them"
        elif not _loaded(name) and (small or _spent < SELECTIVE_LOADING_WORK):
            others[name] = "not loaded, which takes longer than this"
        else:
            can_run, others[name] = engine.can_run(problem)
            if can_run:
                able.append(name)
    return able, others


def resolve(name: str, problem: Problem) -> ModuleType:
    """The module of engine ``name``, or why it cannot run."""
    engine = ENGINES.get(name) or SELECTIVE[name]
    if engine.obstacle(problem) is None:
        return engine.load()
    _ = problem.key  # faults in them come first
    what, error = ("here", RuntimeError) if engine.obstacle() else ("this", ValueError)
    raise error(f"engine: {name!r} cannot run {what}: {engine.obstacle(problem)}")


class Runner:
    """The engine ``name`` for a sequence of problems; for "auto" each gets what suits it."""

    _module: ModuleType

    def __init__(self, name: str, first: Problem, calls: int = 1) -> None:
        """``first`` is of the size of the problems to come, about ``calls`` of them."""
        self._automatic = name == "auto"
        self._calls = calls
        self.name = "compiled" if self._automatic else name  # of the engine that ran last
        if not self._automatic:
            self._module = resolve(name, first)

    def run(self, problem: Problem) -> Answer:
        """Means, first winners and winner counts of every query."""
        prepared: tuple[Any, ...] = ()
        if self._automatic:
            # By the problem itself: what is prepared by looking at it serves no other.
            choice = choose(problem, self._calls)
            self._calls = 1
            self.name = choice.engine.name
            self._module = resolve(self.name, problem)
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
    return _MODULES[name] in sys.modules
