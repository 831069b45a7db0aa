"""The convex hull trick of programming contests over balanced trees, in C++ (hull_trick.cpp)."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Contestant

_NAME = "hull_trick_native"
_SOURCE = Path(__file__).with_suffix(".cpp")
_BUILT = Path("build", "bench")


def _compiled() -> Any:
    """The module made from the source by this machine's C++ compiler, anew if the source is."""
    from setuptools import Distribution, Extension
    from setuptools.errors import BaseError, CCompilerError

    flags = ["/O2", "/std:c++17"] if sys.platform == "win32" else ["-O3", "-march=native"]
    extension = Extension(_NAME, [str(_SOURCE)], language="c++", extra_compile_args=flags)
    build = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(_BUILT), str(_BUILT / "temp")
    build.ensure_finalized()
    try:
        build.run()
    except (BaseError, CCompilerError) as error:
        raise ImportError(f"a C++ compiler is needed: {error}") from None
    spec = spec_from_file_location(_NAME, build.get_ext_fullpath(_NAME))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Decoder:
    def __init__(self, native: Any, n_layers: int, n_heads: int, value_dim: int) -> None:
        self._native = native
        self._layers = [native.layer(n_heads, value_dim) for _ in range(n_layers)]
        self._shape = n_heads, value_dim

    def fill(self, layer: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
        self._native.extend(self._layers[layer], keys, values)

    def step(
        self, layer: int, keys: NDArray[Any], queries: NDArray[Any], values: NDArray[Any]
    ) -> NDArray[Any]:
        out = np.empty(self._shape)
        self._native.step(self._layers[layer], keys, queries, values, out)
        return out


def load(threads: int) -> Contestant:
    native = _compiled()
    return Contestant(
        title="C++ hull trick over std::multiset",
        version="of this bench",
        ties="one; the newest of equal keys",
        dtypes=("float64",),
        note="two envelopes for queries of either sign; -O3 -march=native",
        decode={"": lambda shape: _Decoder(native, shape.n_layers, shape.n_heads, shape.value_dim)},
        max_features=2,
    )
