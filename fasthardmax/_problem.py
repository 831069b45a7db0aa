"""One checked attention problem: what every engine takes, and the shape of what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._extent import feature_peaks
from ._heap import keep_freed
from ._keys import Keys

__all__ = ["Answer", "Problem", "counting", "self_attention", "zeros"]

_KEPT = 1 << 10  # numbers in an array that is kept for other calls


def counting(n: int) -> NDArray[np.int64]:
    """0, 1, ..., n - 1, read-only."""
    return _counting(n) if n <= _KEPT else _counting.__wrapped__(n)


def zeros(n: int) -> NDArray[np.int64]:
    """``n`` zeros, read-only."""
    return _zeros(n) if n <= _KEPT else _zeros.__wrapped__(n)


@lru_cache(maxsize=64)
def _counting(n: int) -> NDArray[np.int64]:
    array = np.arange(n, dtype=np.int64)
    array.setflags(write=False)
    return array


@lru_cache(maxsize=64)
def _zeros(n: int) -> NDArray[np.int64]:
    array = np.zeros(n, np.int64)
    array.setflags(write=False)
    return array


class Problem(NamedTuple):
    """Finite, C-contiguous inputs of one dtype, with leading dimensions flattened to B.

    Batch b attends ``query[query_of[b]]`` to ``key[key_of[b]]`` and ``value[value_of[b]]`` under
    ``mask[mask_of[b]]``, so that broadcast heads are never copied.
    """

    query: NDArray[Any]  # (Bq, L, d)
    keys: Keys  # (Bk, S, d), perhaps still to be checked
    value: NDArray[Any]  # (Bv, S, dv); dv = 0 where only the winners are asked for
    query_of: NDArray[np.int64]  # (B,)
    key_of: NDArray[np.int64]
    value_of: NDArray[np.int64]
    mask_of: NDArray[np.int64]
    mask: NDArray[Any] | None  # (Bm, L, S), boolean or of the compute dtype; strides may be 0
    is_causal: bool
    ties: str  # "mean", "first" or "last"
    num_threads: int
    sums_may_overflow: bool = False  # a sum of tied values could reach infinity

    @property
    def key(self) -> NDArray[Any]:
        """The keys (Bk, S, d), checked at the latest now."""
        return self.keys.checked

    @property
    def key_peak(self) -> NDArray[Any]:
        """Largest magnitude of each key feature, (Bk, d)."""
        return self.keys.peak

    @property
    def n_batch(self) -> int:
        return len(self.query_of)

    @property
    def n_queries(self) -> int:
        """Queries per batch entry (L)."""
        return self.query.shape[1]

    @property
    def n_keys(self) -> int:
        """Keys per batch entry (S)."""
        return self.keys.unchecked.shape[1]

    @property
    def n_features(self) -> int:
        """Features per query and key (d)."""
        return self.query.shape[2]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.query.dtype

    @property
    def n_pairs(self) -> int:
        """Query-key pairs before masking."""
        return self.n_batch * self.n_queries * self.n_keys

    def empty_answer(self) -> Answer:
        """Unwritten output arrays of this problem's shape."""
        rows, width, dtype = (self.n_batch, self.n_queries), self.value.shape[2], self.dtype
        keep_freed(rows[0] * rows[1] * (width * dtype.itemsize + 16))
        mean = np.empty((*rows, width), dtype)
        return Answer(mean, np.empty(rows, np.int64), np.empty(rows, np.int64))

    def no_keys_answer(self) -> Answer:
        """The answer where there are no keys, or no queries: no winners, and means of zero."""
        answer = self.empty_answer()
        answer.first[...] = -1
        answer.count[...] = 0
        answer.mean[...] = 0
        return answer


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an engine returns for a problem."""

    mean: NDArray[Any]  # (B, L, dv): the mean, first or last winning value; 0 for no winner
    first: NDArray[np.int64]  # (B, L): the lowest winning key; -1 where no key is allowed
    count: NDArray[np.int64]  # (B, L): how many keys win


def self_attention(
    points: NDArray[Any], query: NDArray[Any], num_threads: int, peak: NDArray[Any] | None = None
) -> Problem:
    """The problem of clouds (B, n, d) attending to themselves; the arrays are trusted.

    ``peak`` (B, d) are the features' largest magnitudes, if they are known.
    """
    batch = np.arange(len(points), dtype=np.int64)
    return Problem(
        query=query,
        keys=Keys(points, feature_peaks(points, num_threads)[0] if peak is None else peak),
        value=points,
        query_of=batch,
        key_of=batch,
        value_of=batch,
        mask_of=np.zeros_like(batch),
        mask=None,
        is_causal=False,
        ties="mean",
        num_threads=num_threads,
    )
