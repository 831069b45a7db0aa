"""What ``auto`` makes of what engines promise: who looks for how long, and who runs."""

import numpy as np
import pytest

from fasthardmax.engines import _choice, direct
from fasthardmax.engines import cones as cones_engine
from fasthardmax.engines import longest as longest_engine
from fasthardmax.engines import pruned as pruned_engine
from fasthardmax.engines._byte_products import MULTIPLIES_BYTES
from fasthardmax.engines._forecast import Forecast

from .choosing import chosen, problem, problem_of
from .clouds import DTYPES
from .hard_clouds import HARD


@pytest.mark.parametrize(
    ("pruned", "serve", "expected"),
    [(5, False, "pruned"), (50, False, "pruned"), (50, True, "direct"), (500, False, "direct")],
)
def test_bytes_are_tried_where_no_other_is_faster(load, monkeypatch, pruned, serve, expected):
    """All pairs take 10 in bytes and 100 without."""
    load("direct", "pruned")
    tried, rivals = [], []
    monkeypatch.setattr(
        direct, "forecast", lambda problem, bytes_serve=True: 100 - 90 * bytes_serve
    )
    monkeypatch.setattr(
        direct, "bytes_serve", lambda problem: tried.append(problem) or (serve, ("rounded",))
    )
    monkeypatch.setattr(
        pruned_engine,
        "forecast",
        lambda problem, all_pairs, rival: rivals.append(rival) or Forecast(pruned),
    )
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: (8, 0.0))
    choice = _choice.choose(problem(20_000, 8))
    assert choice.engine.name == expected
    assert len(tried) == (pruned > 10)
    assert rivals == [10], "what it has promised stays"
    assert choice.prepared == (("rounded",) if expected == "direct" else ())


@pytest.mark.skipif(not MULTIPLIES_BYTES, reason="this processor does not multiply bytes")
@pytest.mark.parametrize(
    ("pruned", "close", "serve", "expected"),
    [
        (12, 0.0, True, "direct"),
        (12, 0.5, True, "pruned"),  # not asked: it would hardly lose
        (30, 0.5, True, "direct"),
        (30, 0.5, False, "pruned"),
    ],
)
def test_where_a_glance_finds_close_keys_bytes_are_tried_only_where_much_depends_on_it(
    load, monkeypatch, pruned, close, serve, expected
):
    """All pairs take 10 in bytes and 100 without."""
    load("direct", "pruned")
    tried = []
    monkeypatch.setattr(
        direct, "forecast", lambda problem, bytes_serve=True: 100 - 90 * bytes_serve
    )
    monkeypatch.setattr(direct, "bytes_serve", lambda _: tried.append(True) or (serve, ()))
    monkeypatch.setattr(pruned_engine, "forecast", lambda *_: Forecast(pruned))
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: (8, close))
    assert chosen(problem(20_000, 8)) == expected
    assert bool(tried) == (close == 0 or pruned > 20)


def test_where_a_glance_finds_close_keys_others_count_without_bytes(load, monkeypatch):
    load("direct", "longest", "pruned")
    told = []

    def forecast(problem, all_pairs, rival, others):
        told.append((rival, *others(50)))
        return Forecast(np.inf)

    monkeypatch.setattr(
        direct, "forecast", lambda problem, bytes_serve=True: 100 - 90 * bytes_serve
    )
    monkeypatch.setattr(direct, "bytes_may_serve", lambda _, close: close < 0.1)
    monkeypatch.setattr(longest_engine, "forecast", forecast)
    monkeypatch.setattr(pruned_engine, "forecast", lambda *_: Forecast(20))
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: (20, 0.2))
    monkeypatch.setattr(direct, "bytes_serve", lambda _: (False, ()))
    assert chosen(problem(20_000, 8)) == "pruned"
    assert told == [(10, 20, False)], "the rival is no longer what all pairs would take in bytes"


def test_what_loses_to_all_pairs_does_not_keep_others_from_a_look(load, monkeypatch):
    load("direct", "longest", "pruned")
    monkeypatch.setattr(direct, "forecast", lambda problem, bytes_serve=True: 100)
    for engine, promised in ((longest_engine, 120), (pruned_engine, 70)):
        monkeypatch.setattr(engine, "forecast", lambda *_, promised=promised: Forecast(promised))
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: (70, 0.0))
    assert chosen(problem(20_000, 8)) == "pruned"


def test_cones_are_asked_before_bytes_are_tried(load, monkeypatch):
    load("direct", "cones", "pruned")
    monkeypatch.setattr(direct, "bytes_serve", lambda _: pytest.fail("they were"))
    monkeypatch.setattr(direct, "forecast", lambda problem, bytes_serve=True: 40 - 20 * bytes_serve)
    monkeypatch.setattr(cones_engine, "forecast", lambda *_: Forecast(1))
    assert chosen(problem(20_000, 4)) == "cones"


@pytest.mark.parametrize(
    ("promised", "longest", "looks", "expected"),
    [
        (20, 30, True, "pruned"),  # also beside the other's rival
        (20, 50, True, "pruned"),  # the other does not look for long
        (70, 60, False, "longest"),
        (120, 80, False, "longest"),
        (120, 130, False, "direct"),
    ],
)
def test_a_glance_decides_who_looks(load, monkeypatch, promised, longest, looks, expected):
    """All pairs take 100."""
    load("direct", "longest", "pruned")
    monkeypatch.setattr(direct, "forecast", lambda problem, bytes_serve=True: 100)
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: (promised, 0.0))
    monkeypatch.setattr(
        longest_engine,
        "forecast",
        lambda _, __, rival, others: Forecast(
            longest if min(rival, others(longest)[0]) > longest else np.inf
        ),
    )
    looked = []
    monkeypatch.setattr(
        pruned_engine, "forecast", lambda *_: looked.append(True) or Forecast(promised)
    )
    assert chosen(problem(20_000, 8)) == expected
    assert bool(looked) == looks


def test_no_glance_where_another_promises_less_than_it_can(load, monkeypatch):
    load("direct", "longest", "pruned")
    monkeypatch.setattr(pruned_engine, "glance", lambda _: pytest.fail("it was taken"))
    assert chosen(problem_of(HARD["heavy tails"](20_000, 8, DTYPES[1]))) == "longest"


@pytest.mark.parametrize("seed", [1, 3])
def test_queries_that_are_asked_again_are_counted_without_bytes(load, seed):
    """Those of collinear points nearly tie with many keys."""
    load("direct", "longest", "pruned")
    rng = np.random.default_rng(seed)
    along, direction, middle = (rng.standard_normal(shape) for shape in ((20_000, 1), 16, 16))
    assert chosen(problem_of(along * direction + middle)) == "pruned"


@pytest.mark.parametrize(
    ("share", "looks", "expected"),
    [(0.001, True, "pruned"), (0.3, True, "pruned"), (0.9, False, "direct")],
)
def test_pruned_looks_only_where_a_glance_does_not_tell(load, monkeypatch, share, looks, expected):
    load("direct", "pruned")
    monkeypatch.setattr(direct, "bytes_serve", lambda _: (False, ()))
    monkeypatch.setattr(pruned_engine, "glance", lambda _: (share, 0.0))
    looked = []
    monkeypatch.setattr(
        pruned_engine, "estimate", lambda *_: looked.append(True) or (0.001, "prepared")
    )
    assert chosen(problem(20_000, 8)) == expected
    assert bool(looked) == looks


@pytest.mark.parametrize(
    ("others", "expected"),
    [({}, "direct"), ({"pruned": 500}, "direct"), ({"pruned": 95}, "pruned")],
)
def test_bytes_may_take_longer(load, monkeypatch, others, expected):
    """All pairs take 100 in bytes and 90 without, as for few queries; masks leave no other."""
    load("direct", *others)
    monkeypatch.setattr(direct, "forecast", lambda problem, bytes_serve=True: 90 + 10 * bytes_serve)
    monkeypatch.setattr(pruned_engine, "forecast", lambda *_: Forecast(others["pruned"]))
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: (60, 0.0))
    points = problem(20_000, 8)
    assert chosen(points) == expected
    assert chosen(points._replace(is_causal=True)) == "direct"
