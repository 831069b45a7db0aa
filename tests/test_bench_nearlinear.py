"""The benchmark of the near-linear engines: its points, its peers' answers, and its tables."""

import json
import math
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
import sklearn

from bench import cases, report, search_tables, searching
from bench.cases import Case
from bench.ceilings import _update, time_update
from bench.contestants import INDEXED, load
from bench.figures import _SEARCHERS
from bench.hard_clouds import HARD
from bench.race import Effort, Entrant, Track
from bench.search_tables import TARGETS
from bench.sections import SECTIONS, Field
from bench.verdict import canonical, judge
from fasthardmax.numerics import step

from . import oracle
from .test_bench import TINY, results_with

GRIDS = (cases.near_linear, cases.hard, cases.near_linear_growth)
OWN = ("auto", "direct", "cones", "longest", "pruned")


@pytest.fixture(autouse=True)
def _own_options_of_scikit_learn():
    """A contestant has its process to itself, and so scikit-learn's options."""
    with sklearn.config_context():
        yield


def cloud(kind="gaussian", n=60, d=3, dtype="float64", width=None, values="random"):
    return Case(kind, n, d, dtype, n, width, values=values)


# --- Points -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_hold_distinct_cases_of_known_kinds(grid, quick):
    listed = list(grid(quick))
    assert listed
    assert len(set(listed)) == len(listed)
    assert {case.kind for case in listed} <= set(cases.KINDS)


def test_every_target_is_measured_and_every_hard_kind_run():
    measured = {(case.kind, case.d) for case in cases.near_linear(quick=False)}
    assert measured == set(TARGETS)
    assert all(search_tables._has_targets(asdict(c)) for c in cases.near_linear(quick=False))
    assert {case.kind for case in cases.hard(quick=False)} >= set(HARD)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_hard_points_are_what_their_name_says(dtype):
    def points(kind, n=40, d=3):
        return HARD[kind](n, d, np.dtype(dtype)).astype(np.float64)

    def rank(x):
        return np.linalg.matrix_rank(x - x[0], tol=1e-4)

    assert np.abs(np.corrcoef(points("slanted").T)).min() > 0.9
    assert rank(points("collinear")) == 1
    assert rank(points("coplanar")) == 2
    assert rank(points("all equal")) == 0
    assert np.allclose(np.linalg.norm(points("sphere"), axis=1), 1)
    t = points("moment curve")[:, 0]
    assert np.allclose(points("moment curve"), np.stack([t, t**2, t**3], axis=1))
    x, y, _ = points("parabola").T
    assert np.array_equal(y, -((x / 2) ** 2))
    assert len(np.unique(x)) == 40
    lengths = np.linalg.norm(points("one huge outlier"), axis=1)
    assert np.sum(lengths > 1e5) == 1
    assert points("offset by 1e6").min() > 999_990
    ulps = np.ptp(points("near-ties"), axis=0) / np.spacing(points("near-ties")[0].astype(dtype))
    assert np.all(np.abs(ulps) <= 200)


def test_keys_as_values():
    arguments = cloud(width=3, values="keys").arguments()
    assert arguments["value"] is arguments["key"]


# --- Contestants --------------------------------------------------------------------------------


def indexed_winners(name, query, key):
    """The answers of every setting of an indexed contestant."""
    return [index(key)(query) for index in load(name, 2).indexes.values()]


@pytest.mark.parametrize(
    ("kind", "d"), [*product(("gaussian", "cube", "ball", "clustered"), (2, 3)), ("circle", 2)]
)
@pytest.mark.parametrize("name", INDEXED)
def test_indexed_peers_find_the_best_keys(name, d, kind):
    d = min(d, load(name, 1).max_features or d)
    arguments = cloud(kind, n=200, d=d).arguments()
    query, key = arguments["query"], arguments["key"]
    first = [oracle.tie_set(q, key)[0] for q in query[:50]]
    for answer in indexed_winners(name, query, key):
        assert np.array_equal(answer[:50], first)


def test_trees_take_a_query_at_the_origin():
    key = cloud().arguments()["key"]
    for name in ("ckdtree", "sklearn-trees"):
        for answer in indexed_winners(name, np.zeros((3, 3)), key):
            assert np.all((answer >= 0) & (answer < len(key)))


@pytest.mark.parametrize("kind", ["gaussian", "coplanar", "all equal", "near-ties"])
def test_own_engines_name_the_lowest_winner(kind):
    arguments = cloud(kind).arguments()
    first = [oracle.tie_set(q, arguments["key"])[0] for q in arguments["query"]]
    for name in OWN:
        (winners,) = load(name, 2).winners.values()
        assert np.array_equal(winners(**arguments), first)


@pytest.mark.parametrize("engine", ["cones", "longest", "pruned"])
def test_own_engines_tell_what_they_scored(engine):
    arguments = cloud(n=500).arguments()
    told = load(engine, 2).explain(**arguments)
    assert told["engine"] == engine
    assert 0 < told["scored"] <= 500


def test_the_judge_rejects_a_hull_that_lost_a_vertex():
    case = cloud(n=200, d=2)
    (answer,) = indexed_winners("hull-angles", **case.arguments())
    truth = canonical(case, 1e9)
    assert judge(answer, truth).wrong == 0
    lost = answer[0]
    answer[answer == lost] = (lost + 1) % 200
    assert judge(answer, truth).wrong == pytest.approx(np.mean(truth.first == lost))


def test_update_pass_is_the_step_of_the_dynamics():
    points, means = np.random.default_rng(0).standard_normal((2, 50))
    moved, c = np.full(50, np.nan), np.float64(1 / 3)
    _update(points, means, c, moved, 0, 20)
    _update(points, means, c, moved, 20, 50)
    assert np.array_equal(moved, step(points, means, c))
    assert all(seconds > 0 for seconds in time_update(points.reshape(25, 2), 2))


# --- Races --------------------------------------------------------------------------------------


@pytest.fixture
def small_grids(monkeypatch):
    listed = [cloud(n=400), cloud("all equal", n=400), cloud(n=400, d=8)]
    monkeypatch.setattr(cases, "near_linear", lambda quick: iter(listed))
    effort = Effort(rounds=2, call_seconds=0.05, oracle=1e9)
    monkeypatch.setattr(searching, "_FULL", effort)


def test_section_races_everyone_and_says_who_cannot(small_grids):
    names = ["auto", "cones", "ckdtree", "hull"]
    with Track(TINY) as track:
        records = list(SECTIONS["near-linear"](Field(track, names, 2, quick=False)))
        descriptions = track.descriptions
    easy, equal, wide = (
        [r for r in records if (r["case"]["kind"], r["case"]["d"]) == cell]
        for cell in (("gaussian", 3), ("all equal", 3), ("gaussian", 8))
    )
    assert [r["name"] for r in easy] == [*names, "update", "auto"]
    assert all(r["wrong"] == 0 and r["checked"] == 400 for r in easy if r["name"] != "update")
    assert easy[-1]["inexact"] == 0
    assert easy[1]["explained"]["engine"] == "cones"
    assert "QhullError" in next(r for r in equal if r["name"] == "hull")["error"]
    assert [r["name"] for r in wide] == ["auto", "ckdtree", "update", "auto"]

    results = results_with({"near-linear": records})
    results["contestants"] = descriptions
    table = search_tables.peers(results)
    assert "| all equal, n = 400, d = 3 | hull | cannot run: QhullError" in table
    assert "| gaussian, n = 400, d = 8 | hull | not run: to 5 features |" in table


def test_what_takes_too_long_is_timed_on_fewer_queries():
    effort = Effort(rounds=1, call_seconds=1e-5, oracle=1e9, whole_seconds=0.0)
    case = cloud("all equal", n=40_000, d=2)
    with Track(TINY) as track:
        entrants = [Entrant("pruned", 2), Entrant("ckdtree", 2)]
        for record in track.race(case, entrants, effort=effort):
            assert record["wrong"] == 0
            assert record["rows"] < case.n_queries


# --- Tables -------------------------------------------------------------------------------------


def timed(case, name, seconds, rows=None, index=0.0, **more):
    return {
        "case": asdict(case), "name": name, "threads": 2, "setting": "its best",
        "rows": rows or case.n_queries, "seconds": seconds, "index_seconds": [index] * len(seconds),
        "checked": 100, "wrong": 0.0, "inexact": None, "tied": 0.0, "not_first": None, **more,
    }  # fmt: skip


BIG = cloud(n=1_000_000, d=2)
SPHERE = cloud("sphere", n=20_000, d=8)
TOLD = {"engine": "cones", "scored": 1.25, "reason": "few keys can win"}


@pytest.fixture
def results():
    records = {
        "near-linear": [
            timed(BIG, "auto", [0.01, 0.01], explained=TOLD),
            timed(BIG, "direct", [0.5, 0.5], rows=10_000),
            timed(BIG, "hull-angles", [0.3, 0.3], rows=500_000, index=0.1, wrong=0.5),
            timed(BIG, "update", [0.002, 0.002]),
            timed(cloud(n=1_000_000, d=2, width=2, values="keys"), "auto", [0.014]),
            {**timed(BIG, "hull", []), "error": "QhullError: flat"},
        ],
        "hard": [
            timed(SPHERE, "auto", [0.3], explained=TOLD),
            timed(SPHERE, "direct", [0.2]),
            timed(SPHERE, "pruned", [0.4], rows=10_000),
        ],
        "near-linear growth": [
            timed(cloud(n=10_000, d=2), "auto", [0.0001]),
            timed(cloud(n=10_000_000, d=3), "auto", [0.1], rows=1_000_000),
            timed(cloud(n=10_000, d=3), "auto", [0.001]),
            {
                "case": asdict(cloud(n=10_000_000, d=3)), "name": "auto", "threads": 2,
                "bytes": 2**30,
            },
        ],
    }  # fmt: skip
    found = results_with(records)
    found["ceilings"][0]["fma"]["float64"]["2"] = 1e10  # float32 has another
    return found


def test_sampled_times_are_scaled_but_not_their_index(results):
    hull = results["sections"]["near-linear"][2]
    assert search_tables.full_seconds(hull) == pytest.approx(0.1 + 2 * 0.2)


def test_own_engines_against_targets(results):
    table = search_tables.near_linear(results)
    row = "| 5e+04 |  |  |  | 10 | 5e+03 (4000 met) | 4e+04 | 5 (8 met) | 7 | cones | auto 1.25 |"
    assert row in table
    assert "direct 10,000 |" in table


def test_summary_names_the_fastest_other_tool(results):
    row = "| gaussian, n = 1,000,000, d = 2 | 10 | cones | 5 | 5e+03 | 4e+04 | 50 | hull-angles |"
    assert row in search_tables.summary(results)


def test_peers_with_their_mistakes(results):
    table = search_tables.peers(results)
    assert (
        "| hull-angles | its best | 500 | 100 | 250 | 50 (8 met) | 500,000, scaled | 50 % of 100 |"
        in table
    )
    assert "| hull | cannot run: QhullError: flat |" in table


def test_hard_data_against_the_best_own_engine(results):
    table = search_tables.hard(results)
    missed = "1.5 (1.3 missed)"
    row = f"| 200 |  |  | 800 | 300 | {missed} | {missed} | direct | cones | auto 1.25 |"
    assert row in table
    assert "pruned 10,000 |" in table


def test_choices_with_their_reasons(results):
    assert "| cones | 1.25 | few keys can win |" in search_tables.choices(results)


def test_growth_with_exponent_and_memory(results):
    table = search_tables.growth(results)
    exponent = math.log(0.01 / 0.0001) / math.log(100)
    assert exponent == pytest.approx(1)
    assert "| gaussian, d = 2 | auto | 10,000 to 1,000,000 | 1.00 (1.1 met) | 10 |" in table
    memory = "1024 + 229 for the points (4 GB with the points met)"
    assert f"1.00 (1.1 met) | 1e+03 | {memory} | n = 10,000,000 |" in table


def test_report_holds_tables_and_figure(results, tmp_path):
    (tmp_path / report.RESULTS).write_text(json.dumps(results))
    report.write(tmp_path)
    text = (tmp_path / report.REPORT).read_text()
    for title in ("against other tools", "hard data", "growth with n", "What auto chose"):
        assert title in text
    assert "](near-linear.png)" in text
    assert (tmp_path / "near-linear.png").read_bytes().startswith(b"\x89PNG")


def test_everyone_in_the_growth_figure_has_a_style():
    assert set(_SEARCHERS) == {*searching.OWN, *INDEXED}
