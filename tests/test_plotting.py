"""Pictures show what the trajectory holds: places, colours, leaders, hulls and images."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

import fasthardmax
from fasthardmax import Trajectory, equilibrium, simulate
from fasthardmax.inputs import read_cloud
from fasthardmax.plotting import plot_image_clusters, plot_layers

from .compare import assert_same_bits

FIGURE_2 = ["emerging-leader", "triangle", "square", "non-leader-clusters"]
GREY = to_rgb("#999999")


def run(start: Any, n_layers: int = 30, record: Any = "all", **options: Any) -> Trajectory:
    return simulate(
        start, alpha=0.5, n_layers=n_layers, record=record, engine="reference", **options
    )


def markers(panel: Axes, label: str) -> PathCollection:
    (found,) = [c for c in panel.collections if c.get_label() == label]
    assert isinstance(found, PathCollection)
    return found


def places(panel: Axes, label: str) -> NDArray[Any]:
    return np.asarray(markers(panel, label).get_offsets())


def colours(panel: Axes, label: str) -> NDArray[Any]:
    return np.asarray(markers(panel, label).get_facecolor())[:, :3]


def tails(panel: Axes) -> LineCollection:
    (found,) = [c for c in panel.collections if isinstance(c, LineCollection)]
    return found


def titles(figure: Figure) -> list[str]:
    return [panel.get_title() for panel in figure.axes]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def as_set(points: NDArray[Any]) -> set[tuple[float, ...]]:
    return {tuple(point) for point in points.tolist()}


def colour_of_leader(panel: Axes, trajectory: Trajectory, layer: int) -> dict[int, Any]:
    """From the stars alone: the colour at the place of each leader that has emerged."""
    by_place = dict(zip(as_rows(places(panel, "leaders")), colours(panel, "leaders"), strict=True))
    emerged = trajectory.leaders[trajectory.leader_layer[trajectory.leaders] <= layer]
    return {i: by_place[tuple(trajectory.recorded[layer][i])] for i in emerged.tolist()}


def as_rows(points: NDArray[Any]) -> list[tuple[float, ...]]:
    return [tuple(point) for point in points.tolist()]


# --- Layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURE_2)
def test_panels_of_figure_2(name: str) -> None:
    trajectory = run(read_cloud(name).points)
    figure = plot_layers(trajectory)
    assert titles(figure) == ["layer 0", "layer 1", "layer 2", "layer 5", "layer 30"]
    for panel, layer in zip(figure.axes, (0, 1, 2, 5, 30), strict=True):
        points = trajectory.recorded[layer]
        emerged = trajectory.leaders[trajectory.leader_layer[trajectory.leaders] <= layer]
        assert as_set(places(panel, "leaders")) == as_set(points[emerged])
        assert len(places(panel, "leaders")) == len(emerged)
        assert as_set(places(panel, "points")) <= as_set(points)
        if layer <= 2:  # nothing has collapsed yet, so every point is drawn
            assert as_set(places(panel, "points")) == as_set(points)
        paths = [trajectory.recorded[k] for k in range(layer + 1)]
        assert_same_bits(
            np.array([segment.tolist() for segment in tails(panel).get_segments()]),
            np.stack(paths, axis=1),
        )


@pytest.mark.parametrize("name", FIGURE_2)
def test_a_point_and_its_tail_have_the_colour_of_its_leader(name: str) -> None:
    trajectory = run(read_cloud(name).points)
    panels = plot_layers(trajectory).axes
    of_leader = colour_of_leader(panels[-1], trajectory, 30)
    assert len({tuple(colour) for colour in of_leader.values()}) == len(trajectory.leaders)
    expected = [of_leader.get(int(leader), GREY) for leader in trajectory.labels]
    for panel, layer in zip(panels[:3], (0, 1, 2), strict=True):
        drawn = dict(zip(as_rows(places(panel, "points")), colours(panel, "points"), strict=True))
        for i, point in enumerate(as_rows(trajectory.recorded[layer])):
            assert tuple(drawn[point]) == tuple(expected[i]), f"point {i} in layer {layer}"
        assert_same_bits(np.asarray(tails(panel).get_colors())[:, :3], np.array(expected))


def test_the_points_that_follow_no_leader_are_grey_and_in_the_legend() -> None:
    trajectory = run(read_cloud("non-leader-clusters").points)
    assert np.flatnonzero(trajectory.labels < 0).tolist() == [4, 5]
    figure = plot_layers(trajectory)
    grey = np.all(colours(figure.axes[0], "points") == GREY, axis=1)
    assert as_set(places(figure.axes[0], "points")[grey]) == {(-0.5, 0.0), (0.5, 0.0)}
    assert "not settled on a leader" in legend(figure)
    assert "not settled on a leader" not in legend(plot_layers(run(read_cloud("square").points)))


def polygons(panel: Axes) -> list[NDArray[Any]]:
    """Corners of the shaded areas, without the one that closes them."""
    return [p.get_xy()[:-1] for p in panel.patches if isinstance(p, Polygon)]


@pytest.mark.parametrize("seed", range(5))
def test_the_shaded_area_is_the_convex_hull_of_the_leaders(seed: int) -> None:
    trajectory = run(np.random.default_rng(seed).normal(size=(40, 2)), n_layers=5)
    assert len(trajectory.leaders) >= 3
    for panel, layer in zip(plot_layers(trajectory).axes, (0, 1, 2, 5), strict=True):
        (corners,) = polygons(panel)
        emerged = trajectory.leaders[trajectory.leader_layer[trajectory.leaders] <= layer]
        leaders = trajectory.recorded[layer][emerged]
        expected = leaders[ConvexHull(leaders).vertices]  # anticlockwise too
        first = as_rows(corners).index(tuple(expected[0].tolist()))
        assert_same_bits(np.roll(corners, -first, axis=0), expected)


def test_the_area_grows_when_a_leader_emerges() -> None:
    trajectory = run(read_cloud("emerging-leader").points)
    assert trajectory.leader_layer[trajectory.leaders].tolist() == [0, 1, 0]
    before, after = (polygons(panel)[0] for panel in plot_layers(trajectory).axes[:2])
    assert as_set(before) == {(1.0, 4 / 12), (-1.0, -1.0)}
    assert as_set(after) == as_set(before) | as_set(trajectory.recorded[1][[1]])


@pytest.mark.parametrize(
    ("start", "leaders", "corners"),
    [
        ([[1.0, 2.0]], 1, []),
        ([[1.0, 2.0]] * 4, 0, []),
        ([[0.0, 0.0]] * 3, 0, []),
        ([[1.0, 1.0], [-2.0, -2.0], [0.5, 0.0]], 2, [{(1.0, 1.0), (-2.0, -2.0)}]),
    ],
    ids=["one point", "coincident points", "all at the origin", "segment"],
)
def test_degenerate_leaders(start: Any, leaders: int, corners: list[Any]) -> None:
    trajectory = run(start, n_layers=2)
    figure = plot_layers(trajectory)
    figure.draw_without_rendering()
    assert len(trajectory.leaders) == leaders
    for panel in figure.axes:
        assert [as_set(p) for p in polygons(panel)] == corners
        assert len(places(panel, "leaders")) == leaders


def test_collinear_leaders_span_a_segment() -> None:
    ends_and_middle = np.array([[-1.0, -1.0], [2.0, 2.0], [0.0, 0.0]])
    trajectory = Trajectory(
        points=ends_and_middle,
        alpha=0.5,
        engine="reference",
        leader_layer=np.zeros(3, np.int64),
        labels=np.arange(3),
        recorded={0: ends_and_middle},
    )
    (corners,) = polygons(plot_layers(trajectory).axes[0])
    assert as_rows(corners) == [(-1.0, -1.0), (2.0, 2.0)]


@pytest.mark.parametrize("m", [1, 2, 7, 8, 9, 15, 29, 36, 43, 99])
def test_neighbours_among_many_leaders_differ_in_colour(m: int) -> None:
    angle = 2 * np.pi * np.arange(m) / m
    trajectory = run(np.column_stack([np.cos(angle), np.sin(angle)]), n_layers=0)
    assert len(trajectory.leaders) == m
    (panel,) = plot_layers(trajectory).axes
    of_leader = colour_of_leader(panel, trajectory, 0)
    in_turn = [tuple(of_leader[i]) for i in range(m)]
    if m <= 7:
        assert len(set(in_turn)) == m
    else:
        assert len(set(in_turn)) >= 5
        assert all(in_turn[i] != in_turn[i - 1] for i in range(m))


def test_only_recorded_layers_have_panels() -> None:
    start = read_cloud("square").points
    assert titles(plot_layers(run(start, record="last"))) == ["layer 30"]
    assert titles(plot_layers(run(start, record=10))) == [
        "layer 0",
        "layer 10",
        "layer 20",
        "layer 30",
    ]
    assert titles(plot_layers(run(start, n_layers=0))) == ["layer 0"]
    assert titles(plot_layers(run(start, n_layers=4))) == [
        "layer 0", "layer 1", "layer 2", "layer 4",
    ]  # fmt: skip
    assert titles(plot_layers(run(start), layers=range(3, 10))) == [
        f"layer {layer}" for layer in range(3, 10)
    ]


def test_other_dimensions_show_principal_components_and_say_so() -> None:
    rng = np.random.default_rng(0)
    flat = np.zeros((30, 5))
    flat[:, [1, 3]] = rng.normal(size=(30, 2)) * [3.0, 1.0]
    figure = plot_layers(run(flat, n_layers=1))
    assert figure.get_suptitle() == (
        "First two principal components, 100% of the variance in 5 dimensions"
    )
    drawn = places(figure.axes[0], "points")
    # Turned and shifted within the plane: all distances stay, up to rounding.
    gaps = [np.linalg.norm(x[:, None] - x, axis=2) for x in (drawn, flat)]
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=0, atol=1e-13)
    assert np.var(drawn[:, 0]) > np.var(drawn[:, 1])
    assert plot_layers(run(flat[:, 1:2], n_layers=1)).get_suptitle() == ""
    assert plot_layers(run(flat[:, [1, 3]], n_layers=1)).get_suptitle() == ""


def test_one_dimension_is_drawn_on_a_line() -> None:
    trajectory = run([[1.0], [-2.0], [0.5]], n_layers=1)
    panel = plot_layers(trajectory).axes[0]
    assert as_set(places(panel, "points")) == {(1.0, 0.0), (-2.0, 0.0), (0.5, 0.0)}


def test_a_large_cloud_is_thinned_to_what_can_be_seen() -> None:
    n, m = 100_000, 20
    rng = np.random.default_rng(0)
    start = rng.normal(size=(n, 2))
    labels = rng.integers(0, m, n)
    labels[:m] = np.arange(m)
    end = start[labels]
    trajectory = Trajectory(
        points=end,
        alpha=0.5,
        engine="reference",
        leader_layer=np.where(np.arange(n) < m, 0, -1),
        labels=labels,
        n_layers=1,
        recorded={0: start, 1: end},
    )
    first, last = plot_layers(trajectory).axes
    drawn = places(first, "points")
    width = np.ptp(first.get_xlim())
    corner = [first.get_xlim()[0], first.get_ylim()[0]]
    cells = {tuple(cell) for cell in np.floor((start - corner) * (200 / width)).tolist()}
    seen = {tuple(cell) for cell in np.floor((drawn - corner) * (200 / width)).tolist()}
    assert len(drawn) == len(cells)
    assert seen == cells
    assert markers(first, "points").get_rasterized()
    assert len(tails(first).get_segments()) == 500
    assert as_set(places(last, "points")) == as_set(start[:m])
    assert as_set(places(last, "leaders")) == as_set(start[:m])


def test_every_point_lies_in_every_panel() -> None:
    trajectory = run(np.random.default_rng(0).normal(loc=(1e3, -1e3), size=(50, 2)))
    for panel in plot_layers(trajectory).axes:
        low, high = np.transpose([panel.get_xlim(), panel.get_ylim()])
        drawn = places(panel, "points")
        assert np.all((low < drawn) & (drawn < high))
        assert high[0] - low[0] == pytest.approx(high[1] - low[1], rel=1e-12)


# --- Images -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[Trajectory, NDArray[Any]]:
    cloud = read_cloud("digits")
    assert cloud.images is not None
    return run(cloud.points, n_layers=1, record="last", A=cloud.A), cloud.images


def test_leaders_of_the_largest_clusters_stand_beside_their_followers(
    digits: tuple[Trajectory, NDArray[Any]],
) -> None:
    trajectory, images = digits
    followers = {
        int(leader): [int(i) for i in np.flatnonzero(trajectory.labels == leader) if i != leader]
        for leader in trajectory.leaders
    }
    largest = sorted(followers, key=lambda leader: -len(followers[leader]))[:12]
    figure = plot_image_clusters(trajectory, images)
    assert len(figure.axes) == 12
    for panel, leader in zip(figure.axes, largest, strict=True):
        count = len(followers[leader])
        assert panel.get_title("left") == f"leader {leader}: {count} followers"
        shown = [np.asarray(image.get_array()) for image in panel.images]
        assert len(shown) == 9
        assert_same_bits(shown[0], images[leader])
        among = [
            next(i for i in followers[leader] if np.array_equal(image, images[i]))
            for image in shown[1:]
        ]
        assert among[0] == followers[leader][0]
        assert among[-1] == followers[leader][-1]
        assert among == sorted(set(among))
        assert len({image.get_clim() for image in panel.images}) == 1
    assert f"12 largest of {len(followers)} clusters" in figure.get_suptitle()


def test_few_leaders_and_few_followers() -> None:
    images = np.array([[[9.0, 0.0]], [[8.0, 1.0]], [[0.0, 9.0]], [[7.0, 2.0]]])
    figure = plot_image_clusters(run(images.reshape(4, 2), n_layers=3), images)
    assert [panel.get_title("left") for panel in figure.axes] == [
        "leader 0: 2 followers",
        "leader 2: 0 followers",
    ]
    shown = [[np.asarray(i.get_array()).tolist() for i in p.images] for p in figure.axes]
    assert shown == [[[[9, 0]], [[8, 1]], [[7, 2]]], [[[0, 9]]]]


def test_images_without_any_leader() -> None:
    images = np.ones((3, 2, 2))
    figure = plot_image_clusters(run(images.reshape(3, 4), n_layers=1), images)
    figure.draw_without_rendering()
    assert figure.axes == []
    assert "0 largest of 0 clusters" in figure.get_suptitle()


# --- Bad input ----------------------------------------------------------------------------------


def test_bad_input_gets_one_sentence() -> None:
    one, batch = run(np.eye(2), n_layers=3), run(np.ones((2, 3, 2)), n_layers=1)
    none = run(np.ones((0, 2)), n_layers=1)
    with pytest.raises(ValueError, match=r"^layers: got 4, expected .* \(0, 1, 2, 3\)$"):
        plot_layers(one, layers=[0, 4])
    with pytest.raises(ValueError, match=r"^layers: got 31, expected .* \(0 to 30\)$"):
        plot_layers(run(np.eye(2)), layers=[31])
    for trajectory in (batch, none):
        shape = str(trajectory.points.shape).replace("(", r"\(").replace(")", r"\)")
        sentence = rf"^trajectory: got points of shape {shape}, expected one cloud \(n, d\)$"
        with pytest.raises(ValueError, match=sentence):
            plot_layers(trajectory)
        with pytest.raises(ValueError, match=sentence):
            plot_image_clusters(trajectory, np.ones((2, 1, 2)))
    with pytest.raises(ValueError, match=r"^images: got shape \(3, 1, 2\), expected \(2, height"):
        plot_image_clusters(one, np.ones((3, 1, 2)))
    with pytest.raises(ValueError, match=r"^layers: got none, expected recorded layers \(0, 1, 2"):
        plot_layers(one, layers=[])
    with pytest.raises(ValueError, match=r"^n_clusters: got 0, expected an integer of at least 1$"):
        plot_image_clusters(one, np.ones((2, 1, 2)), n_clusters=0)
    with pytest.raises(ValueError, match=r"^n_followers: got -1, expected an integer of at least"):
        plot_image_clusters(one, np.ones((2, 1, 2)), n_followers=-1)


def test_what_is_no_result_gets_one_sentence() -> None:
    wrong: Any = np.eye(2)
    with pytest.raises(TypeError, match=r"^trajectory: got ndarray, expected a Trajectory$"):
        plot_layers(wrong)
    wrong = equilibrium(np.eye(2), alpha=1)
    with pytest.raises(TypeError, match=r"^trajectory: got an Equilibrium, which has no layers, "):
        plot_layers(wrong)
    wrong = None
    with pytest.raises(TypeError, match=r"^trajectory: got NoneType, expected a Trajectory or an"):
        plot_image_clusters(wrong, np.ones((2, 1, 2)))
    with pytest.raises(TypeError, match=r"^images: got dtype object, expected "):
        plot_image_clusters(run(np.eye(2)), wrong)


@pytest.mark.parametrize("n_layers", [0, 1, 2, 4, 30])
def test_titles_and_legend_fit_the_figure(n_layers: int) -> None:
    start = [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [0.5, 0.0], [0.3, 0.2]]
    figure = plot_layers(run(start, n_layers=n_layers))
    FigureCanvasAgg(figure).draw()
    for text in (figure.legends[0], *(panel.title for panel in figure.axes)):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "fasthardmax.plotting")
    monkeypatch.delattr(fasthardmax, "plotting")
    with pytest.raises(ImportError, match=r"matplotlib is missing: pip install 'fasthardmax\[plot"):
        import_module("fasthardmax.plotting")
