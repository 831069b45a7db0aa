"""Races: every contestant's answer is checked, then all are timed in turns."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cases import Case
from .timing import calls_per_timing, spread
from .verdict import canonical, judge
from .worker import Failed, Missing, Worker

__all__ = ["FULL", "QUICK", "Effort", "Entrant", "Track", "busy_core"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a race may take."""

    rounds: int  # timings of each contestant, in turns
    call_seconds: float  # of one timed call at most, roughly: larger cases are timed on fewer rows
    oracle: float  # multiply-adds of the reference for the rows that are checked


FULL = Effort(rounds=5, call_seconds=0.6, oracle=4e8)
QUICK = Effort(rounds=3, call_seconds=0.15, oracle=5e7)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant on so many threads."""

    name: str
    threads: int


_Ready = tuple[Entrant, int, dict[str, Any]]  # calls in one timing; the record to write to


class Track:
    """Holds the contestants' processes and runs races between them; a context manager.

    ``missing`` and ``descriptions`` fill up as contestants are first called.
    """

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._workers: dict[Entrant, Worker] = {}
        self.missing: dict[str, str] = {}
        self.descriptions: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def race(
        self, case: Case, entrants: Sequence[Entrant], *, timed: bool = True
    ) -> list[dict[str, Any]]:
        """One record for each contestant that runs the case's dtype and form."""
        truth = canonical(case, self._effort.oracle)
        records: list[dict[str, Any]] = []
        ready: list[_Ready] = []
        for entrant in entrants:
            worker = self._worker(entrant)
            if worker is None or not _takes(worker, case):
                continue
            record: dict[str, Any] = {"case": asdict(case), **asdict(entrant)}
            records.append(record)
            with self._noting_failure(entrant, record):
                prepared = worker.prepare(case, self._effort.call_seconds if timed else math.inf)
                verdict = judge(prepared.answer, truth)
                record |= {"setting": prepared.setting, "rows": prepared.rows, **asdict(verdict)}
                record["seconds"] = []
                ready.append((entrant, calls_per_timing(prepared.seconds), record))
        for turn in range(self._effort.rounds if timed else 0):
            for entrant, calls, record in _turned(ready, turn):
                if "error" not in record:
                    with self._noting_failure(entrant, record):
                        record["seconds"].append(self._workers[entrant].time(calls))
        for record in records:
            _say(record)
        return records

    def memory(self, case: Case, entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
        """Peak memory of one call, each in a fresh process."""
        records = []
        for entrant in entrants:
            try:
                worker = Worker(entrant.name, entrant.threads)
            except Missing as error:
                self.missing[entrant.name] = str(error)
                continue
            record = {"case": asdict(case), **asdict(entrant)}
            if _takes(worker, case):
                try:
                    record["bytes"] = worker.memory(case)
                except Failed as error:
                    record["error"] = str(error)
                records.append(record)
            worker.close()
        return records

    def _worker(self, entrant: Entrant) -> Worker | None:
        if entrant.name in self.missing:
            return None
        if entrant not in self._workers:
            try:
                self._workers[entrant] = Worker(entrant.name, entrant.threads)
            except Missing as error:
                self.missing[entrant.name] = str(error)
                print(f"{entrant.name}: missing: {error}", file=sys.stderr)
                return None
            description = self._workers[entrant].description
            self.descriptions[entrant.name] = asdict(description)
        return self._workers[entrant]

    @contextlib.contextmanager
    def _noting_failure(self, entrant: Entrant, record: dict[str, Any]) -> Iterator[None]:
        """Write a failure into the record; the next race starts the contestant anew."""
        try:
            yield
        except Failed as error:
            record["error"] = str(error)
            self._workers.pop(entrant).close()


def _takes(worker: Worker, case: Case) -> bool:
    description = worker.description
    return case.dtype in description.dtypes and case.form in description.forms


def _turned(ready: list[_Ready], turn: int) -> list[_Ready]:
    """The same contestants, another one first in each round."""
    at = turn % len(ready) if ready else 0
    return ready[at:] + ready[:at]


def _say(record: dict[str, Any]) -> None:
    """One line on standard error: a long run shows that it lives."""
    case = record["case"]
    label = case["name"] or f"{case['kind']} n={case['n_keys']} d={case['d']}"
    text = f"{label} {case['dtype']} {record['name']}@{record['threads']}"
    if "error" in record:
        text += f": {record['error']}"
    elif record["seconds"]:
        text += f": {spread(record['seconds']).median:.3g} s for {record['rows']} rows"
    if record.get("wrong"):
        text += f", {record['wrong']:.2%} of {record['checked']} rows differ"
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with another process, pinned to it where the system can."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_spin, args=(started,), daemon=True)
    process.start()
    started.wait()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin(started: Any) -> None:
    pin: Callable[..., None] | None = getattr(os, "sched_setaffinity", None)  # Linux only
    if pin is not None:
        pin(0, {max(os.sched_getaffinity(0))})
    started.set()
    while True:
        pass
