"""The oracle of the dynamics in exact rational arithmetic: plain loops, no package code."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Point = tuple[Fraction, ...]


class Layer(NamedTuple):
    """One layer: its points and their tie sets."""

    points: list[Point]
    winners: list[list[int]]


def fractions(array) -> list[Point]:
    """The numbers of an array as they are."""
    return [tuple(Fraction(float(x)) for x in row) for row in array]


def dot(a: Point, b: Point) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction())


def tie_set(query: Point, keys: list[Point]) -> list[int]:
    scores = [dot(query, key) for key in keys]
    best = max(scores)
    return [j for j, score in enumerate(scores) if score == best]


def simulate(points, alpha, n_layers, A=None) -> list[Layer]:
    """Layers 0 to ``n_layers`` of one cloud (n, d), with c = alpha / (1 + alpha) exactly."""
    x = fractions(points)
    rows = None if A is None else fractions(A)
    c = Fraction(1) if math.isinf(alpha) else Fraction(alpha) / (1 + Fraction(alpha))
    run = []
    for layer in range(n_layers + 1):
        queries = x if rows is None else [tuple(dot(row, p) for row in rows) for p in x]
        winners = [tie_set(q, x) for q in queries]
        run.append(Layer(x, winners))
        if layer < n_layers:
            x = [_moved(p, [x[j] for j in w], c) for p, w in zip(x, winners, strict=True)]
    return run


def _moved(point: Point, winners: list[Point], c: Fraction) -> Point:
    mean = [sum(column, Fraction()) / len(winners) for column in zip(*winners, strict=True)]
    return tuple(p + c * (m - p) for p, m in zip(point, mean, strict=True))


def ulps_of_diameter(points, truth: list[Point], start) -> Fraction:
    """The largest error of a coordinate, in ulps of the diameter of the start in its dtype."""
    begin = fractions(start)
    square = max(sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), Fraction())
                 for a in begin for b in begin)  # fmt: skip
    ulp = Fraction(float(np.spacing(np.asarray(start).dtype.type(math.sqrt(square)))))
    return max(
        abs(x - y) / ulp
        for a, b in zip(fractions(points), truth, strict=True)
        for x, y in zip(a, b, strict=True)
    )
