"""Pictures of one result: what they draw of paths, clusters, leaders and their polytope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Polygon
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from fasthardmax import Equilibrium, Trajectory, equilibrium, simulate
from fasthardmax.inputs import read_cloud
from fasthardmax.plotting import (
    plot_clusters,
    plot_image_clusters,
    plot_leaders,
    plot_trajectory,
)
from fasthardmax.plotting._common import GREY, PALETTE
from fasthardmax.plotting._labels import label_largest
from fasthardmax.plotting._projection import project

from .compare import assert_same_bits

FIGURE_2 = ["emerging-leader", "triangle", "square", "non-leader-clusters"]
PLOTS: list[Callable[..., Axes]] = [plot_trajectory, plot_clusters, plot_leaders]


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def run(start: Any, n_layers: int = 30, record: Any = "all", **options: Any) -> Trajectory:
    return simulate(
        start, alpha=0.5, n_layers=n_layers, record=record, engine="reference", **options
    )


def limits(start: Any, **options: Any) -> Equilibrium:
    return equilibrium(start, alpha=0.5, engine="reference", **options)


def labelled(ax: Axes, label: str) -> Any:
    found = [a for a in (*ax.collections, *ax.images, *ax.patches) if a.get_label() == label]
    assert len(found) <= 1, label
    return found[0] if found else None


def places(ax: Axes, label: str) -> NDArray[Any]:
    markers = labelled(ax, label)
    if markers is None:
        return np.empty((0, 3 if ax.name == "3d" else 2))
    assert isinstance(markers, PathCollection)
    if ax.name == "3d":
        return np.column_stack(markers._offsets3d)  # type: ignore[attr-defined]
    return np.asarray(markers.get_offsets())


def colours(ax: Axes, label: str) -> NDArray[Any]:
    return np.asarray(labelled(ax, label).get_facecolor())[:, :3]


def as_set(points: NDArray[Any]) -> set[tuple[float, ...]]:
    return {tuple(point) for point in np.asarray(points).tolist()}


def in_order(points: NDArray[Any]) -> NDArray[Any]:
    return points[np.lexsort(points.T)]


def legend(ax: Axes) -> list[str]:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return [text.get_text() for text in figure.legends[0].get_texts()]


# --- Clusters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURE_2)
def test_points_start_in_the_colour_of_where_they_end(name: str) -> None:
    start = read_cloud(name).points
    found = limits(start)
    ax = plot_clusters(found)
    assert_same_bits(places(ax, "points"), start)
    ends = np.concatenate([places(ax, "leaders"), places(ax, "limits")])
    shades = [colours(ax, kind) for kind in ("leaders", "limits") if labelled(ax, kind)]
    of_end = dict(zip(map(tuple, ends.tolist()), np.concatenate(shades).tolist(), strict=True))
    assert len({tuple(shade) for shade in of_end.values()}) == len(np.unique(found.labels))
    expected = [of_end[tuple(limit)] for limit in found.limit.tolist()]
    assert_same_bits(colours(ax, "points"), np.array(expected))
    assert as_set(places(ax, "leaders")) == as_set(found.limit[found.leaders])
    assert as_set(places(ax, "limits")) == as_set(found.limit[found.kind != "leader"])


def test_a_trajectory_knows_only_clusters_with_leaders() -> None:
    start = read_cloud("non-leader-clusters").points
    ax = plot_clusters(run(start))
    grey = np.all(colours(ax, "points") == GREY, axis=1)
    assert np.flatnonzero(grey).tolist() == [4, 5]
    assert labelled(ax, "limits") is None
    assert ax.get_title() == "4 clusters"
    assert "point in no cluster" in legend(ax)
    ax = plot_clusters(limits(start))
    assert ax.get_title() == "6 clusters, 4 with a leader"
    assert "point in no cluster" not in legend(ax)
    assert "limit that is no leader" in legend(ax)


def test_points_that_do_not_settle_are_grey() -> None:
    start = np.random.default_rng(0).normal(size=(20, 2))
    found = limits(start, A=-np.eye(2), max_layers=0)
    assert (found.labels < 0).all()
    ax = plot_clusters(found)
    assert np.all(colours(ax, "points") == GREY)
    assert ax.get_title() == "0 clusters"
    assert legend(ax) == ["point in no cluster"]


def test_many_clusters_share_the_colours_and_the_title_says_so() -> None:
    angle = 2 * np.pi * np.arange(23) / 23
    ax = plot_clusters(limits(np.column_stack([np.cos(angle), np.sin(angle)])))
    assert ax.get_title() == "23 clusters, in 7 colours"
    assert as_set(colours(ax, "leaders")) == as_set(PALETTE)


# --- Paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURE_2)
def test_paths_go_through_the_recorded_layers(name: str) -> None:
    trajectory = run(read_cloud(name).points)
    ax = plot_trajectory(trajectory)
    lines = labelled(ax, "paths")
    assert isinstance(lines, LineCollection)
    assert_same_bits(
        np.array([segment.tolist() for segment in lines.get_segments()]),
        np.stack([trajectory.recorded[k] for k in range(31)], axis=1),
    )
    assert_same_bits(places(ax, "points"), trajectory.points)
    assert_same_bits(np.asarray(lines.get_colors())[:, :3], colours(ax, "points"))
    assert ax.get_title() == "layers 0 to 30"


def test_an_equilibrium_goes_straight_to_its_limit() -> None:
    start = read_cloud("non-leader-clusters").points
    found = limits(start)
    ax = plot_trajectory(found)
    drawn = np.array([segment.tolist() for segment in labelled(ax, "paths").get_segments()])
    assert_same_bits(drawn, np.stack([start, found.limit], axis=1))
    assert ax.get_title() == "from the start to the limit"


def test_of_many_points_some_are_followed_and_the_title_says_so() -> None:
    trajectory = run(np.random.default_rng(0).normal(size=(600, 2)), n_layers=250)
    ax = plot_trajectory(trajectory)
    drawn = np.array([segment.tolist() for segment in labelled(ax, "paths").get_segments()])
    assert drawn.shape == (500, 200, 2)
    assert ax.get_title() == "layers 0 to 250; 500 of 600 points, chosen at random"
    recorded = trajectory.recorded
    assert as_set(drawn[:, 0]) < as_set(recorded[0])
    for at, layer in ((0, 0), (1, 1), (99, 99), (100, 100), (199, 250)):
        assert as_set(drawn[:, at]) <= as_set(recorded[layer])


def test_a_trajectory_of_one_layer_has_no_paths_to_explain() -> None:
    ax = plot_trajectory(run(np.eye(2), record="last"))
    assert ax.get_title() == "layer 30"
    assert "path" not in legend(ax)


# --- Leaders ------------------------------------------------------------------------------------


def test_leaders_carry_their_index_and_their_number_of_points() -> None:
    start = read_cloud("non-leader-clusters").points
    found = limits(start)
    ax = plot_leaders(found)
    texts = {text.get_text() for text in ax.texts}
    sizes = np.bincount(found.leader_of[found.leader_of >= 0])
    assert texts == {f"{i} ({sizes[i]})" for i in range(4)} | {"(1)"}
    assert labelled(ax, "points") is None
    stars = labelled(ax, "leaders")
    by_place = dict(zip(map(tuple, places(ax, "leaders").tolist()), stars.get_sizes(), strict=True))
    areas = [by_place[tuple(start[i])] for i in np.argsort(sizes, kind="stable")]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]


def test_texts_that_would_overlap_are_left_out() -> None:
    _, ax = plt.subplots()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    crowd = np.array([[0.1, 0.1], [0.9, 0.9], [0.101, 0.1], [0.9, 0.1]])
    label_largest(ax, crowd, "abcd".__getitem__, np.array([1, 4, 3, 2]), 3)
    assert [text.get_text() for text in ax.texts] == ["b", "c", "d"]
    ax.clear()
    label_largest(ax, crowd, "abcd".__getitem__, np.array([1, 4, 3, 2]), 4)
    assert [text.get_text() for text in ax.texts] == ["b", "c", "d"], "a would lie on c"


@pytest.mark.parametrize("plot", PLOTS)
def test_the_outline_is_the_convex_hull_of_the_leaders(plot: Callable[..., Axes]) -> None:
    found = limits(np.random.default_rng(1).normal(size=(40, 2)))
    corners = labelled(plot(found), "hull").get_xy()[:-1]
    leaders = found.limit[found.leaders]
    assert as_set(corners) == as_set(leaders[ConvexHull(leaders).vertices])


@pytest.mark.parametrize("plot", PLOTS)
def test_the_outline_in_space_has_the_edges_of_the_hull(plot: Callable[..., Axes]) -> None:
    corners = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0])).reshape(3, -1).T
    inside = np.random.default_rng(0).uniform(-0.5, 0.5, (10, 3))
    ax = plot(limits(np.concatenate([corners, inside])))
    assert ax.name == "3d"
    lines = labelled(ax, "hull")
    assert isinstance(lines, Line3DCollection)
    drawn = {frozenset(map(tuple, np.asarray(s).tolist())) for s in lines._segments3d}  # type: ignore[attr-defined]
    cube = {
        frozenset({tuple(a), tuple(b)})
        for a in corners.tolist()
        for b in corners.tolist()
        if np.count_nonzero(np.subtract(a, b)) == 1
    }
    assert drawn == cube, "the twelve edges, and no diagonals of the faces"


def test_a_polytope_with_too_many_edges_is_left_out() -> None:
    sphere = np.random.default_rng(0).normal(size=(2000, 3))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    ax = plot_leaders(limits(sphere, max_layers=0))
    assert labelled(ax, "hull") is None
    assert "convex hull of the leaders" not in legend(ax)
    assert "convex hull of the leaders" in legend(plot_leaders(limits(sphere[:50], max_layers=0)))


# --- Axes, dimensions, sizes --------------------------------------------------------------------


@pytest.mark.parametrize("plot", PLOTS)
def test_given_axes_are_drawn_on_and_returned(plot: Callable[..., Axes]) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert plot(limits(np.eye(2)), right) is right
    assert plt.get_fignums() == [figure.number]
    assert not left.has_data()
    assert figure.legends == [], "the figure is its owner's"
    assert len(places(right, "leaders")) == 2


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    ("d", "projection", "name", "title"),
    [
        (1, None, "rectilinear", ""),
        (2, None, "rectilinear", ""),
        (3, None, "3d", ""),
        (5, None, "rectilinear", "First two principal components, "),
        (3, "rectilinear", "rectilinear", "First two principal components, "),
        (2, "3d", "3d", ""),
        (5, "3d", "3d", "First three principal components, "),
    ],
)
def test_dimensions(
    plot: Callable[..., Axes], d: int, projection: str | None, name: str, title: str
) -> None:
    found = limits(np.random.default_rng(d).normal(size=(30, d)))
    ax = plot(found, plt.figure().add_subplot(projection=projection)) if projection else plot(found)
    assert ax.name == name
    assert ("principal" in ax.get_title()) == bool(title)
    assert title in ax.get_title()
    window = [ax.get_xlim(), ax.get_ylim(), *([ax.get_zlim()] if name == "3d" else [])]
    low, high = np.transpose(window)
    drawn = np.concatenate([places(ax, kind) for kind in ("points", "leaders", "limits")])
    assert len(drawn) >= len(found.leaders)
    assert np.all((low < drawn) & (drawn < high))


def test_three_principal_components_keep_distances() -> None:
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    points = rng.normal(size=(40, 3)) * [5.0, 3.0, 1.0] @ turn[:3] + 7.0
    projection = project(points, 3)
    assert (
        projection.note == "First three principal components, 100% of the variance in 6 dimensions"
    )
    drawn = projection(points)
    gaps = [np.linalg.norm(x[:, None] - x, axis=2) for x in (drawn, points)]
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=0, atol=1e-12)
    assert (np.diff(drawn.var(axis=0)) < 0).all()


def test_a_large_cloud_in_the_plane_is_a_density() -> None:
    rng = np.random.default_rng(0)
    n = 50_000
    start = np.concatenate([[[1.0, 1.0], [-1.0, -1.0]], rng.uniform(-0.9, 0.9, (n, 2))])
    start[2:] += np.where(start[2:].sum(axis=1) > 0, 0.05, -0.05)[:, None]
    start[2:100] = [0.9, 0.9]
    trajectory = run_two_leaders(start)
    ax = plot_clusters(trajectory)
    assert ax.get_title() == "2 clusters\n50,002 points, shaded by density"
    image = labelled(ax, "points")
    assert isinstance(image, AxesImage)
    shade = np.asarray(image.get_array())
    left, right, low, high = image.get_extent()
    across = len(shade)

    def pixel(x: float, y: float) -> NDArray[Any]:
        return shade[
            int((y - low) / (high - low) * across), int((x - left) / (right - left) * across)
        ]

    of_leader = dict(
        zip(map(tuple, places(ax, "leaders").tolist()), colours(ax, "leaders"), strict=True)
    )
    crowd = pixel(0.9, 0.9)
    np.testing.assert_allclose(crowd[:3], of_leader[1.0, 1.0])
    assert crowd[3] == 1 == shade[..., 3].max()
    assert pixel(-1, 1)[3] == 0, "nobody is there"
    filled = {tuple(c) for c in shade[shade[..., 3] > 0][:, :3].tolist()}
    assert filled == {tuple(c.tolist()) for c in of_leader.values()}
    expected, _, _ = np.histogram2d(
        start[:, 1], start[:, 0], bins=across, range=[[low, high], [left, right]]
    )
    assert_same_bits(shade[..., 3] > 0, expected > 0)


def run_two_leaders(start: NDArray[Any]) -> Trajectory:
    labels = np.where(start.sum(axis=1) > 0, 0, 1)
    leads = np.full(len(start), -1)
    leads[:2] = 0
    end = start[labels]
    return Trajectory(
        points=end,
        alpha=0.5,
        engine="reference",
        leader_layer=leads,
        labels=labels,
        n_layers=1,
        recorded={0: start, 1: end},
    )


def test_a_large_cloud_in_space_is_a_sample() -> None:
    start = np.random.default_rng(0).normal(size=(30_000, 3))
    start[:2] = [[5, 5, 5], [-5, -5, -5]]
    ax = plot_clusters(run_two_leaders(start))
    assert ax.get_title() == "2 clusters\n20,000 of 30,000 points, chosen at random"
    drawn = places(ax, "points")
    assert drawn.shape == (20_000, 3)
    assert as_set(drawn) < as_set(start)
    first_half = len(as_set(drawn) & as_set(start[:15_000]))
    assert 9_700 < first_half < 10_300, "without favour"


def test_leaders_that_hide_each_other_are_drawn_once() -> None:
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    found = limits(np.column_stack([np.cos(angle), np.sin(angle)]), max_layers=0)
    assert len(found.leaders) == 5000
    ax = plot_leaders(found)
    assert 400 < len(places(ax, "leaders")) < 1000


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    "start",
    [
        [[1.0, 2.0]],
        [[1.0, 2.0]] * 4,
        [[0.0, 0.0]] * 3,
        [[1.0, 2.0, 3.0]] * 3,
        [[1.0] * 5],
        [[1.0, 1.0], [-2.0, -2.0], [0.5, 0.5]],
        [[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], [0.1, 0.2, 0.3]],
        [[1.0], [-2.0], [0.5]],
    ],
    ids=["one", "equal", "origin", "equal in space", "five features", "line", "line in space", "1"],
)
def test_degenerate_clouds(plot: Callable[..., Axes], start: Any) -> None:
    for result in (limits(start), run(start, n_layers=3)):
        ax = plot(result)
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.draw_without_rendering()
        if isinstance(result, Equilibrium):
            assert len(places(ax, "leaders")) == len(result.leaders)


def test_an_equilibrium_of_images() -> None:
    images = np.array([[[9.0, 0.0]], [[8.0, 1.0]], [[0.0, 9.0]], [[7.0, 2.0]]])
    figure = plot_image_clusters(limits(images.reshape(4, 2)), images)
    assert [panel.get_title("left") for panel in figure.axes] == [
        "leader 0: 2 followers",
        "leader 2: 0 followers",
    ]


@pytest.mark.parametrize("plot", PLOTS)
def test_bad_input_gets_one_sentence(plot: Callable[..., Axes]) -> None:
    for start in (np.ones((2, 3, 2)), np.ones((0, 2))):
        shape = str(start.shape).replace("(", r"\(").replace(")", r"\)")
        sentence = rf"^result: got points of shape {shape}, expected one cloud \(n, d\)$"
        for result in (run(start, n_layers=1), limits(start)):
            with pytest.raises(ValueError, match=sentence):
                plot(result)
    with pytest.raises(TypeError, match=r"^result: got ndarray, expected a Trajectory or an Eq"):
        plot(np.eye(2))
    assert plt.get_fignums() == [], "no empty figure is left behind"


def test_colours_are_those_of_readers_of_any_vision() -> None:
    assert as_set(PALETTE) == {
        to_rgb(name)
        for name in ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
    }


def test_the_polygon_in_the_plane_is_filled() -> None:
    outline = labelled(plot_clusters(limits(read_cloud("square").points)), "hull")
    assert isinstance(outline, Polygon)
    assert as_set(outline.get_xy()) == {(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)}


def test_what_are_no_axes_gets_one_sentence() -> None:
    wrong: Any = 5
    for draw in (plot_clusters, plot_leaders, plot_trajectory):
        with pytest.raises(TypeError, match=r"^ax: got int, expected Matplotlib axes$"):
            draw(equilibrium(np.eye(2), alpha=1), wrong)
