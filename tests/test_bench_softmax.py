"""The race of the softmax layers: everyone is checked, and the table says how they compare."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import softmax
from bench.__main__ import wrong_answers
from bench.sections import SECTIONS


def _race(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(softmax, "_SIZES", {True: 150})
    monkeypatch.setattr(softmax, "_QUICK_CASES", softmax._CASES)
    monkeypatch.setattr(softmax, "calls_per_timing", lambda seconds: 1)
    field: Any = SimpleNamespace(quick=True, cores=2, track=SimpleNamespace(missing={}))
    return list(SECTIONS["softmax"](field))


def test_everyone_agrees_with_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    records = _race(monkeypatch)
    names = {record["name"] for record in records}
    assert {"fasthardmax", "numpy"} <= names <= {"fasthardmax", "numpy", "sdpa"}
    for record in records:
        assert 0 < record["away"] < 100 * np.finfo(record["case"]["dtype"]).eps
        assert not record["wrong"]
        assert len(record["seconds"]) == 2


def test_a_wrong_answer_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_own", lambda points, beta, threads: points)
    results = {"sections": {"softmax": _race(monkeypatch)}}
    wrong = wrong_answers(results)
    assert len(wrong) == len({str(record["case"]) for record in results["sections"]["softmax"]})
    assert softmax.table(results).count("(wrong)") == len(wrong)


def test_the_table_compares_round_by_round() -> None:
    case = {"n": 1000, "d": 2, "dtype": "float64", "beta": 1.0}
    record = {"case": case, "away": 2e-16, "wrong": False}
    records = [
        record | {"name": "fasthardmax", "seconds": [1e-3, 2e-3, 1e-3]},
        record | {"name": "numpy", "seconds": [4e-3, 8e-3, 5e-3]},
    ]
    lines = softmax.table({"sections": {"softmax": records}}).splitlines()
    label = "| d = 2, beta = 1, float64 |"
    assert lines[2] == f"{label} fasthardmax | 1 | 0.75 to 1 | 1 | 2e-16 |"
    assert lines[3] == f"{label} numpy | 0.2 | 0.163 to 0.225 | 4 | 2e-16 |"
    assert softmax.table({"sections": {}}) == ""
