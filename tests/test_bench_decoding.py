"""The benchmark of the decoders: its streams, its peers' answers, and its tables."""

import json
import shutil
from dataclasses import asdict, replace
from importlib.util import find_spec

import numpy as np
import pytest

from bench import decoding_tables, report, streams
from bench.contestants import DECODERS, Shape, hull_trick, load
from bench.figures import _DECODERS
from bench.playback import Playback
from bench.race import Effort, Entrant, Track
from bench.sections import SECTIONS, Field
from bench.streams import STREAMS, Decoding
from bench.verdict import canonical, judge

from . import oracle
from .test_bench import TINY, results_with

GRIDS = (streams.steps, streams.prompts, streams.traces, streams.memory, streams.agreement)
ABLE = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            (name == "torch-cache" and find_spec("torch") is None)
            or (name == "hull-trick" and shutil.which("c++") is None),
            reason=f"{name} is missing here",
        ),
    )
    for name in DECODERS
]


def stream(kind="random", n=60, d=2, *, heads=3, asked=20, **more):
    return Decoding(kind, n, d, "float64", asked, d, batch=(heads,), **more)


def answers(name, case):
    """The answers of every setting of a decoder to the queries that are checked."""
    for make in load(name, 1).decode.values():
        playback = Playback(make, case).ready(case.n_queries)
        playback.run()
        yield playback.answers


# --- Streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_hold_distinct_streams_of_known_kinds(grid, quick):
    listed = list(grid(quick))
    assert listed or (quick and grid is streams.memory)
    assert len(set(listed)) == len(listed)
    assert {case.kind for case in listed} <= set(STREAMS)


def test_every_target_is_measured():
    measured = {(case.kind, case.n_keys) for case in streams.steps(quick=False)}
    kind, small, large, _ = decoding_tables.GROWTH_TARGET
    assert measured >= {*decoding_tables.STEP_TARGETS, (kind, small), (kind, large)}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("part", ["steps", "trace"])
def test_streams_have_a_query_for_each_step(kind, part):
    case = stream(kind, part=part)
    keys, queries, values = case.tokens()
    assert keys.shape == values.shape == (case.n_tokens, 3, 2)
    assert queries.shape == (case.n_tokens - case.start, 3, 2)
    assert case.n_tokens == (60 if part == "trace" else 260)


@pytest.mark.parametrize("order", ["increasing", "decreasing", "shuffled"])
def test_parabola_queries_retrieve_one_token_of_the_past(order):
    arguments = stream(f"parabola, {order}").arguments()
    address = arguments["key"][..., 0] / 2
    assert np.array_equal(arguments["key"][..., 1], -(address**2))
    assert len(np.unique(address[0])) == 60
    steps = np.diff(address[0])
    assert {"increasing": np.all(steps == 1), "decreasing": np.all(steps == -1)}.get(order, True)
    found = oracle.attention(**{k: v for k, v in arguments.items() if k != "ties"})
    assert np.all(found.count == 1)
    assert np.array_equal(
        np.take_along_axis(address, found.first, axis=1), arguments["query"][..., 0]
    )


# --- Contestants --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "parabola, decreasing", "parabola, shuffled"])
@pytest.mark.parametrize("name", ABLE)
def test_decoders_answer_as_causal_attention_does(name, kind):
    case = stream(kind)
    arguments = case.arguments()
    expected = oracle.attention(**arguments).mean
    for answer in answers(name, case):
        assert np.array_equal(answer, expected)


@pytest.mark.parametrize("name", ABLE)
def test_decoders_keep_their_layers_apart(name):
    keys, queries, values = stream(asked=60, part="trace").tokens()
    shape = Shape(2, 3, 2, 2, np.dtype(np.float64), "mean")
    for make in load(name, 1).decode.values():
        decoder = make(shape)
        decoder.fill(1, keys, values)
        first = decoder.step(0, keys[1], queries[0], values[1])
        assert np.array_equal(first, values[1])
        assert np.array_equal(decoder.step(0, keys[1], queries[0], values[2]).shape, (3, 2))


def test_the_cache_gives_the_latest_or_the_mean_of_ties():
    for ties in ("mean", "last"):
        case = stream("lattice", heads=2, ties=ties)
        arguments = case.arguments()
        for name in ("cache", "cache-extend"):
            (answer,) = answers(name, case)
            assert np.array_equal(answer, oracle.attention(**arguments).mean)


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler here")
def test_the_hull_trick_finds_a_best_key_and_the_newest_of_equal_ones():
    keys = np.random.default_rng(0).integers(-3, 4, (300, 1, 2)).astype(float)
    order = np.arange(300.0).reshape(300, 1, 1)  # values name their token
    queries = np.array([(p, q) for p in range(-4, 5) for q in range(-4, 5) if p or q], float)
    decoder = load("hull-trick", 1).decode[""](Shape(1, 1, 2, 1, np.dtype(float), "mean"))
    decoder.fill(0, keys[:200], order[:200])
    for t, query in zip(range(200, 300), np.tile(queries, (2, 1)), strict=False):
        named = int(decoder.step(0, keys[t], query[None], order[t])[0, 0])
        winners = oracle.tie_set(query, keys[: t + 1, 0])
        assert named in winners
        assert named == max(j for j in winners if np.array_equal(keys[j], keys[named]))


def test_a_missing_compiler_is_named_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(hull_trick, "_BUILT", tmp_path)
    monkeypatch.setenv("CXX", "/no/such/compiler")
    monkeypatch.setenv("CC", "/no/such/compiler")
    with pytest.raises(ImportError, match=r"a C\+\+ compiler is needed: .*/no/such/compiler"):
        load("hull-trick", 1)


# --- Races --------------------------------------------------------------------------------------


def test_the_judge_sees_one_wrong_answer():
    case = stream()
    (answer,) = answers("cache", case)
    truth = canonical(case, 1e9)
    assert (judge(answer, truth).wrong, judge(answer, truth).checked) == (0, 60)
    answer[1, 3] += 1
    assert judge(answer, truth).wrong == 1 / 60


def test_a_trace_is_checked_at_its_end():
    case = stream(part="trace", n_layers=2, asked=5)
    assert np.array_equal(case.arguments()["attn_mask"], np.tri(5, 60, 55, dtype=bool))
    with Track(TINY) as track:
        (record,) = track.race(case, [Entrant("numpy-cache", 1)])
    assert (record["rows"], record["checked"], record["wrong"]) == (60, 15, 0)


@pytest.fixture
def small_grids(monkeypatch):
    grids = {
        "steps": [stream(n=400), stream(n=400, d=3)],
        "prompts": [stream(n=400, asked=1, part="prompt", name="prompt")],
        "traces": [stream("mixed", part="trace", n_layers=2, ties="last", name="trace")],
        "memory": [stream(n=400, name="memory")],
        "agreement": [stream("lattice", ties="last", name="agreement")],
    }
    for name, cases in grids.items():
        monkeypatch.setattr(streams, name, lambda quick, cases=cases: iter(cases))
    monkeypatch.setattr("bench.decoding.QUICK", Effort(2, call_seconds=0.01, oracle=1e9))


def test_section_times_and_checks_everyone(small_grids):
    names = ["cache", "cache-extend", "numpy-cache"]
    with Track(TINY) as track:
        records = list(SECTIONS["decoding"](Field(track, names, 2, quick=True)))
        results = results_with({"decoding": records})
        results["contestants"] = track.descriptions
    assert not [record for record in records if "error" in record]
    assert [r["name"] for r in records if r["case"]["part"] == "prompt"] == names
    assert [r["name"] for r in records if r["case"]["part"] == "trace"] == ["cache"]
    assert all(record["threads"] == 1 for record in records)
    own = [record for record in records if record["name"] == "cache" and "checked" in record]
    assert all(record["wrong"] == record["inexact"] == 0 for record in own)
    steps = [r for r in records if r["case"]["part"] == "steps" and "seconds" in r]
    for record in steps:
        assert all(us > 0 for us in decoding_tables.microseconds(record))
    assert "| numpy-cache |" in decoding_tables.memory(results)
    assert "fasthardmax, HardmaxCache | finds all" in decoding_tables.agreement(results)


# --- Tables -------------------------------------------------------------------------------------


def timed(case, name, seconds, rows, refilling=0.0, **more):
    return {
        "case": asdict(case), "name": name, "threads": 1, "setting": "", "rows": rows,
        "seconds": seconds, "index_seconds": [refilling] * len(seconds), "checked": 10,
        "wrong": 0.0, "inexact": 0.0, "tied": None, "not_first": None, **more,
    }  # fmt: skip


@pytest.fixture
def results():
    steps = [
        stream("random", 10_000, heads=19),
        stream("random", 300_000, heads=19),
        stream("parabola, shuffled", 300_000, heads=19),
    ]
    trace = stream("mixed", 200_000, heads=19, asked=16, n_layers=7, part="trace", name="trace")
    half = replace(trace, n_keys=100_000, part="steps", name="half of the trace")
    records = [
        timed(steps[0], "cache", [0.003, 0.003], 1000),
        timed(steps[1], "cache", [1.0036, 1.0036], 1000, refilling=1.0),
        timed(steps[1], "hull-trick", [0.0072, 0.0108], 1000, wrong=0.02, inexact=0.02),
        timed(steps[1], "numpy-cache", [0.1, 0.1], 10),
        timed(steps[2], "cache", [0.03, 0.03], 1000),
        timed(stream("random", 100_000, 64, heads=4), "cache", [0.01, 0.01], 1),
        timed(trace, "cache", [10.0], 200_000),
        timed(half, "cache", [0.01], 100),
        timed(half, "numpy-cache", [0.1], 10),
        {"case": asdict(replace(steps[0], n_keys=10_020)), "name": "cache", "bytes": 10_000_000},
        timed(stream(n=101, asked=1, part="prompt"), "cache-extend", [0.0025], 1),
        timed(stream("lattice", name="agreement, lattice"), "cache", [], 20),
        timed(stream("lattice", name="agreement, lattice"), "numpy-cache", [], 20, inexact=0.25),
    ]
    found = results_with({"decoding": records})
    described = found["contestants"]["numpy"]
    found["contestants"] = {
        name: described | {"title": title, "ties": "some"}
        for name, (title, *_) in _DECODERS.items()
    }
    return found | {"quick": False}


def test_steps_without_what_refilling_took(results):
    table = decoding_tables.steps(results)
    lead = "2.50 met | 2.25 to 2.75 | hull-trick"
    assert f"| 300,000 | 3.6 | 9 | 10,000 | 4 met | {lead} |  | hull-trick 2 % |" in table
    assert (
        "| parabola, shuffled, 19 heads, d = 2, float64 | 300,000 | 30 |  |  | 25 missed |" in table
    )


def test_bytes_of_the_keys_in_the_time_of_a_step(results):
    table = decoding_tables.steps(results)
    row = "| random, 4 heads, d = 64, float64 | 100,000 | 10,000 |  |  |  |  |  |  | 20.5 | 0 |"
    assert row in table


def test_growth_and_its_target(results):
    table = decoding_tables.growth(results)
    assert "| cache | 10,000 to 300,000 | 0.05 | 1.20 from 10,000 to 300,000 (1.5 met) |" in table


def test_trace_in_tokens_per_second(results):
    table = decoding_tables.traces(results)
    label = "| 200,000 tokens, 7 layers of 19 heads |"
    assert f"{label} cache | 20,000 | 20,000 to 20,000 | 12,000 met | all | 0 |" in table
    assert f"{label} numpy-cache | 100 | 100 to 100 |  | 10 steps at half the length | 0 |" in table
    assert table.count("| cache |") == 1


def test_memory_prompt_and_agreement(results):
    assert "| random, n = 10,020 | cache | 1,000 | 53 | 608 |" in decoding_tables.memory(results)
    assert "| random, 100 tokens | cache-extend | 2.5 |" in decoding_tables.prompts(results)
    assert "| NumPy | some | 25 % |" in decoding_tables.agreement(results)


def test_summary_puts_both_kinds_of_keys_in_a_cell(results):
    table = decoding_tables.summary(results)
    assert "| fasthardmax, HardmaxCache | 3 / – | 3.6 / 30 | 20,000 |" in table
    assert "| C++ hull trick | – / – | 9 / – | – |" in table


def test_report_holds_tables_and_figure(results, tmp_path):
    (tmp_path / report.RESULTS).write_text(json.dumps(results))
    report.write(tmp_path)
    text = (tmp_path / report.REPORT).read_text()
    for title in ("one step of all heads", "a prompt at once", "a whole trace", "growth with n"):
        assert f"## Decoding, {title}" in text
    assert "](decoding.png)" in text
    assert (tmp_path / "decoding.png").read_bytes().startswith(b"\x89PNG")
    short = report.short(tmp_path)
    assert short.startswith("On P, 2 cores, S, Python 3, ")
    assert "µs, one step of 19 heads" in short


def test_every_decoder_has_a_style_in_the_figure():
    assert set(_DECODERS) == {*DECODERS} - {"cache-extend"}
