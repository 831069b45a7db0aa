"""Everyone in the comparison, one file each: what runs, how it is set, what it does with ties.

A file has a function ``load(threads)`` that imports the tool, sets it up and returns a
``Contestant``; an ``ImportError`` from it means that the tool is missing here. Several *settings*
of one tool may be offered: the race takes the fastest for each case and prints it.

A call takes NumPy arrays and gives NumPy arrays. Everything that a user pays at each call is inside
it: conversions, copies, indexes. Compilation is not. The tools in ``INDEXED`` arrange the keys
first; they take part in the races of the near-linear engines only. Those in ``DECODERS`` take one
token at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fasthardmax import engines

__all__ = [
    "BOTH", "CACHES", "DECODERS", "INDEXED", "OWN", "PEERS",
    "Contestant", "Decoder", "Shape", "load",
]  # fmt: skip

BOTH = ("float32", "float64")

Search = Callable[[NDArray[Any]], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a decoder is for."""

    n_layers: int
    n_heads: int
    head_dim: int
    value_dim: int
    dtype: np.dtype[Any]
    ties: str


class Decoder(Protocol):
    """Keys and values of the past, layer by layer."""

    def __init__(self, shape: Shape) -> None: ...

    def fill(self, layer: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Take the keys (T, H, d) and values (T, H, width) of T tokens."""

    def step(
        self, layer: int, keys: NDArray[Any], queries: NDArray[Any], values: NDArray[Any]
    ) -> NDArray[Any]:
        """Take a token's key (H, d) and value (H, width), then answer its query (H, d)."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One tool, ready to run.

    ``winners`` maps a setting to a function of (query, key) giving one winner for each query;
    ``attend`` to one of the arguments of ``hardmax_attention`` giving the output. ``indexes``
    stands in for ``winners`` where keys are arranged before any query is asked: it maps a setting
    to a function of keys giving a function of queries. ``decode`` maps one to what makes a
    decoder of a shape.
    """

    title: str
    version: str
    ties: str
    dtypes: tuple[str, ...] = BOTH
    note: str = ""  # how it is set up, and what a call includes, where that is not plain
    winners: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[np.int64]]] = field(
        default_factory=dict
    )
    attend: Mapping[str, Callable[..., NDArray[Any]]] = field(default_factory=dict)
    indexes: Mapping[str, Callable[[NDArray[Any]], Search]] = field(default_factory=dict)
    decode: Mapping[str, Callable[[Shape], Decoder]] = field(default_factory=dict)
    whole: bool = False  # the time is not proportional to the number of queries
    max_features: int | None = None
    # What was done for (query, key): "engine", "scored" keys per query, "reason".
    explain: Callable[[NDArray[Any], NDArray[Any]], dict[str, Any]] | None = None


def _from_file(file: str, threads: int, function: str = "load") -> Contestant:
    module = import_module(f"{__name__}.{file}")
    contestant: Contestant = getattr(module, function)(threads)
    return contestant


def _own(engine: str, threads: int) -> Contestant:
    from . import own

    return own.load(engine, threads)


OWN: dict[str, Callable[[int], Contestant]] = {
    name: partial(_own, name) for name in engines.engine_names()
}
PEERS: dict[str, Callable[[int], Contestant]] = {
    "numpy": partial(_from_file, "numpy_blocks"),
    "torch": partial(_from_file, "torch_blocks"),
    "sdpa": partial(_from_file, "torch_sdpa"),
    "sklearn": partial(_from_file, "sklearn_argmin"),
    "faiss-ip": partial(_from_file, "faiss_flat", function="load_inner_product"),
    "faiss-l2": partial(_from_file, "faiss_flat", function="load_euclidean"),
    "keops": partial(_from_file, "keops_argmax"),
    "jax": partial(_from_file, "jax_blocks"),
    "loop": partial(_from_file, "python_loop"),
}
INDEXED: dict[str, Callable[[int], Contestant]] = {
    "ckdtree": partial(_from_file, "trees", function="load_scipy"),
    "sklearn-trees": partial(_from_file, "trees", function="load_sklearn"),
    "hull": partial(_from_file, "convex_hull", function="load_product"),
    "hull-angles": partial(_from_file, "convex_hull", function="load_angles"),
}
CACHES = ("cache", "cache-extend")  # the package's own
DECODERS: dict[str, Callable[[int], Contestant]] = {
    "cache": partial(_from_file, "own_cache"),
    "cache-extend": partial(_from_file, "own_cache", function="load_whole"),
    "hull-trick": partial(_from_file, "hull_trick"),
    "numpy-cache": partial(_from_file, "numpy_cache"),
    "torch-cache": partial(_from_file, "torch_cache"),
}


def load(name: str, threads: int) -> Contestant:
    """Set up the contestant ``name`` on ``threads`` threads; ``ImportError`` if it is missing."""
    return (OWN | PEERS | INDEXED | DECODERS)[name](threads)
