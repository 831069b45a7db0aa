"""One contestant in a process of its own: its threads, memory and crashes stay there."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Case
from .contestants import Contestant, Decoder, Shape, load
from .playback import Playback
from .streams import Decoding

__all__ = ["Description", "Failed", "Missing", "Prepared", "Worker"]

_ANSWER_WITHIN = 300.0  # seconds
_PROBE = 0.02  # seconds that a setting is tried for, before the best one is chosen
_FEWEST_ROWS = 16
_KEPT_ROWS = 10_000
_FIRST_PART = 1024  # points of the first trial of what is not proportional to the queries
_TRIAL_POINTS = 10_000
_LONG = 2.0  # seconds of a call beside which compilation is short
_SHARES = 8  # one timing's part of the tokens that are to be timed, at most

Array = NDArray[Any]


class Missing(Exception):
    """The contestant cannot be had here; the message says why."""


class Failed(Exception):
    """The contestant raised an error, died or gave no answer; the message says which."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the report says of a contestant."""

    title: str
    version: str
    ties: str
    dtypes: tuple[str, ...]
    forms: tuple[str, ...]
    note: str
    max_features: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A case about to be timed: the setting and rows chosen, and the answer to its first rows."""

    setting: str
    rows: int
    seconds: float  # of one call, roughly
    answer: Array


class Worker:
    """The parent's end: every method runs in the child and waits for it."""

    def __init__(self, name: str, threads: int) -> None:
        """Start the process, and do not wait for it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, name, threads), daemon=True)
        self._process.start()
        end.close()

    @cached_property
    def description(self) -> Description:
        """What it is, once it is set up. Raises ``Missing``."""
        try:
            description: Description = self._answer()
        except Failed as error:
            self.close()
            raise Missing(str(error)) from None
        return description

    def prepare(self, case: Case, call_seconds: float, whole_seconds: float) -> Prepared:
        """Choose the fastest setting, and as many rows as a call of ``call_seconds`` takes.

        What is not proportional to the rows runs on all of them, if within ``whole_seconds``.
        """
        return self._call("prepare", case, call_seconds, whole_seconds)

    def answer(self, case: Case) -> Array:
        """The whole answer, from the contestant's first setting."""
        return self._call("answer", case)

    def time(self, calls: int) -> tuple[float, float]:
        """Seconds for each of ``calls`` calls of what was prepared; those of them for an index."""
        return self._call("time", calls)

    def explain(self, case: Case) -> dict[str, Any] | None:
        """Which engine runs the case, how many keys it scores per query, and why, if known."""
        return self._call("explain", case)

    def memory(self, case: Case) -> int:
        """Bytes by which the peak of resident memory grows in one call of ``case``.

        Of a decoder, those by which it has grown for good.
        """
        return self._call("memory", case)

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise Failed("its process died") from None
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(_ANSWER_WITHIN):
            self.close()
            raise Failed(f"gave no answer within {_ANSWER_WITHIN:.0f} s")
        try:
            fine, value = self._pipe.recv()
        except EOFError:
            raise Failed("its process died") from None
        if not fine:
            raise Failed(value)
        return value


def _serve(pipe: Connection, name: str, threads: int) -> None:
    """The child's main loop."""
    server = None
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # the parent went, or both were stopped
        while True:
            try:
                if server is None:
                    server = _Server(load(name, threads))
                    value: Any = server.describe()
                else:
                    method, arguments = pipe.recv()
                    value = getattr(server, method)(*arguments)
                pipe.send((True, value))
            except EOFError:
                raise
            except Exception as error:  # noqa: BLE001  # a tool may raise anything: it is reported
                text = " ".join(str(error).split())
                pipe.send((False, f"{type(error).__name__}: {text}"[:300]))
                if server is None:
                    return


class _Server:
    """The child's end."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        # The two parts of a call: an index of the keys, where there is one; the rest.
        self._index: Callable[[], Any] = lambda: None
        self._call: Callable[[Any], Any] = lambda index: None
        self._last: Any = None  # what it gave when it was prepared

    def describe(self) -> Description:
        c = self._contestant
        offered = {
            "winners": c.winners or c.indexes, "attend": c.attend, "decode": c.decode
        }  # fmt: skip
        forms = tuple(form for form, settings in offered.items() if settings)
        return Description(c.title, c.version, c.ties, c.dtypes, forms, c.note, c.max_features)

    def prepare(self, case: Case, call_seconds: float, whole_seconds: float) -> Prepared:
        if isinstance(case, Decoding):
            return self._prepare_decoder(case, call_seconds)
        settings = getattr(self._contestant, case.form)
        arguments = case.arguments()
        self._index = lambda: None
        if case.form == "winners" and self._contestant.indexes:
            setting, rows, seconds = self._take_index(**arguments, call_seconds=call_seconds)
        elif case.form == "attend":
            # Masks tie the rows together: always the whole case, in its one setting.
            (setting, function), rows = next(iter(settings.items())), case.n_queries
            self._call = lambda index: function(**arguments)
            seconds = self._warmed()
        elif self._contestant.whole and self._foretell(**arguments, limit=whole_seconds):
            setting, function = next(iter(settings.items()))
            rows = case.n_queries
            seconds = self._take(function, **arguments)
        else:
            query, key = arguments["query"], arguments["key"]
            probes = {name: _seconds_per_row(f, query, key) for name, f in settings.items()}
            setting = min(probes, key=lambda name: probes[name])
            rows, least = len(query), min(len(query), _FEWEST_ROWS)
            while rows // 2 >= least and rows * probes[setting] > call_seconds:
                rows //= 2
            seconds = self._take(settings[setting], query[:rows], key)
            # A probe of few rows overstates what a row costs.
            while rows < len(query) and 2 * seconds < call_seconds:
                rows = min(2 * rows, len(query))
                seconds = self._take(settings[setting], query[:rows], key)
        answer = self._last
        kept = answer[..., :_KEPT_ROWS, :] if case.form == "attend" else answer[:_KEPT_ROWS]
        return Prepared(setting, rows, seconds, np.array(kept))

    def _prepare_decoder(self, case: Decoding, call_seconds: float) -> Prepared:
        """Choose the fastest setting by the steps that are checked, and how many to time."""
        trials: dict[str, tuple[float, Playback, float]] = {}
        for name, make in self._contestant.decode.items():
            begin = time.perf_counter()
            playback = Playback(make, case)
            filling = time.perf_counter() - begin
            playback.ready(case.n_queries)
            trials[name] = _seconds(playback.run), playback, filling
        setting = min(trials, key=lambda name: trials[name][0])
        seconds, playback, filling = trials[setting]
        if case.part == "steps":
            seconds /= case.n_queries
            share = (case.n_tokens - case.n_keys) // _SHARES
            rows = min(share, max(1, int(call_seconds / seconds)))
            self._index, self._call = partial(playback.ready, rows), Playback.run
            # Every so often the decoder is filled again.
            return Prepared(setting, rows, rows * seconds + filling / _SHARES, playback.answers)
        rows = case.n_keys - case.start
        self._index = lambda: None
        self._call = lambda index: playback.start().ready(rows).run()
        return Prepared(setting, rows, self._first_call(), playback.answers)

    def _foretell(self, query: Array, key: Array, limit: float) -> bool:
        """Whether a call will take about ``limit`` or less, by ever larger parts of the cloud.

        How the time grows from part to part says little: an engine may be chosen by size.
        """
        function = next(iter(self._contestant.winners.values()))
        part = _FIRST_PART
        while 4 * part <= len(key):
            rows = max(1, part * len(query) // len(key))
            seconds = min(_seconds(function, query[:rows], key[:part]) for _ in range(2))
            if seconds > limit / 16:  # were it quadratic, a part four times as large would take it
                return False
            part *= 4
        return True

    def _take_index(self, query: Array, key: Array, call_seconds: float) -> tuple[str, int, float]:
        """Take the setting that is fastest on the first points, and rows to search for."""
        settings = self._contestant.indexes
        few = slice(_TRIAL_POINTS)
        trials = {}
        for name, index in settings.items() if len(settings) > 1 else ():
            start = time.perf_counter()
            search = index(key[few])
            building = time.perf_counter() - start
            trials[name] = building + _seconds_per_row(search, query[few]) * len(query[few])
        setting = min(trials, key=lambda name: trials[name]) if trials else next(iter(settings))
        self._index = lambda: settings[setting](key)
        start = time.perf_counter()
        search = self._index()
        indexing = time.perf_counter() - start
        rows = min(len(query), max(1, int(call_seconds / _seconds_per_row(search, query))))
        while rows < len(query) and 2 * _seconds(search, query[:rows]) < call_seconds:
            rows = min(2 * rows, len(query))
        some = np.ascontiguousarray(query[:rows])
        self._call = lambda search: search(some)
        start = time.perf_counter()
        self._last = search(some)
        return setting, rows, indexing + time.perf_counter() - start

    def _take(self, function: Callable[..., Any], query: Array, key: Array) -> float:
        """Make these rows what is timed from now on; seconds of one call."""
        query = np.ascontiguousarray(query)
        self._call = lambda index: function(query, key)
        return self._warmed()

    def _warmed(self) -> float:
        """Seconds of a call: of a second one, if it is short, for the first may compile."""
        seconds = self._first_call()
        return seconds if seconds > _LONG else min(seconds, self._first_call())

    def _first_call(self) -> float:
        start = time.perf_counter()
        self._last = self._call(self._index())
        return time.perf_counter() - start

    def explain(self, case: Case) -> dict[str, Any] | None:
        explain = self._contestant.explain
        arguments = case.arguments()
        return explain(arguments["query"], arguments["key"]) if explain else None

    def answer(self, case: Case) -> Array:
        function = next(iter(getattr(self._contestant, case.form).values()))
        if isinstance(case, Decoding):
            playback = Playback(function, case).ready(case.n_queries)
            playback.run()
            return playback.answers
        answer: Array = function(**case.arguments())
        return answer

    def time(self, calls: int) -> tuple[float, float]:
        # Short calls are timed in the steady state: nobody makes just one.
        for _ in range(-(-calls // 4) if calls > 1 else 0):
            self._call(self._index())
        start = time.perf_counter()
        indexing = 0.0
        for _ in range(calls):
            begin = time.perf_counter()
            index = self._index()
            indexing += time.perf_counter() - begin
            self._call(index)
        return (time.perf_counter() - start) / calls, indexing / calls

    def memory(self, case: Case) -> int:
        functions = getattr(self._contestant, case.form)
        function = next(iter(functions.values()))
        if isinstance(case, Decoding):
            return _kept(function, case)
        query, key = case.arguments()["query"], case.arguments()["key"]
        function(query[:256].copy(), key[:256].copy())  # libraries, threads and compiled code
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
        function(query, key)
        return _resident("VmHWM") - before


def _kept(make: Callable[[Shape], Decoder], case: Decoding) -> int:
    """Bytes by which resident memory has grown once a decoder holds the tokens."""
    Playback(make, replace(case, n_keys=2 * case.n_queries))  # libraries
    case.tokens()
    ctypes.CDLL(None).malloc_trim(0)  # or the decoder would reuse what was freed; glibc only
    before = _resident("VmRSS")
    playback = Playback(make, case)
    after = _resident("VmRSS")
    del playback
    return after - before


def _seconds_per_row(function: Callable[..., Any], query: Array, *key: Array) -> float:
    """Time of ever more rows, until they take long enough to tell."""
    rows = min(len(query), _FEWEST_ROWS)
    while True:
        some = np.ascontiguousarray(query[:rows])
        seconds = min(_seconds(function, some, *key) for _ in range(2))
        if seconds > _PROBE or rows == len(query):
            return seconds / rows
        rows = min(len(query), 8 * rows)


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def _resident(field: str) -> int:
    """A figure of /proc/self/status in bytes; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
