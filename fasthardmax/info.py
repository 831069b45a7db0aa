"""What this installation is and can do, as text: versions, machine, threads and engines."""

from __future__ import annotations

import platform
import textwrap
from importlib import metadata

from . import __version__
from ._validate import check_threads
from .engines import ENGINES, SELECTIVE

__all__ = ["OPTIONAL", "report"]

# The optional packages, and the extra that brings each.
OPTIONAL = {
    "rich": "cli",
    "matplotlib": "plot",
    "scipy": "plot",
    "imageio-ffmpeg": "video",
    "scikit-learn": "data",
    "zarr": "store",
    "torch": "torch",
}


def report() -> str:
    """Lines of ``name  value`` in sections; of the packages it names it imports only llvmlite.

    Examples
    --------
    >>> from fasthardmax.info import report
    >>> report().splitlines()[0]
    'Versions'
    """
    cpu, features = _host_cpu()
    versions = {
        "fasthardmax": __version__,
        "Python": platform.python_version(),
        **{name: _version(name) or "missing" for name in ("numpy", "numba", "llvmlite")},
        **{
            name: _version(name) or f"missing: pip install 'fasthardmax[{extra}]'"
            for name, extra in OPTIONAL.items()
        },
    }
    machine = {
        "platform": platform.platform(),
        "CPU": cpu,
        "CPU features": features,
        "threads": str(check_threads(None)),
    }
    able = {name: engine.can_run() for name, engine in (ENGINES | SELECTIVE).items()}
    reasons = {
        name: reason if yes else f"cannot run: {reason}" for name, (yes, reason) in able.items()
    }
    sections = {"Versions": versions, "Machine": machine, "Engines": reasons}
    return "\n\n".join(f"{title}\n{_table(rows)}" for title, rows in sections.items())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _host_cpu() -> tuple[str, str]:
    """The processor that Numba compiles for, and the instruction sets it has."""
    try:
        from llvmlite import binding
    except ImportError:
        return platform.machine(), "unknown: llvmlite cannot be imported"
    features = binding.get_host_cpu_features()
    return binding.get_host_cpu_name(), " ".join(sorted(f for f, has in features.items() if has))


def _table(rows: dict[str, str]) -> str:
    indent = " " * (4 + max(map(len, rows)))
    return "\n".join(
        textwrap.fill(
            value, 100, initial_indent=f"  {name}".ljust(len(indent)), subsequent_indent=indent
        )
        for name, value in rows.items()
    )
