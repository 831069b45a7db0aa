"""Runs that stream to the disk, the same runs in memory, and the comparison of the two."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from fasthardmax import Trajectory, TrajectoryStore, simulate
from fasthardmax.engines import compiled

from .compare import assert_same_bits, assert_same_fields

A = np.diag([1.0, 4.0])  # on a circle, points settle over some 50 layers
FIELDS = ("points", "leader_layer", "labels")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what is lost without it, no test can see."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def cloud(*shape: int) -> NDArray[Any]:
    points = np.random.default_rng(1).normal(size=shape or (20, 2))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def plain(method: str, n_layers: int = 30, **options: Any) -> Trajectory:
    options = {"alpha": 0.05, "A": A, "record": "all", "engine": "compiled"} | options
    return simulate(options.pop("points", cloud()), n_layers=n_layers, method=method, **options)


def stored(method: str, path: Path, n_layers: int = 30, **options: Any) -> Trajectory:
    store = {name: options.pop(name) for name in ("every", "checkpoint") if name in options}
    record = TrajectoryStore(path, **({"checkpoint": 4} | store))
    return plain(method, n_layers, record=record, **options)


def assert_same_run(found: Trajectory, expected: Trajectory, path: Path) -> None:
    assert_same_fields(found, expected, FIELDS, "result")
    for name in ("alpha", "beta", "engine", "n_layers", "n_passes"):
        assert getattr(found, name) == getattr(expected, name), name
    assert list(found.recorded) == list(found.winners) == sorted(expected.recorded)
    assert_prefix(path, expected)
    last = found.n_layers
    assert_same_bits(found.recorded[last], expected.recorded[last])
    assert_same_fields(found.winners[last], expected.winners[last], ("first", "count"), "last")


def assert_prefix(path: Path, expected: Trajectory) -> None:
    """What is visible on the disk are the first of the recorded layers, also of an array alone."""
    folder = path / "trajectory.zarr"
    group = zarr.open_group(str(folder), mode="r")
    layers = sorted(expected.recorded)
    winners = [expected.winners[layer] for layer in layers]
    n_rows = group["layer"].shape[0]
    for name, rows in {
        "layer": layers,
        "points": [expected.recorded[layer] for layer in layers],
        "first": [w.first for w in winners],
        "count": [w.count for w in winners],
    }.items():
        everything = np.stack(rows)
        assert_same_bits(group[name][...], everything[:n_rows], name)
        alone = zarr.open_array(str(folder / name), mode="r")[...]
        assert len(alone) >= n_rows
        assert_same_bits(alone, everything[: len(alone)], name)


def interrupted(
    monkeypatch: pytest.MonkeyPatch, call: int, method: str, path: Path
) -> KeyboardInterrupt:
    """Stop a run at one of its searches."""
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "run", interrupted_at(call))
        with pytest.raises(KeyboardInterrupt) as interrupt:
            stored(method, path)
    return interrupt.value


def interrupted_at(call: int) -> Callable[..., Any]:
    calls = iter(range(call))
    run = compiled.run

    def attend(problem: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return run(problem)

    return attend
