"""``python -m bench``: measure, write results as they come, and report them."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from fasthardmax._validate import check_threads

try:
    from . import report, softmax
    from .ceilings import measure_ceilings
    from .contestants import CACHES, DECODERS, INDEXED, OWN, PEERS
    from .race import FULL, QUICK, Track
    from .sections import SECTIONS, Field
except ImportError as error:
    sys.exit(f"bench: {error}; pip install 'fasthardmax[bench]'")


def main() -> int:
    options = _options()
    cores = check_threads(None)
    results = begin(options.out, options.sections, options.quick, _machine(cores))
    results["ceilings"].append(measure_ceilings(cores))
    with Track(QUICK if options.quick else FULL) as track:
        track.missing, track.descriptions = results["missing"], results["contestants"]
        field = Field(track, options.contestants, cores, options.quick)
        for section in options.sections:
            print(f"-- {section}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            records = results["sections"][section] = []
            for record in SECTIONS[section](field):
                records.append(record)
                _write(results, options.out)
            results["section_seconds"][section] = time.perf_counter() - start
    if not options.quick:  # again at the end: a machine that slowed down meanwhile shows
        results["ceilings"].append(measure_ceilings(cores))
    _write(results, options.out)
    report.write(options.out)
    print(f"{options.out / report.REPORT}", file=sys.stderr)
    wrong = wrong_answers(results)
    if wrong:
        print("fasthardmax gave wrong answers:", *wrong, sep="\n  ", file=sys.stderr)
    return 1 if wrong else 0


def begin(out: Path, sections: list[str], quick: bool, machine: dict[str, Any]) -> dict[str, Any]:
    """The record of a new run, with the other sections of an earlier one like it in ``out``."""
    results: dict[str, Any] = {
        "quick": quick,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "ceilings": [],
        "missing": {},
        "contestants": {},
        "sections": {},
        "section_seconds": {},
    }
    path = out / report.RESULTS
    earlier = json.loads(path.read_text()) if path.exists() else {}
    if all(earlier.get(field) == results[field] for field in ("quick", "machine")):
        kept = {name: found for name, found in earlier["sections"].items() if name not in sections}
        if kept:
            results = {**earlier, "missing": {}, "sections": kept}
    return results


def wrong_answers(results: dict[str, Any]) -> list[str]:
    """Where the package itself, which must be exact, was not."""
    return [
        f"{record['name']}: {record['case']}"
        for records in results["sections"].values()
        for record in records
        if record.get("name") in (*OWN, softmax.OWN, *CACHES)
        and (record.get("wrong") or record.get("inexact") or record.get("not_first"))
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small grids: two minutes where kernels are compiled (full: over an hour)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bench", "results"), metavar="DIR", help="%(default)s"
    )
    parser.add_argument(
        "--contestants",
        type=_list_of([*OWN, *PEERS, *INDEXED, *DECODERS]),
        metavar="A,B",
        help=f"any of {', '.join([*OWN, *PEERS, *INDEXED, *DECODERS])}; by default direct and all "
        "peers, and in the near-linear sections and in decoding all that fit",
    )
    parser.add_argument(
        "--sections",
        type=_list_of(list(SECTIONS)),
        default=list(SECTIONS),
        metavar="A,B",
        help=f"any of {', '.join(SECTIONS)}; all by default; what DIR holds "
        "of the others stays, if it was measured on this machine",
    )
    options = parser.parse_args()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: cannot make '{options.out}': {error.strerror}")
    return options


def _list_of(choices: list[str]) -> Any:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in choices:
                raise argparse.ArgumentTypeError(
                    f"got {name!r}, expected names from {', '.join(choices)}"
                )
        return chosen

    return parse


def _machine(cores: int) -> dict[str, Any]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        model = next((v.strip() for k, _, v in lines if k.strip() == "model name"), model)
    return {
        "processor": f"{model} ({llvm.get_host_cpu_name()})",
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _write(results: dict[str, Any], out: Path) -> None:
    """Aside, then renamed: an interrupted run leaves the last complete state."""
    aside = out / f".{report.RESULTS}"
    aside.write_text(json.dumps(results, indent=1))
    os.replace(aside, out / report.RESULTS)


if __name__ == "__main__":
    sys.exit(main())
