"""``fasthardmax simulate --checkpoint`` and ``resume``: files, interruptions, refusals."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasthardmax import TrajectoryStore, simulate
from fasthardmax.cli import main
from fasthardmax.engines import reference
from fasthardmax.inputs import read_cloud
from fasthardmax.storage import load_trajectory

from .commands import everything, run, summary
from .compare import assert_same_bits, assert_same_fields

FILES = ["picture.png", "state-0.npz", "state-1.npz", "summary.json", "trajectory.zarr"]
LONG = ["--checkpoint", "4", "--layers", "10", "--out", "out"]


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(autouse=True)
def no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def stop_at(call: int, stop: Callable[[], object]) -> Callable[..., Any]:
    calls = iter(range(call))
    original = reference.run

    def attend(problem: Any) -> Any:
        if next(calls, None) is None:
            stop()
        return original(problem)

    return attend


def interrupt() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def assert_the_run_of_square(method: str = "stepped") -> None:
    points = read_cloud("square").points
    expected = simulate(
        points, alpha=0.5, n_layers=10, method=method, record="all", engine="reference"
    )
    found = load_trajectory("out")
    assert_same_fields(found, expected, ("points", "labels", "leader_layer"), "result")
    assert list(found.recorded) == list(range(11))
    for layer in found.recorded:
        assert_same_bits(found.recorded[layer], expected.recorded[layer])


@pytest.mark.parametrize("method", ["stepped", "settling"])
def test_a_run_with_checkpoints(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("square", *LONG, "--method", method) == 0
    assert sorted(os.listdir("out")) == FILES
    assert_the_run_of_square(method)
    long, said = summary(), capsys.readouterr().out
    assert run("square", "--layers", "10", "--method", method, "--out", "short") == 0
    short = summary("short")
    for found in (long, short):
        assert found.pop("seconds") > 0
        assert found.pop("pairs_per_second") > 0
    assert long == short
    usual = capsys.readouterr().out.replace("written  short", "written  out")

    def facts(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if not line.startswith("engine")]

    assert facts(said) == facts(usual)


@pytest.mark.parametrize(
    ("record", "layers"), [("last", [10]), ("all", list(range(11))), ("4", [0, 4, 8, 10])]
)
def test_which_layers_are_recorded(record: str, layers: list[int]) -> None:
    assert run("square", *LONG, "--record", record) == 0
    assert list(load_trajectory("out").recorded) == layers


def test_the_picture_of_a_long_run_looks_at_few_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    def draw(trajectory: Any) -> Any:
        drawn.append(list(trajectory.recorded))
        return original(trajectory)

    from fasthardmax import plotting

    original = plotting.plot_layers
    monkeypatch.setattr(plotting, "plot_layers", draw)
    assert run("square", "--layers", "500", "--checkpoint", "500", "--out", "out") == 0
    assert drawn[0][:6] == [0, 1, 2, 3, 4, 5]
    assert drawn[0][-1] == 500
    assert len(drawn[0]) <= 64


@pytest.mark.parametrize(
    ("stop", "code"), [(interrupt, 130), (terminate, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_run_says_how_to_go_on(
    stop: Callable[[], object],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    for command, call, reached, kept in [
        (["simulate", "square", "--method", "stepped", "--engine", "reference", *LONG], 6, 6, 4),
        (["resume", "out"], 5, 9, 8),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(reference, "run", stop_at(call, stop))
            assert main(command) == code
        how = f"to go on from layer {kept}: fasthardmax resume out"
        said = f"fasthardmax: interrupted after {reached} of 10 layers; {how}\n"
        assert capsys.readouterr() == ("", said)
        assert sorted(os.listdir("out")) == ["state-0.npz", "state-1.npz", "trajectory.zarr"]
        assert load_trajectory("out").n_layers == kept
    assert main(["resume", "out", "--threads", "1"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert sorted(os.listdir("out")) == FILES
    assert_the_run_of_square()
    assert (summary()["input"], summary()["A"]) == ("square", "identity")


def test_an_interrupt_before_the_run(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers.LayerWriter", lambda *args: interrupt())
    assert run("square", *LONG) == 130
    assert capsys.readouterr().err == "fasthardmax: interrupted; nothing was written\n"
    assert os.listdir(here) == []


def test_a_finished_run_is_summed_up_again(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--checkpoint", "1", "--record", "last", "--layers", "1", "--out", "out"]
    assert run("digits", *options) == 0
    first, before = capsys.readouterr().out, summary()
    for name in ("picture.png", "summary.json"):
        Path("out", name).unlink()
    assert main(["resume", "out"]) == 0
    assert (capsys.readouterr().out, summary()) == (first, before)
    assert before["A"] == "covariance of the images"
    assert os.path.getsize("out/picture.png") < 150_000


def test_a_run_of_python(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = np.random.default_rng(0).normal(size=(2, 9, 2))
    for points in (start[0], start):
        store = TrajectoryStore("out", checkpoint=1, overwrite=True)
        simulate(points, alpha=0.5, A=np.eye(2), n_layers=2, record=store, engine="reference")
        capsys.readouterr()
        assert main(["resume", "out"]) == 0
        if points.ndim == 2:
            assert (summary()["input"], summary()["A"]) == ("points", "given")
    assert capsys.readouterr().out == "2 clouds, 2 layers: written to out\n"


def test_force_replaces_an_earlier_run_of_either_kind() -> None:
    assert run("triangle", "--layers", "1", "--out", "out") == 0
    assert run("square", *LONG, "--force") == 0
    assert sorted(os.listdir("out")) == FILES
    assert run("triangle", "--layers", "1", "--out", "out", "--force") == 0
    assert sorted(os.listdir("out")) == ["picture.png", "summary.json", "trajectory.npz"]


NO_RUN = "which holds no run, expected the directory of a run with checkpoints"
START = "simulate square --checkpoint"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (f"{START} 0 --out out", "--checkpoint: got 0, expected an integer of at least 1"),
        (
            f"{START} 2 --out out --alpha -1",
            "--alpha: got -1.0, expected a number of at least 0 (inf is allowed)",
        ),
        (f"{START} 2 --out a/b", "--out: got '{here}/a/b', expected its parent to be a directory"),
        (
            f"{START} 2 --out full",
            "--out: got '{here}/full', which exists already, expected a new directory or --force",
        ),
        ("resume full", f"DIR: got '{{here}}/full', {NO_RUN}"),
        ("resume none --threads 1", f"DIR: got '{{here}}/none', {NO_RUN}"),
    ],
)
def test_refusals(
    options: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("full").mkdir()
    Path("full", "mine").touch()
    before = everything(here)
    assert main(options.split()) == 2
    command = f"fasthardmax {options.split(maxsplit=1)[0]}"
    sentence = sentence.replace("{here}", str(here))
    assert capsys.readouterr() == ("", f"{command}: error: {sentence}\n")
    assert everything(here) == before


def test_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Path.open
    full = f"'{here}/out': No space left on device"

    def refuse(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "w" in mode and self.name.startswith(refused[0]) and len(refused) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "w" in mode and self.name == "state-1.npz.partial":
            refused.append("now")
        return opened(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", refuse)
    refused = ["state-0"]
    assert run("square", *LONG, "--method", "stepped") == 2
    error = f"fasthardmax simulate: error: --out: cannot write {full}; it can be resumed from layer"
    assert capsys.readouterr().err == f"{error} 0\n"
    refused = ["picture"]
    assert main(["resume", "out"]) == 2
    error = f"fasthardmax resume: error: DIR: cannot write {full}; the run is complete and "
    assert capsys.readouterr().err == f"{error}'fasthardmax resume' will try again\n"
    refused = ["nothing"]
    assert main(["resume", "out"]) == 0
    assert_the_run_of_square()
    assert json.loads(Path("out", "summary.json").read_text())["layers"] == 10
