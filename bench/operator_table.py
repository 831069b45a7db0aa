"""The JSON of pytest-benchmark as a Markdown table."""

from __future__ import annotations

from typing import Any

from .tables import markdown

__all__ = ["markdown_table"]


def markdown_table(measured: dict[str, Any]) -> str:
    """Medians in milliseconds: engines across; then whatever was timed in fresh processes."""
    by_engine: dict[tuple[str, int, int], dict[str, str]] = {}
    fresh = []
    for benchmark in measured["benchmarks"]:
        parameters, stats = benchmark["params"], benchmark["stats"]
        text = _milliseconds(stats["median"])
        if "engine" in parameters:
            at = (benchmark["group"], parameters["n"], parameters["d"])
            by_engine.setdefault(at, {})[parameters["engine"]] = text
        else:
            quartiles = f"{_milliseconds(stats['q1'])} to {_milliseconds(stats['q3'])}"
            fresh.append([parameters["what"], text, quartiles])
    engines = list(dict.fromkeys(name for cell in by_engine.values() for name in cell))
    rows = [
        [group, f"{n:,}", d, *(cell.get(engine, "–") for engine in engines)]
        for (group, n, d), cell in by_engine.items()
    ]
    tables = [
        markdown(["milliseconds, float64", "n", "d", *engines], rows),
        markdown(["fresh process", "milliseconds", "quartiles"], fresh),
    ]
    return "\n".join(table for table in tables if table)


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
