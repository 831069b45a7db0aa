"""``python -m bench.report DIR``: the results in DIR as Markdown tables and figures.

Reads ``results.json`` of ``python -m bench`` and ``operator.json`` of pytest-benchmark, whichever
are there; writes ``report.md`` and the figures ``speed.png``, ``growth.png``, ``near-linear.png``,
``depth.png`` and ``decoding.png``. ``--into README.md`` also puts the short tables between the
markers ``<!-- bench -->`` and ``<!-- /bench -->`` of that file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import (
    decoding_tables,
    depth_tables,
    figures,
    operator_table,
    search_tables,
    softmax,
    tables,
)

__all__ = ["OPERATOR", "REPORT", "RESULTS", "put_between_markers", "render", "short", "write"]

RESULTS = "results.json"
OPERATOR = "operator.json"
REPORT = "report.md"
_MARKERS = ("<!-- bench -->", "<!-- /bench -->")


def render(results: dict[str, Any]) -> str:
    """The report on one run, without figures."""
    parts: list[tuple[str, str]] = [
        (f"Run on {_where(results)}", tables.ceilings(results)),
        ("Contestants", tables.contestants(results)),
        *((f"10^9 pairs per second: {kind} points, {dtype}", tables.speed(results, kind, dtype))
          for kind in ("gaussian", "clustered") for dtype in ("float32", "float64")),
        ("Share of the fused multiply-add ceiling, n = 20,000", tables.roofline(results)),
        ("Direct engine against the fastest other tool", tables.versus_best(results)),
        ("Growth of the time with n", tables.exponents(results)),
        ("Agreement with the canonical winners", tables.agreement(results)),
        ("Attention with values", tables.attention(results)),
        ("Cost of a call", tables.small_calls(results)),
        ("Threads", tables.threads(results)),
        ("With one core kept busy by another process", tables.loaded(results)),
        ("Canonical rescoring in the direct engine", tables.rescoring(results)),
        ("Memory", tables.memory(results)),
        ("Near-linear search, against all pairs and the bare update pass",
         search_tables.near_linear(results)),
        ("Near-linear search, against other tools", search_tables.peers(results)),
        ("Near-linear search, hard data", search_tables.hard(results)),
        ("Near-linear search, growth with n", search_tables.growth(results)),
        ("Softmax layers beside other tools", softmax.table(results)),
        ("What auto chose, and why", search_tables.choices(results)),
        ("Infinite depth", depth_tables.clouds(results)),
        ("Layers of many small clouds", depth_tables.batches(results)),
        ("Checkpoints", depth_tables.stored(results)),
        ("Decoding, one step of all heads on one core", decoding_tables.steps(results)),
        ("Decoding, growth with n", decoding_tables.growth(results)),
        ("Decoding, a prompt at once", decoding_tables.prompts(results)),
        ("Decoding, a whole trace", decoding_tables.traces(results)),
        ("Decoding, memory", decoding_tables.memory(results)),
        ("Decoding, agreement with the canonical answers", decoding_tables.agreement(results)),
        ("All timings", tables.details(results)),
    ]  # fmt: skip
    return "\n".join(f"## {title}\n\n{table}" for title, table in parts if table)


def short(directory: Path) -> str:
    """The tables for a README, from whatever results are in ``directory``."""
    parts = []
    if (results := _read(directory / RESULTS)) is not None:
        parts += [
            f"On {_where(results)}:\n",
            tables.speed_by_d(results),
            search_tables.summary(results),
            depth_tables.summary(results),
            tables.agreement(results),
            decoding_tables.summary(results),
        ]
    if (measured := _read(directory / OPERATOR)) is not None:
        parts.append(operator_table.markdown_table(measured))
    return "\n".join(part for part in parts if part)


def write(directory: Path) -> None:
    """Write the report and the figures beside the results."""
    parts = []
    if (results := _read(directory / RESULTS)) is not None:
        parts.append(render(results))
        drawn = {
            "speed.png": figures.speed,
            "growth.png": figures.growth,
            "near-linear.png": figures.near_linear,
            "depth.png": figures.depth,
            "decoding.png": figures.decoding,
        }
        for name, draw in drawn.items():
            if draw(results, directory / name):
                parts.append(f"![{name.removesuffix('.png')}]({name})\n")
    if (measured := _read(directory / OPERATOR)) is not None:
        parts.append(f"## Engines beside each other\n\n{operator_table.markdown_table(measured)}")
    if not parts:
        raise FileNotFoundError(f"{directory}: holds neither {RESULTS} nor {OPERATOR}")
    (directory / REPORT).write_text("\n".join(parts))


def put_between_markers(path: Path, text: str) -> None:
    """Replace what stands between the markers of the file ``path``."""
    before, opening, rest = path.read_text().partition(_MARKERS[0])
    _, closing, after = rest.partition(_MARKERS[1])
    if not (opening and closing):
        raise ValueError(f"{path}: expected the lines {_MARKERS[0]} and {_MARKERS[1]}")
    aside = path.with_name(f".{path.name}")
    aside.write_text(f"{before}{opening}\n\n{text}\n{closing}{after}")
    os.replace(aside, path)


def _where(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}, {results['started']}{', quick' if results['quick'] else ''}"
    )


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the short tables in FILE")
    options = parser.parse_args()
    try:
        write(options.directory)
        if options.into is not None:
            put_between_markers(options.into, short(options.directory))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
