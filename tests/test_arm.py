"""The vector kernels, translated for Arm: by this machine, which cannot run them."""

import os
import re
import subprocess
import sys

import pytest

# Runs in a process whose Numba compiles for a plain processor: what is left names no processor.
TRANSLATE = """
import re
import sys

import llvmlite.binding as llvm
import numpy as np
from numba import njit, types

from fasthardmax.engines import _vectors
from fasthardmax.engines._vectors import geometry, screen_block

name, d = sys.argv[1], int(sys.argv[2])
kind = types.float32 if name == "float32" else types.float64
width, vectors, unroll = geometry(d, 100, np.dtype(name).itemsize)
assert _vectors.VECTOR_BYTES == 16, _vectors.VECTOR_BYTES


@njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def screen(panels, key, n_keys, tables):
    screen_block(panels, 0, key, 0, n_keys, None, None, tables, 0, vectors, unroll)
    screen_block(panels, 0, key, 0, n_keys, None, 0, tables, 0, vectors, unroll)


screen.compile((kind[:, ::1], kind[:, ::1], types.intp, kind[:, :, ::1]))
(ours,) = screen.inspect_llvm().values()

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
arm = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(opt=3)
for what, whose in (("triple", arm.triple), ("datalayout", arm.target_data)):
    ours = re.sub(f"target {what} = .*", f'target {what} = "{whose}"', ours)
module = llvm.parse_assembly(ours)
module.verify()
print(arm.emit_assembly(module))
"""


def has_arm() -> bool:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not has_arm(), reason="this LLVM cannot translate for Arm")
@pytest.mark.parametrize("d", [2, 3, 8])
@pytest.mark.parametrize(("dtype", "lanes"), [("float32", "4s"), ("float64", "2d")])
def test_screening_on_arm_fuses_in_vectors(dtype, lanes, d):
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-c", TRANSLATE, dtype, str(d)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    fused = re.findall(rf"fmla\tv\d+\.{lanes}", run.stdout)
    assert len(fused) >= 2, "for plain and for causal blocks"
    assert "fmadd" not in run.stdout, "no product is left to single numbers"
