"""Long runs on the command line: how they end early, and what is written when they are over."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ._durable import sync_directory, write_aside
from ._stored_run import StoredLayers, StoredRun
from .dynamics import Trajectory
from .inputs import BUILT_IN, read_cloud

__all__ = ["Terminated", "interruptible", "sum_up"]

_DRAWN = 64  # layers at most that the picture may look at


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


@contextlib.contextmanager
def interruptible(folder: str) -> Iterator[None]:
    """Let SIGTERM interrupt a run, and an interrupt say how to go on with it in ``folder``."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        reached = getattr(interrupt, "trajectory", None)
        try:
            stored = StoredRun(folder)
        except OSError:
            raise type(interrupt)("interrupted; nothing was written") from None
        done = (
            f" after {reached.n_layers} of {stored.options['n_layers']} layers" if reached else ""
        )
        raise type(interrupt)(
            f"interrupted{done}; to go on from layer {stored.attrs['layer']}: "
            f"fasthardmax resume {folder}"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def sum_up(trajectory: Trajectory, folder: str) -> None:
    """Write the summary and the picture of a run beside its layers, and print the table."""
    from . import _summary, plotting

    stored = StoredRun(folder)
    if trajectory.points.ndim == 3:
        print(f"{len(trajectory.points)} clouds, {trajectory.n_layers} layers: written to {folder}")
        return
    summary = _summary.summarise(trajectory, stored.attrs["seconds"])
    summary["input"] = stored.attrs.get("input", "points")
    summary["A"] = stored.attrs.get("A_from", "identity" if stored.matrix is None else "given")
    images = read_cloud(summary["input"]).images if summary["input"] in BUILT_IN else None
    if images is None:
        picture = plotting.plot_layers(_thinned(trajectory, stored.recorded))
    else:
        picture = plotting.plot_image_clusters(trajectory, images)
    out = Path(folder)
    try:
        text = json.dumps(summary, indent=2) + "\n"
        write_aside(out / "summary.json", text.encode())
        write_aside(out / "picture.png", lambda file: picture.savefig(file, format="png", dpi=150))
        sync_directory(out)
    except OSError as error:
        raise type(error)(
            f"path: cannot write '{out.resolve()}': {error.strerror}; the run is complete and "
            "'fasthardmax resume' will try again"
        ) from error
    _summary.print_table(summary, folder)


def _thinned(trajectory: Trajectory, recorded: StoredLayers[NDArray[Any]]) -> Trajectory:
    """With the first recorded layers, then ever fewer, and the last: of a picture's few panels."""
    layers = list(recorded)
    rows = np.unique(np.geomspace(1, len(layers), _DRAWN).astype(int)) - 1
    return replace(trajectory, recorded=recorded.only({layers[row] for row in rows}))
