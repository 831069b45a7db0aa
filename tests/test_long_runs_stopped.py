"""A run that is stopped, wherever, leaves a whole prefix, and goes on to the same bits."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasthardmax import TrajectoryStore, dynamics, resume, simulate
from fasthardmax.dynamics import METHODS
from fasthardmax.inputs import read_cloud
from fasthardmax.softening import Softening
from fasthardmax.storage import load_trajectory

from . import fork_server
from .compare import assert_same_bits
from .long_runs import assert_prefix, assert_same_run, interrupted, plain, quick_disk, stored  # noqa: F401  # for every test here


class Crash(BaseException):
    """What ends a process at some point."""


def events(monkeypatch: pytest.MonkeyPatch, stop_at: int = -1) -> list[str]:
    """The steps of writing to the disk; a crash comes before step ``stop_at``."""
    seen: list[str] = []

    def watched(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*args: Any, **options: Any) -> Any:
            if len(seen) == stop_at:
                raise Crash
            seen.append(name)
            return step(*args, **options)

        return take

    monkeypatch.setattr(os, "fsync", watched("fsync", os.fsync))
    for name in ("replace", "rename", "mkdir"):
        monkeypatch.setattr(Path, name, watched(name, getattr(Path, name)))
    return seen


def test_a_stop_at_any_step_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"n_layers": 5, "every": 2}
    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_BYTES", 2 * 20 * 2 * 8)
    with monkeypatch.context() as patch:
        steps = events(patch)
        stored("settling", tmp_path / "whole", **options)
    every = plain("settling", 5).recorded
    expected = plain("settling", 5, record=2)
    assert steps.count("replace") > 20
    for stop in range(len(steps)):
        run = tmp_path / str(stop)
        with monkeypatch.context() as patch:
            events(patch, stop)
            with pytest.raises(Crash) as crash:
                stored("settling", run, **options)
        if not run.exists():
            assert "rename" not in steps[:stop]
            assert crash.value.trajectory.recorded == {}
            continue
        assert_prefix(run, expected)
        found = load_trajectory(run)
        assert_same_bits(found.points, every[found.n_layers])
        assert_same_run(resume(run), expected, run)


def test_what_becomes_visible_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()  # inodes
    fsync, replace = os.fsync, Path.replace

    def flush(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    def show(self: Path, target: Path) -> Path:
        assert self.stat().st_ino in flushed, f"{self} is not on the disk"
        if target.parent.name == "trajectory.zarr":  # the group: shows all the rest
            folders = {target.parent.parent, *(p for p in target.parent.iterdir() if p.is_dir())}
            assert {folder.stat().st_ino for folder in folders} <= flushed
            shown.append(target)
        elif target.name != "zarr.json":  # its folder has a new name, which only the group shows
            flushed.discard(target.parent.stat().st_ino)
        return replace(self, target)

    shown: list[Path] = []
    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", show)
    stored("stepped", tmp_path / "run", 9)
    assert len(shown) == 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {"points": read_cloud("non-leader-clusters").points, "A": None, "alpha": 0.5},
        {"points": read_cloud("square").points, "A": -np.eye(2), "alpha": 0.5},
        {"points": np.random.default_rng(2).integers(-2, 3, (30, 2))},
        {"points": np.random.default_rng(3).normal(size=(3, 15, 3)), "A": np.diag([1, -1, 2])},
        {"points": np.random.default_rng(4).normal(size=(1100, 2)), "A": [[2, 0.5], [0, 1]]},
    ],
    ids=["ties", "contracting", "grid", "batch", "dropped keys"],
)
def test_a_stop_at_every_layer(
    method: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TrajectoryStore.save

    def save_and_stop(self: TrajectoryStore, layer: int, *rest: Any) -> None:
        save(self, layer, *rest)
        if layer < 12:
            raise Crash

    monkeypatch.setattr(TrajectoryStore, "save", save_and_stop)
    run = tmp_path / "run"
    with pytest.raises(Crash):
        stored(method, run, 12, checkpoint=1, **options)
    for _ in range(10):
        with pytest.raises(Crash):
            resume(run)
    assert_same_run(resume(run), plain(method, 12, **options), run)


def test_a_softmax_run_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Softening, layer: int) -> None:
        if layer == 8:
            raise KeyboardInterrupt
        go_to(self, layer)

    go_to = Softening.go_to
    options = {"beta": 4, "engine": "auto"}
    with monkeypatch.context() as patch:
        patch.setattr(Softening, "go_to", stop)
        with pytest.raises(KeyboardInterrupt):
            stored("stepped", tmp_path / "run", 12, **options)
    assert_same_run(resume(tmp_path / "run"), plain("stepped", 12, **options), tmp_path / "run")


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupt_keeps_the_layers_before_the_checkpoint(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = interrupted(monkeypatch, 12, method, tmp_path / "run").trajectory
    expected = plain(method)
    assert_same_bits(partial.points, expected.recorded[partial.n_layers])
    kept = load_trajectory(tmp_path / "run")
    assert kept.n_layers == partial.n_layers - partial.n_layers % 4
    assert list(kept.recorded) == list(partial.recorded) == list(range(kept.n_layers))
    assert_prefix(tmp_path / "run", expected)
    assert_same_run(resume(tmp_path / "run", num_threads=1), expected, tmp_path / "run")


def test_progress_counts_what_was_done_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def count(n_layers: int, wanted: bool) -> Iterator[Callable[[], None]]:
        yield lambda: reports.append(wanted)
        assert reports == [True] * n_layers

    interrupted(monkeypatch, 12, "stepped", tmp_path / "run")
    reports: list[bool] = []
    monkeypatch.setattr(dynamics, "_progress_bar", count)
    resume(tmp_path / "run", progress=True)
    assert len(reports) == 30


@pytest.fixture
def killer() -> Iterator[Callable[[str, Path, float], int]]:
    """Runs a method in a directory, kills it after some seconds, and says how it ended."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def kill(method: str, path: Path, seconds: float) -> int:
        print(method, path, seconds, file=server.stdin, flush=True)
        return int(server.stdout.readline())

    with server:
        yield kill
        server.stdin.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start many runs quickly")
@pytest.mark.parametrize("method", METHODS)
def test_kill_at_random_moments(
    method: str, tmp_path: Path, killer: Callable[[str, Path, float], int]
) -> None:
    expected = simulate(
        fork_server.cloud(),
        A=fork_server.MATRIX,
        alpha=fork_server.ALPHA,
        n_layers=fork_server.N_LAYERS,
        method=method,
        record="all",
        engine="compiled",
    )
    random = np.random.default_rng()  # any moment will do
    kills, number = 0, 0
    while kills < 10:
        run = tmp_path / str(number)
        ending = killer(method, run, random.uniform(0.005, 0.15))
        assert ending in (0, signal.SIGKILL)
        if not run.exists():  # killed before it began
            continue
        found = load_trajectory(run)
        assert_prefix(run, expected)
        logged = [int(line) for line in Path(f"{run}.log").read_text().splitlines()]
        if ending == 0:
            assert_same_run(found, expected, run)
            number += 1
            continue
        kills += 1
        assert found.n_layers > max(logged, default=0) - fork_server.CHECKPOINT
        again = tmp_path / "again"
        shutil.copytree(run, again)
        assert_same_run(resume(again), expected, again)
        shutil.rmtree(again)


def test_a_killed_run_can_be_replaced(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stored("stepped", run)
    (run / "state-0.npz.partial").touch()
    record = TrajectoryStore(run, overwrite=True)
    assert_same_run(plain("settling", record=record), plain("settling"), run)
