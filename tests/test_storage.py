"""A directory appears complete or not at all, and a trajectory comes back as it was."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest

from fasthardmax import equilibrium, simulate
from fasthardmax.storage import (
    RUN_FILES,
    load_trajectory,
    new_directory,
    save_equilibrium,
    save_trajectory,
)

from .compare import assert_same_bits


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, and its text."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path, text: str) -> None:
    for name in RUN_FILES:
        (folder / name).write_text(text)


def write_half_and_raise(out: Path, failure: BaseException) -> None:
    with new_directory(out, force=True) as folder:
        write(folder, "half")
        raise failure


def test_the_directory_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_directory(out) as folder:
        write(folder, "new")
        assert not out.exists()
        assert folder.parent.parent == tmp_path  # the same file system, so a rename is enough
    assert contents(tmp_path) == {f"out/{name}": "new" for name in RUN_FILES}
    assert os.listdir(tmp_path) == ["out"]


def test_its_permissions_are_those_of_any_new_directory(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with new_directory(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_leaves_nothing(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)):
        write_half_and_raise(tmp_path / "out", failure)
    assert os.listdir(tmp_path) == []


def test_force_replaces_an_earlier_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("old", "new"):
        with new_directory(out, force=True) as folder:
            write(folder, text)
    assert contents(tmp_path) == {f"out/{name}": "new" for name in RUN_FILES}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt()])
def test_the_earlier_run_survives_a_failure(tmp_path: Path, failure: BaseException) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, "old")
    with pytest.raises(type(failure)):
        write_half_and_raise(out, failure)
    assert contents(tmp_path) == {f"out/{name}": "old" for name in RUN_FILES}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
def test_the_earlier_run_survives_a_failing_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, "old")
    rename, calls = Path.rename, []

    def rename_or_fail(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_fail)
    with (
        pytest.raises(OSError, match=f"^out: cannot write '{out}': Input/output error$"),
        new_directory(out, force=True) as folder,
    ):
        write(folder, "new")
    assert contents(tmp_path) == {f"out/{name}": "old" for name in RUN_FILES}
    assert os.listdir(tmp_path) == ["out"]


def test_a_directory_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write_while_another_does() -> None:
        with new_directory(out):
            out.mkdir()
            write(out, "another's")

    with pytest.raises(FileExistsError, match=r"^out: got .* exists already"):
        write_while_another_does()
    assert contents(tmp_path) == {f"out/{name}": "another's" for name in RUN_FILES}


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    exists = "which exists already, expected a new directory or --force"
    foreign = "expected a directory with nothing but the files of an earlier run to replace"
    no_parent = "expected its parent to be a directory"
    for name, force, sentence in [
        ("file", False, "which is a file, expected a directory"),
        ("file", True, "which is a file, expected a directory"),
        ("empty", False, exists),
        ("home", False, exists),
        ("home", True, f"which holds 'thesis.tex', {foreign}"),
        ("none/out", False, no_parent),
        ("file/out", True, no_parent),
    ]:
        expected = re.escape(f"out: got '{tmp_path / name}', {sentence}")
        with (
            pytest.raises(OSError, match=f"^{expected}$"),
            new_directory(tmp_path / name, force=force),
        ):
            pytest.fail("the block ran")
    assert contents(tmp_path) == {"file": "mine", "home/thesis.tex": "mine"}


def test_a_parent_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int = 0o777) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "mkdir", refuse)
    out = tmp_path / "out"
    with (
        pytest.raises(PermissionError, match=f"^out: cannot write '{out}': Permission denied$"),
        new_directory(out),
    ):
        pytest.fail("the block ran")


def test_a_symbolic_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    with new_directory(tmp_path / "link", force=True) as folder:
        write(folder, "new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "disk") == dict.fromkeys(RUN_FILES, "new")


@pytest.mark.parametrize("record", ["last", "all", 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("alpha", [0.5, np.inf])
def test_a_trajectory_comes_back_as_it_was(
    tmp_path: Path, record: str | int, dtype: str, alpha: float
) -> None:
    start = np.random.default_rng(0).normal(size=(12, 3)).astype(dtype)
    run = simulate(start, alpha=alpha, n_layers=5, record=record, engine="reference")
    save_trajectory(tmp_path / "run.npz", run)
    back = load_trajectory(tmp_path / "run.npz")
    assert (back.alpha, back.engine, back.n_layers) == (run.alpha, run.engine, run.n_layers)
    assert back.n_passes == run.n_passes
    for name in ("points", "labels", "leader_layer", "leaders"):
        assert_same_bits(getattr(back, name), getattr(run, name), name)
    assert list(back.recorded) == list(run.recorded) == list(back.winners) == list(run.winners)
    for layer in run.recorded:
        assert_same_bits(back.recorded[layer], run.recorded[layer])
        assert_same_bits(back.winners[layer].first, run.winners[layer].first)
        assert_same_bits(back.winners[layer].count, run.winners[layer].count)


def test_a_temperature_comes_back(tmp_path: Path) -> None:
    for beta in (2.5, np.inf):
        save_trajectory(tmp_path / "run.npz", simulate(np.eye(2), alpha=1, n_layers=1, beta=beta))
        assert load_trajectory(tmp_path / "run.npz").beta == beta


def test_the_file_holds_the_named_arrays(tmp_path: Path) -> None:
    A = np.array([[2.0, 1.0], [0.0, 1.0]])
    run = simulate(np.eye(2), alpha=1, n_layers=1, A=A, record="all", engine="reference")
    names = {
        "layers", "points", "first", "count", "leaders", "leader_layer", "labels", "alpha",
        "beta", "engine", "n_passes",
    }  # fmt: skip
    save_trajectory(tmp_path / "run.npz", run)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert set(file.files) == names
        assert_same_bits(file["leaders"], run.leaders)
    save_trajectory(tmp_path / "run.npz", run, A)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert set(file.files) == names | {"A"}
        assert_same_bits(file["A"], A)


def test_the_file_of_an_equilibrium_holds_its_arrays(tmp_path: Path) -> None:
    A = np.array([[2.0, 1.0], [1.0, 2.0]])
    found = equilibrium(np.random.default_rng(0).normal(size=(12, 2)), alpha=1, A=A)
    save_equilibrium(tmp_path / "found.npz", found, A)
    with np.load(tmp_path / "found.npz", allow_pickle=False) as file:
        for name in ("limit", "labels", "settled_at", "residual", "leader_of", "leaders"):
            assert_same_bits(file[name], getattr(found, name), name)
        assert file["kind"].tolist() == found.kind.tolist()
        assert_same_bits(file["A"], A)
        assert set(file.files) == {
            "limit", "kind", "labels", "settled_at", "residual", "leader_of", "leaders",
            "n_layers", "n_passes", "alpha", "engine", "A",
        }  # fmt: skip
    save_equilibrium(tmp_path / "found.npz", found)
    with np.load(tmp_path / "found.npz", allow_pickle=False) as file:
        assert "A" not in file.files


def test_other_files_than_trajectories_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with pytest.raises(FileNotFoundError, match=rf"^path: cannot read '{path}': No such file"):
        load_trajectory(path)
    save_trajectory(path, simulate(np.eye(2), alpha=1, n_layers=1))
    cut = path.read_bytes()[:-100]
    for content in (b"", b"text", cut):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^path: '{path}' is damaged, or no \.npz file$"):
            load_trajectory(path)
    np.save(tmp_path / "array.npy", np.eye(2))
    with pytest.raises(ValueError, match=r"array\.npy' is damaged, or no \.npz file$"):
        load_trajectory(tmp_path / "array.npy")
    save_equilibrium(path, equilibrium(np.eye(2), alpha=1))
    with pytest.raises(ValueError, match=r"has no array 'beta', expected a saved trajectory$"):
        load_trajectory(path)
