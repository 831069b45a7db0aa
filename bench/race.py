"""Races: every contestant's answer is checked, then all are timed in turns."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cases import Case
from .timing import SHORTEST, calls_per_timing, spread
from .verdict import canonical, judge
from .worker import Failed, Missing, Worker

__all__ = ["FULL", "QUICK", "Effort", "Entrant", "Track"]


_SECONDS_PER_FEATURE = 5e-8  # some fifty times what one look at each feature of each key takes


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a race may take."""

    rounds: int  # timings of each contestant, in turns
    call_seconds: float  # of one timed call: larger cases are timed on fewer rows
    oracle: float  # multiply-adds of the reference for the rows that are checked
    patience: float = math.inf  # seconds of timings after which a contestant gets no more rounds
    whole_seconds: float = 60.0  # the longest call that is made where rows cannot stand for it
    shortest: float = SHORTEST  # seconds of calls that make one timing
    settle: float = 0.1  # OpenMP and BLAS threads of the last one spin on for tens of milliseconds

    def seconds(self, case: Case) -> float:
        """Seconds of one call, long beside what is paid once a call for every key."""
        return max(self.call_seconds, _SECONDS_PER_FEATURE * case.n_keys * case.d)


FULL = Effort(rounds=5, call_seconds=0.25, oracle=4e8)
QUICK = Effort(rounds=2, call_seconds=0.05, oracle=1e7, shortest=0.05, settle=0.05)


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
        self,
        case: Case,
        entrants: Sequence[Entrant],
        *,
        loaded: bool = False,
        effort: Effort | None = None,
    ) -> list[dict[str, Any]]:
        """One record for each contestant that runs the case's dtype and form.

        ``loaded``: time once more, with one core kept busy by another process. ``effort``: another
        one than the track's.
        """
        effort = effort or self._effort
        truth = canonical(case, effort.oracle)
        records: list[dict[str, Any]] = []
        ready: list[_Ready] = []
        for entrant, worker in self._takers(case, entrants):
            record: dict[str, Any] = {"case": asdict(case), **asdict(entrant)}
            records.append(record)
            with self._noting_failure(entrant, record):
                prepared = worker.prepare(case, effort.seconds(case), effort.whole_seconds)
                verdict = judge(prepared.answer, truth)
                record |= {"setting": prepared.setting, "rows": prepared.rows, **asdict(verdict)}
                calls = calls_per_timing(prepared.seconds, effort.shortest)
                ready.append((entrant, calls, record))
        self._run(ready, "seconds", effort)
        if loaded:
            with _busy_core():
                self._run(ready, "loaded_seconds", effort)
        for record in records:
            _say(record)
        return records

    def compare(self, case: Case, entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
        """As :meth:`race`, with nothing timed."""
        truth = canonical(case, self._effort.oracle)
        records = []
        for entrant, worker in self._takers(case, entrants):
            record: dict[str, Any] = {"case": asdict(case), **asdict(entrant)}
            records.append(record)
            with self._noting_failure(entrant, record):
                record |= asdict(judge(worker.answer(case), truth))
            _say(record)
        return records

    def explain(self, case: Case, records: Sequence[dict[str, Any]]) -> None:
        """Note in the records of a race which engine ran, what it scored, and why, where known.

        It may take as long as a call.
        """
        for record in records:
            entrant = Entrant(record["name"], record["threads"])
            if "error" not in record:
                with self._noting_failure(entrant, record):
                    record["explained"] = self._workers[entrant].explain(case)

    def _run(self, ready: list[_Ready], field: str, effort: Effort) -> None:
        """Time everyone in turns, another one first in each round."""
        for turn in range(effort.rounds):
            at = turn % len(ready) if ready else 0
            for entrant, calls, record in ready[at:] + ready[:at]:
                spent = sum(record.get(field, ()))
                if "error" not in record and spent <= effort.patience:
                    time.sleep(effort.settle)
                    with self._noting_failure(entrant, record):
                        seconds, indexing = self._workers[entrant].time(calls)
                        record.setdefault(field, []).append(seconds)
                        record.setdefault(f"index_{field}", []).append(indexing)

    def memory(self, case: Case, entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
        """Peak memory of one call, each in a fresh process."""
        records = []
        for entrant in entrants:
            if entrant.name in self.missing:
                continue
            worker = Worker(entrant.name, entrant.threads)
            record = {"case": asdict(case), **asdict(entrant)}
            try:
                if _takes(worker, case):
                    records.append(record)
                    record["bytes"] = worker.memory(case)
            except Missing as error:
                self.missing[entrant.name] = str(error)
            except Failed as error:
                record["error"] = str(error)
            worker.close()
        return records

    def _takers(self, case: Case, entrants: Sequence[Entrant]) -> Iterator[tuple[Entrant, Worker]]:
        """Those whose tool is here and runs the case's dtype and form, set up together."""
        for entrant in entrants:
            if entrant.name not in self.missing and entrant not in self._workers:
                self._workers[entrant] = Worker(entrant.name, entrant.threads)
        for entrant in entrants:
            worker = self._workers.get(entrant)
            if worker is None:
                continue
            try:
                self.descriptions.setdefault(entrant.name, asdict(worker.description))
            except Missing as error:
                self.missing[entrant.name] = str(error)
                del self._workers[entrant]
                print(f"{entrant.name}: missing: {error}", file=sys.stderr)
                continue
            if _takes(worker, case):
                yield entrant, worker

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
    most = description.max_features
    fits = most is None or case.d <= most
    return fits and case.dtype in description.dtypes and case.form in description.forms


def _say(record: dict[str, Any]) -> None:
    """One line on standard error: a long run shows that it lives."""
    case = record["case"]
    label = case["name"] or f"{case['kind']} n={case['n_keys']} d={case['d']}"
    text = f"{label} {case['dtype']} {record['name']}@{record['threads']}"
    if "error" in record:
        text += f": {record['error']}"
    elif "seconds" in record:
        text += f": {spread(record['seconds']).median:.3g} s for {record['rows']} rows"
    if record.get("wrong"):
        text += f", {record['wrong']:.2%} of {record['checked']} rows differ"
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
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
