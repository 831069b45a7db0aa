"""The races of the decoders, which take one token at a time: the cache, and other ways to do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import streams
from .contestants import DECODERS
from .race import FULL, QUICK, Entrant

if TYPE_CHECKING:
    from .sections import Field

__all__ = ["decoding"]

Record = dict[str, Any]

# Decoders whose step takes as long as there are tokens: of a trace they run the steps at half.
_ALL_PAIRS = ("numpy-cache", "torch-cache")
_FULL = replace(FULL, rounds=3, patience=20.0)


def decoding(field: Field) -> Iterator[Record]:
    """On one core: steps, prompts, a whole trace; the memory they take; answers to hard streams."""
    track, effort = field.track, QUICK if field.quick else _FULL
    everyone = _on_one_core(field, list(DECODERS))
    stepping = [entrant for entrant in everyone if entrant.name != "cache-extend"]
    for case in streams.steps(field.quick):
        yield from track.race(case, stepping, effort=effort)
    for case in streams.prompts(field.quick):
        yield from track.race(case, everyone, effort=effort)
    fast = [entrant for entrant in stepping if entrant.name not in _ALL_PAIRS]
    for case in streams.traces(field.quick):
        takers = fast if case.part == "trace" else stepping
        yield from track.race(case, takers, effort=effort)
    for case in streams.memory(field.quick):
        yield from track.memory(case, stepping)
    for case in streams.agreement(field.quick):
        yield from track.compare(case, stepping)


def _on_one_core(field: Field, names: list[str]) -> list[Entrant]:
    return [Entrant(entrant.name, 1) for entrant in field.entrants(names)]
