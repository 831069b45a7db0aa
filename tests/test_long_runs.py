"""A run that streams to the disk is the run that does not, however and wherever it is stopped."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

import fasthardmax
from fasthardmax import Trajectory, TrajectoryStore, dynamics, resume, simulate
from fasthardmax._durable import only_writer
from fasthardmax._state import Resumable
from fasthardmax.dynamics import METHODS
from fasthardmax.engines import compiled
from fasthardmax.inputs import read_cloud
from fasthardmax.softening import Softening
from fasthardmax.storage import load_trajectory

from . import fork_server
from .compare import assert_same_bits, assert_same_fields

A = np.diag([1.0, 4.0])  # on a circle, points settle over some 50 layers
FOREIGN = "expected a directory with nothing but the files of an earlier run to replace"
FIELDS = ("points", "leader_layer", "labels")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what is lost without it, no test can see."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Crash(BaseException):
    """What ends a process at some point."""


def cloud(*shape: int) -> NDArray[Any]:
    points = np.random.default_rng(1).normal(size=shape or (20, 2))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def plain(method: str, n_layers: int = 30, **options: Any) -> Trajectory:
    options = {"alpha": 0.05, "A": A, "record": "all", "engine": "compiled"} | options
    return simulate(options.pop("points", cloud()), n_layers=n_layers, method=method, **options)


def stored(method: str, path: Path, n_layers: int = 30, **options: Any) -> Trajectory:
    store = {name: options.pop(name) for name in ("every", "checkpoint") if name in options}
    record = TrajectoryStore(path, **({"checkpoint": 4} | store))
    return plain(method, n_layers, record=record, **options)


def assert_same_run(found: Trajectory, expected: Trajectory, path: Path) -> None:
    assert_same_fields(found, expected, FIELDS, "result")
    for name in ("alpha", "beta", "engine", "n_layers", "n_passes"):
        assert getattr(found, name) == getattr(expected, name), name
    assert list(found.recorded) == list(found.winners) == sorted(expected.recorded)
    assert_prefix(path, expected)
    last = found.n_layers
    assert_same_bits(found.recorded[last], expected.recorded[last])
    assert_same_fields(found.winners[last], expected.winners[last], ("first", "count"), "last")


def assert_prefix(path: Path, expected: Trajectory) -> None:
    """What is visible on the disk are the first of the recorded layers, also of an array alone."""
    folder = path / "trajectory.zarr"
    group = zarr.open_group(str(folder), mode="r")
    layers = sorted(expected.recorded)
    winners = [expected.winners[layer] for layer in layers]
    n_rows = group["layer"].shape[0]
    for name, rows in {
        "layer": layers,
        "points": [expected.recorded[layer] for layer in layers],
        "first": [w.first for w in winners],
        "count": [w.count for w in winners],
    }.items():
        everything = np.stack(rows)
        assert_same_bits(group[name][...], everything[:n_rows], name)
        alone = zarr.open_array(str(folder / name), mode="r")[...]
        assert len(alone) >= n_rows
        assert_same_bits(alone, everything[: len(alone)], name)


# --- What is recorded ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"checkpoint": 1, "n_layers": 5},
        {"checkpoint": 1000},
        {"every": 3},
        {"A": None, "alpha": np.inf},
        {"points": cloud(5, 2).astype(np.float32)},
        {"points": cloud(3, 8, 2), "every": 2},
        {"points": np.zeros((0, 2)), "n_layers": 3},
        {"points": np.zeros((0, 5, 2)), "n_layers": 3},
        {"points": np.zeros((4, 0)), "A": None, "n_layers": 3},
        {"n_layers": 0},
    ],
    ids=lambda options: ",".join(options) or "plain",
)
def test_it_is_the_run_that_records_in_memory(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    found = stored(method, tmp_path / "run", **options)
    record = options.get("every", "all")
    options = {name: x for name, x in options.items() if name not in ("every", "checkpoint")}
    expected = plain(method, record=record, **options)
    for run in (found, load_trajectory(tmp_path / "run"), resume(tmp_path / "run")):
        assert_same_run(run, expected, tmp_path / "run")


def test_only_the_last_layer(tmp_path: Path) -> None:
    found = stored("settling", tmp_path / "run", every=None)
    assert_same_run(found, plain("settling", record="last"), tmp_path / "run")


@pytest.mark.parametrize("alpha", [0.5, np.inf])
def test_the_group_explains_itself(alpha: float, tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path / "run", every=2, checkpoint=4, attrs={"note": "mine"})
    options = {"alpha": alpha, "n_layers": 5, "method": "stepped", "engine": "reference"}
    start = cloud(3, 20, 2)
    simulate(start, A=A, record=store, **options)
    group = zarr.open_group(str(tmp_path / "run" / "trajectory.zarr"), mode="r")
    attrs = dict(group.attrs)
    assert attrs.pop("seconds") > 0
    assert attrs.pop("turn") in (0, 1)
    assert attrs == {
        "note": "mine",
        "format": 1,
        "version": fasthardmax.__version__,
        "options": options | {"alpha": alpha if alpha < np.inf else "inf", "beta": "inf"},
        "every": 2,
        "checkpoint": 4,
        "layer": 5,
        "finished": True,
    }
    assert {name: array.metadata.dimension_names for name, array in group.arrays()} == {
        "layer": ("layer",),
        "points": ("layer", "cloud", "point", "feature"),
        "first": ("layer", "cloud", "point"),
        "count": ("layer", "cloud", "point"),
        "start": ("cloud", "point", "feature"),
        "A": ("query_feature", "feature"),
    }
    assert_same_bits(group["layer"][...], np.array([0, 2, 4, 5]))
    assert_same_bits(group["start"][...], start)
    assert_same_bits(group["A"][...], A)
    assert_same_bits(
        zarr.open_array(str(tmp_path / "run" / "trajectory.zarr" / "points"), mode="r")[0], start
    )


def test_chunks_hold_whole_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_BYTES", 1000)
    for n, layers in ((20, 3), (50, 1), (100, 1)):
        run = tmp_path / str(n)
        stored("settling", run, 1, points=cloud(n, 2))
        points = zarr.open_array(str(run / "trajectory.zarr" / "points"), mode="r")
        assert points.chunks == (layers, n, 2)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("checkpoint", [1, 2, 3, 5])
def test_chunks_fill_up_between_checkpoints(
    layers: int, checkpoint: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_LAYERS", layers)
    points, run = cloud(4, 2), tmp_path / "run"
    expected = plain("stepped", 10, points=points)
    found = stored("stepped", run, 10, points=points, checkpoint=checkpoint)
    assert_same_run(found, expected, run)


def test_negative_zeros_keep_their_sign(tmp_path: Path) -> None:
    from fasthardmax._zarr_layers import LayerWriter

    points, index = np.full((3, 2), -0.0), np.zeros(3, int)
    writer = LayerWriter(tmp_path / "group", points, None)
    writer.append(0, points, index, index)
    writer.commit({})
    assert_same_bits(zarr.open_group(str(tmp_path / "group"), mode="r")["points"][0], points)


def test_a_huge_layer_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers._PART_BYTES", 7 * 16)
    assert_same_run(stored("stepped", tmp_path / "run"), plain("stepped"), tmp_path / "run")
    points = zarr.open_array(str(tmp_path / "run" / "trajectory.zarr" / "points"), mode="r")
    assert points.chunks[1:] == (7, 2)


def test_a_layer_that_is_not_recorded_is_not_there(tmp_path: Path) -> None:
    found = stored("stepped", tmp_path / "run", every=7)
    assert len(found.recorded) == 6
    for layer in (1, 29, 31, -1):
        with pytest.raises(KeyError):
            found.recorded[layer]
    assert list(found.recorded.only(range(10))) == [0, 7]
    assert_same_bits(found.recorded.only({14})[14], plain("stepped").recorded[14])


def test_memory_does_not_grow_with_the_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(n_layers: int) -> int:
        tracemalloc.start()
        try:
            stored("settling", tmp_path / str(n_layers), n_layers, points=points, checkpoint=100)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_BYTES", 1 << 16)
    points = cloud(500, 2)
    peak(10)  # what is made at first use
    few, many = peak(200), peak(1200)
    layer = points.nbytes + 2 * 8 * len(points)
    assert many - few < 0.1 * (1000 * layer)


# --- Going on -----------------------------------------------------------------------------------


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


def interrupted(
    monkeypatch: pytest.MonkeyPatch, call: int, method: str, path: Path
) -> KeyboardInterrupt:
    """Stop a run at one of its searches."""
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "run", interrupted_at(call))
        with pytest.raises(KeyboardInterrupt) as interrupt:
            stored(method, path)
    return interrupt.value


def interrupted_at(call: int) -> Callable[..., Any]:
    calls = iter(range(call))
    run = compiled.run

    def attend(problem: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return run(problem)

    return attend


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


# --- What is refused ----------------------------------------------------------------------------


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    sentence = f"^path: got '{run}', to which a run is writing, expected one that has stopped$"

    def add_beside_another(self: TrajectoryStore, *args: Any) -> None:
        with pytest.raises(BlockingIOError, match=sentence):
            resume(self.path)
        assert load_trajectory(self.path).n_layers == 0
        refused.append(self.path)

    refused: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(TrajectoryStore, "add", add_beside_another)
        stored("stepped", run, 0)
    assert refused == [run]
    with only_writer(run):
        with pytest.raises(BlockingIOError, match=sentence):
            resume(run)
        with pytest.raises(BlockingIOError, match=sentence):
            plain("stepped", record=TrajectoryStore(run, overwrite=True))
    resume(run)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("late", [False, True])
def test_a_disk_that_refuses(
    code: int, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = plain("stepped")
    run = tmp_path / "run"
    opened = Path.open
    left = [60 if late else 3]

    def refuse(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "w" in mode:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code), str(self))
        return opened(self, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(OSError, match=r"^path: ") as refusal:
            stored("stepped", run)
    sentence = f"path: cannot write '{run}': {os.strerror(code)}"
    if not late:
        assert str(refusal.value) == sentence
        assert os.listdir(tmp_path) == []
        return
    found = load_trajectory(run)
    assert str(refusal.value) == f"{sentence}; it can be resumed from layer {found.n_layers}"
    assert 0 < found.n_layers < 30
    assert_prefix(run, expected)
    assert_same_run(resume(run), expected, run)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="the limit on files is one of POSIX")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    points = cloud(100, 2)
    run = tmp_path / "run"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
        with pytest.raises(OSError, match=f"^path: cannot write '{run}': File too large; "):
            stored("stepped", run, points=points)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(run.rglob("*.partial"))
    assert_same_run(resume(run), plain("stepped", points=points), run)


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for name, overwrite, sentence in [
        ("file", True, "which is a file, expected a directory"),
        ("file/run", False, "expected its parent to be a directory"),
        ("full", False, "which exists already, expected a new directory or overwrite=True"),
        ("full", True, f"which holds 'mine', {FOREIGN}"),
    ]:
        with pytest.raises(OSError, match=r"^path: ") as refusal:
            plain("stepped", record=TrajectoryStore(tmp_path / name, overwrite=overwrite))
        assert str(refusal.value) == f"path: got '{tmp_path / name}', {sentence}"
        assert refusal.value.trajectory.recorded == {}


def test_what_is_no_run_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in (".", "file", "none"):
        path = (tmp_path / name).resolve()
        with pytest.raises(FileNotFoundError) as refusal:
            resume(path)
        assert str(refusal.value) == (
            f"path: got '{path}', which holds no run, expected the directory of a run with "
            "checkpoints"
        )


def test_another_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 5, "stepped", tmp_path / "run")
    root = tmp_path / "run" / "trajectory.zarr" / "zarr.json"
    text = json.loads(root.read_text())
    text["attributes"] |= {"format": 2, "version": "9.0"}
    root.write_text(json.dumps(text))
    with pytest.raises(ValueError, match=r"written by fasthardmax 9\.0, expected a run of a vers"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_damaged_state(keep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 5, "stepped", tmp_path / "run")
    for state in (tmp_path / "run").glob("state-*.npz"):
        state.write_bytes(state.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"^path: '.*state-[01]\.npz' is damaged: "):
        resume(tmp_path / "run")


def test_options_of_a_store(tmp_path: Path) -> None:
    for options, sentence in [
        ({"every": 0}, "every: got 0, expected an integer of at least 1"),
        ({"every": "all"}, "every: got 'all', expected an integer of at least 1"),
        ({"checkpoint": 0}, "checkpoint: got 0, expected an integer of at least 1"),
        ({"attrs": {"layer": 1}}, "attrs: got 'layer', expected other names than the run's own"),
        ({"attrs": {"x": np.nan}}, "attrs: cannot be written as JSON: "),
        ({"attrs": {"x": object()}}, "attrs: cannot be written as JSON: "),
    ]:
        with pytest.raises(ValueError, match=r"^\w+: ") as refusal:
            TrajectoryStore(tmp_path / "run", **options)
        assert str(refusal.value).startswith(sentence)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    monkeypatch.delitem(sys.modules, "fasthardmax._zarr_layers", raising=False)
    with pytest.raises(ImportError, match=r"^record: .* pip install 'fasthardmax\[store\]'$"):
        stored("stepped", tmp_path / "run")
    assert os.listdir(tmp_path) == []


# --- The state of a computation -----------------------------------------------------------------


class Part(Resumable):
    def __init__(self) -> None:
        self.number = 1


class Counter(Resumable):
    NOT_SAVED = ("_engine",)

    def __init__(self) -> None:
        self._engine = object()
        self._search = Part()
        self.kept: NDArray[Any] | None = None
        self.number = 3
        self.scale = np.float32(0.1)
        self.ready = False
        self.rows = np.arange(6.0).reshape(3, 2)
        self.left = np.arange(3)


def test_a_state_comes_back() -> None:
    counter, other = Counter(), Counter()
    other.restore(counter.state())
    assert other.kept is None
    counter.number, counter.ready, counter.left = 7, True, np.array([2])
    counter.kept, counter._search.number = np.arange(2), 4
    other.restore(counter.state())
    assert (other.kept.tolist(), other._search.number) == ([0, 1], 4)
    assert (other.number, other.ready, other.left.tolist()) == (7, True, [2])
    assert [type(x) for x in (other.number, other.ready, other.scale)] == [int, bool, np.float32]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.zeros((3, 3))},
        {"rows": np.zeros(3)},
        {"rows": np.zeros((3, 2), np.float32)},
        {"left": np.zeros((3, 1), int)},
        {"_search.number": np.array(1.0)},
        {"number": np.array(1.0)},
        {"new": np.array(1)},
    ],
    ids=str,
)
def test_a_state_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    counter = Counter()
    with pytest.raises(ValueError, match=r"^state: got "):
        counter.restore(counter.state() | change)
    assert counter.rows.tolist() == Counter().rows.tolist()


def test_a_part_of_a_state_is_refused() -> None:
    state = Counter().state()
    del state["rows"]
    with pytest.raises(ValueError, match=r"^state: got "):
        Counter().restore(state)


def test_a_state_that_cannot_be_saved_says_so() -> None:
    counter = Counter()
    counter.friends = []
    with pytest.raises(TypeError, match=r"^friends: cannot be saved: list$"):
        counter.state()
