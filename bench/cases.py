"""What is measured: kinds of points, and grids of sizes, full and quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.cases import ball, circle, gaussian, lattice

from .hard_clouds import HARD

__all__ = [
    "KINDS",
    "Case",
    "agreement",
    "attention",
    "growth",
    "hard",
    "near_linear",
    "near_linear_growth",
    "one_core",
    "rescoring",
    "small_calls",
    "winners",
]

Array = NDArray[Any]

DTYPES = ("float32", "float64")
_DEGENERATE = (
    "slanted", "collinear", "all equal", "two far clusters", "heavy tails",
    "one huge outlier", "offset by 1e6", "near-ties", "lattice",
)  # fmt: skip
_STRETCH = (1.0, 2.0)  # A = diag(1, 2), of the kind "circle"


def clustered(n: int, d: int, dtype: np.dtype[Any]) -> Array:
    """Fifty clusters of standard deviation 0.1: many queries share a winner."""
    rng = np.random.default_rng([n, d])
    centres = rng.standard_normal((50, d))
    points = rng.standard_normal((n, d))
    points *= 0.1
    points += centres[rng.integers(50, size=n)]
    return points.astype(dtype, copy=False)


def _shuffled_lattice(n: int, d: int, dtype: np.dtype[Any]) -> Array:
    """``n`` points of the smallest integer lattice that has as many, in random order."""
    side = next(side for side in range(1, n + 1) if side**d >= n)
    return np.random.default_rng([n, d]).permutation(lattice(side, d, dtype))[:n]


# Every kind is in random order, so that the first rows are a fair sample of all.
KINDS: dict[str, Callable[[int, int, np.dtype[Any]], Array]] = {
    "gaussian": gaussian,
    "clustered": clustered,
    "ball": ball,
    "circle, A = diag(1, 2)": lambda n, d, dtype: circle(n, dtype),
    "lattice": _shuffled_lattice,
    "circle": lambda n, d, dtype: circle(n, dtype),
    "cube": lambda n, d, dtype: np.random.default_rng([n, d]).uniform(-1, 1, (n, d)).astype(dtype),
    **HARD,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One problem to answer and to time.

    Without ``value_width`` the winners are asked for; with it, the means of the values. The
    queries are the first points of a cloud that attends to itself, unless ``kind`` is
    "independent": then queries, keys and values are independent and Gaussian.
    """

    kind: str
    n_keys: int
    d: int
    dtype: str
    n_queries: int
    value_width: int | None = None
    batch: tuple[int, ...] = ()
    mask: str = "none"  # "none", "causal" or "boolean" (half of all pairs allowed)
    values: str = "random"  # or "keys": their means are one layer of the dynamics
    name: str = ""

    @property
    def form(self) -> str:
        """What is asked for: "winners" or "attend"."""
        return "winners" if self.value_width is None else "attend"

    @property
    def pairs(self) -> int:
        """Query-key pairs, before masking."""
        return int(np.prod(self.batch, dtype=int)) * self.n_queries * self.n_keys

    def arguments(self) -> dict[str, Any]:
        """The arrays of the case: query and key, and for attention value, attn_mask, is_causal."""
        return dict(_arguments(self))


@lru_cache(maxsize=1)
def _arguments(case: Case) -> dict[str, Any]:
    dtype = np.dtype(case.dtype)
    rng = np.random.default_rng([case.n_keys, case.d])

    def gaussians(*shape: int) -> Array:
        return rng.standard_normal((*case.batch, *shape)).astype(dtype)

    if case.kind == "independent":
        query, key = gaussians(case.n_queries, case.d), gaussians(case.n_keys, case.d)
    else:
        key = KINDS[case.kind](case.n_keys, case.d, dtype)
        query = key * np.array(_STRETCH, dtype) if case.kind.startswith("circle, A") else key
        query = query[: case.n_queries]
    if case.value_width is None:
        return {"query": query, "key": key}
    return {
        "query": query,
        "key": key,
        "value": key if case.values == "keys" else gaussians(case.n_keys, case.value_width),
        "attn_mask": rng.random((case.n_queries, case.n_keys)) < 0.5
        if case.mask == "boolean"
        else None,
        "is_causal": case.mask == "causal",
    }


def _self_attention(kind: str, n: int, d: int, dtype: str) -> Case:
    return Case(kind, n, d, dtype, n)


def winners(quick: bool) -> Iterator[Case]:
    """The grid of the comparison: all n queries against all n keys."""
    if quick:
        for d, dtype in ((2, "float32"), (64, "float32"), (2, "float64")):
            yield _self_attention("gaussian", 10_000, d, dtype)
        return
    for dtype, n, d in product(DTYPES, (2_000, 20_000, 100_000), (2, 3, 4, 8, 16, 64, 256, 1024)):
        if n == 20_000 or d not in (4, 1024):
            yield _self_attention("gaussian", n, d, dtype)
    # From about d = 64 every Gaussian point is its own winner; points in clusters share winners.
    for dtype, d in product(DTYPES, (64, 256)):
        yield _self_attention("clustered", 20_000, d, dtype)


def growth(quick: bool) -> Iterator[Case]:
    """The sizes between those of the grid, for time over n."""
    sizes = (1_000,) if quick else (500, 1_000, 5_000, 10_000, 50_000)
    for n in sizes:
        yield _self_attention("gaussian", n, 2 if quick else 3, "float32")


def agreement(quick: bool) -> Iterator[Case]:
    """Where rounding and ties show, for the winners and for the means of random values."""
    n = 2_000 if quick else 10_000
    sizes = {
        "gaussian": 16,
        "clustered": 64,
        "ball": 3,
        "circle, A = diag(1, 2)": 2,
        "lattice": 2,
    }
    for (kind, d), dtype, width in product(sizes.items(), DTYPES, (None, 2)):
        yield Case(kind, n, d, dtype, n, width)


def attention(quick: bool) -> Iterator[Case]:
    """The operator with values, in the shapes that transformers have."""
    n = 2_048 if quick else 8_192
    names = {"none": "full", "causal": "causal mask", "boolean": "boolean mask"}
    for dtype in DTYPES[:1] if quick else DTYPES:
        independent = partial(Case, "independent", dtype=dtype)
        for mask, name in names.items():
            yield independent(n, 64, n_queries=n, value_width=64, mask=mask, name=name)
        decoding = partial(independent, 8 * n, 128, value_width=128)
        yield decoding(n_queries=1, batch=(8,), name="decoding: 8 heads, 1 query")
        yield decoding(n_queries=16, name="16 queries")
        yield independent(
            128, 64, n_queries=128, value_width=64, batch=(64, 8), name="64 x 8 small heads"
        )
        yield independent(n // 2, 16, n_queries=n // 2, value_width=1024, name="wide values")


def small_calls() -> Iterator[Case]:
    """Calls that take no work worth mentioning: what is left is the cost of a call."""
    for dtype in DTYPES:
        yield Case("independent", 8, 2, dtype, 8, 2, name="one tiny call")


def rescoring(quick: bool) -> Iterator[Case]:
    """Generic and clustered points, and points that tie or nearly do."""
    kinds = {"gaussian": (3, 64), "clustered": (3, 64), "ball": (3,), "lattice": (2,)}
    kinds["circle, A = diag(1, 2)"] = (2,)
    n = 2_000 if quick else 20_000
    for (kind, dims), dtype in product(kinds.items(), DTYPES):
        for d in dims:
            yield _self_attention(kind, n, d, dtype)


def near_linear(quick: bool) -> Iterator[Case]:
    """Where almost no pair needs to be looked at."""
    if quick:
        sizes = {"gaussian": ((2, 100_000), (3, 100_000)), "clustered": ((16, 10_000),)}
    else:
        few, many = 100_000, 1_000_000
        sizes = {
            "gaussian": ((2, many), (3, many), *((d, few) for d in (4, 5, 6, 8, 16))),
            "cube": ((2, many), (3, many)),
            "ball": ((2, many), (3, many)),
            "circle": ((2, many),),
            "clustered": tuple((d, few) for d in (8, 16, 64)),
        }
    for kind, cells in sizes.items():
        for d, n in cells:
            yield _self_attention(kind, n, d, "float64")


def hard(quick: bool) -> Iterator[Case]:
    """Where many keys win, or rounding decides: an engine may not lose to all pairs there."""
    if quick:
        for kind in ("sphere", "near-ties"):
            yield _self_attention(kind, 10_000, 3, "float64")  # compiled by then
        return
    spread_out = ("sphere", "moment curve", "coplanar")
    for d, kinds in {2: ("circle", "parabola"), 3: (*spread_out, "ball")}.items():
        for kind in (*kinds, *_DEGENERATE):
            yield _self_attention(kind, 100_000, d, "float64")
        yield _self_attention("near-ties", 100_000, d, "float32")
    for d, dtype in product((8, 16), DTYPES):
        for kind in (*spread_out, *_DEGENERATE):
            yield _self_attention(kind, 20_000, d, dtype)


def near_linear_growth(quick: bool) -> Iterator[Case]:
    """The sizes between and beyond those of the near-linear grid, for time over n."""
    sizes = (10_000, 1_000_000) if quick else (10_000, 100_000, 10_000_000)
    for d, n in product((2, 3), sizes):
        yield _self_attention("gaussian", n, d, "float64")


def one_core(quick: bool) -> Iterator[Case]:
    """For thread scaling, and for a run with another core loaded."""
    for d in (3,) if quick else (3, 64):
        yield _self_attention("gaussian", 20_000, d, "float32")
