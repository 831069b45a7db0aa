"""Markdown tables of infinite depth: passes, and times beside one layer and beside stepping."""

from __future__ import annotations

import math
from typing import Any

from .depth import LAYERS
from .tables import markdown, met, percent
from .timing import ratio, spread

__all__ = ["PASSES_TARGETS", "batches", "clouds", "passes_by_kind", "stored", "summary"]

Record = dict[str, Any]
Results = dict[str, Any]

RATIO_TARGET = 3  # first layers, Gaussian with A = I, at these n by d
_TARGET_N = {2: 1_000_000, 3: 1_000_000, 8: 100_000, 16: 100_000}
DIRECT_TARGET = 1e5  # at n = 10^6, d = 3
CIRCLE_TARGET = 200
PASSES_TARGETS = {"I": 1.5, "SPD": 9.0}  # generic kinds, alpha >= 0.5
BATCH_TARGET = 1.0  # seconds
_GENERIC = ("gaussian", "ball", "cube")


def clouds(results: Results) -> str:
    """One line for each cloud."""
    rows = [
        [
            _cloud(r["case"]), _passes(r), r["n_layers"], percent(r["not_settled"]),
            *(f"{1e3 * spread(r['seconds'][name]).median:.3g}"
              for name in ("search", "first layer", "layers", "equilibrium")),
            _in_layers(r, "layers"), _in_layers(r, "equilibrium"), _ahead(r), percent(r["wrong"]),
        ]
        for r in _records(results, "kind")
    ]  # fmt: skip
    header = [
        "points, float64", "passes", "layers until all settled", "never settled",
        "ms: a search", "a layer", f"{LAYERS:,} layers", "infinitely many",
        f"{LAYERS:,} layers in first layers", "infinitely many in first layers",
        "all pairs in every layer would take, times", "wrong",
    ]  # fmt: skip
    return markdown(header, rows)


def batches(results: Results) -> str:
    """Many small clouds."""
    rows = []
    for record in _records(results, "clouds"):
        case, seconds = record["case"], spread(record["seconds"]["layers"]).median
        target = case["clouds"] == 50_000 and case["method"] == "settling"
        text = f" ({BATCH_TARGET:g} {met(seconds < BATCH_TARGET)})" if target else ""
        name = f"{case['clouds']:,} clouds of {case['n']} points, d = {case['d']}"
        rows.append([
            name, case["layers"], case["method"], f"{seconds:.3g}{text}", percent(record["wrong"])
        ])  # fmt: skip
    return markdown(["Gaussian, float64", "layers", "method", "seconds", "clouds wrong"], rows)


def stored(results: Results) -> str:
    """What it takes to save the state now and then."""
    rows = []
    for record in _records(results, "checkpoint"):
        case = record["case"]
        saved, plain = (spread(record["seconds"][name]).median for name in ("saved", "layers"))
        each = 1e3 * (saved - plain) / (case["layers"] // case["checkpoint"])
        rows.append([
            f"n = {case['n']:,}", case["layers"], case["checkpoint"],
            f"{plain:.3g}", f"{saved:.3g}", f"{each:.3g}", percent(record["wrong"]),
        ])  # fmt: skip
    header = [
        "circle, float64, d = 2, A = random SPD, alpha = 0.05", "layers", "saved every so many",
        "seconds without", "seconds with", "ms for each checkpoint", "points wrong",
    ]  # fmt: skip
    return markdown(header, rows)


def summary(results: Results) -> str:
    """The short form, for the clouds that have targets."""
    rows = [
        [_cloud(r["case"]), _passes(r), _in_layers(r, "layers"), _in_layers(r, "equilibrium"),
         _ahead(r)]
        for r in _records(results, "kind")
        if _has_ratio(r["case"]) or r["case"]["kind"] == "circle"
    ]  # fmt: skip
    header = [
        "points, float64", "passes", f"{LAYERS:,} layers, in first layers",
        "infinitely many, in first layers", "all pairs in every layer would take, times",
    ]  # fmt: skip
    return markdown(header, rows)


def passes_by_kind(results: Results) -> dict[str, list[tuple[str, float, float]]]:
    """For a figure: by matrix, the cloud, its passes, and its 1000 layers in first layers."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for record in _records(results, "kind"):
        seconds = record["seconds"]
        times = ratio(seconds["layers"], seconds["first layer"]).median
        found.setdefault(record["case"]["A"], []).append(
            (_cloud(record["case"]), record["passes"], times)
        )
    return found


def _records(results: Results, field: str) -> list[Record]:
    return [r for r in results["sections"].get("depth", []) if field in r["case"]]


def _has_ratio(case: Record) -> bool:
    generic = case["kind"] == "gaussian" and case["A"] == "I" and case["alpha"] == 0.5
    return generic and case["n"] == _TARGET_N.get(case["d"])


def _passes(record: Record) -> str:
    case = record["case"]
    text = f"{record['passes']:.3g}"
    if case["kind"] not in _GENERIC or case["alpha"] < 0.5:
        return text
    target = PASSES_TARGETS[case["A"]]
    return f"{text} ({target:g} {met(record['passes'] <= target)})"


def _in_layers(record: Record, name: str) -> str:
    case, seconds = record["case"], record["seconds"]
    times = ratio(seconds[name], seconds["first layer"]).median
    target = None
    if _has_ratio(case):
        target = RATIO_TARGET
    elif (case["kind"], case["A"], case["n"]) == ("circle", "SPD", 100_000) and name == "layers":
        target = CIRCLE_TARGET
    return f"{times:.3g}" + ("" if target is None else f" ({target} {met(times <= target)})")


def _ahead(record: Record) -> str:
    """How often as long stepping would take, with all pairs in each layer."""
    case, seconds = record["case"], record["seconds"]
    direct, layers = (spread(seconds[name]).median for name in ("direct", "layers"))
    times = LAYERS * direct / layers
    text = f"{times:.2g}"
    if _has_ratio(case) and case["d"] == 3:
        text += f" ({DIRECT_TARGET:.0e} {met(times >= DIRECT_TARGET)})"
    return text


def _cloud(case: Record) -> str:
    alpha = "inf" if math.isinf(case["alpha"]) else f"{case['alpha']:g}"
    A = "I" if case["A"] == "I" else "random SPD"
    return f"{case['kind']}, n = {case['n']:,}, d = {case['d']}, A = {A}, alpha = {alpha}"
