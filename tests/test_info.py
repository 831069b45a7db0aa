"""``info``: what it names, what it says is missing, and that it needs no extra itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import fasthardmax
from fasthardmax import info
from fasthardmax.cli import main
from fasthardmax.engines import ENGINES, SELECTIVE


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The lines of ``info`` by the name they begin with, continuations joined."""
    assert main(["info"]) == 0
    rows: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("   "):
            rows[list(rows)[-1]] += " " + line.strip()
        elif line.startswith("  "):
            name, _, value = line.strip().partition("  ")
            rows[name] = value.strip()
    return rows


def test_info_names_versions_machine_and_engines(capsys: pytest.CaptureFixture[str]) -> None:
    rows = report(capsys)
    assert rows["fasthardmax"] == fasthardmax.__version__
    assert rows["Python"] == ".".join(map(str, sys.version_info[:3]))
    for package in ("numpy", "numba", "llvmlite", "rich", "matplotlib", "scikit-learn"):
        assert rows[package] == metadata.version(package)
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    assert int(rows["threads"]) == (len(affinity(0)) if affinity else os.cpu_count())
    assert rows["CPU"]
    if platform.machine() in ("x86_64", "AMD64"):
        assert "sse2" in rows["CPU features"].split()
    for name, engine in (ENGINES | SELECTIVE).items():
        able, reason = engine.can_run()
        assert rows[name] == (reason if able else f"cannot run: {reason}")


def test_info_says_what_is_missing_and_why_an_engine_cannot_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = metadata.version

    def without_rich(package: str) -> str:
        if package == "rich":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without_rich)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    engine = type(ENGINES["compiled"])("compiled", "", lambda: "its extension is missing")
    monkeypatch.setitem(ENGINES, "compiled", engine)
    rows = report(capsys)
    assert rows["rich"] == "missing: pip install 'fasthardmax[cli]'"
    assert rows["CPU features"] == "unknown: llvmlite cannot be imported"
    assert rows["compiled"] == "cannot run: its extension is missing"


def test_info_names_the_extras_that_exist() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for package, extra in info.OPTIONAL.items():
        brought = project["optional-dependencies"][extra]
        assert any(requirement.startswith(package) for requirement in brought), package


def test_python_m_needs_no_extra_for_info() -> None:
    code = (
        "import runpy, sys\n"
        "for name in ('rich', 'matplotlib', 'sklearn', 'torch', 'numba'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = ['fasthardmax', 'info']\n"
        "runpy.run_module('fasthardmax', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        },
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Versions\n")
    assert "Engines\n" in done.stdout
