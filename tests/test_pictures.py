"""Pictures of one result: what they draw of paths, clusters, leaders and their polytope."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from scipy.spatial import ConvexHull

from fasthardmax.inputs import read_cloud
from fasthardmax.plotting import (
    plot_clusters,
    plot_leaders,
    plot_trajectory,
)
from fasthardmax.plotting._common import GREY, PALETTE
from fasthardmax.plotting._labels import label_largest

from .compare import assert_same_bits
from .drawn import FIGURE_2, PLOTS, as_set, colours, labelled, legend, limits, places, run

pytestmark = pytest.mark.usefixtures("no_figures_left")


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
