"""The package itself, through its public door, with one engine."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import fasthardmax
from fasthardmax import engines

from . import Contestant


def load(engine: str, threads: int) -> Contestant:
    if engine != "auto":
        able, reason = engines.ENGINES[engine].can_run()
        if not able:
            raise ImportError(reason)
    options: dict[str, Any] = {"engine": engine, "num_threads": threads}
    return Contestant(
        title=f"fasthardmax, {engine}",
        version=version("fasthardmax"),
        ties="finds all; mean, first or last",
        note="with all checks of its input",
        winners={"": lambda query, key: fasthardmax.hardmax_winners(query, key, **options).first},
        attend={"": lambda **arguments: fasthardmax.hardmax_attention(**arguments, **options)},
    )
