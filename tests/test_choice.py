"""Which engine ``auto`` takes, and that taking one never shows in an answer."""

import subprocess
import sys

import numpy as np
import pytest

from fasthardmax._assemble import attention_problem
from fasthardmax.engines import ENGINES, SELECTIVE, _choice, direct
from fasthardmax.engines import cones as cones_engine
from fasthardmax.engines import longest as longest_engine
from fasthardmax.engines import pruned as pruned_engine
from fasthardmax.engines._byte_products import MULTIPLIES_BYTES
from fasthardmax.engines._forecast import Forecast

from .clouds import DTYPES
from .hard_clouds import HARD

SCRIPT = """
import sys
import numpy as np
import fasthardmax as fh
from fasthardmax.engines import _choice

points = np.random.default_rng(0).standard_normal((2000, 16))
expected = fh.hardmax_attention(points, points, points, engine="reference")
loaded = []
for _ in range(4):
    out = fh.hardmax_attention(points, points, points)
    assert out.tobytes() == expected.tobytes()
    loaded.append("numba" in sys.modules)
    _choice.LOADING_WORK = 0 if len(loaded) == 2 else _choice.LOADING_WORK
print(loaded)
"""


def problem_of(points, **options):
    every = {
        "attn_mask": None, "is_causal": False, "ties": "mean", "enable_gqa": False,
        "num_threads": 1,
    }  # fmt: skip
    return attention_problem(points, points, points, **every | options)[0]


def problem(n, d):
    return problem_of(np.zeros((n, d)))


def chosen(problem, calls=1):
    return _choice.choose(problem, calls).engine.name


def test_numba_is_loaded_once_that_pays():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "[False, False, True, True]\n"


@pytest.fixture(name="load")
def _load(monkeypatch):
    """Make it so that this process has loaded just these engines and done no work."""

    def loaded(*names):
        monkeypatch.setattr(_choice, "_loaded", lambda name: name in names)
        monkeypatch.setattr(_choice, "_spent", 0)

    return loaded


def test_small_calls_stay_with_the_compiled_engine(load):
    load("direct")
    assert chosen(problem(100, 3)) == "compiled"
    assert chosen(problem(200, 3)) == "direct"
    assert chosen(problem(4000, 3)) == "direct"


def test_no_engine_is_asked_where_all_pairs_are_few(load, monkeypatch):
    load("direct", *SELECTIVE)
    monkeypatch.setattr(type(ENGINES["direct"]), "can_run", lambda *_: pytest.fail("it was"))
    choice = _choice.choose(problem(900, 3))
    assert choice.engine.name == "direct"
    assert "few" in choice.reason


def test_an_engine_that_is_loaded_takes_smaller_calls(load):
    load()
    assert chosen(problem(1000, 3)) == "compiled"
    load("direct")
    assert chosen(problem(1000, 3)) == "direct"
    assert _choice._spent == 0, "they do not make the loading of another due"
    rng = np.random.default_rng(0)
    few, many = rng.standard_normal((50, 2)), rng.standard_normal((60_000, 2))
    every = {"attn_mask": None, "is_causal": False, "ties": "mean", "enable_gqa": False}
    few_keys = attention_problem(many, few, few, **every, num_threads=1)[0]
    assert chosen(few_keys) == "direct"
    load("direct", "cones")
    assert chosen(few_keys) == "cones"


def test_many_calls_count_as_one_large_one(load):
    load()
    assert chosen(problem(4000, 3), calls=2) == "compiled"
    load()
    assert chosen(problem(4000, 3), calls=1000) == "direct"


def test_near_linear_engines_are_loaded_once_that_pays(load):
    points = problem(30_000, 2)  # 3.6e9 multiply-adds
    load("direct")
    assert chosen(points) == "direct"
    assert chosen(points, calls=100) == "cones"
    load("direct", "cones")
    assert chosen(points) == "cones"


def test_the_data_decide(load):
    load("direct", "cones", "pruned")
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((40_000, 8))
    assert chosen(problem_of(wide)) == "pruned"
    load("direct", "cones", "longest", "pruned")
    assert chosen(problem_of(wide)) == "longest"
    on_a_sphere = wide[:, :6] / np.linalg.norm(wide[:, :6], axis=1, keepdims=True)
    choice = _choice.choose(problem_of(on_a_sphere))
    assert "cones" in choice.others  # every key wins somewhere
    assert chosen(problem_of(wide, is_causal=True)) == "direct"
    assert chosen(problem_of(rng.standard_normal((10_000, 64)))) == "direct"


def test_on_curves_cones_are_fast_and_in_clusters_on_a_sphere_they_are_not(load):
    """Most keys win somewhere in both."""
    load("direct", *SELECTIVE)
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, (100_000, 1))
    assert chosen(problem_of(t ** np.arange(1, 4), num_threads=2)) == "cones"
    middles = rng.standard_normal((50, 3))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    clusters = middles[rng.integers(50, size=100_000)] + 0.01 * rng.standard_normal((100_000, 3))
    assert chosen(problem_of(clusters, num_threads=2)) == "pruned"


@pytest.mark.parametrize(
    ("n_batch", "n", "d"), [(2000, 128, 2), (200, 1000, 3), (100, 1000, 8), (30, 4000, 2)]
)
def test_each_cloud_of_a_batch_takes_an_index_of_its_own(load, n_batch, n, d):
    load("direct", *SELECTIVE)
    clouds = np.random.default_rng(0).standard_normal((n_batch, n, d))
    assert chosen(problem_of(clouds, num_threads=2)) == "direct"


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
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: 8)
    choice = _choice.choose(problem(20_000, 8))
    assert choice.engine.name == expected
    assert len(tried) == (pruned > 10)
    assert rivals == [10], "what it has promised stays"
    assert choice.prepared == (("rounded",) if expected == "direct" else ())


def test_what_loses_to_all_pairs_does_not_keep_others_from_a_look(load, monkeypatch):
    load("direct", "longest", "pruned")
    monkeypatch.setattr(direct, "forecast", lambda problem, bytes_serve=True: 100)
    for engine, promised in ((longest_engine, 120), (pruned_engine, 70)):
        monkeypatch.setattr(engine, "forecast", lambda *_, promised=promised: Forecast(promised))
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: 70)
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
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: promised)
    monkeypatch.setattr(
        longest_engine,
        "forecast",
        lambda _, __, rival, others: Forecast(
            longest if min(rival, others(longest)) > longest else np.inf
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
    monkeypatch.setattr(pruned_engine, "glance", lambda _: share)
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
    monkeypatch.setattr(pruned_engine, "promise", lambda *_: 60)
    points = problem(20_000, 8)
    assert chosen(points) == expected
    assert chosen(points._replace(is_causal=True)) == "direct"


@pytest.mark.skipif(not MULTIPLIES_BYTES, reason="this processor does not multiply bytes")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_first_panel_tells_whether_bytes_serve(dtype):
    points = np.random.default_rng(0).standard_normal((3000, 16)).astype(dtype)
    assert direct.bytes_serve(problem_of(points))[0]
    points[17] *= 1e6  # all others are 0 in bytes
    assert not direct.bytes_serve(problem_of(points))[0]
    few_features = problem_of(points[:, :2])
    assert direct.bytes_serve(few_features) == (False, ()), "too few to try"


@pytest.mark.skipif(not MULTIPLIES_BYTES, reason="this processor does not multiply bytes")
@pytest.mark.parametrize("num_threads", [1, 3])
def test_keys_in_bytes_are_taken_up(monkeypatch, num_threads):
    points = np.random.default_rng(0).standard_normal((2, 3000, 16))
    points[1, 17] *= 1e6  # where bytes do not serve
    points[:, :7] = points[:, 7:14]  # ties
    looked_at = problem_of(points, num_threads=num_threads)
    expected = bits(direct.run(looked_at))
    prepared = direct.bytes_serve(looked_at)[1]
    monkeypatch.setattr(direct, "_prepare", lambda *_: pytest.fail("keys are prepared twice"))
    assert bits(direct.run(looked_at, *prepared)) == expected


def test_a_sequence_of_problems_is_looked_at_once_each(load, monkeypatch):
    load()
    asked = []
    choose = _choice.choose
    monkeypatch.setattr(
        _choice, "choose", lambda problem, calls=1: asked.append(calls) or choose(problem, calls)
    )
    points = problem(20, 2)
    runner = _choice.Runner("auto", points, calls=7)
    assert asked == [], "by what is run, and not by the size that is to come"
    for _ in range(3):
        runner.run(points)
    assert asked == [7, 1, 1]
    assert runner.name == "compiled"


def bits(answer):
    return [part.tobytes() for part in (answer.mean, answer.first, answer.count)]


@pytest.mark.parametrize("n_batch", [1, 2])
def test_a_run_from_what_the_look_made_gives_the_same_bits(load, monkeypatch, n_batch):
    """The keys' arrangement and the centres are taken up, for the first batch entry alone."""
    load("direct", "pruned")
    monkeypatch.setattr(pruned_engine, "_WORTH_A_LOOK", 0)
    monkeypatch.setattr(direct, "bytes_serve", lambda _: (False, ()))
    points = np.random.default_rng(0).standard_normal((n_batch, 20_000, 5))
    points[-1, :7] = points[-1, 7:14]  # ties
    looked_at = problem_of(points[:, None])
    choice = _choice.choose(looked_at)
    assert choice.engine.name == "pruned"
    arranged = []
    for name in ("arrange_keys", "find_centres"):
        made = getattr(pruned_engine, name)
        monkeypatch.setattr(
            pruned_engine, name,
            lambda problem, b, name=name, made=made: arranged.append((name, b)) or made(problem, b),
        )  # fmt: skip
    shared = pruned_engine.run(looked_at, *choice.prepared)
    assert {b for _, b in arranged} == set(range(1, n_batch))
    assert bits(shared) == bits(pruned_engine.run(looked_at)) == bits(direct.run(looked_at))


def test_what_a_look_made_serves_no_other_problem(load, monkeypatch):
    load("direct", "pruned")
    monkeypatch.setattr(pruned_engine, "_WORTH_A_LOOK", 0)
    monkeypatch.setattr(direct, "bytes_serve", lambda _: (False, ()))
    rng = np.random.default_rng(0)
    problems = [problem_of(rng.standard_normal((20_000, 5))) for _ in range(3)]
    given = []
    run = pruned_engine.run
    monkeypatch.setattr(
        pruned_engine,
        "run",
        lambda problem, prepared: given.append(prepared) or run(problem, prepared),
    )
    runner = _choice.Runner("auto", problems[0], calls=3)
    for problem in (problems[1], problems[2], problems[1]):
        answer = runner.run(problem)
        assert runner.name == "pruned"
        assert bits(answer) == bits(direct.run(problem))
        assert np.isin(
            given[-1].keys.norm[:20_000], pruned_engine.arrange_keys(problem, 0).norm
        ).all()
    assert len({id(prepared) for prepared in given}) == 3


def test_an_engine_that_is_asked_for_is_not_looked_for(monkeypatch):
    monkeypatch.setattr(_choice, "choose", lambda *_: pytest.fail("it was"))
    points = problem(20, 2)
    for name in (*ENGINES, *SELECTIVE):
        runner = _choice.Runner(name, points)
        runner.run(points)
        assert runner.name == name
