"""The cloud moving from layer to layer: a GIF, a film, or a page for the browser."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from .._new_file import new_file
from ..dynamics import Trajectory
from ._canvas import FIGURE_SIZE, layout
from ._common import PALETTE, check_one_cloud
from ._frames import Film, Recorder, film_of
from ._moving import MovingPicture
from ._page import write_page

__all__ = ["SUFFIXES", "Recorder", "check_suffix", "coordinates", "save_animation", "write_film"]

SUFFIXES = (".gif", ".mp4", ".html")
_TOTAL = 9.0  # seconds that all frames may take, as long as
_SHORTEST, _LONGEST = 0.05, 0.4  # seconds each does, and
_END = 2.0  # seconds for the last
_DPI = 90
_CODEC = "h264"


def save_animation(trajectory: Trajectory, out: str | os.PathLike[str]) -> None:
    """Write the cloud moving from layer to layer, as a GIF, an MP4, or a page for the browser.

    Points have the colours of their clusters, grey if they are in none, and draw their path behind
    them; leaders become stars as they emerge, and their convex hull grows. A page (``.html``) is
    one file that needs no server and no network: it plays, steps from layer to layer, and clouds in
    space turn under the mouse.

    Parameters
    ----------
    trajectory : Trajectory
        Of one cloud, with the layers recorded that are to be shown: ``record="all"``, or every so
        many.
    out : path
        Ends in ``.gif``, ``.mp4`` (needs ffmpeg, or the extra ``video``) or ``.html``. An existing
        file is replaced, once the new one is complete.

    Raises
    ------
    ValueError
        For a batch of clouds, no points, fewer than two recorded layers, or another suffix.
    TypeError
        For an equilibrium, which has no layers.
    OSError
        If the file cannot be written.
    ImportError
        If matplotlib is missing, scipy for a polytope in space, or ffmpeg for an MP4.

    Notes
    -----
    Points of three features are shown in space, others in the plane; with more features than three,
    by their first principal components at the start: two, or three in a page. The projection is
    the same for all layers.

    At most 200 layers are shown (the first hundred, and a hundred spread over the others), and at
    most 10,000 points, a random choice that the picture states, so that a page has at most 5 MB.
    Leaders that are too near to each other to be told apart are shown once.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from fasthardmax import simulate
    >>> from fasthardmax.plotting import save_animation
    >>> start = [[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]]
    >>> run = simulate(start, alpha=0.5, n_layers=10, record="all")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_animation(run, pathlib.Path(folder, "run.html"))
    """
    suffix = check_suffix(out)
    check_one_cloud(trajectory, layers=True)
    if len(trajectory.recorded) < 2:
        raise ValueError(
            f"trajectory: got {len(trajectory.recorded)} recorded layer, expected at least 2 "
            "(record='all')"
        )
    film = film_of(trajectory, coordinates(trajectory.points.shape[1], suffix))
    with new_file(out, force=True) as path:
        write_film(film, path)


def check_suffix(out: str | os.PathLike[str]) -> str:
    """The suffix of ``out`` if it is one that can be written here."""
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"out: got '{os.fspath(out)}', expected a file ending in .gif, .mp4, .html"
        )
    if suffix == ".mp4":
        with _ffmpeg():
            pass
    return suffix


def coordinates(d: int, suffix: str) -> int:
    """How many coordinates an animation of points of d features shows."""
    return 3 if d == 3 or (d > 3 and suffix == ".html") else 2


def write_film(film: Film, path: Path) -> None:
    """Write a film in the format of the path's suffix."""
    writers = {".gif": _write_gif, ".mp4": _write_mp4, ".html": write_page}
    writers[path.suffix.lower()](film, path)


def _seconds(film: Film) -> float:
    return float(np.clip(_TOTAL / len(film.layers), _SHORTEST, _LONGEST))


def _figure() -> Figure:
    return Figure(figsize=FIGURE_SIZE, dpi=_DPI, layout=layout())


def _write_gif(film: Film, path: Path) -> None:
    figure = _figure()
    canvas: Any = FigureCanvasAgg(figure)
    picture = MovingPicture(figure, film)
    palette = _gif_palette()
    frames: list[Image.Image] = []
    for number in range(len(film.layers)):
        picture.show(number)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
        frames.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
    each = round(1000 * _seconds(film))
    frames[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[*[each] * (len(frames) - 1), round(1000 * _END)],
        loop=0,
    )


def _gif_palette() -> Image.Image:
    """256 colours for all frames: greys, and each colour of points towards white and black.

    Pillow would choose them by how often they are used, which spoils those of small clusters.
    """
    # Pillow looks for the nearest at 32 levels only, and white must not become a tint.
    greys = np.linspace(0, 1, 32)[:, None].repeat(3, axis=1)
    to_white = 1 - np.linspace(0.2, 1, 20)[:, None, None] * (1 - PALETTE)
    to_black = np.linspace(0.15, 0.95, 12)[:, None, None] * PALETTE
    colours = np.concatenate([greys, to_white.reshape(-1, 3), to_black.reshape(-1, 3)])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * colours).astype(np.uint8).tobytes())
    return palette


def _write_mp4(film: Film, path: Path) -> None:
    figure = _figure()
    picture = MovingPicture(figure, film)
    rate = 1 / _seconds(film)
    last = len(film.layers) - 1
    with _ffmpeg():
        writer = FFMpegWriter(fps=rate, codec=_CODEC)  # type: ignore[arg-type]  # need not be whole
        try:
            with writer.saving(figure, str(path), dpi=_DPI):
                for number in [*range(last), *[last] * round(_END * rate)]:
                    picture.show(number)
                    writer.grab_frame()
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or error.stdout or "").splitlines() or [str(error)]
            raise OSError(f"out: ffmpeg failed: {lines[-1]}") from None


@contextlib.contextmanager
def _ffmpeg() -> Iterator[None]:
    """Matplotlib's writer finds an ffmpeg here: on the path, or of the extra."""
    if FFMpegWriter.isAvailable():
        yield
        return
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        program = get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise ImportError(
            "out: .mp4 needs ffmpeg, which is missing: pip install 'fasthardmax[video]', "
            "or choose .gif or .html"
        ) from None
    with rc_context({"animation.ffmpeg_path": program}):
        yield
