"""The command line: the files it writes, what it prints, and how it refuses and fails."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import fasthardmax
from fasthardmax import dynamics, simulate
from fasthardmax.cli import main
from fasthardmax.engines import ENGINES, SELECTIVE, reference
from fasthardmax.inputs import read_cloud
from fasthardmax.storage import load_trajectory

from .compare import assert_same_bits

FILES = ["picture.png", "summary.json", "trajectory.npz"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and the slow but simple engine unless a test says otherwise."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> int:
    return main(["simulate", *args, "--engine", "reference"])


def quick(*args: str) -> int:
    """A run whose picture has one panel."""
    return run(*args, "--record", "last")


def summary(out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(out, "summary.json").read_text())
    return found


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
    assert found["pairs_per_second"] == n * n * 31 / found["seconds"]
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


# --- What it refuses ----------------------------------------------------------------------------

HELP = "(see fasthardmax simulate --help)"
FOREIGN = "expected a directory with nothing but the files of an earlier run to replace"
NAMES = "emerging-leader, triangle, square, non-leader-clusters, digits"
KNOWN = f"expected a file ending in .npy, .npz, .csv, or one of the built-in names {NAMES}"
RECORD = f"expected 'last', 'all' or a positive integer {HELP}"

# Arguments after "simulate in.npy --out out", and what is said.
REFUSED: list[tuple[str, str]] = [
    ("--alpha -1", "--alpha: got -1.0, expected a number of at least 0 (inf is allowed)"),
    ("--alpha nan", "--alpha: got nan, expected a number of at least 0 (inf is allowed)"),
    ("--alpha x", f"argument --alpha: invalid float value: 'x' {HELP}"),
    ("--layers -1", "--layers: got -1, expected an integer of at least 0"),
    ("--layers 1.5", f"argument --layers: invalid int value: '1.5' {HELP}"),
    ("--record 0", f"argument --record: got '0', {RECORD}"),
    ("--record -3", f"argument --record: got '-3', {RECORD}"),
    ("--record some", f"argument --record: got 'some', {RECORD}"),
    ("--threads 0", "--threads: got 0, expected an integer of at least 1"),
    ("--threads two", f"argument --threads: invalid int value: 'two' {HELP}"),
    (
        "--A wide.npy",
        "--A: got shape (2, 3), expected (2, 2) to match points of 2 features",
    ),
    ("--A line.npy", "--A: 'line.npy': got shape (3,), expected (n, d) with n and d at least 1"),
    ("--A none.npy", "--A: 'none.npy': cannot be read: No such file or directory"),
    ("--A square", "--A: got 'square', expected a file ending in .npy, .npz, .csv"),
    ("--out file", "--out: got '{here}/file', which is a file, expected a directory"),
    ("--out file --force", "--out: got '{here}/file', which is a file, expected a directory"),
    ("--out a/b", "--out: got '{here}/a/b', expected its parent to be a directory"),
    (
        "--out full",
        "--out: got '{here}/full', which exists already, expected a new directory or --force",
    ),
    ("--out full --force", "--out: got '{here}/full', which holds 'mine', " + FOREIGN),
    ("--out", f"argument --out: expected one argument {HELP}"),
    ("--speed 9", "unrecognized arguments: --speed 9 (see fasthardmax --help)"),
]

# What INPUT is, and what is said.
BAD_INPUT: list[tuple[str, str]] = [
    ("none.npy", "'none.npy': cannot be read: No such file or directory"),
    ("line.npy", "'line.npy': got shape (3,), expected (n, d) with n and d at least 1"),
    ("empty.npy", "'empty.npy': the file is empty, expected an array of shape (n, d)"),
    ("nan.npy", "'nan.npy': got nan at index (1, 0), expected finite numbers only"),
    ("ragged.csv", "'ragged.csv': got 1 in line 2, expected 2 numbers as in the lines before"),
    (
        "two.npz",
        "'two.npz': holds the arrays a, b, expected a single array, or one called 'points'",
    ),
    ("squares", f"got 'squares', {KNOWN}"),
]


@pytest.fixture
def files(here: Path) -> Path:
    np.save("in.npy", np.eye(2))
    np.save("wide.npy", np.ones((2, 3)))
    np.save("line.npy", np.ones(3))
    np.save("nan.npy", np.array([[1.0], [np.nan]]))
    np.savez("two.npz", a=np.eye(2), b=np.eye(2))
    Path("empty.npy").touch()
    Path("ragged.csv").write_text("1,2\n3\n")
    Path("file").touch()
    Path("full").mkdir()
    Path("full", "mine").touch()
    return here


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def assert_refused(
    args: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(folder)
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == sentence.replace("{here}", str(folder)) + "\n"
    assert everything(folder) == before


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=[o for o, _ in REFUSED])
def test_bad_options(
    options: str, sentence: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["simulate", "in.npy", "--out", "out", *options.split()]
    command = "fasthardmax" if "--speed" in options else "fasthardmax simulate"
    assert_refused(args, f"{command}: error: {sentence}", files, capsys)


@pytest.mark.parametrize(("source", "sentence"), BAD_INPUT, ids=[s for s, _ in BAD_INPUT])
def test_bad_input(
    source: str, sentence: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["simulate", source, "--out", "out"]
    assert_refused(args, f"fasthardmax simulate: error: INPUT: {sentence}", files, capsys)


def test_what_simulate_says_of_its_points_is_said_of_input(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = np.full((3, 2), 1e308)
    np.save("huge.npy", huge)
    with pytest.raises(ValueError, match=r"^points: got ") as caught:
        simulate(huge, alpha=0.5, n_layers=30)
    sentence = str(caught.value).removeprefix("points: ")
    args = ["simulate", "huge.npy", "--out", "out"]
    assert_refused(args, f"fasthardmax simulate: error: INPUT: {sentence}", files, capsys)


def test_an_unknown_engine_is_told_the_known_ones(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["simulate", "in.npy", "--out", "out", "--engine", "abacus"]
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        "fasthardmax simulate: error: argument --engine: invalid choice: 'abacus'"
    )
    assert err.count("\n") == 1
    for name in ("auto", *ENGINES, *SELECTIVE):
        assert name in err


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        ([], "fasthardmax: error: the following arguments are required: COMMAND"),
        (["simulate"], "fasthardmax simulate: error: the following arguments are required: INPUT"),
        (["dance"], "fasthardmax: error: argument COMMAND: invalid choice: 'dance'"),
    ],
)
def test_an_incomplete_command(
    args: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(missing)
    assert err.count("\n") == 1


def test_an_engine_that_cannot_run_says_why(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = type(ENGINES["compiled"])("compiled", "", lambda: "its extension is missing")
    monkeypatch.setitem(ENGINES, "compiled", engine)
    assert_refused(
        ["simulate", "in.npy", "--out", "out", "--engine", "compiled"],
        "fasthardmax simulate: error: --engine: 'compiled' cannot run here: its extension is "
        "missing",
        files,
        capsys,
    )


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [("rich.console", "_summary", "cli"), ("matplotlib", "plotting", "plot")],
)
def test_a_missing_extra_is_named_before_the_work(
    package: str,
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    files: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("square", "--layers", "0", "--out", "out") == 0
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"fasthardmax.{module}")
    monkeypatch.delattr(fasthardmax, module)
    assert run("square", "--out", "other") == 2
    err = capsys.readouterr().err
    assert err.endswith(f" is missing: pip install 'fasthardmax[{extra}]'\n")
    assert err.count("\n") == 1
    assert not Path("other").exists()


# --- How it fails -------------------------------------------------------------------------------


def interrupt_at_call(number: int) -> Callable[..., Any]:
    calls = []

    def attend(problem: Any) -> Any:
        calls.append(problem)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(problem)

    original = reference.run
    return attend


def test_an_interrupt_says_how_far_it_came_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "run", interrupt_at_call(5))
    assert run("square", "--out", "out") == 130
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
