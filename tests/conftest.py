"""What tests share: directories, loaded engines, Numba's disk cache for each state of the sources.

Numba looks only at the file of the kernel itself: after a change in a module that a kernel inlines,
the shared cache would run old machine code and the tests would check the past.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHES = ROOT / ".numba-cache"
KEPT = 3  # the newest states, so that going back and forth stays fast


def _state() -> str:
    digest = hashlib.sha256()
    for source in sorted((ROOT / "fasthardmax").rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _select_cache() -> str:
    current = CACHES / _state()
    current.mkdir(parents=True, exist_ok=True)
    current.touch()
    newest_first = sorted(CACHES.iterdir(), key=lambda cache: cache.stat().st_mtime, reverse=True)
    for old in newest_first[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return str(current)


# Set before Numba is imported; child processes inherit it.
os.environ["NUMBA_CACHE_DIR"] = _select_cache()


def _forget_plans() -> None:
    direct = sys.modules.get("fasthardmax.engines.direct")
    if direct is not None:
        direct.plan_for.cache_clear()
        direct._slack.cache_clear()
        direct._left.clear()


@pytest.fixture(autouse=True)
def _no_plans_of_other_tests() -> Iterator[None]:
    """Tests change what the direct engine's plans depend on; none of those is kept."""
    _forget_plans()
    yield
    _forget_plans()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_figures_left() -> Iterator[None]:
    """No window is opened, and no figure outlives its test."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make it so that this process has loaded just these engines and done no work."""

    def loaded(*names: str) -> None:
        monkeypatch.setattr("fasthardmax.engines._choice._loaded", lambda name: name in names)
        monkeypatch.setattr("fasthardmax.engines._choice._spent", 0)

    return loaded
