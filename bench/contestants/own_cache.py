"""The package's own cache, fed token by token, or a prompt at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from fasthardmax import HardmaxCache

from . import Contestant, Decoder, Shape

Array = NDArray[Any]


class _WholePrompt:
    def __init__(self, shape: Shape, threads: int) -> None:
        self._threads = threads
        self._cache = HardmaxCache(
            shape.n_layers, shape.n_heads, shape.head_dim, shape.value_dim,
            ties=shape.ties, dtype=shape.dtype,
        )  # fmt: skip
        self.step = self._cache.step

    def fill(self, layer: int, keys: Array, values: Array) -> None:
        self._cache.extend(layer, keys, values, num_threads=self._threads)


class _TokenByToken(_WholePrompt):
    def fill(self, layer: int, keys: Array, values: Array) -> None:
        append = self._cache.append
        for key, value in zip(keys, values, strict=True):
            append(layer, key, value)


def _load(title: str, decoder: Callable[..., Decoder], threads: int) -> Contestant:
    return Contestant(
        title=title,
        version=version("fasthardmax"),
        ties="finds all; mean, first or last",
        note="with all checks of its input",
        decode={"": partial(decoder, threads=threads)},
    )


def load(threads: int) -> Contestant:
    return _load("fasthardmax, HardmaxCache", _TokenByToken, threads)


def load_whole(threads: int) -> Contestant:
    return _load("fasthardmax, HardmaxCache.extend", _WholePrompt, threads)
