"""The command ``fasthardmax animate``: what it writes, prints and refuses."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fasthardmax
from fasthardmax import simulate
from fasthardmax.cli import main
from fasthardmax.engines import reference
from fasthardmax.inputs import read_cloud
from fasthardmax.plotting._frames import film_of
from fasthardmax.plotting._page import page

from .commands import everything, interrupt_at_call

pytestmark = pytest.mark.usefixtures("here")


def run(*args: str) -> int:
    return main(["animate", *args, "--engine", "reference"])


@pytest.mark.parametrize("name", ["emerging-leader", "triangle", "square", "non-leader-clusters"])
def test_a_page_shows_what_simulate_finds(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, "--alpha", "0.7", "--layers", "9", "--out", "out.html") == 0
    trajectory = simulate(
        read_cloud(name).points, alpha=0.7, n_layers=9, record="all", engine="reference"
    )
    assert Path("out.html").read_text("utf-8") == page(film_of(trajectory, 2))
    assert os.listdir(here) == ["out.html"]
    n, m = len(trajectory.points), len(trajectory.leaders)
    sentence = f"out.html: {n} points in 2 dimensions, layers 0 to 9, {m} leaders\n"
    assert capsys.readouterr() == (sentence, "")


def test_options_reach_the_simulation() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    A = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 3]], np.float32)
    np.savez("in.npz", points=points, A=A)
    np.save("A.npy", A)
    options = ["--A", "A.npy", "--alpha", "2", "--layers", "4", "--threads", "1"]
    assert run("in.npz", *options, "--out", "out.HTML") == 0
    trajectory = simulate(points, alpha=2, n_layers=4, A=A, record="all", engine="reference")
    assert Path("out.HTML").read_text("utf-8") == page(film_of(trajectory, 3))


def test_the_suffix_is_the_format(here: Path) -> None:
    assert run("square", "--layers", "2", "--out", "out.gif") == 0
    assert run("square", "--layers", "2", "--out", "out.mp4") == 0
    with Image.open("out.gif") as gif:
        assert (gif.format, gif.n_frames) == ("GIF", 3)  # type: ignore[attr-defined]
    assert Path("out.mp4").read_bytes()[4:8] == b"ftyp"


def test_many_layers_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("square", "--layers", "250", "--out", "out.html") == 0
    assert "layers 0 to 250 in 200 frames, 4 leaders" in capsys.readouterr().out


def test_force_replaces_a_file() -> None:
    Path("out.html").write_text("earlier")
    assert run("square", "--layers", "2", "--out", "out.html", "--force") == 0
    assert Path("out.html").read_text("utf-8").startswith("<!DOCTYPE html>")


ENDINGS = "expected a file ending in .gif, .mp4, .html"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--out out.avi", f"--out: got 'out.avi', {ENDINGS}"),
        ("--out out", f"--out: got 'out', {ENDINGS}"),
        (
            "--out full.gif",
            "--out: got '{here}/full.gif', which exists already, expected a new file or --force",
        ),
        (
            "--out dir.gif --force",
            "--out: got '{here}/dir.gif', which is a directory, expected a file",
        ),
        ("--out a/b.gif", "--out: got '{here}/a/b.gif', expected its parent to be a directory"),
        ("--out x.gif --layers 0", "--layers: got 0, expected an integer of at least 1"),
        (
            "--out x.gif --alpha -1",
            "--alpha: got -1.0, expected a number of at least 0 (inf is allowed)",
        ),
        ("--out x.gif --A none.npy", "--A: 'none.npy': cannot be read: No such file or directory"),
        ("--out x.gif --threads 0", "--threads: got 0, expected an integer of at least 1"),
    ],
)
def test_what_it_refuses(
    options: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("full.gif").touch()
    Path("dir.gif").mkdir()
    before = everything(here)
    assert run("square", *options.split()) == 2
    expected = f"fasthardmax animate: error: {sentence}\n".replace("{here}", str(here))
    assert capsys.readouterr() == ("", expected)
    assert everything(here) == before


def test_a_missing_extra_is_named_before_the_work(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("fasthardmax.plotting")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(fasthardmax, "plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(reference, "run", None)
    assert run("square", "--out", "out.gif") == 2
    err = capsys.readouterr().err
    assert err.endswith("matplotlib is missing: pip install 'fasthardmax[plot]'\n")
    assert os.listdir(here) == []


def test_an_interrupt_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "run", interrupt_at_call(1))
    assert run("square", "--out", "out.gif") == 130
    assert capsys.readouterr().err == "fasthardmax: interrupted; nothing was written\n"
    assert os.listdir(here) == []


def test_the_help_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["animate", "--help"])
    assert re.search(
        r"--out FILE\s+the file to write: \.gif, \.mp4 or\s+\.html", capsys.readouterr().out
    )
