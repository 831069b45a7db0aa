"""The races of the near-linear engines: own engines, trees and hulls, and the bare update pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from . import cases
from .cases import Case
from .ceilings import time_update
from .contestants import INDEXED
from .race import FULL, QUICK, Effort, Entrant

if TYPE_CHECKING:
    from .sections import Field

__all__ = ["OWN", "UPDATE", "growth", "hard", "near_linear"]

Record = dict[str, Any]

OWN = ("auto", "direct", "cones", "longest", "pruned")
_OWN_QUICK = ("auto", "direct")  # to compile the others takes longer than all the rest
UPDATE = "update"  # the name under which the bare update pass is recorded
# Of the tools that look at all pairs, which the other sections are about, the fastest.
_ALL_PAIRS = ("faiss-l2", "keops")
_LARGE = 1_000_000  # beyond it only the package's own engines run
# Calls of a second get two rounds, longer ones than a second and a half but one.
_FULL = replace(FULL, rounds=3, patience=1.5, whole_seconds=20.0)
_HARD = replace(_FULL, rounds=2, call_seconds=0.15, whole_seconds=5.0, oracle=1e8)
_QUICK = replace(QUICK, patience=0.3, whole_seconds=8.0)


def near_linear(field: Field) -> Iterator[Record]:
    """Winners by everyone; the means, one layer of the dynamics, by ``auto``; the bare update."""
    peers = INDEXED if field.quick else (*INDEXED, *_ALL_PAIRS)
    for case in cases.near_linear(field.quick):
        records = field.track.race(case, _entrants(field, peers), effort=_effort(field))
        _explain(field, case, records)
        yield from records
        yield _update(field, case)
        yield from _layer(field, case, records)


def hard(field: Field) -> Iterator[Record]:
    """The package's own engines, and in the plane and in space the hull and the best tree."""
    for case in cases.hard(field.quick):
        peers = ("hull", "ckdtree") if case.d <= 3 and not field.quick else ()
        effort = _QUICK if field.quick else _HARD
        records = field.track.race(case, _entrants(field, peers), effort=effort)
        _explain(field, case, records)
        yield from records


def growth(field: Field) -> Iterator[Record]:
    """Time over n, and the memory of the largest run."""
    for case in cases.near_linear_growth(field.quick):
        if field.quick or case.n_keys > _LARGE:
            entrants = field.entrants(["auto", "cones"])
        else:
            entrants = _entrants(field, INDEXED)
        records = field.track.race(case, entrants, effort=_effort(field))
        yield from records
        if case.n_keys >= _LARGE and case.d == 3:
            able = [record["name"] for record in records if _whole(record)]
            yield from field.track.memory(case, field.entrants(able))


def _entrants(field: Field, peers: Iterable[str]) -> list[Entrant]:
    return field.entrants([*(_OWN_QUICK if field.quick else OWN), *peers])


def _effort(field: Field) -> Effort:
    return _QUICK if field.quick else _FULL


def _explain(field: Field, case: Case, records: list[Record]) -> None:
    told = [record for record in records if record["name"] == "auto" or _whole(record)]
    field.track.explain(case, told)


def _whole(record: Record) -> bool:
    return "error" not in record and record["rows"] == record["case"]["n_queries"]


def _update(field: Field, case: Case) -> Record:
    seconds = time_update(case.arguments()["key"], field.cores)
    return {
        "case": asdict(case), "name": UPDATE, "threads": field.cores, "seconds": seconds,
        "rows": case.n_queries, "index_seconds": [0.0] * len(seconds), "setting": "",
    }  # fmt: skip


def _layer(field: Field, case: Case, records: list[Record]) -> Iterator[Record]:
    """``auto`` with the points as values, where it answered for all of them within the time."""
    if any(record["name"] == "auto" and _whole(record) for record in records):
        layer = replace(case, value_width=case.d, values="keys")
        yield from field.track.race(layer, [Entrant("auto", field.cores)], effort=_effort(field))
