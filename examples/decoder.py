"""A transformer written by hand: four 2-D hardmax heads that decode Hofstadter's Q sequence.

    Q(t + 1) = Q(t + 1 - Q(t)) + Q(t + 1 - Q(t - 1)),    Q(1) = Q(2) = 1

Each term says where in the past the next one is to be found, so nothing but the past will do. Per
token t, whose value is Q(t), two layers of two heads each:

    layer 0  keys and queries are all alike, so every earlier token ties
        head 0  counts: values are 1 for the first token and 0 else, and their mean is 1 / (t - 1)
        head 1  copies: the latest of the tied tokens gives its value, Q(t - 1)
    layer 1  token j has the key (2 j, -j^2) and the value Q(j)
        both    look up by address: the query (a, 1) scores a^2 - (a - j)^2, which is best at j = a

and the sum of the two values found is the next token. Between the layers stands what a feed-forward
part does: t from 1 / (t - 1), its square, the two addresses. A head works like the memory of a
computer, and a step takes about the same time at every length.

All numbers are integers, so float64 is exact up to 2 a j = 2^53: for 2^26 tokens, 67 million.

    python examples/decoder.py 1000000
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np

from fasthardmax import HardmaxCache


def decode() -> Iterator[int]:
    """Tokens for ever.

    >>> list(islice(decode(), 17))
    [1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 6, 8, 8, 8, 10, 9, 10]
    """
    cache = HardmaxCache(2, 2, value_dim=1, ties=[["mean", "last"], ["mean", "mean"]])
    alike = np.zeros((2, 2))
    cache.append(0, alike, [[1], [1]])
    cache.append(1, [[2, -1], [2, -1]], [[1], [1]])
    yield 1
    token = 1.0
    while True:
        yield int(token)
        (start,), (previous,) = cache.query(0, alike).tolist()
        cache.append(0, alike, np.array([[0.0], [token]]))
        t = 1 + round(1 / start)
        keys = np.array([(2.0 * t, -t * t), (2.0 * t, -t * t)])
        queries = np.array([(t + 1 - token, 1.0), (t + 1 - previous, 1.0)])
        (found,), (also,) = cache.step(1, keys, queries, np.array([[token], [token]])).tolist()
        token = found + also


def interpret(n_tokens: int) -> list[int]:
    """The same in plain Python, to check against."""
    q = [1, 1]
    while len(q) < n_tokens:
        q.append(q[-q[-1]] + q[-q[-2]])
    return q[:n_tokens]


def main(n_tokens: int = 1_000_000) -> int:
    """Decode, check every token, and print the rate."""
    begin = time.perf_counter()
    tokens = list(islice(decode(), n_tokens))
    rate = n_tokens / (time.perf_counter() - begin)
    wrong = sum(a != b for a, b in zip(tokens, interpret(n_tokens), strict=True))
    print(f"... {', '.join(map(str, tokens[-5:]))}")
    print(f"{n_tokens:,} tokens, {wrong} wrong, {rate:,.0f} tokens/s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
