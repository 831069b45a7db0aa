"""Markdown tables of the decoders: steps, prompts, a trace, memory, and answers that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .contestants import CACHES
from .tables import cells, markdown, met, percent, timed
from .timing import growth_exponent, ratio, spread

__all__ = ["agreement", "growth", "memory", "prompts", "series", "steps", "summary", "traces"]

Record = dict[str, Any]
Results = dict[str, Any]

_SECTION = "decoding"
_OWN = "cache"
# Microseconds of a step at the size, for keys of which few can win and for those that all can.
STEP_TARGETS = {("random", 300_000): 4.0, ("parabola, shuffled", 300_000): 25.0}
STEP_TARGETS |= {(f"parabola, {order}", 300_000): 25.0 for order in ("increasing", "decreasing")}
GROWTH_TARGET = ("random", 10_000, 300_000, 1.5)  # kind; the time at a size over that at another
RATE_TARGET = 12_000  # tokens per second of the whole trace
LEAD_TARGET = 1.0


def microseconds(record: Record) -> list[float]:
    """Of each step (through every layer), round by round, without what is paid for refilling."""
    rounds = zip(record["seconds"], record["index_seconds"], strict=True)
    return [1e6 * (seconds - refilling) / record["rows"] for seconds, refilling in rounds]


def steps(results: Results) -> str:
    """Microseconds of a step by everyone, and the lead of the cache over the fastest other.

    From three features on, beside the rate at which one pass over all keys would read them.
    """
    records = _steps(results)
    names = list(dict.fromkeys(record["name"] for record in records))
    rows = []
    for cell in cells(records):
        case = cell[0]["case"]
        took = {record["name"]: microseconds(record) for record in cell}
        target = STEP_TARGETS.get((case["kind"], case["n_keys"]))
        own = took.get(_OWN)
        rows.append([
            _stream(case), f"{case['n_keys']:,}", *(_number(took.get(name)) for name in names),
            f"{target:g} {met(spread(own).median <= target)}" if own and target else "",
            *_lead(took), _reading(case, own), _differing(cell),
        ])  # fmt: skip
    header = ["µs a step", "n", *names, "target", "ahead by", "quartiles", "of", "keys, GB/s"]
    return markdown([*header, "rows that differ"], rows)


def growth(results: Results) -> str:
    """The fitted exponent of a step's time over n."""
    rows = []
    for stream, by_name in series(results).items():
        for name, by_size in by_name.items():
            if len(by_size) < 2:
                continue
            sizes, took = zip(*sorted(by_size.items()), strict=True)
            kind, small, large, most = GROWTH_TARGET
            target = ""
            if name == _OWN and stream.startswith(f"{kind}, ") and {small, large} <= {*sizes}:
                grown = by_size[large] / by_size[small]
                target = f"{grown:.2f} from {small:,} to {large:,} ({most} {met(grown <= most)})"
            rows.append([
                stream, name, f"{sizes[0]:,} to {sizes[-1]:,}",
                f"{growth_exponent(sizes, took):.2f}", target,
            ])  # fmt: skip
    return markdown(["step", "contestant", "n", "exponent", "times"], rows)


def series(results: Results) -> dict[str, dict[str, dict[int, float]]]:
    """``[stream][contestant][n]``: median microseconds of a step."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for record in _steps(results):
        by_size = found.setdefault(_stream(record["case"]), {}).setdefault(record["name"], {})
        by_size[record["case"]["n_keys"]] = spread(microseconds(record)).median
    return found


def prompts(results: Results) -> str:
    """Milliseconds of a prompt and the first step after it."""
    rows = []
    for cell in cells(timed(results, _SECTION, part="prompt")):
        case = cell[0]["case"]
        for record in cell:
            milliseconds = [1e3 * seconds for seconds in record["seconds"]]
            rows.append([
                f"{case['kind']}, {case['n_keys'] - 1:,} tokens", record["name"],
                _number(milliseconds), _quartiles(milliseconds), _differing([record]),
            ])  # fmt: skip
    return markdown(["prompt", "contestant", "ms", "quartiles", "rows that differ"], rows)


def traces(results: Results) -> str:
    """Tokens per second of a whole trace.

    Where only steps at half the length were timed, from those: for a cost that is proportional to
    the tokens so far they take the mean.
    """
    records = [r for r in timed(results, _SECTION) if r["case"]["n_layers"] > 1]
    whole = [record for record in records if record["case"]["part"] == "trace"]
    ran = {record["name"] for record in whole}
    rows = []
    for record in [*whole, *(record for record in records if record["name"] not in ran)]:
        case, rate = record["case"], [1e6 / step for step in microseconds(record)]
        tokens = case["n_keys"] * (1 if record in whole else 2)
        reached = spread(rate).median
        goal = record["name"] == _OWN and not results["quick"]
        rows.append([
            f"{tokens:,} tokens, {case['n_layers']} layers of {case['batch'][0]} heads",
            record["name"], _number(rate), _quartiles(rate),
            f"{RATE_TARGET:,} {met(reached >= RATE_TARGET)}" if goal else "",
            "all" if record in whole else f"{record['rows']:,} steps at half the length",
            _differing([record]),
        ])  # fmt: skip
    header = ["trace", "contestant", "tokens/s", "quartiles", "target", "timed", "rows that differ"]
    return markdown(header, rows)


def memory(results: Results) -> str:
    """Bytes of resident memory for each token, beside those of its keys and values alone."""
    rows = []
    for record in results["sections"].get(_SECTION, []):
        if "bytes" not in record:
            continue
        case = record["case"]
        each = record["bytes"] / (case["n_keys"] - case["n_queries"])
        itemsize = 4 if case["dtype"] == "float32" else 8
        alone = case["batch"][0] * (case["d"] + case["value_width"]) * itemsize
        rows.append([
            f"{case['kind']}, n = {case['n_keys']:,}", record["name"], f"{each:,.0f}",
            f"{each / case['batch'][0]:.0f}", alone,
        ])  # fmt: skip
    header = ["stream", "contestant", "bytes a token", "and head", "keys and values alone"]
    return markdown(header, rows)


def agreement(results: Results) -> str:
    """Shares of answers that are not the canonical ones, where ties and rounding decide."""
    records = [
        record
        for record in results["sections"].get(_SECTION, [])
        if record["case"]["name"].startswith("agreement") and "wrong" in record
    ]
    streams = list(dict.fromkeys(_points(record["case"]) for record in records))
    rows = []
    for name in dict.fromkeys(record["name"] for record in records):
        wrong = {_points(r["case"]): r["inexact"] for r in records if r["name"] == name}
        described = results["contestants"][name]
        shares = (percent(wrong[stream]) if stream in wrong else "–" for stream in streams)
        rows.append([described["title"], described["ties"], *shares])
    return markdown(["answers that differ, the latest of ties asked for", "ties", *streams], rows)


def summary(results: Results) -> str:
    """The short form: random keys / shuffled parabola keys, contestants down, n across."""
    found = series(results)
    pair = [
        next((by for stream, by in found.items() if stream.startswith(kind) and "float64" in stream
              and ", d = 2" in stream), {})
        for kind in ("random", "parabola, shuffled")
    ]  # fmt: skip
    sizes = sorted({n for by_name in pair for by_size in by_name.values() for n in by_size})
    rates = {
        record["name"]: 1e6 / spread(microseconds(record)).median
        for record in timed(results, _SECTION, part="trace")
    }
    rows = []
    for name in dict.fromkeys(name for by_name in pair for name in by_name):
        both = [
            " / ".join(_number([by[name][n]]) if n in by.get(name, {}) else "–" for by in pair)
            for n in sizes
        ]
        rate = f"{rates[name]:,.0f}" if name in rates else "–"
        rows.append([results["contestants"][name]["title"], *both, rate])
    header = ["µs, one step of 19 heads, d = 2", *(f"n = {n:,}" for n in sizes)]
    return markdown([*header, "tokens/s, 7 layers"], rows)


def _steps(results: Results) -> list[Record]:
    return timed(results, _SECTION, part="steps", n_layers=1)


def _stream(case: Record) -> str:
    return f"{case['kind']}, {case['batch'][0]} heads, d = {case['d']}, {case['dtype']}"


def _points(case: Record) -> str:
    return f"{case['kind']}, {case['dtype']}"


def _lead(took: dict[str, list[float]]) -> list[str]:
    """How far the cache is ahead of the fastest other, with quartiles, and of whom."""
    others = {name: seconds for name, seconds in took.items() if name not in CACHES}
    if _OWN not in took or not others:
        return ["", "", ""]
    best = min(others, key=lambda name: spread(others[name]).median)
    lead = ratio(others[best], took[_OWN])
    reached = met(lead.median >= LEAD_TARGET)
    return [f"{lead.median:.2f} {reached}", f"{lead.low:.2f} to {lead.high:.2f}", best]


def _reading(case: Record, own: Sequence[float] | None) -> str:
    """Gigabytes of keys per second of the cache, were it to read all of them."""
    if own is None or case["d"] < 3:
        return ""
    keys = case["batch"][0] * case["n_keys"] * case["d"] * (4 if case["dtype"] == "float32" else 8)
    return f"{keys / spread(own).median / 1e3:.1f}"


def _differing(cell: Sequence[Record]) -> str:
    wrong = [f"{r['name']} {percent(r['inexact'])}" for r in cell if r.get("inexact")]
    return ", ".join(wrong) or "0"


def _number(values: Sequence[float] | None) -> str:
    if values is None:
        return ""
    median = spread(values).median
    return f"{median:,.0f}" if median >= 100 else f"{median:.3g}"


def _quartiles(values: Sequence[float]) -> str:
    both = spread(values)
    return f"{_number([both.low])} to {_number([both.high])}"
