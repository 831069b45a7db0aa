"""Limits under infinitely many layers: worked by hand, by exact arithmetic, and certified."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax import Equilibrium, equilibrium, simulate
from fasthardmax.engines import ENGINES

from . import exact
from .clouds import CLOUDS, DTYPES, ball, gaussian
from .compare import assert_same_bits
from .test_dynamics import FIGURE_2

SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]

each_engine = pytest.mark.parametrize("engine", ENGINES)


def _spd(d: int, seed: int = 0) -> NDArray[Any]:
    root = np.random.default_rng([d, seed]).standard_normal((d, d))
    return root @ root.T + 0.1 * np.eye(d)


def _find(points: Any, alpha: float = 0.5, **options: Any) -> Equilibrium:
    return equilibrium(points, alpha=alpha, **{"engine": "compiled", **options})


# --- Worked by hand -----------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("alpha", [1e-3, 0.5, 10])
def test_a_square_with_points_on_its_axes(alpha: float, engine: str) -> None:
    found = _find([*SQUARE, [-0.5, 0], [0.5, 0], [0.3, 0.2], [0.1, -0.4]], alpha, engine=engine)
    assert found.limit.tolist() == [*SQUARE, [-1, 0], [1, 0], [1, 1], [1, -1]]
    assert found.kind.tolist() == ["leader"] * 4 + ["face"] * 2 + ["leader"] * 2
    assert found.leaders.tolist() == [0, 1, 2, 3]
    assert found.leader_of.tolist() == [0, 1, 2, 3, -1, -1, 0, 1]
    assert found.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert found.settled_at.tolist() == [0] * 8
    assert found.residual.tolist() == [0] * 8
    assert (found.n_layers, found.n_passes) == (0, (8 + 2) / 8), "two means are tested"
    assert (found.alpha, found.engine) == (alpha, engine)
    assert found.certificate().holds


def test_in_the_a_norm_the_projection_moves() -> None:
    """A = [[1, 1/2], [1/2, 1]]: for (1, 1), (1, -1), the least <A y, y> on x = 1 is at y = -1/2.

    The mean of the two is (1, 0), whose query (1, 1/2) prefers (1, 1): the tie at (0.75, -0.375),
    whose query is (0.5625, 0), is no rest.
    """
    A = [[1, 0.5], [0.5, 1]]
    found = _find([*SQUARE, [0.75, -0.375]], A=A)
    assert found.kind[-1] == "leader"
    assert found.limit[-1].tolist() == [1, 1]
    assert found.settled_at[-1] == 1
    assert found.certificate().holds


def test_coincident_points_lead_together() -> None:
    found = _find([[0.1, 0.7], [0.0, 0.1], [0.1, 0.7], [0.1, 0.7], [-1, -1]])
    assert found.leader_of.tolist() == [0, 0, 0, 0, 4]
    assert found.leaders.tolist() == [0, 4]
    assert found.kind.tolist() == ["leader"] * 5
    assert found.labels.tolist() == [0, 0, 0, 0, 1]
    assert found.certificate().holds


def test_the_centre_of_a_symmetric_cloud_rests() -> None:
    half = np.random.default_rng(3).uniform(-1, 1, (6, 2))
    found = _find(np.concatenate([half, -half, [[0, 0]]]))
    assert found.limit[-1].tolist() == [0, 0]
    assert found.kind[-1] == "face"
    assert found.certificate().holds


def test_who_leads_later() -> None:
    """(1, 0) follows (1.5, 3) and (1.5, -3), who leave for (0, 8) and (0, -8) at once."""
    found = _find([[1.0, 0.0], [1.5, 3.0], [0.0, 8.0], [0.0, -8.0], [1.5, -3.0]], 1)
    assert found.limit[0].tolist() == [1.25, 0]
    assert found.settled_at.tolist() == [1, 0, 0, 0, 0]
    assert found.n_passes == 6 / 5


def test_a_negative_definite_matrix_contracts() -> None:
    """Both points run towards each other, x' = (1 - 2c) x = x / 3, and never arrive."""
    found = _find([[1.0], [-1.0]], A=[[-1.0]], max_layers=30)
    assert found.kind.tolist() == ["not settled"] * 2
    assert found.labels.tolist() == found.settled_at.tolist() == [-1, -1]
    assert (found.n_layers, found.n_passes) == (30, 31)
    assert (np.abs(found.residual * 3.0**30 - 2) < 1e-12).all()
    assert found.certificate().holds, "nothing is claimed"


def test_the_origin_outside_a_negative_definite_cloud() -> None:
    """The point nearest to the origin wins for all."""
    found = _find([[1.0, 0.0], [2.0, 1.0], [2.0, -1.0]], A=-np.eye(2))
    assert found.leader_of.tolist() == [0, 0, 0]


def test_points_that_circle_for_ever_are_not_settled() -> None:
    """A quarter turn: every corner of the square runs after the next."""
    found = _find(SQUARE, 0.5, A=[[0.0, -1.0], [1.0, 0.0]], max_layers=25)
    assert found.kind.tolist() == ["not settled"] * 4
    after = simulate(SQUARE, alpha=0.5, n_layers=25, A=[[0.0, -1.0], [1.0, 0.0]], method="settling")
    assert_same_bits(found.limit, after.points)


def test_a_tie_under_a_matrix_that_is_not_symmetric_is_stationary() -> None:
    """On the axis the query is (x, 0): the corners tie there all the way to (1, 0)."""
    found = _find([*SQUARE, [0.5, 0]], A=[[1, 0.5], [0, 1]])
    assert found.kind.tolist() == ["leader"] * 4 + ["stationary"]
    assert found.limit[4].tolist() == [1, 0]
    assert found.certificate().holds


# --- Against exact arithmetic -------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.5, 3, math.inf])
@pytest.mark.parametrize("A", [None, [[2, 0.5], [0.5, 1]]], ids=["I", "SPD"])
@pytest.mark.parametrize("name", FIGURE_2)
def test_the_limits_of_figure_2(name: str, A: Any, alpha: float) -> None:
    """After so many exact layers, (1 - c)^L of the way is left: less than 2^-54 of it."""
    start = np.array(FIGURE_2[name])
    layers = 1 if math.isinf(alpha) else math.ceil(54 * math.log(2) / math.log1p(alpha))
    found = _find(start, alpha, A=A)
    assert (found.settled_at >= 0).all()
    truth = exact.simulate(start, alpha, int(found.settled_at.max()) + layers, A)[-1].points
    assert exact.ulps_of_diameter(found.limit, truth, start) <= 4 + Fraction(1, 2)
    assert found.certificate().holds


# --- Any cloud ----------------------------------------------------------------------------------

# Decisions within rounding, which the certificate's other arithmetic takes otherwise.
_UNDERFLOW = ("products underflow", "products of the least numbers")


@pytest.mark.parametrize("A", ["I", "SPD"])
@pytest.mark.parametrize("alpha", [0.5, math.inf])
@pytest.mark.parametrize("cloud", [name for name in CLOUDS if name not in _UNDERFLOW])
def test_certificates_hold_for_positive_definite_matrices(cloud: str, alpha: float, A: str) -> None:
    points = CLOUDS[cloud](DTYPES[1])
    if cloud == "as large as can be" and A == "SPD":
        points = points / 8  # room for the matrix
    found = _find(points, alpha, A=None if A == "I" else _spd(points.shape[1]))
    certificate = found.certificate()
    assert certificate.holds
    assert_same_bits(certificate.settled, found.settled_at >= 0)
    assert certificate.n_layers == found.settled_at.max(initial=0)
    if cloud not in ("within an ulp d=16", "subnormal"):  # ties by rounding, which come and go
        assert (found.settled_at >= 0).all()


def test_leaders_are_where_they_started_with_the_identity_or_emerged() -> None:
    points = ball(200, 3, DTYPES[1])
    found = _find(points)
    at_once = found.leaders[found.settled_at[found.leaders] == 0]
    assert_same_bits(found.limit[at_once], points[at_once])
    assert_same_bits(found.limit, found.limit[np.where(found.leader_of < 0, 0, found.leader_of)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_labels_say_which_limits_are_equal(dtype: Any) -> None:
    found = _find(CLOUDS["lattice d=2"](dtype))
    same_limit = (found.limit[:, None] == found.limit).all(axis=-1)
    assert_same_bits(found.labels[:, None] == found.labels, same_limit)
    first = [int(np.argmax(found.labels == k)) for k in range(found.labels.max() + 1)]
    assert first == sorted(first)
    assert found.limit.dtype == dtype


def test_the_limit_is_where_a_long_run_ends() -> None:
    for matrix in (None, _spd(3), np.random.default_rng(1).standard_normal((3, 3))):
        points = gaussian(100, 3, DTYPES[1])
        found = _find(points, 0.3, A=matrix)
        run = simulate(points, alpha=0.3, n_layers=2000, A=matrix, method="settling")
        settled = found.settled_at >= 0
        assert_same_bits(run.points[settled], found.limit[settled])


@each_engine
def test_a_batch_is_separate_clouds(engine: str) -> None:
    names = ("circle", "lattice d=2", "mirrored", "duplicates", "all equal")
    clouds = np.stack([CLOUDS[name](DTYPES[1])[:25, :2] for name in names])
    together = _find(clouds, A=_spd(2), engine=engine)
    fields = ("limit", "kind", "labels", "settled_at", "residual", "leader_of")
    searched = 0
    for b, cloud in enumerate(clouds):
        alone = _find(cloud, A=_spd(2), engine=engine)
        for name in fields:
            if name == "kind":
                assert together.kind[b].tolist() == alone.kind.tolist()
            else:
                assert_same_bits(getattr(together, name)[b], getattr(alone, name), name)
        batch, point = together.leaders
        assert_same_bits(point[batch == b], alone.leaders)
        searched += round(alone.n_passes * 25)
    assert together.n_passes == searched / clouds[..., 0].size
    assert together.certificate().verified.shape == clouds.shape[:2]
    assert together.certificate().holds


# --- The certificate can fail -------------------------------------------------------------------


def _false(found: Equilibrium, claim: str) -> Equilibrium:
    limit, settled_at = found.limit.copy(), found.settled_at.copy()
    leader_of = found.leader_of.copy()
    if claim == "another leader":
        leader_of[6], limit[6] = 1, limit[1]
    elif claim == "another place":
        limit[6] += 1e-9
    elif claim == "another mean":
        limit[5] = [1, 1e-9]
    elif claim == "a leader where none is":
        leader_of[6], limit[6] = 6, [0.3, 0.2]
    elif claim == "settled although unsettled":
        leader_of[5], limit[5] = 0, limit[0]
    return dataclasses.replace(found, limit=limit, settled_at=settled_at, leader_of=leader_of)


@pytest.mark.parametrize(
    ("claim", "point"),
    [
        ("another leader", 6),
        ("another place", 6),
        ("another mean", 5),
        ("a leader where none is", 6),
        ("settled although unsettled", 5),
    ],
)
def test_a_false_claim_is_not_certified(claim: str, point: int) -> None:
    found = _find([*SQUARE, [-0.5, 0], [0.5, 0], [0.3, 0.2]])
    assert found.certificate().holds
    certificate = _false(found, claim).certificate()
    assert not certificate.holds
    assert np.flatnonzero(~certificate.verified).tolist() == [point]


# --- Cost in passes -----------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 8])
@pytest.mark.parametrize("alpha", [0.5, math.inf])
@pytest.mark.parametrize(("kind", "most"), [("gaussian", 1.5), ("ball", 1.5), ("cube", 2)])
def test_generic_data_take_few_passes(kind: str, most: float, alpha: float, d: int) -> None:
    """The corners of a cube have several leaders near each other, so that more points wait."""
    points = {
        "gaussian": lambda: gaussian(1500, d, DTYPES[1]),
        "ball": lambda: ball(1500, d, DTYPES[1]),
        "cube": lambda: np.random.default_rng(d).uniform(-1, 1, (1500, d)),
    }[kind]()
    found = _find(points, alpha)
    assert (found.settled_at >= 0).all()
    assert found.n_passes <= most


@pytest.mark.parametrize("d", [2, 3, 8])
def test_a_random_positive_definite_matrix_takes_at_most_nine(d: int) -> None:
    root = np.random.default_rng(d).standard_normal((d, d))
    found = _find(gaussian(1500, d, DTYPES[1]), A=root @ root.T)
    assert (found.settled_at >= 0).all()
    assert found.n_passes <= 9


# --- Borders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(0, 2), (1, 2), (3, 0), (0, 3, 2), (2, 0, 2), (2, 3, 0), (2, 1, 1)], ids=str
)
def test_hardly_any_points(shape: tuple[int, ...]) -> None:
    found = _find(np.zeros(shape))
    assert_same_bits(found.limit, np.zeros(shape))
    assert found.labels.tolist() == np.zeros(shape[:-1], int).tolist()
    assert found.certificate().holds


def test_no_layers_settle_what_the_start_settles() -> None:
    points = CLOUDS["ball d=2"](DTYPES[1])
    found = _find(points, max_layers=0)
    assert found.n_layers == 0
    assert found.n_passes == 1
    assert_same_bits(
        found.limit[found.settled_at < 0], CLOUDS["ball d=2"](DTYPES[1])[found.settled_at < 0]
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 0}, "alpha: got 0.0, expected a positive number (inf is allowed)"),
        ({"alpha": -1}, "alpha: got -1, expected a number of at least 0 (inf is allowed)"),
        ({"max_layers": -1}, "max_layers: got -1, expected an integer of at least 0"),
        ({"max_layers": 1.5}, "max_layers: got 1.5, expected an integer of at least 0"),
        ({"points": [1.0]}, "points: got shape (1,), expected (n, d) or (B, n, d)"),
        ({"A": [[1.0]]}, "A: got shape (1, 1), expected (2, 2) to match points of 2 features"),
        ({"num_threads": 0}, "num_threads: got 0, expected an integer of at least 1"),
    ],
    ids=str,
)
def test_bad_input_gets_one_sentence(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$") as refusal:
        equilibrium(**{"points": SQUARE, "alpha": 1, **changed})
    assert str(refusal.value) == message
