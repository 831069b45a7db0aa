"""A decoder and the stream of tokens that it is fed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contestants import Decoder, Shape
from .streams import Decoding

__all__ = ["Playback"]


class Playback:
    """Feeds a case's tokens, every layer the same, to decoders that ``make`` gives."""

    def __init__(self, make: Callable[[Shape], Decoder], case: Decoding) -> None:
        self._make, self._case, self._tokens = make, case, case.tokens()
        (n_heads,), width = case.batch, case.value_width or case.d
        dtype = np.dtype(case.dtype)
        self._last: deque[NDArray[Any]] = deque(maxlen=case.n_queries)
        self._shape = Shape(case.n_layers, n_heads, case.d, width, dtype, case.ties)
        self.start()

    def start(self) -> Playback:
        """A new decoder, with the tokens that are there before the first query."""
        self._decoder, self._at = self._make(self._shape), self._case.start
        keys, _, values = self._tokens
        if self._at:
            for layer in range(self._shape.n_layers):
                self._decoder.fill(layer, keys[: self._at], values[: self._at])
        return self

    def ready(self, steps: int) -> Playback:
        """Lay out the next ``steps`` tokens; those of the beginning where no more are left."""
        if self._at + steps > self._case.n_tokens:
            self.start()
        now = slice(self._at, self._at + steps)
        asked = slice(now.start - self._case.start, now.stop - self._case.start)
        keys, queries, values = self._tokens
        self._next = list(zip(keys[now], queries[asked], values[now], strict=True))
        self._at += steps
        return self

    def run(self) -> None:
        """Step through them."""
        step, layers, answers = self._decoder.step, range(self._shape.n_layers), self._last
        for keys, queries, values in self._next:
            for layer in layers:
                out = step(layer, keys, queries, values)
            answers.append(out)

    @property
    def answers(self) -> NDArray[Any]:
        """Answers (H, n_queries, width) of the last layer to the last queries asked."""
        return np.stack(self._last, axis=1)
