"""A run that streams to the disk is the run that does not."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import fasthardmax
from fasthardmax import TrajectoryStore, resume, simulate
from fasthardmax.dynamics import METHODS
from fasthardmax.storage import load_trajectory

from .compare import assert_same_bits
from .long_runs import A, assert_same_run, cloud, plain, quick_disk, stored  # noqa: F401  # for every test here


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"checkpoint": 1, "n_layers": 5},
        {"checkpoint": 1000},
        {"every": 3},
        {"A": None, "alpha": np.inf},
        {"points": cloud(5, 2).astype(np.float32)},
        {"points": cloud(3, 8, 2), "every": 2},
        {"points": np.zeros((0, 2)), "n_layers": 3},
        {"points": np.zeros((0, 5, 2)), "n_layers": 3},
        {"points": np.zeros((4, 0)), "A": None, "n_layers": 3},
        {"n_layers": 0},
    ],
    ids=lambda options: ",".join(options) or "plain",
)
def test_it_is_the_run_that_records_in_memory(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    found = stored(method, tmp_path / "run", **options)
    record = options.get("every", "all")
    options = {name: x for name, x in options.items() if name not in ("every", "checkpoint")}
    expected = plain(method, record=record, **options)
    for run in (found, load_trajectory(tmp_path / "run"), resume(tmp_path / "run")):
        assert_same_run(run, expected, tmp_path / "run")


def test_only_the_last_layer(tmp_path: Path) -> None:
    found = stored("settling", tmp_path / "run", every=None)
    assert_same_run(found, plain("settling", record="last"), tmp_path / "run")


@pytest.mark.parametrize("alpha", [0.5, np.inf])
def test_the_group_explains_itself(alpha: float, tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path / "run", every=2, checkpoint=4, attrs={"note": "mine"})
    options = {"alpha": alpha, "n_layers": 5, "method": "stepped", "engine": "reference"}
    start = cloud(3, 20, 2)
    simulate(start, A=A, record=store, **options)
    group = zarr.open_group(str(tmp_path / "run" / "trajectory.zarr"), mode="r")
    attrs = dict(group.attrs)
    assert attrs.pop("seconds") > 0
    assert attrs.pop("turn") in (0, 1)
    assert attrs == {
        "note": "mine",
        "format": 1,
        "version": fasthardmax.__version__,
        "options": options | {"alpha": alpha if alpha < np.inf else "inf", "beta": "inf"},
        "every": 2,
        "checkpoint": 4,
        "layer": 5,
        "finished": True,
    }
    assert {name: array.metadata.dimension_names for name, array in group.arrays()} == {
        "layer": ("layer",),
        "points": ("layer", "cloud", "point", "feature"),
        "first": ("layer", "cloud", "point"),
        "count": ("layer", "cloud", "point"),
        "start": ("cloud", "point", "feature"),
        "A": ("query_feature", "feature"),
    }
    assert_same_bits(group["layer"][...], np.array([0, 2, 4, 5]))
    assert_same_bits(group["start"][...], start)
    assert_same_bits(group["A"][...], A)
    assert_same_bits(
        zarr.open_array(str(tmp_path / "run" / "trajectory.zarr" / "points"), mode="r")[0], start
    )


def test_chunks_hold_whole_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_BYTES", 1000)
    for n, layers in ((20, 3), (50, 1), (100, 1)):
        run = tmp_path / str(n)
        stored("settling", run, 1, points=cloud(n, 2))
        points = zarr.open_array(str(run / "trajectory.zarr" / "points"), mode="r")
        assert points.chunks == (layers, n, 2)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("checkpoint", [1, 2, 3, 5])
def test_chunks_fill_up_between_checkpoints(
    layers: int, checkpoint: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_LAYERS", layers)
    points, run = cloud(4, 2), tmp_path / "run"
    expected = plain("stepped", 10, points=points)
    found = stored("stepped", run, 10, points=points, checkpoint=checkpoint)
    assert_same_run(found, expected, run)


def test_negative_zeros_keep_their_sign(tmp_path: Path) -> None:
    from fasthardmax._zarr_layers import LayerWriter

    points, index = np.full((3, 2), -0.0), np.zeros(3, int)
    writer = LayerWriter(tmp_path / "group", points, None)
    writer.append(0, points, index, index)
    writer.commit({})
    assert_same_bits(zarr.open_group(str(tmp_path / "group"), mode="r")["points"][0], points)


def test_a_huge_layer_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthardmax._zarr_layers._PART_BYTES", 7 * 16)
    assert_same_run(stored("stepped", tmp_path / "run"), plain("stepped"), tmp_path / "run")
    points = zarr.open_array(str(tmp_path / "run" / "trajectory.zarr" / "points"), mode="r")
    assert points.chunks[1:] == (7, 2)


def test_a_layer_that_is_not_recorded_is_not_there(tmp_path: Path) -> None:
    found = stored("stepped", tmp_path / "run", every=7)
    assert len(found.recorded) == 6
    for layer in (1, 29, 31, -1):
        with pytest.raises(KeyError):
            found.recorded[layer]
    assert list(found.recorded.only(range(10))) == [0, 7]
    assert_same_bits(found.recorded.only({14})[14], plain("stepped").recorded[14])


def test_memory_does_not_grow_with_the_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(n_layers: int) -> int:
        tracemalloc.start()
        try:
            stored("settling", tmp_path / str(n_layers), n_layers, points=points, checkpoint=100)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr("fasthardmax._zarr_layers._CHUNK_BYTES", 1 << 16)
    points = cloud(500, 2)
    peak(10)  # what is made at first use
    few, many = peak(200), peak(1200)
    layer = points.nbytes + 2 * 8 * len(points)
    assert many - few < 0.1 * (1000 * layer)
