"""Disks that refuse, two writers, and what is no run: one sentence, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasthardmax import TrajectoryStore, resume, simulate
from fasthardmax._durable import only_writer
from fasthardmax.storage import load_trajectory

from .long_runs import assert_prefix, assert_same_run, cloud, interrupted, plain, quick_disk, stored  # noqa: F401  # for every test here

FOREIGN = "expected a directory with nothing but the files of an earlier run to replace"


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


def test_a_store_without_a_path() -> None:
    wrong: Any = TrajectoryStore
    with pytest.raises(
        ValueError, match=r"^record: got <class .*TrajectoryStore'>, expected 'last'"
    ):
        simulate(np.eye(2), alpha=1, n_layers=1, record=wrong)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    monkeypatch.delitem(sys.modules, "fasthardmax._zarr_layers", raising=False)
    with pytest.raises(ImportError, match=r"^record: .* pip install 'fasthardmax\[store\]'$"):
        stored("stepped", tmp_path / "run")
    assert os.listdir(tmp_path) == []
