"""Large answers are written to memory that the process has already."""

import platform
import subprocess
import sys

import pytest

# Whether a large array comes from the memory that the process keeps.
FROM_THE_HEAP = """
import sys

import numpy as np

import fasthardmax as fh

def from_the_heap():
    large = np.empty(1 << 24, np.uint8).ctypes.data
    with open("/proc/self/maps") as maps:
        heap = [line.split()[0].split("-") for line in maps if line.endswith("[heap]\\n")]
    return any(int(start, 16) <= large < int(end, 16) for start, end in heap)

points = np.random.default_rng(0).standard_normal((int(sys.argv[1]), 1))
{call}
print(from_the_heap())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc does with freed memory")
@pytest.mark.parametrize(
    "call",
    [
        "fh.hardmax_winners(points, points, engine='cones')",
        "fh.simulate(points, alpha=1, n_layers=1, engine='cones')",
    ],
)
def test_after_a_large_call_freed_memory_is_kept(call):
    script = FROM_THE_HEAP.replace("{call}", call)
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, n], capture_output=True, text=True, check=False
        )
        for n in ("50", "100000")
    ]
    assert [run.stdout for run in runs] == ["False\n", "True\n"], runs[1].stderr
