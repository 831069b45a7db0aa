"""The package itself, through its public door, with one engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fasthardmax
from fasthardmax import engines
from fasthardmax._problem import Problem, self_attention

from . import Contestant

_CONES_FEATURES = 6


def load(engine: str, threads: int) -> Contestant:
    every = engines.ENGINES | engines.SELECTIVE
    if engine == "auto":  # timed as in a process that has run for a while
        for other in every.values():
            other.load()
    else:
        able, reason = every[engine].can_run()
        if not able:
            raise ImportError(reason)
    options: dict[str, Any] = {"engine": engine, "num_threads": threads}
    return Contestant(
        title=f"fasthardmax, {engine}",
        version=version("fasthardmax"),
        ties="finds all; mean, first or last",
        note="with all checks of its input" + ", all engines loaded" * (engine == "auto"),
        winners={"": lambda query, key: fasthardmax.hardmax_winners(query, key, **options).first},
        attend={"": lambda **arguments: fasthardmax.hardmax_attention(**arguments, **options)},
        whole=engine == "auto" or engine in engines.SELECTIVE,
        max_features=_CONES_FEATURES if engine == "cones" else None,
        explain=_explainer(engine, threads),
    )


def _explainer(
    engine: str, threads: int
) -> Callable[[NDArray[Any], NDArray[Any]], dict[str, Any]] | None:
    """What tells which engine runs and how many keys it scores, where something does."""
    if engine == "auto" and hasattr(fasthardmax, "explain"):
        return partial(_choice, threads)
    if engine in engines.SELECTIVE:
        return partial(_counted, engine, threads)
    return None


def _choice(threads: int, query: NDArray[Any], key: NDArray[Any]) -> dict[str, Any]:
    choice = fasthardmax.explain(query, key, num_threads=threads)
    return {
        "engine": choice.engine, "scored": float(choice.scored_per_query), "reason": choice.reason,
    }  # fmt: skip


def _counted(engine: str, threads: int, query: NDArray[Any], key: NDArray[Any]) -> dict[str, Any]:
    problem: Problem = self_attention(key[None], np.ascontiguousarray(query)[None], threads)
    _, scored = engines.SELECTIVE[engine].load().run_counting(problem)
    return {"engine": engine, "scored": float(scored), "reason": "asked for"}
