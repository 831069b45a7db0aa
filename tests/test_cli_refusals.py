"""The command line: what it refuses, in one sentence, before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import fasthardmax
from fasthardmax import simulate
from fasthardmax.cli import main
from fasthardmax.engines import ENGINES, SELECTIVE

from .commands import everything, run

pytestmark = pytest.mark.usefixtures("here")


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
