"""A film as one page that plays in a browser: data, drawing and controls in a single file."""

from __future__ import annotations

import base64
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from ._clusters import rgb
from ._common import PALETTE
from ._frames import Film

__all__ = ["page", "write_page"]

_STEPS = 65_535  # from one side of the window to the other


def write_page(film: Film, path: Path) -> None:
    """Write a film as a page."""
    path.write_text(page(film), "utf-8")


def page(film: Film) -> str:
    """The text of the page.

    ``page.html`` beside this module is all of it but the data, JSON whose arrays are base64 of
    little-endian integers: coordinates of 16 bits, from 0 to 65535 across the window; colours of
    8 bits, the palette's length for grey.
    """
    n, d = film.shape
    text = f"Hardmax attention: {n:,} point{'' if n == 1 else 's'} in {d} "
    text += f"dimension{'' if d == 1 else 's'}, \N{GREEK SMALL LETTER ALPHA} = {film.alpha:g}"
    data = {
        "title": text.replace("inf", "∞"),
        "notes": film.notes(),
        "layers": film.layers,
        "coordinates": film.points.shape[2],
        "names": [_plain(name) for name in film.projection.names],
        "corner": film.projection.corner.tolist(),
        "width": film.projection.width,
        "palette": [to_hex(colour) for colour in rgb(np.append(np.arange(len(PALETTE)), -1))],
        "points": _packed(film.points),
        "colours": _indices(film.colours),
        "leaders": _packed(film.leaders),
        "leaderColours": _indices(film.leader_colours),
        "leaderLayer": film.leader_layer.tolist(),
        "outlines": [[layer, _packed(lines)] for layer, lines in sorted(film.outlines.items())],
    }
    # In a script element only "<" could end the data early.
    written = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    before, after = template.split("DATA", 1)
    return before + written + after


def _plain(name: str) -> str:
    """The name of an axis without TeX."""
    return name.strip("$").replace("_1", "₁").replace("_2", "₂").replace("_3", "₃")


def _packed(unit: NDArray[Any]) -> str:
    steps = np.clip(np.rint(unit.astype(np.float64) * _STEPS), 0, _STEPS).astype("<u2")
    return base64.b64encode(steps.tobytes()).decode("ascii")


def _indices(colours: NDArray[np.intp]) -> str:
    numbers = np.where(colours < 0, len(PALETTE), colours).astype(np.uint8)
    return base64.b64encode(numbers.tobytes()).decode("ascii")
