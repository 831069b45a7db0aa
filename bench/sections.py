"""Which races are run, in order: the sections of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fasthardmax._problem import self_attention
from fasthardmax.engines import direct

from . import cases, decoding, depth, searching, softmax
from .cases import Case
from .contestants import DECODERS, INDEXED, OWN, PEERS
from .race import Entrant, Track

__all__ = ["SECTIONS", "Field"]

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """Who runs and how thoroughly."""

    track: Track
    names: Sequence[str] | None  # contestants, the package's own first; None: each section's own
    cores: int
    quick: bool

    def entrants(self, names: Sequence[str]) -> list[Entrant]:
        """Those of ``names`` that were asked for, on all cores."""
        wanted = names if self.names is None else [name for name in self.names if name in names]
        return [Entrant(name, self.cores) for name in wanted]

    @property
    def everyone(self) -> list[Entrant]:
        if self.names is None:
            return self.entrants(["direct", *PEERS])
        return self.entrants([name for name in self.names if name not in (*INDEXED, *DECODERS)])

    def race_all(self, grid: Iterator[Case]) -> Iterator[Record]:
        for case in grid:
            yield from self.track.race(case, self.everyone)


def _winners(field: Field) -> Iterator[Record]:
    yield from field.race_all(cases.winners(field.quick))


def _growth(field: Field) -> Iterator[Record]:
    yield from field.race_all(cases.growth(field.quick))


def _agreement(field: Field) -> Iterator[Record]:
    for case in cases.agreement(field.quick):
        yield from field.track.compare(case, field.everyone)


def _attention(field: Field) -> Iterator[Record]:
    yield from field.race_all(cases.attention(field.quick))


def _small_calls(field: Field) -> Iterator[Record]:
    entrants = [Entrant(name, 1) for name in ("auto", "compiled", "direct", "sdpa")]
    for case in cases.small_calls():
        yield from field.track.race(case, entrants)


def _threads(field: Field) -> Iterator[Record]:
    counts = [2**k for k in range(field.cores.bit_length()) if 2**k <= field.cores]
    for case in cases.one_core(field.quick):
        yield from field.track.race(case, [Entrant("direct", count) for count in counts])


def _loaded(field: Field) -> Iterator[Record]:
    for case in cases.one_core(field.quick):
        yield from field.track.race(case, _fewer(field), loaded=True)


def _rescoring(field: Field) -> Iterator[Record]:
    """The share of queries for which the direct engine rescored more than one block of keys."""
    for case in cases.rescoring(field.quick):
        arrays = case.arguments()
        problem = self_attention(arrays["key"][None], arrays["query"][None], field.cores)
        yield {
            "case": asdict(case),
            "block": direct.keys_per_block(problem),
            "again": direct.run_counting(problem)[1],
        }


def _memory(field: Field) -> Iterator[Record]:
    n = 20_000
    yield from field.track.memory(Case("gaussian", n, 16, "float32", n), _fewer(field))


def _fewer(field: Field) -> list[Entrant]:
    """Everyone; in a quick run the package alone, where peers would take most of its time."""
    return [entrant for entrant in field.everyone if not field.quick or entrant.name in OWN]


SECTIONS: dict[str, Callable[[Field], Iterator[Record]]] = {
    "winners": _winners,
    "growth": _growth,
    "agreement": _agreement,
    "attention": _attention,
    "small calls": _small_calls,
    "threads": _threads,
    "loaded": _loaded,
    "rescoring": _rescoring,
    "memory": _memory,
    "near-linear": searching.near_linear,
    "hard": searching.hard,
    "near-linear growth": searching.growth,
    "softmax": softmax.race,
    "depth": depth.depth,
    "decoding": decoding.decoding,
}
