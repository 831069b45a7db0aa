"""The command ``fasthardmax simulate`` as the tests call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fasthardmax.cli import main

__all__ = ["everything", "quick", "run", "summary"]


def run(*args: str) -> int:
    return main(["simulate", *args, "--engine", "reference"])


def quick(*args: str) -> int:
    """A run whose picture has one panel."""
    return run(*args, "--record", "last")


def summary(out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(out, "summary.json").read_text())
    return found


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}
