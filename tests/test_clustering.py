"""HardmaxClustering: scikit-learn's own checks, its clusters, and where new points go."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import fasthardmax
from fasthardmax import HardmaxClustering, equilibrium, simulate

from . import oracle
from .clouds import CLOUDS, DTYPES, circle, clustered, gaussian, lattice
from .compare import assert_same_bits

F8 = np.dtype(np.float64)
_SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]
_MATRIX = [[2.0, 0.5], [0.5, 1.0]]


@parametrize_with_checks([HardmaxClustering(), HardmaxClustering(alpha=2, n_layers=20)])
def test_scikit_learn_takes_it_for_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


# --- Clusters -----------------------------------------------------------------------------------


def test_clusters_are_limits() -> None:
    X = [*_SQUARE, [0.5, 0.0], [0.3, 0.2], [0.2, 0.1]]
    found = HardmaxClustering().fit(X)
    assert_same_bits(found.labels_, np.array([0, 1, 2, 3, 4, 0, 0]))
    assert_same_bits(found.leaders_, np.array([0, 1, 2, 3, -1]))
    assert_same_bits(found.cluster_centers_, np.array([*_SQUARE, [1.0, 0.0]]))
    assert found.n_features_in_ == 2
    assert_same_bits(HardmaxClustering().fit_predict(X), found.labels_)


@pytest.mark.parametrize("A", [None, _MATRIX])
@pytest.mark.parametrize("alpha", [0.1, 1.0, math.inf])
def test_an_infinite_depth_is_the_equilibrium(alpha: float, A: Any) -> None:
    X = gaussian(200, 2, F8)
    truth = equilibrium(X, alpha=alpha, A=A)
    for n_layers in (None, math.inf):
        found = HardmaxClustering(alpha=alpha, A=A, n_layers=n_layers).fit(X)
        assert_same_bits(found.labels_, truth.labels)
        assert_same_bits(found.cluster_centers_[found.labels_], truth.limit)
        assert_same_bits(np.sort(found.leaders_), np.sort(truth.leaders))


def test_a_finite_depth_leaves_out_who_has_not_settled() -> None:
    X = gaussian(200, 3, F8)
    A = np.diag([1.0, 2.0, 5.0])
    for n_layers in (0, 1, 3):
        run = simulate(X, alpha=0.2, n_layers=n_layers, A=A, method="settling")
        found = HardmaxClustering(alpha=0.2, A=A, n_layers=n_layers).fit(X)
        assert_same_bits(found.labels_ < 0, run.labels < 0)
        assert (found.labels_ < 0).any()
        led = found.labels_ >= 0
        assert_same_bits(found.leaders_[found.labels_[led]], run.labels[led])


def test_samples_at_one_place_share_a_cluster() -> None:
    found = HardmaxClustering().fit(CLOUDS["duplicates"](F8))
    assert_same_bits(found.labels_, np.tile(found.labels_[:9], 4))
    assert found.labels_.min() == 0


# --- New points ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "cloud", ["lattice d=2", "mirrored", "duplicates", "collinear", "circle", "clustered d=8"]
)
def test_the_samples_keep_their_labels(cloud: str, dtype: np.dtype[Any]) -> None:
    X = CLOUDS[cloud](dtype)
    for estimator in (HardmaxClustering(), HardmaxClustering(alpha=0.1, n_layers=2)):
        assert_same_bits(estimator.fit(X).predict(X), estimator.labels_)


def _follow(x: Any, points: Any, alpha: float, n_layers: int, A: Any) -> int:
    """The leader of a new point by the definition: stepped along with the samples."""
    c = oracle.step_size(alpha, F8)
    run = oracle.simulate(points, alpha, n_layers, A)
    for layer in range(n_layers + 1):
        here = run.points[layer]
        query = np.array([oracle.score(x, row) for row in A])
        winners = oracle.tie_set(query, here)
        leaders = [j for j in winners if 0 <= run.leader_layer[j] <= layer]
        if leaders and (here[winners] == here[leaders[0]]).all():  # others have landed there
            return leaders[0]
        x = x + c * (oracle.mean(here, winners, "mean") - x)
    return -1


@pytest.mark.parametrize("alpha", [0.1, 1.0, math.inf])
@pytest.mark.parametrize(
    ("X", "A"),
    [
        (gaussian(40, 2, F8), _MATRIX),
        (gaussian(40, 3, F8), [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]),
        (circle(40, F8), _MATRIX),
        (lattice(5, 2, F8)[:-1], _MATRIX),
    ],
    ids=["SPD", "general", "circle", "ties"],
)
def test_new_points_follow_the_samples(X: Any, A: Any, alpha: float) -> None:
    n_layers = 12  # before rounding makes points collapse onto leaders
    found = HardmaxClustering(alpha=alpha, A=A, n_layers=n_layers).fit(X)
    new = np.random.default_rng(1).integers(-9, 10, (40, X.shape[1])) / 8
    leaders = np.array([_follow(x, X, alpha, n_layers, np.array(A)) for x in new])
    predicted = found.predict(new)
    assert_same_bits(np.where(predicted < 0, -1, found.leaders_[predicted]), leaders)
    assert len(np.unique(leaders)) > 1


def test_new_points_wait_for_leaders_to_emerge() -> None:
    """Some settle only after many layers, and all at infinite depth."""
    X, new = circle(200, F8), gaussian(100, 2, F8)
    A = [[1.0, 0.0], [0.0, 3.0]]
    unsettled = [
        (HardmaxClustering(alpha=0.3, A=A, n_layers=n).fit(X).predict(new) < 0).sum()
        for n in (0, 5, 50, None)
    ]
    assert unsettled == sorted(unsettled, reverse=True)
    assert unsettled[0] > unsettled[1] > unsettled[-1] == 0


def test_a_new_point_that_ties_for_ever_is_in_no_cluster() -> None:
    found = HardmaxClustering().fit(_SQUARE)
    assert found.predict([[0.5, 0.0], [0.5, 0.1], [0.0, 0.0]]).tolist() == [-1, 0, -1]
    unsettled = HardmaxClustering(A=[[0.0, -1.0], [1.0, 0.0]]).fit(_SQUARE)  # a quarter turn
    assert unsettled.labels_.tolist() == [-1] * 4
    assert unsettled.predict([[0.5, 0.1]]).tolist() == [-1]


def test_new_points_are_answered_alike_in_any_company() -> None:
    X, new = clustered(80, 3, F8), gaussian(50, 3, F8)
    found = HardmaxClustering(alpha=0.2).fit(X)
    alone = np.concatenate([found.predict(x[None]) for x in new])
    assert_same_bits(found.predict(new), alone)
    assert_same_bits(found.predict(np.concatenate([new, X, new])[::-1]),
                     np.concatenate([alone, found.labels_, alone])[::-1])  # fmt: skip


# --- As a package -------------------------------------------------------------------------------


def test_it_survives_pickling() -> None:
    X = gaussian(50, 2, F8)
    found = pickle.loads(pickle.dumps(HardmaxClustering().fit(X)))  # noqa: S301  # our own
    assert_same_bits(found.predict(X), found.labels_)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": 0}, "alpha: got 0.0, expected a positive number"),
        ({"n_layers": -1}, "n_layers: got -1, expected an integer of at least 0"),
        ({"n_layers": 2.5}, "n_layers: got 2.5, expected an integer of at least 0"),
        ({"A": [[1.0]]}, "A: got shape (1, 1), expected (2, 2)"),
        ({"num_threads": 0}, "num_threads: got 0, expected an integer of at least 1"),
    ],
)
def test_refused_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="got") as caught:
        HardmaxClustering(**options).fit(_SQUARE)
    assert str(caught.value).startswith(sentence)


def test_the_name_is_there_without_scikit_learn_but_says_what_is_missing() -> None:
    assert "HardmaxClustering" in dir(fasthardmax)
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import fasthardmax\n"
        "try:\n    fasthardmax.HardmaxClustering\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "clustering: the package scikit-learn is missing: pip install 'fasthardmax[data]'\n"
    )
    with pytest.raises(AttributeError, match="has no attribute 'HardmaxClusterings'"):
        fasthardmax.HardmaxClusterings  # noqa: B018  # reading it is what fails
