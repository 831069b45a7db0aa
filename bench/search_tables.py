"""Markdown tables of the near-linear races: all pairs, other tools, hard data, growth."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from .contestants import INDEXED
from .searching import OWN, UPDATE
from .tables import best_rate, cells, markdown, met, percent, timed
from .timing import growth_exponent, spread

__all__ = [
    "EXPONENT_TARGET",
    "growth",
    "growth_series",
    "hard",
    "near_linear",
    "peers",
    "summary",
]

Record = dict[str, Any]
Results = dict[str, Any]

# (kind, d): how many times faster than all pairs, and in how many bare update passes.
TARGETS: dict[tuple[str, int], tuple[float, float | None]] = {
    ("gaussian", 2): (4000, 8), ("cube", 2): (4000, 8), ("ball", 2): (800, 60),
    ("circle", 2): (150, 300), ("gaussian", 3): (1200, 25), ("cube", 3): (1200, 25),
    ("ball", 3): (250, 180), ("gaussian", 4): (60, None), ("gaussian", 5): (25, None),
    ("gaussian", 6): (10, None), ("gaussian", 8): (5, None), ("gaussian", 16): (1.5, None),
    ("clustered", 8): (10, None), ("clustered", 16): (10, None), ("clustered", 64): (5, None),
}  # fmt: skip
# The sizes that the targets are for, by d.
_TARGET_N = {2: 1_000_000, 3: 1_000_000}
_TARGET_N_ELSE = 100_000
LEADS = {"ckdtree": 20, "sklearn-trees": 20, "hull": 8, "hull-angles": 8}  # at n = 10^6, d <= 3
WORST_TARGET = 1.3
EXPONENT_TARGET = 1.1
MEMORY_TARGET = 4e9
_COLUMNS = (*OWN[1:], OWN[0])
_CHOICE = ("engine", "scored", "reason")


def full_seconds(record: Record) -> float:
    """Median seconds for all queries; an index of the keys is built once however many they are."""
    factor = record["case"]["n_queries"] / record["rows"]
    rounds = zip(record["seconds"], record["index_seconds"], strict=True)
    return spread([index + (seconds - index) * factor for seconds, index in rounds]).median


def near_linear(results: Results) -> str:
    """``auto`` and the package's other engines against all pairs and the bare update pass."""
    rows = []
    for cell in _by_cloud(timed(results, "near-linear")):
        case = cell[0]["case"]
        times, update = _times(cell, OWN), _times(cell, [UPDATE]).get(UPDATE)
        auto, direct = times.get("auto"), times.get("direct")
        whole, passes = _targets(case)
        layer = [r for r in cell if r["case"]["value_width"] is not None]
        rows.append([
            _cloud(case),
            *(_text(times.get(name), 1e3) for name in _COLUMNS),
            _against(direct, auto, whole), _against(_at_ceiling(results, case), auto, None),
            _against(auto, update, passes, at_most=True),
            _against(full_seconds(layer[0]) if layer else None, update, None),
            _choice(cell)["engine"], _scored(cell),
            _scaled(cell, OWN),
        ])  # fmt: skip
    header = [
        "ms for all n queries, float64", *_COLUMNS,
        "auto faster than direct by", "than products at the ceiling by",
        "auto in bare update passes", "with the means", "auto ran", "keys scored per query",
        "timed on a sample and scaled",
    ]  # fmt: skip
    return markdown(header, rows)


def summary(results: Results) -> str:
    """The short form: one line for each kind of points, ``auto`` beside all pairs and the rest."""
    rows = []
    for cell in _by_cloud(timed(results, "near-linear")):
        times = _times(cell)
        auto, update = times.get("auto"), times.get(UPDATE)
        rivals = {name: seconds for name, seconds in times.items() if name not in (*OWN, UPDATE)}
        best = min(rivals, key=lambda name: rivals[name]) if rivals else ""
        rows.append([
            _cloud(cell[0]["case"]), _text(auto, 1e3), _choice(cell)["engine"],
            _against(auto, update, None), _against(times.get("direct"), auto, None),
            _against(_at_ceiling(results, cell[0]["case"]), auto, None),
            _against(rivals.get(best), auto, None), best,
        ])  # fmt: skip
    header = [
        "float64, all n queries", "auto, ms", "ran", "in bare update passes", "times direct",
        "times float64 products at the ceiling", "times the fastest other tool", "which is",
    ]  # fmt: skip
    return markdown(header, rows)


def peers(results: Results) -> str:
    """Every other tool in every cell: its best setting, its time with its index, its mistakes."""
    rows = []
    everyone = results["sections"].get("near-linear", [])
    for cell in _by_cloud(everyone):
        case = cell[0]["case"]
        winners = [record for record in cell if record["case"]["value_width"] is None]
        ran = [record for record in winners if record.get("seconds") and "error" not in record]
        times = _times(ran, ["auto", UPDATE])
        for record in winners:
            name = record["name"]
            if name in (*OWN, UPDATE):
                continue
            if "error" in record:
                why = textwrap.shorten(record["error"], 80, placeholder=" ...")
                rows.append([_cloud(case), name, f"cannot run: {why}", *[""] * 6])
                continue
            seconds = full_seconds(record)
            index = spread(record["index_seconds"]).median
            target = LEADS.get(name) if _has_targets(case) and case["d"] <= 3 else None
            rows.append([
                _cloud(case), name, record["setting"], _text(seconds, 1e3),
                _text(index, 1e3) if name in INDEXED else "",
                _against(seconds, times.get(UPDATE), None),
                _against(seconds, times.get("auto"), target),
                "all" if record["rows"] == case["n_queries"] else f"{record['rows']:,}, scaled",
                f"{percent(record['wrong'])} of {record['checked']:,}",
            ])  # fmt: skip
        for name, why in _left_out(results, winners):
            rows.append([_cloud(case), name, f"not run: {why}", *[""] * 6])
    header = [
        "points", "tool", "setting", "ms for all n queries", "of it the index",
        "in bare update passes", "auto is faster by", "queries timed", "rows that differ",
    ]  # fmt: skip
    return markdown(header, rows)


def hard(results: Results) -> str:
    """``auto`` where a search is hard, over all pairs and over the best of the own engines."""
    rows = []
    for cell in _by_cloud(results["sections"].get("hard", [])):
        case = cell[0]["case"]
        times = _times([r for r in cell if r.get("seconds") and "error" not in r])
        auto = times.get("auto")
        own = {name: times[name] for name in OWN if name in times}
        best = min(own, key=lambda name: own[name]) if own else ""
        failed = {record["name"]: "cannot run" for record in cell if "error" in record}
        rows.append([
            _cloud(case), case["dtype"],
            *(_text(times.get(name), 1e3) for name in _COLUMNS),
            _against(auto, times.get("direct"), WORST_TARGET, at_most=True),
            _against(auto, own.get(best), WORST_TARGET, at_most=True), best,
            _choice(cell)["engine"], _scored(cell),
            *(failed.get(name) or _text(times.get(name), 1e3) for name in ("hull", "ckdtree")),
            _differing(cell), _scaled(cell),
        ])  # fmt: skip
    header = [
        "ms for all n queries", "dtype", *_COLUMNS, "auto / direct",
        "auto / best", "best", "auto ran", "keys scored per query", "hull", "ckdtree",
        "rows that differ", "timed on a sample and scaled",
    ]  # fmt: skip
    return markdown(header, rows)


def choices(results: Results) -> str:
    """What ``auto`` chose for each cloud, and why, where the package tells."""
    rows = []
    for section in ("near-linear", "hard"):
        for cell in _by_cloud(results["sections"].get(section, [])):
            choice = _choice(cell)
            if choice["reason"]:
                label = f"{_cloud(cell[0]['case'])}, {cell[0]['case']['dtype']}"
                rows.append([label, *(choice[field] for field in _CHOICE)])
    return markdown(["points", "engine", "keys scored per query", "why"], rows)


def growth(results: Results) -> str:
    """The fitted exponent of time over n, and the peak of memory in the largest run."""
    rows = []
    for d, series in growth_series(results).items():
        for name, by_size in series.items():
            if len(by_size) < 2:
                continue
            sizes, seconds = zip(*sorted(by_size.items()), strict=True)
            fitted = growth_exponent(sizes, seconds)
            target = f" ({EXPONENT_TARGET} {met(fitted <= EXPONENT_TARGET)})"
            rows.append([
                f"gaussian, d = {d}", name, f"{sizes[0]:,} to {sizes[-1]:,}",
                f"{fitted:.2f}{target if name == 'auto' else ''}", _text(seconds[-1], 1e3),
                _memory(results, d, name, sizes[-1]), _sampled_sizes(results, d, name),
            ])  # fmt: skip
    header = [
        "points", "contestant", "n", "exponent", "ms at the largest", "MiB more at its peak",
        "timed on a sample and scaled",
    ]  # fmt: skip
    return markdown(header, rows)


def growth_series(results: Results) -> dict[int, dict[str, dict[int, float]]]:
    """``[d][contestant][n]``: seconds for all n Gaussian queries."""
    series: dict[int, dict[str, dict[int, float]]] = {}
    for record in _grown(results):
        by_name = series.setdefault(record["case"]["d"], {})
        by_size = by_name.setdefault(record["name"], {})
        by_size[record["case"]["n_keys"]] = full_seconds(record)
    return series


def _grown(results: Results) -> list[Record]:
    """Timings of Gaussian points in the plane and in space, from both sections."""
    return [
        record
        for section in ("near-linear growth", "near-linear")
        for record in timed(results, section, kind="gaussian", value_width=None)
        if record["case"]["d"] <= 3 and record["name"] != UPDATE
    ]


def _sampled_sizes(results: Results, d: int, name: str) -> str:
    sizes = sorted(
        record["case"]["n_keys"]
        for record in _grown(results)
        if (record["case"]["d"], record["name"]) == (d, name)
        and record["rows"] < record["case"]["n_queries"]
    )
    return ", ".join(f"n = {n:,}" for n in sizes)


def _memory(results: Results, d: int, name: str, n: int) -> str:
    for record in results["sections"].get("near-linear growth", []):
        case = record["case"]
        if record["name"] == name and (case["d"], case["n_keys"]) == (d, n) and "bytes" in record:
            points = n * d * (4 if case["dtype"] == "float32" else 8)
            reached = met(record["bytes"] + points <= MEMORY_TARGET)
            target = f" (4 GB with the points {reached})" if n >= 10_000_000 else ""
            return f"{record['bytes'] / 2**20:.0f} + {points / 2**20:.0f} for the points{target}"
    return ""


def _by_cloud(records: Sequence[Record]) -> list[list[Record]]:
    """Records of the same points together, winners and means."""
    form = {"value_width": None, "values": "random"}
    return cells(records, lambda record: str(record["case"] | form))


def _times(records: Sequence[Record], names: Sequence[str] | None = None) -> dict[str, float]:
    """Seconds for all queries by contestant, of those asked for their winners."""
    return {
        record["name"]: full_seconds(record)
        for record in records
        if record["case"]["value_width"] is None and (names is None or record["name"] in names)
    }


def _at_ceiling(results: Results, case: Record) -> float:
    """The least seconds in which all pairs can be multiplied in the dtype, 2 d operations each.

    ``direct`` may take less, as it multiplies bytes.
    """
    pairs: int = case["n_queries"] * case["n_keys"]
    return pairs * 2 * case["d"] / best_rate(results, "fma", case["dtype"])


def _left_out(results: Results, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Tools of the run that did not take this case, and why."""
    case = records[0]["case"]
    here = {record["name"] for record in records}
    left = []
    for name, described in results["contestants"].items():
        most = described.get("max_features")
        if name in OWN or name in here:
            continue
        if most is not None and case["d"] > most:
            left.append((name, f"to {most} features"))
        elif name == "faiss-l2" and case["dtype"] not in described["dtypes"]:
            left.append((name, f"no {case['dtype']}"))
    return left


def _has_targets(case: Record) -> bool:
    return case["n_keys"] == _TARGET_N.get(case["d"], _TARGET_N_ELSE)


def _targets(case: Record) -> tuple[float | None, float | None]:
    if not _has_targets(case):
        return None, None
    return TARGETS.get((case["kind"], case["d"]), (None, None))


def _choice(cell: Sequence[Record]) -> dict[str, str]:
    """What ``auto`` did, in words: empty where the package does not tell."""
    for record in cell:
        told = record.get("explained")
        if record["name"] == "auto" and told:
            return {
                "engine": told["engine"], "scored": f"{told['scored']:.3g}",
                "reason": told["reason"],
            }  # fmt: skip
    return dict.fromkeys(_CHOICE, "")


def _scored(cell: Sequence[Record]) -> str:
    """Keys scored per query by each engine that tells."""
    told = [(r["name"], r["explained"]["scored"]) for r in cell if r.get("explained")]
    return ", ".join(f"{name} {scored:.3g}" for name, scored in told)


def _against(
    numerator: float | None, denominator: float | None, target: float | None, at_most: bool = False
) -> str:
    """A ratio, and whether it meets its target."""
    if numerator is None or denominator is None:
        return ""
    ratio = numerator / denominator
    if target is None:
        return f"{ratio:.3g}"
    return f"{ratio:.3g} ({target:g} {met(ratio <= target if at_most else ratio >= target)})"


def _differing(cell: Sequence[Record]) -> str:
    wrong = [f"{r['name']} {percent(r['wrong'])}" for r in cell if r.get("wrong")]
    return ", ".join(wrong) or "0"


def _scaled(cell: Sequence[Record], names: Sequence[str] | None = None) -> str:
    """Who was timed on a sample of the queries, and on how many."""
    return ", ".join(
        f"{record['name']} {record['rows']:,}"
        for record in cell
        if record.get("rows", record["case"]["n_queries"]) < record["case"]["n_queries"]
        and (names is None or record["name"] in names)
    )


def _cloud(case: Record) -> str:
    return f"{case['kind']}, n = {case['n_keys']:,}, d = {case['d']}"


def _text(seconds: float | None, unit: float) -> str:
    return "" if seconds is None else f"{seconds * unit:.3g}"
