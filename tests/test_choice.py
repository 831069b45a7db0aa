"""Which engine ``auto`` takes, and that taking one never shows in an answer."""

import subprocess
import sys

import numpy as np
import pytest

from fasthardmax._assemble import attention_problem
from fasthardmax.engines import ENGINES, SELECTIVE, _choice, direct
from fasthardmax.engines import pruned as pruned_engine
from fasthardmax.engines._byte_products import MULTIPLIES_BYTES

from .choosing import chosen, problem, problem_of

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


def test_numba_is_loaded_once_that_pays():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "[False, False, True, True]\n"


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


@pytest.mark.skipif(not MULTIPLIES_BYTES, reason="this processor does not multiply bytes")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_first_panel_tells_whether_bytes_serve(dtype):
    points = np.random.default_rng(0).standard_normal((3000, 16)).astype(dtype)
    assert direct.bytes_serve(problem_of(points))[0]
    points[17] *= 1e6  # all others are 0 in bytes
    assert not direct.bytes_serve(problem_of(points))[0]
    assert not direct.bytes_may_serve(problem_of(points), 0.5)
    assert direct.bytes_may_serve(problem_of(points), 1e-4)
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
    for each in (problems[1], problems[2], problems[1]):
        answer = runner.run(each)
        assert runner.name == "pruned"
        assert bits(answer) == bits(direct.run(each))
        assert np.isin(given[-1].keys.norm[:20_000], pruned_engine.arrange_keys(each, 0).norm).all()
    assert len({id(prepared) for prepared in given}) == 3


def test_an_engine_that_is_asked_for_is_not_looked_for(monkeypatch):
    monkeypatch.setattr(_choice, "choose", lambda *_: pytest.fail("it was"))
    points = problem(20, 2)
    for name in (*ENGINES, *SELECTIVE):
        runner = _choice.Runner(name, points)
        runner.run(points)
        assert runner.name == name
