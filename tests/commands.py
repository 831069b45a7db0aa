"""The commands of ``fasthardmax`` as their tests call, interrupt and look at them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fasthardmax.cli import main
from fasthardmax.engines import reference

__all__ = ["everything", "interrupt_at_call", "quick", "run", "summary"]


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


def interrupt_at_call(number: int) -> Callable[..., Any]:
    """In place of ``reference.run``: interrupted at one of its calls."""
    calls = []

    def attend(problem: Any) -> Any:
        calls.append(problem)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(problem)

    original = reference.run
    return attend
