"""The vector kernels, translated for Arm: by this machine, which cannot run them."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# By kernel, what its vectors must do; what screens may fuse, what decides must not.
SCREENS = ("screen, d=2", "screen, d=3", "screen, d=8", "sweep", "screen list")
DECIDES = {
    "canonical scores": "fmul",
    "lone blocks": "fmul",
    "turned": "fmul",
    "groups": "fmul",
    "few keys": "fmul",
    "table search": "fcmge",
    "divide": "fmul",
    "cells": "fdiv",
    "outside": "fmul",
}
FLOAT32, FLOAT64 = ("float32", "4s"), ("float64", "2d")


def has_arm() -> bool:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_arm(), reason="this LLVM cannot translate for Arm")


@cache
def translated(dtype: str) -> dict[str, str]:
    """Assembly for Arm by the name of the kernel."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.arm", dtype],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    parts = re.split(r"^=== (.*)\n", run.stdout, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def lanes_of(kernel: str, lanes: str) -> str:
    """Cones screen in float32 and divide in float64, whatever the dtype."""
    return {"screen list": "4s", "divide": "2d"}.get(kernel, lanes)


@pytest.mark.parametrize("kernel", SCREENS)
@pytest.mark.parametrize(("dtype", "lanes"), [FLOAT32, FLOAT64])
def test_screening_on_arm_fuses_in_vectors(dtype: str, lanes: str, kernel: str) -> None:
    assembly = translated(dtype)[kernel]
    fused = re.findall(rf"fmla\tv\d+\.{lanes_of(kernel, lanes)}", assembly)
    assert len(fused) >= 2, "for plain and for causal blocks, and for each feature"
    assert "fmadd" not in assembly, "no product is left to single numbers"


@pytest.mark.parametrize("kernel", DECIDES)
@pytest.mark.parametrize(("dtype", "lanes"), [FLOAT32, FLOAT64])
def test_what_decides_on_arm_is_in_vectors_and_fuses_nothing(
    dtype: str, lanes: str, kernel: str
) -> None:
    assembly = translated(dtype)[kernel]
    assert re.search(rf"{DECIDES[kernel]}\tv\d+\.{lanes_of(kernel, lanes)}", assembly)
    assert not re.search(r"\bf(n?m(add|sub)|ml[as])\b", assembly)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_on_arm_are_in_vectors_and_are_settled(dtype: str) -> None:
    assembly = translated(dtype)["stream"]
    assert re.search(r"ld[rpn]+\tq\d+", assembly)
    assert "dmb" in assembly


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_translated_kernel_is_looked_at(dtype: str) -> None:
    assert translated(dtype).keys() == {*SCREENS, *DECIDES, "stream"}
