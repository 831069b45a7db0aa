"""Animations: which frames, points and leaders they hold, as GIF, MP4 and page."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs
from matplotlib.animation import FFMpegWriter
from numpy.typing import NDArray
from PIL import Image

from fasthardmax import Trajectory, equilibrium, simulate
from fasthardmax.inputs import read_cloud
from fasthardmax.plotting import save_animation
from fasthardmax.plotting._clusters import rgb
from fasthardmax.plotting._common import PALETTE
from fasthardmax.plotting._frames import Film, Recorder, film_of, frame_layers
from fasthardmax.plotting._page import page

from .compare import assert_same_bits

FIGURE_2 = ["emerging-leader", "triangle", "square", "non-leader-clusters"]
STEP = 1 / 65_535  # of a page's coordinates, in windows


def run(start: Any, n_layers: int = 30, record: Any = "all", **options: Any) -> Trajectory:
    options = {"alpha": 0.5, "engine": "reference"} | options
    return simulate(start, n_layers=n_layers, record=record, **options)


def in_data(film: Film, unit: NDArray[Any]) -> NDArray[Any]:
    return film.projection.corner + film.projection.width * unit.astype(np.float64)


class Page(HTMLParser):
    """The elements of a page, and its data with the arrays unpacked."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)
        self.data: dict[str, Any] = json.loads(self.scripts[0], parse_constant=self._refuse)
        k = self.data["coordinates"]
        self.colours = np.frombuffer(base64.b64decode(self.data["colours"]), np.uint8)
        self.points = self._unpacked(self.data["points"]).reshape(-1, len(self.colours), k)
        self.leaders = self._unpacked(self.data["leaders"]).reshape(-1, k)
        self.leader_colours = np.frombuffer(base64.b64decode(self.data["leaderColours"]), np.uint8)
        self.outlines = {
            layer: self._unpacked(lines).reshape(-1, 2, k) for layer, lines in self.data["outlines"]
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data

    @staticmethod
    def _refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def _unpacked(self, text: str) -> NDArray[Any]:
        return np.frombuffer(base64.b64decode(text), "<u2") * STEP


def places_in(found: Page, unit: NDArray[Any]) -> NDArray[Any]:
    return np.array(found.data["corner"]) + found.data["width"] * unit


# --- What a film holds --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 31, 199, 200])
def test_few_layers_are_all_frames(n: int) -> None:
    assert frame_layers(range(n)) == list(range(n))


@pytest.mark.parametrize("n", [201, 300, 10_000])
def test_of_many_layers_the_first_hundred_and_a_hundred_more(n: int) -> None:
    layers = frame_layers(range(n))
    assert len(layers) == 200
    assert layers[:101] == list(range(101))
    assert layers[-1] == n - 1
    gaps = np.diff(layers[100:])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("name", FIGURE_2)
def test_a_film_holds_every_layer_with_the_colours_of_leaders(name: str) -> None:
    trajectory = run(read_cloud(name).points)
    film = film_of(trajectory, 2)
    assert film.layers == list(range(31))
    for frame, layer in enumerate(film.layers):
        np.testing.assert_allclose(
            in_data(film, film.points[frame]), trajectory.recorded[layer], rtol=0, atol=1e-6
        )
    of_leader = {}
    for place, colour, layer in zip(
        in_data(film, film.leaders), film.leader_colours, film.leader_layer, strict=True
    ):
        gaps = np.linalg.norm(trajectory.points[trajectory.leaders] - place, axis=1)
        leader = trajectory.leaders[gaps.argmin()]
        assert gaps.min() < 1e-6
        assert layer == trajectory.leader_layer[leader]
        of_leader[int(leader)] = colour
    assert set(of_leader) == set(trajectory.leaders.tolist())
    assert len(set(of_leader.values())) == len(of_leader)
    assert film.colours.tolist() == [of_leader.get(int(i), -1) for i in trajectory.labels]


def test_leaders_and_their_hull_come_when_they_emerge() -> None:
    trajectory = run(read_cloud("emerging-leader").points)
    assert trajectory.leader_layer[trajectory.leaders].tolist() == [0, 1, 0]
    film = film_of(trajectory, 2)
    assert [len(film.emerged(layer)) for layer in (0, 1, 30)] == [2, 3, 3]
    assert [len(film.outline(layer)) for layer in (0, 1, 30)] == [1, 3, 3]
    assert sorted(film.outlines) == [0, 1]


def test_of_leaders_at_one_place_the_earlier_is_shown() -> None:
    film = film_of(
        Trajectory(
            points=np.array([[1.0, 0.0], [1.0, 1e-9], [-1.0, 0.0]]),
            alpha=0.5,
            engine="reference",
            leader_layer=np.array([3, 1, 0]),
            labels=np.arange(3),
            n_layers=3,
            recorded={0: np.eye(3, 2), 3: np.array([[1.0, 0.0], [1.0, 1e-9], [-1.0, 0.0]])},
        ),
        2,
    )
    assert sorted(film.leader_layer.tolist()) == [0, 1]


def test_a_recorder_sees_what_a_trajectory_holds() -> None:
    start = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    recorder = Recorder(range(261), 3)
    passed = recorder.film(run(start, n_layers=260, record=recorder, alpha=0.05))
    kept = film_of(run(start, n_layers=260, alpha=0.05), 3)
    assert passed.layers == kept.layers == frame_layers(range(261))
    for name in ("points", "colours", "leaders", "leader_colours", "leader_layer"):
        assert_same_bits(getattr(passed, name), getattr(kept, name))
    assert passed.outlines.keys() == kept.outlines.keys()


@pytest.mark.parametrize(("frames", "k"), [(2, 2), (200, 2), (200, 3)])
def test_the_size_of_a_page_is_bounded(frames: int, k: int) -> None:
    start = np.random.default_rng(0).normal(size=(30_000, k))
    start /= np.linalg.norm(start, axis=1)[:, None]  # where every point leads
    leads = np.arange(len(start)) % frames
    trajectory = Trajectory(
        points=start,
        alpha=0.5,
        engine="reference",
        leader_layer=leads,
        labels=np.arange(len(start)),
        n_layers=frames - 1,
        recorded=dict.fromkeys(range(frames), start),
    )
    film = film_of(trajectory, k)
    n = film.points.shape[1]
    assert n == min(10_000, 1_700_000 // (frames * k))
    assert film.notes() == [f"{n:,} of 30,000 points, chosen at random"]
    assert len(page(film).encode()) < 5_000_000


# --- GIF and MP4 --------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 8])
def test_a_gif_has_a_frame_for_each_layer(d: int, tmp_path: Path) -> None:
    trajectory = run(np.random.default_rng(0).normal(size=(30, d)), n_layers=5)
    save_animation(trajectory, tmp_path / "run.gif")
    with Image.open(tmp_path / "run.gif") as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == 6
        assert gif.info["loop"] == 0
        durations = []
        for frame in range(6):
            gif.seek(frame)
            durations.append(gif.info["duration"])
        assert durations == [400] * 5 + [2000]


def test_a_gif_shows_points_and_leaders_in_their_colours(tmp_path: Path) -> None:
    trajectory = run(read_cloud("non-leader-clusters").points, n_layers=12)
    save_animation(trajectory, tmp_path / "run.gif")
    seen = []
    with Image.open(tmp_path / "run.gif") as gif:
        for frame in (0, 12):
            gif.seek(frame)
            pixels = np.asarray(gif.convert("RGB")).reshape(-1, 3)
            assert np.count_nonzero((pixels == 255).all(axis=1)) > len(pixels) / 4, "white paper"
            seen.append(
                [
                    np.count_nonzero((pixels == np.rint(255 * colour)).all(axis=1))
                    for colour in PALETTE
                ]
            )
    film = film_of(trajectory, 2)
    used = np.isin(np.arange(len(PALETTE)), film.leader_colours)
    assert (np.array(seen)[:, used] > 20).all()
    assert (np.array(seen)[:, ~used] == 0).all()


def test_an_mp4_has_the_frames_and_stays_on_the_last(tmp_path: Path) -> None:
    save_animation(run(np.eye(2), n_layers=5), tmp_path / "run.mp4")
    frames, seconds = count_frames_and_secs(tmp_path / "run.mp4")
    assert frames == 5 + 5  # two seconds of 2.5 frames for the last
    assert seconds == pytest.approx(4.0, abs=0.1)


def test_without_ffmpeg_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(
        ImportError,
        match=r"^out: \.mp4 needs ffmpeg, which is missing: pip install 'fasthardmax\[video\]', or "
        r"choose \.gif or \.html$",
    ):
        save_animation(run(np.eye(2)), tmp_path / "run.mp4")
    assert list(tmp_path.iterdir()) == []


def test_what_ffmpeg_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthardmax.plotting._animation._CODEC", "nonsense")
    with pytest.raises(OSError, match=r"^out: ffmpeg failed: "):
        save_animation(run(np.eye(2), n_layers=2), tmp_path / "run.mp4")
    assert list(tmp_path.iterdir()) == []


# --- The page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURE_2)
def test_a_page_holds_the_film(name: str, tmp_path: Path) -> None:
    trajectory = run(read_cloud(name).points)
    save_animation(trajectory, tmp_path / "run.html")
    found = Page((tmp_path / "run.html").read_text("utf-8"))
    assert found.data["layers"] == list(range(31))
    assert found.points.shape == (31, len(trajectory.points), 2)
    step = found.data["width"] * STEP
    for frame in (0, 1, 15, 30):
        gaps = places_in(found, found.points[frame]) - trajectory.recorded[frame]
        assert np.abs(gaps).max() <= step
    leaders = trajectory.points[trajectory.leaders]
    gaps = np.abs(places_in(found, found.leaders)[:, None] - leaders).max(axis=2)
    assert (gaps.min(axis=1) <= step).all()
    assert (gaps.min(axis=0) <= step).all()
    film = film_of(trajectory, 2)
    assert found.data["leaderLayer"] == film.leader_layer.tolist()
    palette = np.array([list(bytes.fromhex(c[1:])) for c in found.data["palette"]]) / 255
    assert_same_bits(palette[found.colours], np.rint(255 * rgb(film.colours)) / 255)
    assert_same_bits(palette[found.leader_colours], np.rint(255 * rgb(film.leader_colours)) / 255)
    assert found.outlines.keys() == film.outlines.keys()
    for layer, lines in found.outlines.items():
        assert np.abs(lines - film.outlines[layer]).max(initial=0) <= STEP
    settled = len(trajectory.points) - np.count_nonzero(trajectory.labels < 0)
    assert np.count_nonzero(found.colours < len(PALETTE)) == settled


@pytest.mark.parametrize(
    ("d", "k", "notes"),
    [
        (1, 2, []),
        (2, 2, []),
        (3, 3, []),
        (8, 3, ["First three principal components, "]),
    ],
)
def test_the_dimensions_of_a_page(d: int, k: int, notes: list[str], tmp_path: Path) -> None:
    trajectory = run(np.random.default_rng(d).normal(size=(30, d)), n_layers=2)
    save_animation(trajectory, tmp_path / "run.html")
    found = Page((tmp_path / "run.html").read_text("utf-8"))
    assert found.data["coordinates"] == k == found.points.shape[2]
    assert len(found.data["notes"]) == len(notes)
    assert all(text.startswith(note) for text, note in zip(found.data["notes"], notes, strict=True))
    plural = "" if d == 1 else "s"
    assert found.data["title"].startswith(
        f"Hardmax attention: 30 points in {d} dimension{plural}, "
    )
    assert len(found.data["names"]) == k
    assert 0.04 < found.points.min() < 0.06 or d == 1, "the window has a margin"


def test_a_page_needs_nothing_but_itself() -> None:
    text = page(film_of(run(np.eye(3), n_layers=2), 3))
    found = Page(text)
    assert [tag for tag, _ in found.tags].count("script") == 2
    for tag, attributes in found.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed"), tag
        assert not {"src", "href"} & set(attributes), tag
    assert not re.search(r"https?:|//[a-z]|\bfetch\b|XMLHttpRequest|import\(|url\(", text)
    (policy,) = [a["content"] for t, a in found.tags if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_every_element_that_the_script_names_is_there() -> None:
    found = Page(page(film_of(run(np.eye(2), n_layers=1), 2)))
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    named = set(re.findall(r'element\("(\w+)"\)', found.scripts[1]))
    assert named <= ids
    assert {"play", "slider", "layer", "paths", "outline"} <= named
    for key in re.findall(r"\bfilm\.(\w+)", found.scripts[1]):
        assert key in found.data, key


def test_infinite_alpha_and_coincident_points(tmp_path: Path) -> None:
    save_animation(run(np.ones((4, 2)), n_layers=2, alpha=np.inf), tmp_path / "run.html")
    found = Page((tmp_path / "run.html").read_text("utf-8"))
    assert found.data["title"].endswith("\N{GREEK SMALL LETTER ALPHA} = \N{INFINITY}")
    assert np.abs(found.points - 0.5).max() <= STEP
    assert (found.colours == len(PALETTE)).all()
    assert found.outlines == {}


# --- Bad input ----------------------------------------------------------------------------------


def test_bad_input_gets_one_sentence(tmp_path: Path) -> None:
    good = run(np.eye(2), n_layers=1)
    with pytest.raises(
        ValueError, match=r"^out: got 'x\.avi', expected a file ending in \.gif, \."
    ):
        save_animation(good, "x.avi")
    with pytest.raises(ValueError, match=r"^trajectory: got 1 recorded layer, expected at least 2"):
        save_animation(run(np.eye(2), record="last"), tmp_path / "x.gif")
    with pytest.raises(ValueError, match=r"^trajectory: got points of shape \(2, 3, 2\), expected"):
        save_animation(run(np.ones((2, 3, 2))), tmp_path / "x.gif")
    with pytest.raises(TypeError, match=r"^trajectory: got an Equilibrium, which has no layers, "):
        save_animation(equilibrium(np.eye(2), alpha=1), tmp_path / "x.gif")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"^out: got '.*x\.gif', expected its parent to be"):
        save_animation(good, tmp_path / "none" / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_without_scipy_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(ImportError, match=r"scipy is missing: pip install 'fasthardmax\[plot\]'$"):
        Recorder(range(3), 3)
    Recorder(range(3), 2)


def test_an_earlier_file_stays_if_a_new_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.html"
    out.write_text("earlier")

    def fail(film: Film, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fasthardmax.plotting._animation.write_film", fail)
    with pytest.raises(
        OSError, match=r"^out: cannot write '.*run\.html': No space left on device$"
    ):
        save_animation(run(np.eye(2), n_layers=1), out)
    assert out.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [out]
