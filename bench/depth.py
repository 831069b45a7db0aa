"""Infinite depth: passes and times of settling beside one layer, and beside stepping all pairs.

And what it takes to keep a run's data: checkpoints.

Each cloud is checked before it is timed: a part of it by the certificate of its equilibrium and
against stepped layers, and its first layer, whole, against a stepped one.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasthardmax import (
    TrajectoryStore,
    equilibrium,
    hardmax_attention,
    hardmax_winners,
    simulate,
)
from fasthardmax.numerics import canonical_scores, step, step_size

from .cases import KINDS

if TYPE_CHECKING:
    from .sections import Field

__all__ = [
    "BATCHES", "LAYERS", "STORED", "Batch", "Cloud", "Stored", "batches", "clouds", "depth",
    "stored",
]  # fmt: skip

Record = dict[str, Any]
Array = NDArray[Any]

LAYERS = 1000
_CHECKED = 400  # points of the part that is checked layer by layer
_CHECKED_LAYERS = 12  # few enough that no stepped point has collapsed onto its leader
_ULPS = 4  # of the cloud's diameter
_SAMPLE = 2000  # queries on which all pairs are timed


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points, the matrix "I" or a random symmetric positive definite one, and the step size."""

    kind: str
    n: int
    d: int
    A: str = "I"
    alpha: float = 0.5

    def points(self) -> Array:
        return KINDS[self.kind](self.n, self.d, np.dtype(np.float64))

    def matrix(self) -> Array | None:
        if self.A == "I":
            return None
        root = np.random.default_rng(self.d).standard_normal((self.d, self.d))
        return root @ root.T


@dataclass(frozen=True, slots=True)
class Batch:
    """Gaussian clouds of ``n`` points each, and how many layers of them are run."""

    clouds: int
    n: int
    d: int
    layers: int
    method: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A cloud that settles slowly: on a circle, random SPD ``A``, alpha 0.05; with checkpoints.

    ``checkpoint`` is how many of its layers lie between two.
    """

    n: int
    layers: int
    checkpoint: int


STORED = [Stored(100_000, 50, 5)]
BATCHES = [Batch(50_000, 128, 2, 8, method) for method in ("settling", "stepped")]


def clouds(quick: bool) -> Iterator[Cloud]:
    """What the targets are for, then kinds of points, matrices and step sizes."""
    if quick:
        yield from (Cloud("gaussian", 100_000, d) for d in (2, 3))
        yield from (Cloud("cube", 20_000, 3, A) for A in ("I", "SPD"))
        yield Cloud("circle", 2_000, 2, "SPD", 0.05)
        return
    yield from (Cloud("gaussian", n, d) for n in (10_000, 100_000, 1_000_000) for d in (2, 3))
    yield from (Cloud("gaussian", 100_000, d) for d in (8, 16))
    for kind in ("ball", "cube"):
        yield from (Cloud(kind, 100_000, d) for d in (2, 3, 8))
    for kind in ("gaussian", "ball", "cube"):
        yield from (Cloud(kind, 20_000, d, "SPD") for d in (2, 3, 8))
    for alpha in (0.001, 0.05, 1.0, math.inf):
        yield from (Cloud("gaussian", 20_000, 3, A, alpha) for A in ("I", "SPD"))
    yield Cloud("circle", 100_000, 2, "I")
    yield Cloud("circle", 100_000, 2, "SPD", 0.05)


def batches(quick: bool) -> list[Batch]:
    """Many small clouds at once."""
    return [Batch(2_000, 128, 2, 8, batch.method) for batch in BATCHES] if quick else BATCHES


def stored(quick: bool) -> list[Stored]:
    """Runs that can be resumed."""
    return [Stored(2_000, 20, 5)] if quick else STORED


def depth(field: Field) -> Iterator[Record]:
    """Every cloud, then the batches, then what checkpoints take."""
    for cloud in clouds(field.quick):
        yield _measure(cloud, field)
    for batch in batches(field.quick):
        yield _measure_batch(batch, field)
    for run in stored(field.quick):
        yield _measure_stored(run, field)


def _measure(cloud: Cloud, field: Field) -> Record:
    x, A = cloud.points(), cloud.matrix()
    options: dict[str, Any] = {"alpha": cloud.alpha, "A": A, "num_threads": field.cores}
    query = x if A is None else canonical_scores(x, A)
    c = step_size(cloud.alpha, x.dtype)

    def first_layer() -> Array:
        queries = x if A is None else canonical_scores(x, A)
        mean = hardmax_attention(queries, x, x, num_threads=field.cores)
        return step(x, mean, c)

    record: Record = {
        "case": asdict(cloud), "name": "auto", "wrong": wrong_share(cloud, first_layer()),
    }  # fmt: skip
    found = equilibrium(x, **options)
    record["passes"], record["n_layers"] = found.n_passes, found.n_layers
    record["not_settled"] = float(np.mean(found.settled_at < 0)) if len(x) else 0.0
    calls = {
        "search": lambda: hardmax_winners(query, x, num_threads=field.cores),
        "first layer": first_layer,
        "layers": lambda: simulate(x, n_layers=LAYERS, **options),
        "equilibrium": lambda: equilibrium(x, **options),
    }
    record["seconds"] = _timed(calls, 2 if field.quick else 5)
    some = query[: min(_SAMPLE, cloud.n)]
    direct = _timed(
        {"direct": lambda: hardmax_winners(some, x, engine="direct", num_threads=field.cores)},
        2 if field.quick else 3,
    )
    record["seconds"]["direct"] = [s * cloud.n / len(some) for s in direct["direct"]]
    return record


def _measure_batch(batch: Batch, field: Field) -> Record:
    x = np.random.default_rng(0).standard_normal((batch.clouds, batch.n, batch.d))
    options: dict[str, Any] = {
        "alpha": 0.5, "n_layers": batch.layers, "method": batch.method, "num_threads": field.cores,
    }  # fmt: skip
    some = np.linspace(0, batch.clouds - 1, 20, dtype=int)
    run = simulate(x, **options)
    alone = [simulate(x[b], engine="reference", **options) for b in some]
    wrong = [np.any(run.points[b] != one.points) for b, one in zip(some, alone, strict=True)]
    return {
        "case": asdict(batch), "name": "auto", "wrong": float(np.mean(wrong)),
        "seconds": _timed({"layers": lambda: simulate(x, **options)}, 2 if field.quick else 5),
    }  # fmt: skip


def _measure_stored(run: Stored, field: Field) -> Record:
    cloud = Cloud("circle", run.n, 2, "SPD", 0.05)
    x = cloud.points()
    options: dict[str, Any] = {
        "alpha": cloud.alpha, "A": cloud.matrix(), "n_layers": run.layers,
        "num_threads": field.cores,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run")

        def saved() -> Array:
            store = TrajectoryStore(path, every=None, checkpoint=run.checkpoint, overwrite=True)
            return simulate(x, record=store, **options).points

        def plain() -> Array:
            return simulate(x, **options).points

        wrong = float(np.any(saved() != plain(), axis=1).mean())
        seconds = _timed({"saved": saved, "layers": plain}, 2 if field.quick else 5)
    return {"case": asdict(run), "name": "auto", "wrong": wrong, "seconds": seconds}


def wrong_share(cloud: Cloud, stepped: Array) -> float:
    """The largest share of points found wrong in any of the checks.

    ``stepped`` is the whole cloud after one layer, by the operator.
    """
    x, A = cloud.points(), cloud.matrix()
    settled = simulate(x, alpha=cloud.alpha, n_layers=1, A=A).points
    shares = [_apart(settled, stepped, x)]
    part = x[:_CHECKED]
    found = equilibrium(part, alpha=cloud.alpha, A=A)
    certificate = found.certificate()
    shares.append(certificate.n_not_verified / len(part))
    layers = {
        method: simulate(part, alpha=cloud.alpha, n_layers=_CHECKED_LAYERS, A=A, method=method)
        for method in ("settling", "stepped")
    }
    shares.append(_apart(layers["settling"].points, layers["stepped"].points, part))
    if not math.isinf(cloud.alpha):  # who has landed on a leader ties with it, and hides it
        same = layers["settling"].labels == layers["stepped"].labels
        shares.append(float(np.mean(~same)))
    return max(shares)


def _apart(a: Array, b: Array, start: Array) -> float:
    """The share of points of which two accounts differ by more than rounding."""
    ulp = np.spacing(np.linalg.norm(np.ptp(start, axis=0)))
    away = np.abs(a - b).max(axis=1) > _ULPS * _CHECKED_LAYERS * ulp
    return float(away.mean())


def _timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, in turns after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds
