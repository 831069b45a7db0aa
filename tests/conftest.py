"""Numba's disk cache, kept apart for each state of the sources.

Numba looks only at the file of the kernel itself: after a change in a module that a kernel inlines,
the shared cache would run old machine code and the tests would check the past.
"""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _state() -> str:
    digest = hashlib.sha256()
    for source in sorted((ROOT / "fasthardmax").rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


# Set before Numba is imported; child processes inherit it.
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".numba-cache" / _state())
