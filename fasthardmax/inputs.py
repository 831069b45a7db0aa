"""Clouds of points by name: arrays in .npy, .npz and .csv files, and the built-in data sets."""

from __future__ import annotations

import array
import csv
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._validate import as_array, check_finite

__all__ = ["BUILT_IN", "Cloud", "read_array", "read_cloud"]

_SUFFIXES = (".npy", ".npz", ".csv")
_SEED = 2407  # of the uniform points in the built-in starts


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points (n, d), a matrix A (d, d) that suits them, and the images (n, height, width) they are.

    ``A`` is None for the identity, ``images`` for points that are no images.
    """

    points: NDArray[Any]
    A: NDArray[Any] | None = None
    A_name: str = "identity"
    images: NDArray[Any] | None = None


def read_cloud(source: str, name: str = "points") -> Cloud:
    """The cloud called ``source``: a key of ``BUILT_IN``, or a file as for :func:`read_array`.

    ``name`` is what the sentences of its errors call it. Raises ``ValueError``, ``TypeError`` or
    ``OSError`` with one sentence for anything but finite real numbers of shape (n, d), n, d >= 1.

    Examples
    --------
    >>> from fasthardmax.inputs import read_cloud
    >>> read_cloud("square").points.shape
    (10, 2)
    """
    if source in BUILT_IN:
        return BUILT_IN[source]()
    if Path(source).suffix.lower() not in _SUFFIXES:
        built_in = ", ".join(BUILT_IN)
        raise ValueError(
            f"{name}: got '{source}', expected a file ending in {', '.join(_SUFFIXES)}, or one of "
            f"the built-in names {built_in}"
        )
    return Cloud(read_array(source, name))


def read_array(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """A finite array of shape (n, d), neither of them 0, from a file.

    Parameters
    ----------
    path : path
        By its suffix: ``.npy``; ``.npz``, with one array, or one array called ``name``; ``.csv``,
        numbers separated by commas, one point a line, blank lines skipped. A first line without
        any number in it is a header.
    name : str
        The argument that the file stands for, in messages.

    Raises
    ------
    OSError, ValueError, TypeError
        With one sentence, for an unreadable file or anything but such an array.
    """
    path = Path(path)
    label = f"{name}: '{path}'"
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"{name}: got '{path}', expected a file ending in {', '.join(_SUFFIXES)}")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise ValueError(f"{label}: the file is empty, expected an array of shape (n, d)")
        found = _read_csv(path, label) if suffix == ".csv" else _read_numpy(path, name, label)
    except OSError as error:
        raise type(error)(f"{label}: cannot be read: {error.strerror or error}") from None
    found = as_array(label, found)
    if found.ndim != 2 or 0 in found.shape:
        raise ValueError(
            f"{label}: got shape {found.shape}, expected (n, d) with n and d at least 1"
        )
    check_finite(label, found)
    return found


def _read_numpy(path: Path, name: str, label: str) -> NDArray[Any]:
    """The array in an .npy file, or the one to use in an .npz file."""
    try:
        with path.open("rb") as file:  # np.load would leave a damaged .npz file open
            loaded: NDArray[Any] | np.lib.npyio.NpzFile = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            arrays = loaded.files
            if name in arrays or len(arrays) == 1:
                return loaded[name if name in arrays else arrays[0]]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ValueError(
            f"{label}: damaged, or not of numbers, expected an array of numbers saved by NumPy"
        ) from None
    raise ValueError(
        f"{label}: holds the arrays {', '.join(arrays) or '(none)'}, expected a single array, or "
        f"one called '{name}'"
    )


def _read_csv(path: Path, label: str) -> NDArray[Any]:
    """The numbers of a comma-separated file; its errors name the line."""
    numbers = array.array("d")
    width = 0
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if len(row) < 2 and not "".join(row).strip():
                    continue
                try:
                    values = [float(cell) for cell in row]
                except ValueError:
                    bad = [cell for cell in row if not _is_number(cell)]
                    if reader.line_num == 1 and len(bad) == len(row):
                        continue
                    raise ValueError(
                        f"{label}: got {bad[0]!r} in line {reader.line_num}, expected numbers "
                        "separated by commas"
                    ) from None
                width = width or len(row)
                if len(row) != width:
                    raise ValueError(
                        f"{label}: got {len(row)} in line {reader.line_num}, expected {width} "
                        "numbers as in the lines before"
                    )
                numbers.extend(values)
        except (UnicodeDecodeError, csv.Error):
            raise ValueError(f"{label}: not a text file, expected lines of numbers") from None
    return np.array(numbers).reshape(-1, max(width, 1))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _digits() -> Cloud:
    """The 1797 handwritten digits that come with scikit-learn: images of 8 x 8 pixels, 0 to 16.

    The mean image is subtracted, and A is the covariance of the images, so that the score of two
    images x and y is the mean of <x, z> <z, y> over all images z. That gives 209 leaders. With
    A = I there are 1562, nearly every digit for itself, or 334 for the pixels as they are, but
    then the largest clusters gather around whichever image has the most ink.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "points: the package scikit-learn, which brings the digits, is missing: "
            "pip install 'fasthardmax[data]'"
        ) from None
    pixels = load_digits().data
    n, total = len(pixels), pixels.sum(axis=0)
    # Sums of small integers are exact, so that every machine gets the same covariance.
    covariance = (n * (pixels.T @ pixels) - np.outer(total, total)) / n**2
    return Cloud(
        pixels - total / n,
        A=covariance,
        A_name="covariance of the images",
        images=pixels.reshape(n, 8, 8),
    )


def _start(fixed: list[tuple[float, float]], *boxes: tuple[int, float, float]) -> Cloud:
    """Fixed points, then for each box (m, low, high) m uniform points in [low, high]^2."""
    generator = np.random.default_rng(_SEED)
    drawn = [generator.uniform(low, high, (m, 2)) for m, low, high in boxes]
    return Cloud(np.concatenate([fixed, *drawn]))


_CORNERS = [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)]

# The four starts are those of Figure 2 of Alcalde, Fantuzzi, Zuazua (arXiv:2407.01602).
BUILT_IN: dict[str, Callable[[], Cloud]] = {
    "emerging-leader": lambda: _start(
        [
            (1.0, 4 / 12),
            (-1 / 12, 1 / 12),
            (-1.0, -1.0),
            (0.0, 3 / 12),
            (-0.3, -0.7),
            (-0.6, -0.9),
            (0.8, 0.1),
            (0.6, 0.15),
        ]
    ),
    "triangle": lambda: _start(
        [(1.0, 1.0), (0.5, -0.5), (-1.0, -1.0), (0.3, -0.2), (0.1, -0.2)],
        (2, 0.0, 1.0),
        (2, -1.0, 0.0),
    ),
    "square": lambda: _start(_CORNERS, (6, -0.5, 0.5)),
    "non-leader-clusters": lambda: _start([*_CORNERS, (-0.5, 0.0), (0.5, 0.0)], (4, -0.5, 0.5)),
    "digits": _digits,
}
