"""Pictures of one result: axes, dimensions, huge and degenerate clouds, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from fasthardmax import Equilibrium, Trajectory, equilibrium
from fasthardmax.inputs import read_cloud
from fasthardmax.plotting import (
    plot_clusters,
    plot_image_clusters,
    plot_leaders,
    plot_trajectory,
)
from fasthardmax.plotting._common import PALETTE
from fasthardmax.plotting._projection import project

from .compare import assert_same_bits
from .drawn import PLOTS, as_set, colours, labelled, limits, places, run

pytestmark = pytest.mark.usefixtures("no_figures_left")


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
