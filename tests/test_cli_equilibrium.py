"""The command ``fasthardmax equilibrium``: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fasthardmax import equilibrium
from fasthardmax.cli import main
from fasthardmax.engines import reference
from fasthardmax.inputs import read_cloud

from .compare import assert_same_bits

pytestmark = pytest.mark.usefixtures("here")


def run(*args: str) -> int:
    return main(["equilibrium", *args, "--engine", "reference"])


def summary() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out", "summary.json").read_text())
    return found


@pytest.mark.parametrize("name", ["emerging-leader", "triangle", "square", "non-leader-clusters"])
def test_a_built_in_start(name: str) -> None:
    assert run(name, "--out", "out") == 0
    assert sorted(os.listdir("out")) == ["equilibrium.npz", "picture.png", "summary.json"]
    expected = equilibrium(read_cloud(name).points, alpha=0.5, engine="reference")
    with np.load("out/equilibrium.npz", allow_pickle=False) as file:
        assert_same_bits(file["limit"], expected.limit)
        assert_same_bits(file["leaders"], expected.leaders)
        assert file["kind"].tolist() == expected.kind.tolist()
    found = summary()
    assert found["passes"] == expected.n_passes
    assert found["leaders"] == len(expected.leaders)
    assert found["not_settled"] == 0
    assert "not_verified" not in found
    sizes = [cluster["size"] for cluster in found["clusters"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == len(expected.limit)
    for cluster in found["clusters"]:
        among = expected.labels == cluster["label"]
        assert np.count_nonzero(among) == cluster["size"]
        assert set(expected.kind[among]) == {cluster["kind"]}
        assert set(expected.leader_of[among]) == {cluster["leader"]}


def test_options_reach_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    points = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    A = -np.eye(3, dtype=np.float32)
    np.save("in.npy", points)
    np.save("A.npy", A)
    options = ["--A", "A.npy", "--alpha", "2", "--max-layers", "2", "--threads", "1"]
    assert run("in.npy", *options, "--out", "out") == 0
    expected = equilibrium(points, alpha=2, A=A, max_layers=2, engine="reference")
    with np.load("out/equilibrium.npz") as file:
        assert_same_bits(file["limit"], expected.limit)
        assert_same_bits(file["A"], A)
    found = summary()
    assert (found["layers"], found["alpha"], found["A"]) == (2, 2, "A.npy")
    assert found["not_settled"] == 30 == np.count_nonzero(expected.labels < 0)
    assert found["largest_residual"] == float(expected.residual.max())
    assert "30 not settled, residual up to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "title"),
    [("non-leader-clusters", "6 clusters, 4 with a leader"), ("digits", None)],
)
def test_the_picture_shows_clusters(
    name: str, title: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def look(self: Figure, *args: Any, **options: Any) -> None:
        drawn.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", look)
    assert run(name, "--out", "out") == 0
    (figure,) = drawn
    if title is None:  # digits are images
        assert "12 largest of 209 clusters" in figure.get_suptitle()
    else:
        assert [panel.get_title() for panel in figure.axes] == [title]
        assert len(figure.legends) == 1
    assert imread("out/picture.png").size > 0
    assert plt.get_fignums() == [], "pyplot may have no display to start on"


def test_a_certificate_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("square", "--certify", "--out", "out") == 0
    assert summary()["not_verified"] == 0
    assert "certificate  holds" in capsys.readouterr().out


def test_the_largest_clusters_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    angles = np.arange(40) * (2 * np.pi / 40)
    np.save("in.npy", np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert run("in.npy", "--out", "out") == 0
    out = capsys.readouterr().out
    assert "leader 11" in out
    assert "28 more" in out
    assert "70.0%" in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--alpha 0", "--alpha: got 0.0, expected a positive number (inf is allowed)"),
        ("--max-layers -1", "--max-layers: got -1, expected an integer of at least 0"),
        (
            "--max-layers many",
            "argument --max-layers: invalid int value: 'many' (see fasthardmax equilibrium --help)",
        ),
        ("--A none.npy", "--A: 'none.npy': cannot be read: No such file or directory"),
    ],
)
def test_what_it_refuses(
    options: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("square", "--out", "out", *options.split()) == 2
    assert capsys.readouterr().err == f"fasthardmax equilibrium: error: {sentence}\n"
    assert os.listdir(here) == []


def test_an_interrupt_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reference, "run", interrupt)
    assert run("square", "--out", "out") == 130
    assert capsys.readouterr().err == "fasthardmax: interrupted; nothing was written\n"
    assert os.listdir(here) == []
