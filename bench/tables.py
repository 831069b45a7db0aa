"""Markdown tables of the results: one function a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .contestants import OWN
from .timing import Spread, geometric_mean, growth_exponent, ratio, spread

__all__ = [
    "agreement", "attention", "best_rate", "ceilings", "cells", "contestants", "details",
    "exponents", "growth_series", "loaded", "markdown", "memory", "met", "pairs_per_second",
    "percent", "rescoring", "roofline", "small_calls", "speed", "speed_by_d", "threads", "timed",
    "versus_best",
]  # fmt: skip

Record = dict[str, Any]
Results = dict[str, Any]

# Shares of the fused multiply-add ceiling, and the lead over the best peer, that the direct engine
# is built to reach.
CEILING_TARGETS = {2: 0.4, 3: 0.4, 4: 0.4, 8: 0.65, 16: 0.65, 64: 0.65, 256: 0.75, 1024: 0.75}
LEAD_TARGETS = {2: 1.5, 3: 1.5, 8: 1.5, 16: 1.5, 64: 1.5, 256: 1.25}
CAUSAL_TARGET = 0.6
_ALL_N = 20_000  # the size at which every d is measured


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, its first column to the left and the others to the right; "" without rows."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, rule, *lines])


def best_rate(results: Results, quantity: str, dtype: str) -> float:
    """The highest rate measured on all cores, at the start or at the end of the run."""
    cores = str(results["machine"]["cores"])
    return max(measured[quantity][dtype][cores] for measured in results["ceilings"])


def pairs_per_second(record: Record) -> Spread:
    """Spread of the rate at which pairs were answered for, from the rows that were timed."""
    pairs = _pairs_timed(record)
    return spread([pairs / seconds for seconds in record["seconds"]])


def timed(results: Results, section: str, **wanted: Any) -> list[Record]:
    """Records of a section that have timings and whose case has the wanted fields."""
    return [
        record
        for record in results["sections"].get(section, [])
        if record.get("seconds")
        and "error" not in record
        and all(record["case"][name] == value for name, value in wanted.items())
    ]


def ceilings(results: Results) -> str:
    rows = []
    for quantity, title, unit in (
        ("fma", "fused multiply-adds", "GFLOP/s"),
        ("blas", "square matrix product", "GFLOP/s"),
        ("copy", "copy (read + written)", "GB/s"),
    ):
        for dtype, by_threads in results["ceilings"][0][quantity].items():
            for threads in by_threads:
                both = [m[quantity][dtype][threads] / 1e9 for m in results["ceilings"]]
                label = title if dtype == "any" else f"{title}, {dtype}"
                rows.append([label, threads, *(f"{x:.1f}" for x in both), unit])
    between = ["between sections"] * (len(results["ceilings"]) - 2)
    runs = ["at the start", *between, "at the end"][: len(results["ceilings"])]
    return markdown(["limit of the machine", "threads", *runs, "unit"], rows)


def contestants(results: Results) -> str:
    """Who took part, in which version, and what it does with ties; and who is missing, and why."""
    rows = [
        [name, c["title"], c["version"], ", ".join(c["dtypes"]), c["ties"], c["note"]]
        for name, c in results["contestants"].items()
    ]
    rows += [[name, f"missing: {why}", "", "", "", ""] for name, why in results["missing"].items()]
    return markdown(["name", "what runs", "version", "dtypes", "ties", "set up and included"], rows)


def speed(results: Results, kind: str, dtype: str) -> str:
    """10^9 pairs per second of every contestant (columns) in every cell (rows)."""
    records = timed(results, "winners", kind=kind, dtype=dtype)
    names = _names(records)
    rows = []
    for cell in cells(records):
        by_name = {record["name"]: record for record in cell}
        rates = {name: pairs_per_second(by_name[name]).median / 1e9 for name in by_name}
        best = max(rates.values())
        case = cell[0]["case"]
        rows.append(
            [f"{case['n_keys']:,}", case["d"]]
            + [_emphasised(rates[name], best) if name in rates else "" for name in names]
        )
    return markdown(["n", "d", *names], rows)


def speed_by_d(results: Results) -> str:
    """The short form: contestants down, d across, float32 / float64, at one n."""
    records = timed(results, "winners", kind="gaussian", n_keys=_ALL_N)
    dims = sorted({record["case"]["d"] for record in records})
    rows = []
    for name in _names(records):
        row = [results["contestants"][name]["title"]]
        for d in dims:
            cell = [r for r in records if r["name"] == name and _is(r, d=d)]
            rates = {r["case"]["dtype"]: pairs_per_second(r).median / 1e9 for r in cell}
            row.append(_both(rates, _digits))
        rows.append(row)
    return markdown([f"10^9 pairs/s, n = {_ALL_N:,}", *(f"d = {d}" for d in dims)], rows)


def versus_best(results: Results) -> str:
    """The lead of the direct engine over the fastest other tool, round by round.

    Beside it the lead that the fused multiply-add ceiling would give: no engine of all pairs in
    this arithmetic can lead by more.
    """
    rows = []
    for cell in cells(timed(results, "winners")):
        own = next((record for record in cell if record["name"] == "direct"), None)
        others = [record for record in cell if record["name"] not in OWN]
        if own is None or not others:
            continue
        rival = max(others, key=lambda record: pairs_per_second(record).median)
        per_pair = [s / _pairs_timed(rival) for s in rival["seconds"]]
        lead = ratio(per_pair, [s / _pairs_timed(own) for s in own["seconds"]])
        case = own["case"]
        target = LEAD_TARGETS.get(case["d"])
        at_most = best_rate(results, "fma", case["dtype"]) / (2 * case["d"])
        at_most /= pairs_per_second(rival).median
        rows.append([
            f"{case['kind']}, {case['dtype']}", f"{case['n_keys']:,}", case["d"], rival["name"],
            f"{lead.median:.2f}", f"{lead.low:.2f} to {lead.high:.2f}", f"{at_most:.2f}",
            "" if target is None else f"{target} {_verdict(lead.median, target, at_most)}",
        ])  # fmt: skip
    header = ["points", "n", "d", "best peer", "direct is faster by", "quartiles"]
    return markdown([*header, "at the ceiling", "target"], rows)


def _verdict(lead: float, target: float, at_most: float) -> str:
    return met(lead >= target) + (", beyond the ceiling" if lead < target > at_most else "")


def roofline(results: Results) -> str:
    """Pairs per second in units of the fused multiply-add ceiling, 2 d operations a pair."""
    rows = []
    records = timed(results, "winners", kind="gaussian", n_keys=_ALL_N)
    for d in sorted({record["case"]["d"] for record in records}):
        row: list[object] = [d]
        target = CEILING_TARGETS.get(d)
        for dtype in ("float32", "float64"):
            own = [r for r in records if r["name"] == "direct" and _is(r, d=d, dtype=dtype)]
            if not own:
                row.append("")
                continue
            rate = _pairs_timed(own[0]) / geometric_mean(own[0]["seconds"])
            share = rate * 2 * d / best_rate(results, "fma", dtype)
            row.append(f"{share:.2f} {met(share >= target) if target else ''}".strip())
        rows.append([*row, target or ""])
    return markdown(["d", "float32", "float64", "target"], rows)


def exponents(results: Results) -> str:
    """How the time of all n queries grows with n: the fitted exponent of each contestant."""
    rows = []
    for name, by_size in growth_series(results).items():
        if len(by_size) < 2:
            continue
        sizes, seconds = zip(*sorted(by_size.items()), strict=True)
        fitted = growth_exponent(sizes, seconds)
        rows.append([name, f"{sizes[0]:,} to {sizes[-1]:,}", f"{fitted:.2f}"])
    return markdown(["contestant", "n", "exponent"], rows)


def growth_series(results: Results) -> dict[str, dict[int, float]]:
    """``[contestant][n]``: median seconds for all n queries, at the d and dtype of the section."""
    grown = timed(results, "growth")
    if not grown:
        return {}
    case = grown[0]["case"]
    same = {name: case[name] for name in ("kind", "d", "dtype")}
    series: dict[str, dict[int, float]] = {}
    for record in [*grown, *timed(results, "winners", **same)]:
        seconds = spread(record["seconds"]).median * record["case"]["n_queries"] / record["rows"]
        series.setdefault(record["name"], {})[record["case"]["n_keys"]] = seconds
    return series


def agreement(results: Results) -> str:
    """Shares of rows whose winner (or mean) is not canonical, and how ties between keys fell."""
    records = [r for r in results["sections"].get("agreement", []) if "wrong" in r]
    kinds = list(dict.fromkeys(record["case"]["kind"] for record in records))
    rows = []
    for name in _names(records):
        mine = [record for record in records if record["name"] == name]
        # Means are looked at only where a tool gives no winners.
        winners = [record for record in mine if record["case"]["value_width"] is None] or mine
        row = [results["contestants"][name]["title"], results["contestants"][name]["ties"]]
        for kind in kinds:
            wrong = {r["case"]["dtype"]: r["wrong"] for r in winners if _is(r, kind=kind)}
            row.append(_both(wrong, percent))
        lost = [r["not_first"] for r in winners if r["not_first"] is not None]
        rows.append([*row, percent(max(lost)) if lost else "–"])
    header = ["rows that differ, float32 / float64", "ties", *kinds, "tied rows, not the first key"]
    return markdown(header, rows)


def attention(results: Results) -> str:
    """Milliseconds of a call with values, the effect of masks, and the rows that differ."""
    rows = []
    records = timed(results, "attention")
    for cell in cells(records):
        case = cell[0]["case"]
        for record in cell:
            full = [
                r
                for r in records
                if r["name"] == record["name"]
                and r["case"] == case | {"mask": "none", "name": "full"}
            ]
            share = ""
            if case["mask"] != "none" and full:
                against = spread(record["seconds"]).median / spread(full[0]["seconds"]).median
                share = f"{against:.2f}"
                if case["mask"] == "causal" and record["name"] in OWN:
                    share += f" (target {CAUSAL_TARGET} {met(against <= CAUSAL_TARGET)})"
            time = spread(record["seconds"])
            rows.append([
                f"{case['name']}, {case['dtype']}", _shape(case), record["name"],
                f"{time.median * 1e3:.3g}", f"{time.low * 1e3:.3g} to {time.high * 1e3:.3g}",
                share, percent(record["wrong"]), percent(record["inexact"]),
            ])  # fmt: skip
    header = [
        "case", "batch x queries x keys, d, width", "contestant", "ms", "quartiles",
        "of the full time", "rows off by 0.1 %", "rows not bit for bit",
    ]  # fmt: skip
    return markdown(header, rows)


def small_calls(results: Results) -> str:
    """Microseconds of a call that has next to nothing to do."""
    rows = []
    for record in timed(results, "small calls"):
        time = spread(record["seconds"])
        rows.append([
            f"{record['case']['name']}, {_shape(record['case'])}", record["case"]["dtype"],
            record["name"], f"{time.median * 1e6:.1f}",
            f"{time.low * 1e6:.1f} to {time.high * 1e6:.1f}",
        ])  # fmt: skip
    return markdown(["call", "dtype", "contestant", "µs", "quartiles"], rows)


def threads(results: Results) -> str:
    """The direct engine on more threads than one."""
    rows = []
    for cell in cells(timed(results, "threads")):
        alone = cell[0]
        for record in cell[1:]:
            gain = ratio(_full_seconds(alone), _full_seconds(record))
            case = record["case"]
            rows.append([
                _cloud(case), record["threads"],
                f"{gain.median:.2f}", f"{gain.low:.2f} to {gain.high:.2f}",
            ])  # fmt: skip
    return markdown(["case", "threads", "times one thread", "quartiles"], rows)


def loaded(results: Results) -> str:
    """Time with one core kept busy by another process, over the time without."""
    records = [record for record in timed(results, "loaded") if "loaded_seconds" in record]
    names = _names(records)
    rows = []
    for cell in cells(records):
        slower = {r["name"]: ratio(r["loaded_seconds"], r["seconds"]).median for r in cell}
        row = [f"{slower[name]:.2f}" if name in slower else "–" for name in names]
        rows.append([_cloud(cell[0]["case"]), *row])
    return markdown(["time with a core busy / without", *names], rows)


def rescoring(results: Results) -> str:
    """How much the direct engine scores again, canonically."""
    rows = []
    for record in results["sections"].get("rescoring", []):
        case = record["case"]
        rows.append([
            f"{case['kind']}, n = {case['n_keys']:,}, d = {case['d']}", case["dtype"],
            record["block"], percent(record["again"]),
        ])  # fmt: skip
    header = ["points", "dtype", "keys a block", "queries that needed more than one block"]
    return markdown(header, rows)


def memory(results: Results) -> str:
    """Growth of the peak of resident memory in one call, beside the size of the score matrix."""
    rows = []
    for record in results["sections"].get("memory", []):
        case = record["case"]
        whole = case["n_queries"] * case["n_keys"] * (4 if case["dtype"] == "float32" else 8)
        grown = f"{record['bytes'] / 2**20:.1f}" if "bytes" in record else record["error"]
        rows.append([record["name"], grown, f"{whole / 2**20:.0f}"])
    return markdown(["contestant", "MiB more at the peak", "MiB of all scores"], rows)


def details(results: Results) -> str:
    """Every timing: the setting that was fastest, the rows that were timed, and the spread."""
    rows = []
    for section in ("winners", "growth", "loaded"):
        for record in results["sections"].get(section, []):
            case = record["case"]
            label = f"{section}: {case['kind']}, {_cloud(case)}"
            if "error" in record:
                rows.append([label, record["name"], record["error"], "", "", "", ""])
                continue
            time = spread(record["seconds"])
            rows.append([
                label, record["name"], record["setting"],
                f"{record['rows']:,} of {case['n_queries']:,}",
                f"{time.median * 1e3:.4g}", f"{time.low * 1e3:.4g} to {time.high * 1e3:.4g}",
                f"{percent(record['wrong'])} of {record['checked']:,}",
            ])  # fmt: skip
    header = [
        "case",
        "contestant",
        "setting",
        "queries timed",
        "ms",
        "quartiles",
        "rows that differ",
    ]
    return markdown(header, rows)


def _pairs_timed(record: Record) -> float:
    return float(record["rows"] * record["case"]["n_keys"])


def _full_seconds(record: Record) -> list[float]:
    """Seconds scaled to all queries of the case."""
    return [s * record["case"]["n_queries"] / record["rows"] for s in record["seconds"]]


def _is(record: Record, **wanted: Any) -> bool:
    return all(record["case"][name] == value for name, value in wanted.items())


def _names(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(record["name"] for record in records))


def cells(
    records: Iterable[Record], key: Callable[[Record], str] = lambda record: str(record["case"])
) -> list[list[Record]]:
    """The records of each case, or of each value of ``key``, together."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return list(found.values())


def _both(by_dtype: dict[str, float], text: Callable[[float], str]) -> str:
    """One cell for both dtypes, with a dash for one that was not run."""
    return " / ".join(
        text(by_dtype[dtype]) if dtype in by_dtype else "–" for dtype in ("float32", "float64")
    )


def _cloud(case: Record) -> str:
    return f"n = {case['n_keys']:,}, d = {case['d']}, {case['dtype']}"


def _shape(case: Record) -> str:
    sizes = [*case["batch"], case["n_queries"], case["n_keys"]]
    return f"{' x '.join(str(size) for size in sizes)}, {case['d']}, {case['value_width']}"


def _digits(x: float) -> str:
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def _emphasised(rate: float, best: float) -> str:
    return f"**{_digits(rate)}**" if rate == best else _digits(rate)


def percent(share: float) -> str:
    if share == 0:
        return "0"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def met(reached: bool) -> str:
    return "met" if reached else "missed"
