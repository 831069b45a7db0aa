"""The command line: the files it writes, what it prints, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import fasthardmax
from fasthardmax import dynamics, simulate
from fasthardmax.cli import main
from fasthardmax.engines import reference
from fasthardmax.inputs import read_cloud
from fasthardmax.storage import load_trajectory

from .commands import everything, interrupt_at_call, quick, run, summary
from .compare import assert_same_bits

FILES = ["picture.png", "summary.json", "trajectory.npz"]


pytestmark = pytest.mark.usefixtures("here")


# --- What it writes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["emerging-leader", "triangle", "square", "non-leader-clusters"])
def test_a_built_in_start(name: str, here: Path) -> None:
    assert run(name, "--out", "out") == 0
    assert sorted(os.listdir("out")) == FILES
    assert os.listdir(here) == ["out"]
    expected = simulate(
        read_cloud(name).points, alpha=0.5, n_layers=30, record="all", engine="reference"
    )
    with np.load("out/trajectory.npz", allow_pickle=False) as file:
        assert_same_bits(file["layers"], np.arange(31))
        assert_same_bits(file["points"], np.stack([expected.recorded[k] for k in range(31)]))
        assert_same_bits(file["first"], np.stack([expected.winners[k].first for k in range(31)]))
        assert_same_bits(file["count"], np.stack([expected.winners[k].count for k in range(31)]))
        assert_same_bits(file["leaders"], expected.leaders)
        assert_same_bits(file["leader_layer"], expected.leader_layer)
        assert_same_bits(file["labels"], expected.labels)
        assert file["alpha"] == 0.5
        assert "A" not in file.files
    found = summary()
    n = len(expected.points)
    assert found["passes"] == expected.n_passes
    assert found["pairs_per_second"] == n * n * expected.n_passes / found["seconds"]
    assert found["seconds"] > 0
    sizes = [leader["cluster_size"] for leader in found["leaders"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) + found["not_settled"] == n
    assert found["not_settled"] == np.count_nonzero(expected.labels < 0)
    by_index = {leader.pop("index"): leader for leader in found["leaders"]}
    assert by_index == {
        int(i): {
            "layer": int(expected.leader_layer[i]),
            "cluster_size": int(np.count_nonzero(expected.labels == i)),
        }
        for i in expected.leaders
    }
    settings = ("version", "input", "n", "d", "dtype", "layers", "alpha", "A", "engine")
    assert [found[key] for key in settings] == [
        fasthardmax.__version__, name, n, 2, "float64", 30, 0.5, "identity", "reference",
    ]  # fmt: skip


def test_digits_are_drawn_as_images(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    save = Figure.savefig

    def look(self: Figure, *args: Any, **options: Any) -> None:
        drawn.append([panel.get_title("left") for panel in self.axes])
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", look)
    assert run("digits", "--layers", "0", "--out", "out") == 0
    trajectory = load_trajectory("out/trajectory.npz")
    largest = summary()["leaders"][:12]
    assert drawn == [[f"leader {x['index']}: {x['cluster_size'] - 1} followers" for x in largest]]
    assert summary()["A"] == "covariance of the images"
    cloud = read_cloud("digits")
    assert_same_bits(trajectory.recorded[0], cloud.points + 0.0)
    with np.load("out/trajectory.npz") as file:
        assert_same_bits(file["A"], cloud.A)
    assert os.path.getsize("out/picture.png") < 150_000


def test_a_temperature_reaches_the_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["square", "--layers", "3", "--beta", "2", "--out", "out"]
    assert main(["simulate", *options]) == 0
    printed = capsys.readouterr().out
    assert "softmax with beta 2" in printed
    assert "none: every point counts" in printed
    run = load_trajectory("out/trajectory.npz")
    expected = simulate(read_cloud("square").points, alpha=0.5, n_layers=3, beta=2)
    assert_same_bits(run.points, expected.points)
    found = summary()
    assert (found["beta"], found["engine"], found["leaders"]) == (2.0, "softmax", [])
    assert found["pairs_per_second"] == 10 * 10 * 3 / found["seconds"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--beta", "-1"], "--beta: got -1.0, expected a number from 0 to 4.49e+307 (in float64)"),
        (["--beta", "2", "--method", "settling"], "--method: got 'settling' with beta 2, expected"),
        (["--beta", "2", "--engine", "direct"], "--engine: got 'direct' with beta 2, expected"),
    ],
)
def test_what_does_not_go_with_a_temperature(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert main(["simulate", "square", *options, "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(f"fasthardmax simulate: error: {sentence}")
    assert os.listdir(here) == []


def test_a_method_reaches_the_simulation() -> None:
    options = ["--layers", "3", "--alpha", "inf", "--method", "settling"]
    assert quick("non-leader-clusters", *options, "--out", "out") == 0
    points = read_cloud("non-leader-clusters").points
    found = load_trajectory("out/trajectory.npz").winners[3]
    methods = {
        name: simulate(points, alpha=np.inf, n_layers=3, method=name, engine="reference").winners[3]
        for name in ("settling", "stepped")
    }
    assert_same_bits(found.count, methods["settling"].count)
    assert (found.count != methods["stepped"].count).any(), "who landed on a leader ties with it"


def test_files_and_options_reach_the_simulation() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    A = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 3]], np.float32)
    np.savez("in.npz", points=points, A=A)
    options = ["--A", "in.npz", "--alpha", "2", "--layers", "7", "--record", "3", "--threads", "1"]
    assert run("in.npz", *options, "--out", "out") == 0
    expected = simulate(points, alpha=2, n_layers=7, A=A, record=3, engine="reference")
    found = load_trajectory("out/trajectory.npz")
    assert sorted(found.recorded) == [0, 3, 6, 7]
    for layer in found.recorded:
        assert_same_bits(found.recorded[layer], expected.recorded[layer])
    assert_same_bits(found.labels, expected.labels)
    with np.load("out/trajectory.npz") as file:
        assert_same_bits(file["A"], A)
    found_summary = summary()
    assert (found_summary["A"], found_summary["alpha"], found_summary["layers"]) == ("in.npz", 2, 7)
    assert found_summary["dtype"] == "float32"


def test_the_picture_is_one() -> None:
    assert quick("square", "--out", "out") == 0
    pixels = np.rint(imread("out/picture.png")[..., :3] * 255)
    for leader in ("#0072B2", "#D55E00", "#009E73", "#CC79A7"):
        red_green_blue = list(bytes.fromhex(leader[1:]))
        assert np.count_nonzero(np.all(pixels == red_green_blue, axis=-1)) > 50, leader


def test_infinite_alpha_stays_valid_json() -> None:
    assert quick("square", "--alpha", "inf", "--out", "out") == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = Path("out/summary.json").read_text()
    assert json.loads(text, parse_constant=refuse)["alpha"] == "inf"


def test_auto_is_the_default_engine() -> None:
    assert main(["simulate", "square", "--record", "last", "--out", "out"]) == 0
    assert summary()["engine"] == "compiled"


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert quick("emerging-leader", "--out", "out") == 0
    out, err = capsys.readouterr()
    assert err == ""  # and no progress bar where stderr is no terminal
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "input    emerging-leader: 8 points in 2 dimensions"
    assert lines[1] == "model    30 layers, alpha 0.5, A identity"
    assert lines[2].startswith("engine   reference: ")
    assert lines[3:5] == ["leaders  3, with 8 points; 0 not settled", "written  out"]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert cells == [
        ["0", "0", "4", "50.0%"],
        ["2", "0", "3", "37.5%"],
        ["1", "1", "1", "12.5%"],
    ]


def test_the_table_sums_up_the_leaders_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    angle = 2 * np.pi * np.arange(20) / 20
    np.save("circle.npy", np.column_stack([np.cos(angle), np.sin(angle)]))
    assert quick("circle.npy", "--layers", "1", "--out", "out") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert len(rows) == 13
    assert [cell.strip() for cell in rows[-1].split("│")[1:-1]] == ["8 more", "", "8", "40.0%"]


def test_without_leaders_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("same.npy", np.ones((4, 3)))
    assert quick("same.npy", "--layers", "2", "--out", "out") == 0
    out = capsys.readouterr().out
    assert "leaders  0, with 0 points; 4 not settled" in out
    assert "│" not in out


# --- How it fails -------------------------------------------------------------------------------


def test_an_interrupt_says_how_far_it_came_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "run", interrupt_at_call(5))
    assert run("square", "--method", "stepped", "--out", "out") == 130
    message = "fasthardmax: interrupted after 4 of 30 layers; nothing was written\n"
    assert capsys.readouterr() == ("", message)
    assert os.listdir(here) == []


def test_an_interrupt_elsewhere(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fasthardmax.plotting.plot_layers", interrupt)
    assert run("square", "--out", "out") == 130
    assert capsys.readouterr().err == "fasthardmax: interrupted; nothing was written\n"
    monkeypatch.setattr("fasthardmax.cli.read_cloud", interrupt)
    assert run("square", "--out", "out") == 130
    assert capsys.readouterr().err == "fasthardmax: interrupted\n"
    assert os.listdir(here) == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("target", "failure", "sentence"),
    [
        ("fasthardmax.plotting.plot_layers", RuntimeError("a defect"), None),
        ("fasthardmax.cli.save_trajectory", ValueError("a defect"), None),
        (
            "matplotlib.figure.Figure.savefig",
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "--out: cannot write '{here}/out': No space left on device",
        ),
        ("fasthardmax.cli.simulate", MemoryError(), "out of memory"),
        ("fasthardmax.cli.read_cloud", MemoryError("no room"), "no room"),
    ],
)
def test_a_failing_run_leaves_what_was_there(
    force: bool,
    target: str,
    failure: Exception,
    sentence: str | None,
    monkeypatch: pytest.MonkeyPatch,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if force:
        assert run("square", "--layers", "0", "--out", "out") == 0
        capsys.readouterr()
    before = everything(here)

    def fail(*args: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr(target, fail)
    args = ["square", "--out", "out", *(["--force"] if force else [])]
    if sentence is None:  # a defect of ours is not dressed up as the user's mistake
        with pytest.raises(type(failure), match="a defect"):
            run(*args)
    else:
        assert run(*args) == 2
        expected = f"fasthardmax simulate: error: {sentence}\n".replace("{here}", str(here))
        assert capsys.readouterr().err == expected
    assert everything(here) == before


def test_force_replaces_an_earlier_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert quick("square", "--layers", "1", "--out", "out") == 0
    assert quick("triangle", "--layers", "2", "--out", "out", "--force") == 0
    assert (summary()["input"], summary()["layers"]) == ("triangle", 2)
    assert sorted(os.listdir("out")) == FILES


def test_progress_is_shown_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def watch(n_layers: int, wanted: bool) -> Any:
        asked.append((n_layers, wanted))
        return original(n_layers, False)

    original = dynamics._progress_bar
    monkeypatch.setattr(dynamics, "_progress_bar", watch)
    assert quick("square", "--layers", "3", "--out", "a") == 0
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert quick("square", "--layers", "3", "--out", "b") == 0
    assert asked == [(3, False), (3, True)]


def test_the_progress_bar_counts_layers_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # taken for a terminal
    with dynamics._progress_bar(3, True) as advance:
        for _ in range(3):
            advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


# --- As a process -------------------------------------------------------------------------------


def test_the_exit_code_is_that_of_main() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fasthardmax", "simulate", "none.npy", "--out", "out"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        },
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fasthardmax simulate: error: INPUT: 'none.npy': cannot be read")
    assert done.stderr.count("\n") == 1
