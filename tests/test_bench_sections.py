"""Every section runs from end to end on small clouds, and the report has a part for it."""

from dataclasses import replace

import pytest

from bench import cases, report
from bench.__main__ import wrong_answers
from bench.race import Track
from bench.sections import SECTIONS, Field

from .test_bench import TINY, results_with

GRIDS = (
    "winners", "growth", "agreement", "attention", "one_core", "rescoring", "near_linear", "hard",
    "near_linear_growth",
)  # fmt: skip
ELSEWHERE = {"softmax", "depth", "decoding"}  # have grids, and tests, of their own
CONTESTANTS = ["auto", "direct", "numpy"]


@pytest.fixture(name="track", scope="module")
def _track():
    with Track(TINY) as track:
        yield track


def _smaller(grid):
    def smaller(quick):
        for case in grid(quick):
            yield replace(case, n_keys=_few(case.n_keys), n_queries=_few(case.n_queries))

    return smaller


def _few(n):
    return min(n, 100 + n // 1000)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in ELSEWHERE])
def test_section_runs_and_is_reported(section, track, monkeypatch):
    for name in GRIDS:
        monkeypatch.setattr(cases, name, _smaller(getattr(cases, name)))
    records = list(SECTIONS[section](Field(track, CONTESTANTS, 2, quick=True)))
    assert records
    assert not [record["error"] for record in records if "error" in record]
    results = results_with({section: records})
    assert not wrong_answers(results)
    results["contestants"] = track.descriptions
    assert len(report.render(results)) > len(report.render(results | {"sections": {}})) + 100
