"""Streams of tokens for the decoders: kinds of keys and queries, and grids of sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cases import DTYPES, KINDS, Case

__all__ = ["STREAMS", "Decoding", "Tokens", "agreement", "memory", "prompts", "steps", "traces"]

Array = NDArray[Any]
Generator = np.random.Generator

_HEADS = 19
_CHECKED = 16  # steps whose answers are compared with the definition
_CELLS = 1000  # addresses of the memory heads of the kind "mixed"


class Tokens(NamedTuple):
    """A key, query and value of each token: (T, H, d), (T - start, H, d), (T, H, width)."""

    keys: Array
    queries: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Decoding(Case):
    """A case whose ``n_keys`` tokens come one by one, and the last ``n_queries`` are checked.

    ``part`` says what is timed: "steps" those that follow the first ``n_keys`` tokens; "prompt"
    all but one token at once, and a step; "trace" every token from the first on. Layers are
    fed the same tokens; those of one layer go to all heads, ``batch``, in one call.
    """

    n_layers: int = 1
    part: str = "steps"
    ties: str = "mean"

    @property
    def form(self) -> str:
        return "decode"

    @property
    def start(self) -> int:
        """Tokens that are there before the first query."""
        return 0 if self.part == "trace" else self.n_keys - self.n_queries

    @property
    def n_tokens(self) -> int:
        """With those that are timed after the first ``n_keys``."""
        return self.n_keys + (max(self.n_keys // 10, 200) if self.part == "steps" else 0)

    def tokens(self) -> Tokens:
        return _tokens(self)

    def arguments(self) -> dict[str, Any]:
        """What the checked steps are to the operator: rows of causal attention."""
        keys, queries, values = self.tokens()
        first = self.n_keys - self.n_queries - self.start
        row = np.arange(self.n_keys - self.n_queries, self.n_keys)
        return {
            "query": queries[first : first + self.n_queries].swapaxes(0, 1),
            "key": keys[: self.n_keys].swapaxes(0, 1),
            "value": values[: self.n_keys].swapaxes(0, 1),
            "attn_mask": np.arange(self.n_keys) <= row[:, None],
            "ties": self.ties,
        }


@lru_cache(maxsize=1)
def _tokens(case: Decoding) -> Tokens:
    rng = np.random.default_rng([case.n_keys, case.d])
    keys, queries = STREAMS[case.kind](case, rng)
    values = rng.standard_normal((case.n_tokens, *case.batch, case.value_width or case.d))
    return Tokens(*(np.ascontiguousarray(a, case.dtype) for a in (keys, queries, values)))


def _random(case: Decoding, rng: Generator) -> tuple[Array, Array]:
    keys = rng.standard_normal((case.n_tokens, *case.batch, case.d))
    return keys, rng.standard_normal((case.n_tokens - case.start, *case.batch, case.d))


def _parabola(order: Callable[[int, Generator], Array]) -> Callable[..., tuple[Array, Array]]:
    """Keys (2 j, -j^2), one for each address j; queries (a, 1) for that of a token of the past."""

    def make(case: Decoding, rng: Generator) -> tuple[Array, Array]:
        shape = case.n_tokens, *case.batch
        address = np.broadcast_to(order(case.n_tokens, rng)[:, None], shape)
        past = rng.random(shape) * np.arange(1, case.n_tokens + 1)[:, None]
        sought = address[past.astype(np.int64)[case.start :], 0]
        keys = np.stack([2 * address, -(address**2)], axis=-1)
        return keys, np.stack([sought, np.ones_like(sought)], axis=-1)

    return make


def _mixed(case: Decoding, rng: Generator) -> tuple[Array, Array]:
    """Heads by turns: random, positions, memory cells written again and again, equal keys."""
    keys, queries = _random(case, rng)
    keys[:, 1::4], queries[:, 1::4] = (a[:, 1::4] for a in _parabola(_increasing)(case, rng))
    keys[:, 2::4], queries[:, 2::4] = (a[:, 2::4] for a in _parabola(_cells)(case, rng))
    keys[:, 3::4], queries[:, 3::4] = 1, 1
    return keys, queries


def _cloud(kind: str) -> Callable[..., tuple[Array, Array]]:
    """Keys and queries from a cloud of the operator's, each head in an order of its own."""

    def make(case: Decoding, rng: Generator) -> tuple[Array, Array]:
        points = KINDS[kind](case.n_tokens, case.d, np.dtype(case.dtype))
        heads = np.stack([rng.permutation(points) for _ in range(*case.batch)], axis=1)
        return heads, rng.permutation(heads)[case.start :]

    return make


def _increasing(n: int, rng: Generator) -> Array:
    return np.arange(n)


def _decreasing(n: int, rng: Generator) -> Array:
    return np.arange(n)[::-1]


def _shuffled(n: int, rng: Generator) -> Array:
    return rng.permutation(n)


def _cells(n: int, rng: Generator) -> Array:
    return rng.integers(_CELLS, size=n)


_PARABOLAS = {
    "parabola, increasing": _parabola(_increasing),
    "parabola, decreasing": _parabola(_decreasing),
    "parabola, shuffled": _parabola(_shuffled),
}
_HARD = ("lattice", "circle", "near-ties", "collinear")
STREAMS: dict[str, Callable[[Decoding, Generator], tuple[Array, Array]]] = {
    "random": _random,
    **_PARABOLAS,
    "mixed": _mixed,
    **{kind: _cloud(kind) for kind in _HARD},
}


def _decoding(kind: str, n: int, d: int = 2, dtype: str = "float64", **more: Any) -> Decoding:
    more = {"n_queries": _CHECKED, "value_width": d, "batch": (_HEADS,)} | more
    return Decoding(kind, n, d, dtype, **more)


def steps(quick: bool) -> Iterator[Decoding]:
    """One step at size n: keys of which few can win, and keys that all can."""
    sizes = (10_000,) if quick else (1_000, 10_000, 100_000, 300_000)
    kinds = ("random", "parabola, shuffled") if quick else ("random", *_PARABOLAS)
    for kind, n in product(kinds, sizes):
        yield _decoding(kind, n)
    if not quick:
        for n in sizes:
            yield _decoding("random", n, dtype="float32")
    for d, n in product((8,), sizes) if quick else product((3, 8, 64), sizes[1:3]):
        yield _decoding("random", n, d, batch=(4,))


def prompts(quick: bool) -> Iterator[Decoding]:
    """A prompt at once, and the first step after it."""
    n = 5_000 if quick else 100_000
    for kind in ("random", "parabola, shuffled"):
        yield _decoding(kind, n + 1, n_queries=1, part="prompt", name=f"prompt, {kind}")


def traces(quick: bool) -> Iterator[Decoding]:
    """A whole run through several layers; and steps at half its length.

    Where a step costs as much as there are tokens, those at half the length take the mean.
    """
    n, layers = (1_000, 2) if quick else (200_000, 7)
    many: dict[str, Any] = {"n_layers": layers, "ties": "last"}
    yield _decoding("mixed", n, part="trace", name="trace", **many)
    yield _decoding("mixed", n // 2, name="half of the trace", **many)


def memory(quick: bool) -> Iterator[Decoding]:
    """What so many tokens take."""
    for kind in () if quick else ("random", "parabola, shuffled"):
        yield _decoding(kind, 100_000, name=f"memory, {kind}")


def agreement(quick: bool) -> Iterator[Decoding]:
    """Where rounding and ties show; the latest of tied keys is asked for."""
    n = 500 if quick else 2_000
    for kind, dtype in product(_HARD, DTYPES):
        name = f"agreement, {kind}"
        yield _decoding(kind, n, dtype=dtype, n_queries=n // 2, ties="last", name=name)
