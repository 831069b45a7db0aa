"""The benchmark's own parts: what it runs, what it calls wrong or missing, and how it reports."""

import json
import math
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest

from bench import cases, operator_table, report, tables, timing
from bench.__main__ import begin, wrong_answers
from bench.cases import KINDS, Case
from bench.ceilings import _run_chains
from bench.contestants import PEERS
from bench.race import Effort, Entrant, Track
from bench.verdict import canonical, judge
from fasthardmax import hardmax_attention, hardmax_winners

TINY = Effort(rounds=2, call_seconds=0.001, oracle=1e9)
GRIDS = (cases.winners, cases.growth, cases.agreement, cases.attention, cases.one_core)


def cloud(kind="gaussian", n=60, d=3, dtype="float32", width=None):
    return Case(kind, n, d, dtype, n, width)


# --- The registry -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_every_kind_makes_reproducible_points(kind, dtype):
    d = 2 if kind.startswith("circle") else 3
    points = KINDS[kind](40, d, np.dtype(dtype))
    assert points.shape == (40, d)
    assert points.dtype == dtype
    assert np.array_equal(points, KINDS[kind](40, d, np.dtype(dtype)))


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_hold_distinct_cases_of_known_kinds(grid, quick):
    listed = list(grid(quick))
    assert listed
    assert len(set(listed)) == len(listed)
    assert {case.kind for case in listed} <= {*KINDS, "independent"}


def test_full_grid_covers_every_size():
    measured = {(c.n_keys, c.d, c.dtype) for c in cases.winners(quick=False)}
    sizes = product((2_000, 20_000, 100_000), (2, 3, 8, 16, 64, 256), cases.DTYPES)
    assert measured >= set(sizes)
    assert measured >= set(product((20_000,), tables.CEILING_TARGETS, cases.DTYPES))


def test_circle_is_stretched_on_the_side_of_the_queries():
    arguments = cloud("circle, A = diag(1, 2)", d=2).arguments()
    assert np.array_equal(arguments["query"], arguments["key"] * np.float32([1, 2]))


# --- The judge ----------------------------------------------------------------------------------


def test_right_winners_pass():
    case = cloud()
    arguments = case.arguments()
    verdict = judge(hardmax_winners(**arguments, engine="reference").first, canonical(case, 1e9))
    assert (verdict.checked, verdict.wrong) == (60, 0)


def test_each_wrong_winner_counts():
    case = cloud()
    truth = canonical(case, 1e9)
    answer = truth.first.copy()
    answer[:3] = -1
    answer[3:6] = 60
    answer[6:9] = (answer[6:9] + 1) % 60
    assert judge(answer, truth).wrong == 9 / 60


def test_another_of_the_tied_keys_is_right_but_not_the_first():
    case = cloud("lattice", n=25, d=2)
    truth = canonical(case, 1e9)
    everything = hardmax_winners(**case.arguments(), return_all=True, engine="reference")
    verdict = judge(everything.indices[everything.indptr[1:] - 1], truth)
    assert verdict.wrong == 0
    assert verdict.tied == np.mean(everything.count > 1) > 0
    assert verdict.not_first == 1


def test_truth_is_cut_to_the_work_allowed():
    truth = canonical(cloud(), 5 * 60 * 4)
    assert truth.rows == 5
    assert judge(np.zeros(60, np.int64), truth).checked == 5


@pytest.mark.parametrize("mask", ["none", "causal", "boolean"])
def test_means_are_compared_bit_for_bit_and_roughly(mask):
    case = Case("independent", 20, 3, "float64", 20, 4, batch=(2,), mask=mask)
    truth = canonical(case, 20 * 2 * 10 * 4)
    answer = hardmax_attention(**case.arguments(), engine="reference")
    assert truth.rows == 10
    assert judge(answer, truth).wrong == judge(answer, truth).inexact == 0
    answer[0, 0, 0] = np.nextafter(answer[0, 0, 0], np.inf)
    assert (judge(answer, truth).wrong, judge(answer, truth).inexact) == (0, 1 / 20)
    answer[1, :2] = math.nan
    assert (judge(answer, truth).wrong, judge(answer, truth).inexact) == (2 / 20, 3 / 20)


# --- Contestants --------------------------------------------------------------------------------

WRONG = """
from types import SimpleNamespace
import numpy as np
__version__ = "0"
cvar = SimpleNamespace()
def omp_set_num_threads(threads): pass
class IndexFlatIP:
    def __init__(self, d): pass
    def add(self, key): pass
    def search(self, query, k): return None, np.zeros((len(query), k), np.int64)
"""


def race_with_faiss(monkeypatch, tmp_path, source):
    """A race of the reference and of the peer "faiss-ip", whose library is replaced."""
    (tmp_path / "faiss.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with Track(TINY) as track:
        records = track.race(cloud(), [Entrant("reference", 1), Entrant("faiss-ip", 1)])
    return track, {record["name"]: record for record in records}


def test_a_wrong_peer_is_reported_as_different(monkeypatch, tmp_path):
    _, records = race_with_faiss(monkeypatch, tmp_path, WRONG)
    first = hardmax_winners(**cloud().arguments()).first
    assert records["faiss-ip"]["wrong"] == pytest.approx(np.mean(first != 0))
    assert records["reference"]["wrong"] == 0
    assert len(records["faiss-ip"]["seconds"]) == len(records["reference"]["seconds"]) == 2


def test_a_missing_peer_is_named_missing(monkeypatch, tmp_path):
    source = "raise ImportError('faiss is not for this machine')"
    track, records = race_with_faiss(monkeypatch, tmp_path, source)
    assert list(records) == ["reference"]
    results = {"contestants": track.descriptions, "missing": track.missing}
    table = tables.contestants(results)
    assert "| faiss-ip | missing: ImportError: faiss is not for this machine |" in table


def test_a_peer_that_dies_is_reported(monkeypatch, tmp_path):
    dying = WRONG.replace("return None", "import os; os._exit(1)")
    _, records = race_with_faiss(monkeypatch, tmp_path, dying)
    assert records["faiss-ip"]["error"] == "its process died"
    assert records["reference"]["wrong"] == 0


def test_a_wrong_answer_of_the_package_itself_fails_the_run():
    record = {"name": "direct", "case": {}, "wrong": 0.0, "inexact": None, "not_first": None}
    assert not wrong_answers({"sections": {"winners": [record]}})
    for field in ("wrong", "inexact", "not_first"):
        assert wrong_answers({"sections": {"winners": [record | {field: 0.1}]}})


# --- Statistics ---------------------------------------------------------------------------------


def test_fitted_exponent():
    sizes = [10, 100, 1_000]
    assert timing.growth_exponent(sizes, [3e-9 * n**1.7 for n in sizes]) == pytest.approx(1.7)
    with pytest.raises(ValueError, match=r"sizes: got \[5, 5\], expected at least two different"):
        timing.growth_exponent([5, 5], [1.0, 2.0])


def test_ratios_are_taken_round_by_round():
    assert timing.ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == timing.Spread(2.0, 2.0, 2.5)


def test_geometric_mean_and_calls():
    assert timing.geometric_mean([1.0, 4.0, 16.0]) == pytest.approx(4.0)
    assert timing.calls_per_timing(1.0) == 1
    assert timing.calls_per_timing(0.001) == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_peak_kernel_computes_what_it_says(dtype):
    assert _run_chains(dtype(0.5), 0) == sum(range(12))
    assert _run_chains(dtype(0.5), 1_000) == 12 * 2.0  # the fixed point of x <- 0.75 x + 0.5


# --- The report ---------------------------------------------------------------------------------


def results_with(records):
    peak = {dtype: {"1": 4e9, "2": 8e9} for dtype in cases.DTYPES}
    described = {
        "title": "A tool",
        "version": "1",
        "dtypes": ["float32"],
        "ties": "one",
        "note": "",
    }
    return {
        "quick": True,
        "started": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "P", "cores": 2, "system": "S", "python": "3", "numpy": "2"},
        "ceilings": [{"fma": peak, "blas": peak, "copy": {"any": {"1": 1e9, "2": 2e9}}}],
        "missing": {"jax": "ImportError: no jax"},
        "contestants": dict.fromkeys(("direct", "numpy", "slow"), described),
        "sections": records,
    }


def timed(name, case, rows, seconds, **more):
    verdict = {"checked": rows, "wrong": 0.0, "inexact": None, "tied": 0.0, "not_first": None}
    return {
        "case": asdict(case), "name": name, "threads": 2, "setting": "", "rows": rows,
        "seconds": seconds, **verdict, **more,
    }  # fmt: skip


SMALL, LARGE = cloud(n=2_000), cloud(n=20_000)
RACE = {
    "winners": [
        timed("direct", LARGE, 20_000, [0.4, 0.4]),  # 10^9 pairs per second
        timed("numpy", LARGE, 5_000, [0.2, 0.4]),  # 0.5 and 0.25
        timed("slow", LARGE, 20, [1.0, 1.0]),
    ],
    "growth": [timed("direct", SMALL, 2_000, [0.004, 0.004])],
    "agreement": [timed("numpy", LARGE, 10, [], wrong=0.025)],
}


def test_speeds_count_only_the_rows_that_were_timed():
    table = tables.speed(results_with(RACE), "gaussian", "float32")
    assert "| 20,000 | 3 | **1.00** | 0.38 | 0.0004 |" in table


def test_lead_is_over_the_fastest_peer():
    table = tables.versus_best(results_with(RACE))
    # The ceiling is 1.33 x 10^9 pairs a second, the peer's median 0.375.
    assert "| numpy | 3.00 | 2.50 to 3.50 | 3.56 | 1.5 met |" in table


def test_a_target_beyond_the_ceiling_is_named_so():
    slow = [timed("direct", LARGE, 20_000, [0.4]), timed("numpy", LARGE, 20_000, [0.5])]
    assert "| 1.25 | 1.25 to 1.25 | 1.67 | 1.5 missed |" in tables.versus_best(
        results_with(RACE | {"winners": slow})
    )
    slow = [timed("direct", LARGE, 20_000, [0.4]), timed("numpy", LARGE, 20_000, [0.4])]
    assert "| 1.00 | 1.00 to 1.00 | 1.33 | 1.5 missed, beyond the ceiling |" in tables.versus_best(
        results_with(RACE | {"winners": slow})
    )


def test_share_of_the_ceiling():
    # 10^9 pairs of 2 x 3 operations a second, of 8 x 10^9.
    assert "| 3 | 0.75 met |  | 0.4 |" in tables.roofline(results_with(RACE))


def test_a_run_of_some_sections_keeps_the_others_of_a_run_like_it(tmp_path):
    machine = {"cores": 2}
    earlier = begin(tmp_path, ["winners"], False, machine)
    earlier["sections"] = {"winners": [1], "memory": [2]}
    (tmp_path / report.RESULTS).write_text(json.dumps(earlier))
    assert begin(tmp_path, ["memory"], False, machine)["sections"] == {"winners": [1]}
    assert begin(tmp_path, ["memory", "winners"], False, machine)["sections"] == {}
    assert begin(tmp_path, ["memory"], True, machine)["sections"] == {}
    assert begin(tmp_path, ["memory"], False, {"cores": 3})["sections"] == {}


def test_exponents_join_both_sections():
    assert "| direct | 2,000 to 20,000 | 2.00 |" in tables.exponents(results_with(RACE))


def test_agreement_shows_the_share_that_differs():
    assert "| A tool | one | 2.5 % / – | – |" in tables.agreement(results_with(RACE))


def test_report_writes_tables_and_figures(tmp_path):
    (tmp_path / report.RESULTS).write_text(json.dumps(results_with(RACE)))
    report.write(tmp_path)
    text = (tmp_path / report.REPORT).read_text()
    assert "missing: ImportError: no jax" in text
    assert "5,000 of 20,000" in text
    for figure in ("speed.png", "growth.png"):
        assert f"]({figure})" in text
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")


def test_report_needs_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds neither results\.json nor operator\.json"):
        report.write(tmp_path)


def test_readme_is_changed_between_the_markers_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    report.put_between_markers(readme, "new\n")
    assert readme.read_text() == "before\n<!-- bench -->\n\nnew\n\n<!-- /bench -->\nafter\n"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="expected the lines"):
        report.put_between_markers(readme, "new\n")
    assert readme.read_text() == "no markers"


def test_table_of_the_engines_beside_each_other():
    stats = {"median": 0.0025, "q1": 0.002, "q3": 0.003}
    measured = {
        "benchmarks": [
            {
                "group": "operator",
                "params": {"engine": "direct", "n": 1000, "d": 2},
                "stats": stats,
            },
            {"group": "fresh process", "params": {"what": "import numpy"}, "stats": stats},
        ]
    }
    table = operator_table.markdown_table(measured)
    assert "| operator | 1,000 | 2 | 2.5 |" in table
    assert "| import numpy | 2.5 | 2 to 3 |" in table


def test_every_peer_has_a_colour_in_the_figures():
    from bench.figures import _NAMES, _STYLES

    assert _STYLES.keys() == _NAMES.keys() == {"direct", *PEERS} - {"sdpa"}
