"""The package's own cache, fed token by token, or a prompt at once."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from fasthardmax import HardmaxCache

from . import Contestant, Decoder, Shape

Array = NDArray[Any]


class _WholePrompt:
    def __init__(self, shape: Shape) -> None:
        self._cache = HardmaxCache(
            shape.n_layers, shape.n_heads, shape.head_dim, shape.value_dim,
            ties=shape.ties, dtype=shape.dtype,
        )  # fmt: skip
        self.step = self._cache.step

    def fill(self, layer: int, keys: Array, values: Array) -> None:
        self._cache.extend(layer, keys, values)


class _TokenByToken(_WholePrompt):
    def fill(self, layer: int, keys: Array, values: Array) -> None:
        append = self._cache.append
        for key, value in zip(keys, values, strict=True):
            append(layer, key, value)


def _load(title: str, decoder: type[Decoder]) -> Contestant:
    return Contestant(
        title=title,
        version=version("fasthardmax"),
        ties="finds all; mean, first or last",
        note="with all checks of its input",
        decode={"": decoder},
    )


def load(threads: int) -> Contestant:
    return _load("fasthardmax, HardmaxCache", _TokenByToken)


def load_whole(threads: int) -> Contestant:
    return _load("fasthardmax, HardmaxCache.extend", _WholePrompt)
