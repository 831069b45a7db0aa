"""What ``explain`` says, and that it says it of what would run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fasthardmax import explain
from fasthardmax.engines import SELECTIVE, _choice

from .clouds import seeded


@pytest.fixture
def points() -> np.ndarray[Any, Any]:
    return seeded("explained").standard_normal((3000, 2))


@pytest.mark.parametrize("engine", ["reference", "compiled", "direct"])
def test_all_pairs_score_every_key(engine: str, points: np.ndarray[Any, Any]) -> None:
    told = explain(points[:10], points[:40], engine=engine)
    assert (told.engine, told.reason, told.scored_per_query) == (engine, "asked for", 40)
    assert told.others == {}


@pytest.mark.parametrize("engine", [*SELECTIVE])
def test_selective_engines_score_few_keys(engine: str, points: np.ndarray[Any, Any]) -> None:
    told = explain(points, points, engine=engine)
    assert told.engine == engine
    # A query whose cell has one candidate scores none; a group screens one key for each at least.
    assert (
        {"cones": 0, "longest": 1, "pruned": 1}[engine] <= told.scored_per_query < 0.5 * told.n_keys
    )
    assert told.n_keys == 3000


@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 1), (4, 9), (9, 4), (0, 5)])
def test_causal_queries_score_the_keys_before_them(n_queries: int, n_keys: int) -> None:
    told = explain(np.ones((n_queries, 2)), np.ones((n_keys, 2)), is_causal=True)
    seen = [min(i + 1, n_keys) for i in range(n_queries)]
    assert told.scored_per_query == (np.mean(seen) if seen else n_keys)


def test_auto_tells_why(monkeypatch: pytest.MonkeyPatch, points: np.ndarray[Any, Any]) -> None:
    assert explain(points[:5], points[:5]).engine == "compiled"
    monkeypatch.setattr(_choice, "_loaded", lambda name: name == "direct")
    monkeypatch.setattr(_choice, "_spent", 0)
    told = explain(points, points)
    assert told.engine == "direct"
    assert set(told.others) == set(SELECTIVE)
    text = str(told)
    assert text.startswith("direct: ")
    assert "scored 3,000.0 of 3,000 keys per query" in text
    assert "not cones: not loaded" in text


def test_masks_speak_against_the_selective_engines(
    monkeypatch: pytest.MonkeyPatch, points: np.ndarray[Any, Any]
) -> None:
    monkeypatch.setattr(_choice, "_loaded", lambda name: True)
    told = explain(points, points, is_causal=True)
    assert told.engine == "direct"
    assert "mask" in told.others["cones"]
    assert "is_causal" in told.others["pruned"]


def test_bad_input_is_named(points: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"^engine: got 'fast'"):
        explain(points, points, engine="fast")
    with pytest.raises(ValueError, match=r"^key: got 1 features"):
        explain(points, points[:, :1])
