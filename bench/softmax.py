"""One layer of softmax self-attention at an inverse temperature: the package beside other tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from fasthardmax import simulate
from fasthardmax.numerics import canonical_scores

from . import cases
from .contestants.tiles import Crew, rows_per_block
from .tables import markdown
from .timing import calls_per_timing, ratio, spread

if TYPE_CHECKING:
    from .sections import Field

__all__ = ["OWN", "race", "table"]

OWN = "fasthardmax"

Record = dict[str, Any]
Array = NDArray[Any]
Tool = Callable[[Array, float], Array]  # (points, beta) -> means

# Of a quick run or a full one.
_ROUNDS = {True: 2, False: 5}
_SIZES = {True: 2_000, False: 10_000}
_CASES = ((2, 1.0), (2, 100.0), (3, 1.0), (8, 1.0), (16, 0.25), (64, 0.125))  # d, beta
_QUICK_CASES = ((2, 1.0), (64, 0.125))
_CHECKED = 64  # queries
_CLOSE = 100  # ulps of the largest coordinate: beyond, an answer is wrong
_MEBIBYTES = (0.5, 2, 8)  # of NumPy's blocks: it runs with the fastest


def race(field: Field) -> Iterator[Record]:
    """Everyone's answer is checked, then all are timed in turns."""
    n, rounds = _SIZES[field.quick], _ROUNDS[field.quick]
    for dtype in cases.DTYPES:
        for d, beta in _QUICK_CASES if field.quick else _CASES:
            points = cases.KINDS["gaussian"](n, d, np.dtype(dtype))
            tools = dict(_tools(field, points, beta))
            records: list[Record] = []
            for name, tool in tools.items():
                away = _away(tool(points, beta), points, beta)
                records.append({
                    "case": {"n": n, "d": d, "dtype": dtype, "beta": beta},
                    "name": name,
                    "away": away,
                    "wrong": not away <= _CLOSE * np.finfo(dtype).eps,
                    "seconds": [],
                })  # fmt: skip
            for turn in range(rounds):
                for record in records[turn % len(records) :] + records[: turn % len(records)]:
                    record["seconds"].append(_seconds(tools[record["name"]], points, beta))
            yield from records


def table(results: dict[str, Any]) -> str:
    """Pairs per second of each tool, how often the package is as fast, and how far all are off."""
    rows = []
    records: Sequence[Record] = results["sections"].get("softmax", [])
    own = {str(r["case"]): r for r in records if r["name"] == OWN}
    for record in records:
        case = record["case"]
        rate = spread([case["n"] ** 2 / seconds / 1e9 for seconds in record["seconds"]])
        lead = ratio(record["seconds"], own[str(case)]["seconds"])
        rows.append([
            f"d = {case['d']}, beta = {case['beta']:g}, {case['dtype']}", record["name"],
            f"{rate.median:.3g}", f"{rate.low:.3g} to {rate.high:.3g}", f"{lead.median:.3g}",
            f"{record['away']:.1g}" + (" (wrong)" if record["wrong"] else ""),
        ])  # fmt: skip
    header = ["case", "tool", "10^9 pairs/s", "quartiles", "times fasthardmax's time", "error"]
    return markdown(header, rows)


def _tools(field: Field, points: Array, beta: float) -> Iterator[tuple[str, Tool]]:
    yield OWN, partial(_own, threads=field.cores)
    blocked = [partial(_numpy, Crew(field.cores), mebibytes=size) for size in _MEBIBYTES]
    yield "numpy", min(blocked, key=lambda tool: _seconds(tool, points, beta))
    try:
        import torch
    except ImportError as error:
        field.track.missing["sdpa"] = str(error)
        return
    torch.set_num_threads(field.cores)
    yield "sdpa", _sdpa


def _own(points: Array, beta: float, threads: int) -> Array:
    """A layer with an infinite step, so that points become their means."""
    return simulate(points, alpha=np.inf, n_layers=1, beta=beta, num_threads=threads).points


def _numpy(crew: Crew, points: Array, beta: float, mebibytes: float) -> Array:
    """Blocks of scores by BLAS, one thread each; as few passes over a block as NumPy allows."""
    rows = rows_per_block(len(points), points.itemsize, mebibytes)
    query, means = points * points.dtype.type(beta), np.empty_like(points)

    def answer(starts: range) -> None:
        block = np.empty((rows, len(points)), points.dtype)
        for start in starts:
            part = query[start : start + rows]
            weights = np.matmul(part, points.T, out=block[: len(part)])
            weights -= weights.max(axis=1, keepdims=True)
            np.exp(weights, out=weights)
            total = weights.sum(axis=1, keepdims=True)
            means[start : start + rows] = weights @ points / total

    with ThreadpoolController().limit(limits=1, user_api="blas"):
        crew.run(answer, len(points), rows)
    return means


def _sdpa(points: Array, beta: float) -> Array:
    import torch

    x = torch.from_numpy(points)[None, None]  # the fused kernel is taken for four dimensions only
    with torch.no_grad():
        means = torch.nn.functional.scaled_dot_product_attention(x, x, x, scale=beta)
    array: Array = means[0, 0].numpy()
    return array


def _away(means: Array, points: Array, beta: float) -> float:
    """The largest error of some means, in units of the largest coordinate."""
    far = np.longdouble(points)
    scores = canonical_scores(points[:_CHECKED], points) * np.longdouble(beta)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact = weights @ far / weights.sum(axis=1, keepdims=True)
    return float(np.abs(means[:_CHECKED] - exact).max() / np.abs(far).max())


def _seconds(tool: Tool, points: Array, beta: float) -> float:
    """Seconds of a call, among so many that idle processors have reached their pace."""
    start = time.perf_counter()
    tool(points, beta)
    calls = calls_per_timing(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(calls):
        tool(points, beta)
    return (time.perf_counter() - start) / calls
