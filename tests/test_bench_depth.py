"""The benchmark of infinite depth: its checks, its tables and its figure."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from bench import depth, depth_tables, figures, report
from bench.depth import Batch, Cloud, Stored
from bench.race import Track
from bench.sections import SECTIONS, Field
from fasthardmax import hardmax_attention
from fasthardmax.numerics import canonical_scores, step, step_size

from .test_bench import TINY, results_with


def first_layer(cloud):
    x, A = cloud.points(), cloud.matrix()
    query = x if A is None else canonical_scores(x, A)
    return step(x, hardmax_attention(query, x, x), step_size(cloud.alpha, x.dtype))


@pytest.mark.parametrize("quick", [False, True])
def test_clouds_are_distinct(quick):
    listed = list(depth.clouds(quick))
    assert len(set(listed)) == len(listed)
    assert {cloud.A for cloud in listed} == {"I", "SPD"}


def test_every_target_is_measured():
    listed = [asdict(cloud) for cloud in depth.clouds(quick=False)]
    assert sum(map(depth_tables._has_ratio, listed)) == 4
    assert asdict(Cloud("circle", 100_000, 2, "SPD", 0.05)) in listed
    assert {batch.clouds for batch in depth.batches(quick=False)} == {50_000}


def test_a_random_matrix_is_positive_definite():
    matrix = Cloud("cube", 10, 5, "SPD").matrix()
    assert np.array_equal(matrix, matrix.T)
    np.linalg.cholesky(matrix)


@pytest.mark.parametrize("alpha", [0.05, 1.0, math.inf])
@pytest.mark.parametrize("A", ["I", "SPD"])
@pytest.mark.parametrize("kind", ["gaussian", "cube", "circle"])
def test_right_answers_pass(kind, A, alpha):
    cloud = Cloud(kind, 300, 2, A, alpha)
    assert depth.wrong_share(cloud, first_layer(cloud)) == 0


def test_a_wrong_layer_is_seen():
    cloud = Cloud("gaussian", 500, 2)
    layer = first_layer(cloud)
    layer[:50] += 1e-9
    assert depth.wrong_share(cloud, layer) == pytest.approx(0.1)


def test_a_false_certificate_or_label_is_seen(monkeypatch):
    cloud = Cloud("gaussian", 300, 2)
    original = depth.simulate

    def mistaken(*arguments, **options):
        run = original(*arguments, **options)
        if options.get("method") == "settling":
            run.labels[:30] = -1
        return run

    monkeypatch.setattr(depth, "simulate", mistaken)
    assert depth.wrong_share(cloud, first_layer(cloud)) == pytest.approx(0.1)


def test_section_table_and_figure(monkeypatch, tmp_path):
    monkeypatch.setattr(depth, "clouds", lambda quick: iter([Cloud("cube", 900, 3)]))
    monkeypatch.setattr(depth, "BATCHES", [Batch(1, 9, 2, 3, "settling")])
    monkeypatch.setattr(depth, "batches", lambda quick: [Batch(30, 20, 2, 3, "settling")])
    monkeypatch.setattr(depth, "stored", lambda quick: [Stored(50, 6, 2)])
    with Track(TINY) as track:
        records = list(SECTIONS["depth"](Field(track, None, 2, quick=True)))
    assert [record["wrong"] for record in records] == [0, 0, 0]
    assert 1 <= records[0]["passes"] < 3
    results = results_with({"depth": records})
    text = report.render(results)
    assert "| cube, n = 900, d = 3, A = I, alpha = 0.5 |" in text
    assert "| 30 clouds of 20 points, d = 2 | 3 | settling |" in text
    assert "| n = 50 | 6 | 2 |" in text
    assert figures.depth(results, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").stat().st_size > 0
    assert not figures.depth(results_with({}), tmp_path / "none.png")


def record(cloud, passes, layers):
    seconds = {"search": 0.1, "first layer": 0.2, "layers": layers, "equilibrium": 0.5}
    return {
        "case": asdict(cloud), "name": "auto", "wrong": 0.0, "passes": passes, "n_layers": 4,
        "not_settled": 0.0,
        "seconds": {name: [value] * 2 for name, value in {**seconds, "direct": 40.0}.items()},
    }  # fmt: skip


def test_targets_are_met_or_missed():
    big = Cloud("gaussian", 1_000_000, 3)
    circle = Cloud("circle", 100_000, 2, "SPD", 0.05)
    slow = Cloud("cube", 20_000, 3, "SPD", math.inf)
    results = results_with(
        {"depth": [record(big, 1.2, 0.4), record(circle, 160.0, 50.0), record(slow, 9.5, 0.4)]}
    )
    first, second, third = depth_tables.clouds(results).splitlines()[2:]
    assert "1.2 (1.5 met)" in first
    assert "2 (3 met) | 2.5 (3 met) | 1e+05 (1e+05 met)" in first
    assert "| 160 |" in second
    assert "250 (200 missed)" in second
    assert "alpha = inf | 9.5 (9 missed)" in third
    assert len(depth_tables.summary(results).splitlines()) == 4
    batch = {
        "case": asdict(depth.BATCHES[0]), "name": "auto", "wrong": 0.0,
        "seconds": {"layers": [0.8, 0.9]},
    }  # fmt: skip
    assert "0.85 (1 met)" in depth_tables.batches(results_with({"depth": [batch]}))
