"""Clouds by name: what each file and built-in name gives, and one sentence for what gives none."""

from __future__ import annotations

import errno
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fasthardmax.inputs import BUILT_IN, read_array, read_cloud

from .compare import assert_same_bits

CORNERS = [(1, 1), (1, -1), (-1, -1), (-1, 1)]

# The points that the paper's Figure 2 fixes, then the boxes [low, high]^2 of those it draws.
STARTS: dict[str, tuple[Any, Any]] = {
    "emerging-leader": (
        [
            (1, 4 / 12),
            (-1 / 12, 1 / 12),
            (-1, -1),
            (0, 3 / 12),
            (-0.3, -0.7),
            (-0.6, -0.9),
            (0.8, 0.1),
            (0.6, 0.15),
        ],
        [],
    ),
    "triangle": (
        [(1, 1), (0.5, -0.5), (-1, -1), (0.3, -0.2), (0.1, -0.2)],
        [(0, 1)] * 2 + [(-1, 0)] * 2,
    ),
    "square": (CORNERS, [(-0.5, 0.5)] * 6),
    "non-leader-clusters": ([*CORNERS, (-0.5, 0), (0.5, 0)], [(-0.5, 0.5)] * 4),
}


def test_the_built_in_names() -> None:
    assert set(BUILT_IN) == {*STARTS, "digits"}


@pytest.mark.parametrize("name", STARTS)
def test_the_starts_of_figure_2(name: str) -> None:
    fixed, boxes = STARTS[name]
    cloud = read_cloud(name)
    assert cloud.A is None
    assert cloud.images is None
    assert cloud.points.shape == (len(fixed) + len(boxes), 2)
    assert_same_bits(cloud.points[: len(fixed)], np.array(fixed, float))
    drawn = cloud.points[len(fixed) :]
    for point, (low, high) in zip(drawn, boxes, strict=True):
        assert np.all((low < point) & (point < high))
    assert len(np.unique(drawn, axis=0)) == len(boxes)
    assert_same_bits(read_cloud(name).points, cloud.points)


def test_digits_are_scikit_learns_less_their_mean_with_their_exact_covariance() -> None:
    images = load_digits().images
    cloud = read_cloud("digits")
    assert cloud.images is not None
    assert cloud.A is not None
    assert_same_bits(cloud.images, images)
    whole = images.reshape(1797, 64).astype(np.int64)
    total, products = whole.sum(axis=0), whole.T @ whole
    mean = np.array([float(Fraction(int(t), 1797)) for t in total])
    assert_same_bits(cloud.points, whole - mean)
    exact = [
        [float(Fraction(1797 * int(products[i, j]) - int(total[i] * total[j]), 1797**2))]
        for i in range(64)
        for j in range(64)
    ]
    assert_same_bits(cloud.A + 0.0, np.array(exact).reshape(64, 64) + 0.0)


# --- Files --------------------------------------------------------------------------------------

CSV = {
    "plain": "1,2\n3,4.5e0\n",
    "no newline at the end": "1,2\n3,4.5",
    "header": "x,y\n1,2\n3,4.5\n",
    "quoted header": '"x, in m","y"\n1,2\n3,4.5\n',
    "comment as header": "# x,y\n1,2\n3,4.5\n",
    "blank lines": "\n1,2\n\n  \n3,4.5\n\n",
    "spaces": " 1 , 2\n3,\t4.5\n",
    "byte order mark": "\ufeff1,2\n3,4.5\n",
    "header after byte order mark": "\ufeffx,y\n1,2\n3,4.5\n",
    "carriage returns": "1,2\r\n3,4.5\r\n",
    "quoted numbers": '"1","2"\n"3","4.5"\n',
}


@pytest.mark.parametrize("text", CSV.values(), ids=list(CSV))
def test_csv(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.CSV"
    path.write_text(text, "utf-8", newline="")
    assert_same_bits(read_cloud(str(path)).points, np.array([[1, 2], [3, 4.5]]))


def test_csv_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x\n1\n2\n")
    assert_same_bits(read_array(path, "points"), np.array([[1.0], [2.0]]))


def test_csv_keeps_every_bit_that_numpy_writes(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) * 10.0 ** np.arange(-200, 100, 100)
    np.savetxt(tmp_path / "points.csv", points, "%.17g", delimiter=",", header="a,b,c")
    assert_same_bits(read_array(tmp_path / "points.csv", "points"), points)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", "bool"])
def test_numpy_files_keep_their_dtype(tmp_path: Path, dtype: str) -> None:
    points = np.array([[1, 0], [1, 1]], dtype)
    np.save(tmp_path / "x.npy", points)
    np.savez(tmp_path / "one.npz", anything=points)
    np.savez_compressed(tmp_path / "several.npz", other=np.ones(3), points=points)
    for name in ("x.npy", "one.npz", "several.npz"):
        assert_same_bits(read_array(tmp_path / name, "points"), points)


def test_the_array_in_an_npz_file_is_named_after_the_argument(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", A=np.eye(2), points=np.ones((3, 2)))
    assert_same_bits(read_array(tmp_path / "x.npz", "A"), np.eye(2))
    assert_same_bits(read_array(tmp_path / "x.npz", "points"), np.ones((3, 2)))


DAMAGED = "damaged, or not of numbers, expected an array of numbers saved by NumPy"
DTYPES = "expected float16, float32, float64, an integer or a boolean"
SHAPE = "expected (n, d) with n and d at least 1"

# File name, its content (text, bytes, an array, several arrays, None: no file), what is said.
BAD: list[tuple[str, object, str]] = [
    ("x.npy", None, "cannot be read: No such file or directory"),
    ("x.npz", None, "cannot be read: No such file or directory"),
    ("x.csv", None, "cannot be read: No such file or directory"),
    ("x.npy", "directory", "cannot be read: Is a directory"),
    ("x.csv", "directory", "cannot be read: Is a directory"),
    ("x.npy", b"", "the file is empty, expected an array of shape (n, d)"),
    ("x.npz", b"", "the file is empty, expected an array of shape (n, d)"),
    ("x.csv", b"", "the file is empty, expected an array of shape (n, d)"),
    ("x.npy", b"hello", DAMAGED),
    ("x.npz", b"PK\x03\x04hello", DAMAGED),
    ("x.npy", np.array([[1, None]], object), DAMAGED),
    ("x.npz", {"points": np.array([[1, None]], object)}, DAMAGED),
    ("x.npy", np.array([["a", "b"]]), f"got dtype <U1, {DTYPES}"),
    ("x.npy", np.eye(2) * 1j, f"got dtype complex128, {DTYPES}"),
    ("x.npy", np.ones(3), f"got shape (3,), {SHAPE}"),
    ("x.npy", np.float64(3), f"got shape (), {SHAPE}"),
    ("x.npy", np.ones((2, 3, 4)), f"got shape (2, 3, 4), {SHAPE}"),
    ("x.npy", np.ones((0, 2)), f"got shape (0, 2), {SHAPE}"),
    ("x.npy", np.ones((2, 0)), f"got shape (2, 0), {SHAPE}"),
    (
        "x.npy",
        np.array([[1, 2], [3, np.nan]]),
        "got nan at index (1, 1), expected finite numbers only",
    ),
    (
        "x.csv",
        "1,2\n-inf,4\n",
        "got -inf at index (1, 0), expected finite numbers only",
    ),
    (
        "x.npz",
        {"a": np.eye(2), "b": np.eye(2)},
        "holds the arrays a, b, expected a single array, or one called 'points'",
    ),
    (
        "x.npz",
        {},
        "holds the arrays (none), expected a single array, or one called 'points'",
    ),
    ("x.csv", b"\xff\xfe1", "not a text file, expected lines of numbers"),
    ("x.csv", "x,y\n", f"got shape (0, 1), {SHAPE}"),
    ("x.csv", "1,2\n3\n", "got 1 in line 2, expected 2 numbers as in the lines before"),
    (
        "x.csv",
        "x,y\n\n1,2\n3,4,5\n",
        "got 3 in line 4, expected 2 numbers as in the lines before",
    ),
    ("x.csv", "1,2\n3,b\n", "got 'b' in line 2, expected numbers separated by commas"),
    ("x.csv", "1,b\n3,4\n", "got 'b' in line 1, expected numbers separated by commas"),
    ("x.csv", "x,y\nz,w\n", "got 'z' in line 2, expected numbers separated by commas"),
    ("x.csv", "1,2,\n", "got '' in line 1, expected numbers separated by commas"),
    ("x.csv", "a b\n1 2\n", "got '1 2' in line 2, expected numbers separated by commas"),
]


def put(path: Path, content: object) -> None:
    assert isinstance(content, str | bytes | dict | np.ndarray | np.float64 | None)
    if isinstance(content, str) and content == "directory":
        path.mkdir()
    elif isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, np.ndarray | np.float64):
        np.save(path, content)


@pytest.mark.parametrize(("name", "content", "sentence"), BAD)
def test_a_bad_file_gets_one_sentence(
    tmp_path: Path, name: str, content: object, sentence: str
) -> None:
    path = tmp_path / name
    put(path, content)
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        read_cloud(str(path))
    assert str(caught.value) == f"points: '{path}': {sentence}"


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_every_way_of_cutting_a_file_short_is_noticed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    put(path, np.eye(2) if name == "x.npy" else {"points": np.eye(2)})
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"^points: '.*': {DAMAGED}$"):
            read_array(path, "points")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x.npy")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match=r"^A: 'x.npy': cannot be read: Permission denied$"):
        read_array("x.npy", "A")


@pytest.mark.parametrize("name", ["nonsense", "x.txt", "Digits", "", ".", "npy", "x.npy/"])
def test_an_unknown_name_is_told_the_known_ones(name: str) -> None:
    known = "emerging-leader, triangle, square, non-leader-clusters, digits"
    if name == "x.npy/":
        expected = "points: 'x.npy': cannot be read: No such file or directory"
    else:
        expected = (
            f"points: got '{name}', expected a file ending in .npy, .npz, .csv, or one of the "
            f"built-in names {known}"
        )
    with pytest.raises((ValueError, OSError)) as caught:
        read_cloud(name)
    assert str(caught.value) == expected


def test_a_matrix_must_be_a_file_of_numbers() -> None:
    with pytest.raises(ValueError, match=r"^A: got 'digits', expected a file ending in "):
        read_array("digits", "A")


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"scikit-learn.*pip install 'fasthardmax\[data\]'$"):
        read_cloud("digits")
