"""The promises of the project's files: its commands, its version, its imports, its build."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import fasthardmax

ROOT = Path(__file__).parents[1]
TEST_COMMAND = (
    "python3 -m venv .venv-test && .venv-test/bin/pip install --quiet --editable '.[test]'"
    " && .venv-test/bin/python -m pytest -n 2 --dist loadfile"
)


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_readme_shows_the_test_command_as_one_copyable_line():
    fenced = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert f"{TEST_COMMAND}\n" in fenced


def test_continuous_integration_runs_the_test_command():
    """Alone in a subshell: where a list of commands fails early, ``set -e`` does not end a run."""
    script = (ROOT / ".ci" / "run").read_text()
    assert "\nset -euo pipefail\n" in script
    assert f"\n(\n{TEST_COMMAND}\n)\n" in script


def test_one_version_everywhere():
    assert metadata.version("fasthardmax") == fasthardmax.__version__
    assert fasthardmax.__version__ in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "use",
    ["", "fasthardmax.hardmax_attention([[1.0]], [[2.0]], [[3.0]])"],
    ids=["import", "small call"],
)
def test_the_first_steps_import_nothing_heavy(use):
    heavy = {"numba", "llvmlite", "scipy", "sklearn", "matplotlib", "rich", "torch", "zarr"}
    result = _run("-c", f"import sys, fasthardmax\n{use}\nprint({heavy} & set(sys.modules))")
    assert (result.returncode, result.stdout, result.stderr) == (0, "set()\n", "")


@pytest.mark.skipif(os.name == "nt", reason="the Windows compiler is not chosen by CC")
def test_a_build_without_a_compiler_says_so_in_its_last_line(tmp_path):
    result = _run(
        "setup.py",
        "build_ext",
        f"--build-lib={tmp_path}",
        f"--build-temp={tmp_path}",
        CC="/no/such/compiler",
    )
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1] == (
        "fasthardmax was not installed: no C compiler was found (tried '/no/such/compiler'); "
        "install one and try again."
    )
