"""Which engine ``auto`` takes, and that taking one never shows in an answer."""

import subprocess
import sys

import numpy as np

from fasthardmax._assemble import attention_problem
from fasthardmax.engines import _choice

SCRIPT = """
import sys
import numpy as np
import fasthardmax as fh
from fasthardmax.engines import _choice

points = np.random.default_rng(0).standard_normal((2000, 16))
expected = fh.hardmax_attention(points, points, points, engine="reference")
loaded = []
for _ in range(4):
    out = fh.hardmax_attention(points, points, points)
    assert out.tobytes() == expected.tobytes()
    loaded.append("numba" in sys.modules)
    _choice.LOADING_WORK = 0 if len(loaded) == 2 else _choice.LOADING_WORK
print(loaded)
"""


def problem(n, d):
    points = np.zeros((n, d))
    options = {"attn_mask": None, "is_causal": False, "ties": "mean", "enable_gqa": False}
    return attention_problem(points, points, points, **options, num_threads=1)[0]


def chosen(problem, calls=1):
    return _choice.choose(problem, calls).engine.name


def test_numba_is_loaded_once_that_pays():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "[False, False, True, True]\n"


def test_small_calls_stay_with_the_compiled_engine(monkeypatch):
    monkeypatch.setitem(sys.modules, "fasthardmax.engines.direct", object())
    assert chosen(problem(100, 3)) == "compiled"
    assert chosen(problem(4000, 3)) == "direct"


def test_many_calls_count_as_one_large_one(monkeypatch):
    monkeypatch.delitem(sys.modules, "fasthardmax.engines.direct", raising=False)
    monkeypatch.setattr(_choice, "_spent", 0)
    assert chosen(problem(4000, 3), calls=2) == "compiled"
    monkeypatch.setattr(_choice, "_spent", 0)
    assert chosen(problem(4000, 3), calls=1000) == "direct"
