"""KeOps: an argmax reduction over a symbolic matrix, compiled for this machine's processor."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Contestant

_FLAGS = "-march=native"


def load(threads: int) -> Contestant:
    os.environ["CXXFLAGS"] = _FLAGS  # read when KeOps is imported
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when its first kernel is loaded
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import pykeops
    from pykeops.numpy import Genred

    pykeops.set_verbose(False)

    @cache
    def reduction(d: int) -> Any:
        variables = [f"x = Vi({d})", f"y = Vj({d})"]
        return Genred("(x | y)", variables, reduction_op="ArgMax", axis=1)

    def winners(query: NDArray[Any], key: NDArray[Any]) -> NDArray[np.int64]:
        found: NDArray[Any] = reduction(key.shape[1])(query, key, backend="CPU")
        return found[:, 0].astype(np.int64, copy=False)

    return Contestant(
        title="KeOps, ArgMax reduction",
        version=pykeops.__version__,
        ties="one, unspecified",
        note=f"compiled with {_FLAGS}",
        winners={"": winners},
    )
