"""The command line: ``simulate``, ``resume``, ``equilibrium``, ``animate`` and ``info``."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from numpy.typing import NDArray

from . import _cli_long_runs, info
from ._new_file import new_file
from ._validate import check_count
from .dynamics import METHODS, Trajectory, simulate
from .engines import engine_names
from .equilibrium import equilibrium
from .inputs import BUILT_IN, Cloud, read_array, read_cloud
from .resume import resume
from .storage import new_directory, save_equilibrium, save_trajectory
from .trajectory_store import TrajectoryStore

__all__ = ["main"]

# What the functions call their arguments, and what the user of the command line calls them.
_ON_COMMAND_LINE = {
    "A": "--A",
    "alpha": "--alpha",
    "beta": "--beta",
    "checkpoint": "--checkpoint",
    "engine": "--engine",
    "max_layers": "--max-layers",
    "method": "--method",
    "n_layers": "--layers",
    "num_threads": "--threads",
    "out": "--out",
    "path": "--out",
    "points": "INPUT",
}


_RUN_FAILURES = (OSError, ValueError, TypeError, ImportError, RuntimeError, MemoryError)


class _UsageError(Exception):
    """The command, and one sentence about what the user gave it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0, or 2 for bad input, 130 for an interrupt, 143 for a termination.

    Examples
    --------
    >>> from fasthardmax.cli import main
    >>> main(["simulate", "square", "--out", "/no/such/place"])
    2
    """
    try:
        args = _parser().parse_args(argv)
        args.run(args)
    except _UsageError as error:
        command, sentence = error.args
        print(f"{command}: error: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"fasthardmax: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 143 if isinstance(interrupt, _cli_long_runs.Terminated) else 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports a usage error as one sentence, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(self.prog, f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fasthardmax", description="Exact hardmax attention and its dynamics.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser(
        "simulate",
        help="run a deep hardmax transformer on points and save what happens",
        description="Run a deep hardmax transformer on points. Writes trajectory.npz, "
        "summary.json and picture.png into a new directory.",
    )
    _add_common(run)
    run.add_argument(
        "--layers", type=int, default=30, help="number of layers (default %(default)s)"
    )
    run.add_argument(
        "--method",
        choices=METHODS,
        help="search at every layer, or only for points that may still change course "
        f"(default {METHODS[0]})",
    )
    run.add_argument(
        "--beta",
        type=float,
        default=math.inf,
        help="inverse temperature: softmax attention, to compare with (default %(default)s, which "
        "is hardmax)",
    )
    run.add_argument(
        "--record",
        type=_record,
        default="all",
        metavar="LAYERS",
        help="which layers to save: last, all, or every so many (default %(default)s)",
    )
    run.add_argument(
        "--checkpoint",
        type=int,
        metavar="EVERY",
        help="for long runs: stream the layers to DIR/trajectory.zarr instead of trajectory.npz, "
        "and every so many layers save all that 'fasthardmax resume DIR' needs to go on",
    )
    run.set_defaults(run=_simulate)
    more = commands.add_parser(
        "resume",
        help="go on with a run with checkpoints that was interrupted",
        description="Go on with a run with checkpoints that was interrupted, from its last "
        "checkpoint. It ends with the same bits as a run that was not interrupted.",
    )
    more.add_argument("dir", metavar="DIR", help="the directory of the run")
    _add_threads(more)
    more.set_defaults(run=_resume)
    limit = commands.add_parser(
        "equilibrium",
        help="find the limit of every point under infinitely many layers",
        description="Find the limit of every point under infinitely many layers. Writes "
        "equilibrium.npz, summary.json and picture.png into a new directory.",
    )
    _add_common(limit)
    limit.add_argument(
        "--max-layers",
        type=int,
        metavar="N",
        help="give up on points that have not settled by this layer (default: by alpha)",
    )
    limit.add_argument(
        "--certify", action="store_true", help="check the result from scratch, which takes longer"
    )
    limit.set_defaults(run=_equilibrium)
    film = commands.add_parser(
        "animate",
        help="show the points moving from layer to layer",
        description="Run a deep hardmax transformer on points, and write them moving from layer to "
        "layer as a GIF, an MP4 (needs ffmpeg), or a page for the browser that needs no server.",
    )
    _add_common(film, out="FILE", what="the file to write: .gif, .mp4 or .html")
    film.add_argument(
        "--layers", type=int, default=30, help="number of layers (default %(default)s)"
    )
    film.set_defaults(run=_animate)
    about = commands.add_parser("info", help="print versions, CPU features, threads and engines")
    about.set_defaults(run=_info)
    return parser


def _add_common(
    command: argparse.ArgumentParser, out: str = "DIR", what: str = "the directory to write"
) -> None:
    """What every command on points takes."""
    command.add_argument(
        "input",
        metavar="INPUT",
        help="points of shape (n, d) in a .npy, .npz or .csv file (an .npz file with one array, "
        "or one called 'points'; a .csv file with or without a header), or a built-in name: "
        + ", ".join(BUILT_IN),
    )
    command.add_argument("--out", metavar=out, required=True, help=what)
    command.add_argument("--alpha", type=float, default=0.5, help="step size (default %(default)s)")
    command.add_argument(
        "--A",
        metavar="FILE",
        help="matrix of shape (d, d) in such a file (default: the identity, or what suits a "
        "built-in input)",
    )
    command.add_argument(
        "--engine", choices=engine_names(), default="auto", help="default %(default)s"
    )
    _add_threads(command)
    command.add_argument(
        "--force", action="store_true", help=f"replace {out}, an earlier run's, if it exists"
    )


def _add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--threads", type=int, metavar="N", help="at most this many (default: all)"
    )


def _record(text: str) -> str | int:
    if text in ("last", "all"):
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"got {text!r}, expected 'last', 'all' or a positive integer")


def _info(args: argparse.Namespace) -> None:
    print(info.report())


def _simulate(args: argparse.Namespace) -> None:
    with _reported(OSError, ValueError, TypeError, ImportError, MemoryError):
        # Here, because they need extras, and before the work, because it would be lost.
        from . import _summary, plotting

        cloud = read_cloud(args.input)
        A = cloud.A if args.A is None else read_array(args.A, "A")
    if args.checkpoint is not None:
        _simulate_long(args, cloud, A)
        return
    try:
        with _reported(OSError), new_directory(args.out, force=args.force) as folder:
            begin = time.perf_counter()
            with _reported(ValueError, TypeError, ImportError, RuntimeError, MemoryError):
                trajectory = _trajectory(args, cloud, A, args.record)
            seconds = time.perf_counter() - begin
            summary = _summary.summarise(trajectory, seconds)
            summary["input"] = args.input
            summary["A"] = args.A or cloud.A_name
            (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
            save_trajectory(folder / "trajectory.npz", trajectory, A)
            if cloud.images is None:
                picture = plotting.plot_layers(trajectory)
            else:
                picture = plotting.plot_image_clusters(trajectory, cloud.images)
            picture.savefig(folder / "picture.png", dpi=150)
    except KeyboardInterrupt as interrupt:
        reached = getattr(interrupt, "trajectory", None)
        progress = f" after {reached.n_layers} of {args.layers} layers" if reached else ""
        raise KeyboardInterrupt(f"interrupted{progress}; nothing was written") from None
    _summary.print_table(summary, args.out)


def _trajectory(
    args: argparse.Namespace, cloud: Cloud, A: NDArray[Any] | None, record: Any
) -> Trajectory:
    return simulate(
        cloud.points,
        alpha=args.alpha,
        n_layers=args.layers,
        A=A,
        beta=args.beta,
        method=args.method,
        record=record,
        engine=args.engine,
        num_threads=args.threads,
        progress=sys.stderr.isatty(),
    )


def _simulate_long(args: argparse.Namespace, cloud: Cloud, A: NDArray[Any] | None) -> None:
    every = {"all": 1, "last": None}.get(args.record, args.record)
    notes = {"input": args.input, "A_from": args.A or cloud.A_name}
    with _reported(*_RUN_FAILURES), _cli_long_runs.interruptible(args.out):
        store = TrajectoryStore(
            args.out, every=every, checkpoint=args.checkpoint, overwrite=args.force, attrs=notes
        )
        trajectory = _trajectory(args, cloud, A, store)
    with _reported(OSError):
        _cli_long_runs.sum_up(trajectory, args.out)


def _resume(args: argparse.Namespace) -> None:
    with _reported(*_RUN_FAILURES, of="resume"), _cli_long_runs.interruptible(args.dir):
        from . import _summary, plotting  # noqa: F401  # they need extras: before the work

        trajectory = resume(args.dir, num_threads=args.threads, progress=sys.stderr.isatty())
    with _reported(OSError, of="resume"):
        _cli_long_runs.sum_up(trajectory, args.dir)


def _equilibrium(args: argparse.Namespace) -> None:
    with _reported(OSError, ValueError, TypeError, ImportError, MemoryError, of="equilibrium"):
        from . import _summary
        from .plotting import plot_image_clusters
        from .plotting._pictures import clusters_figure

        cloud = read_cloud(args.input)
        A = cloud.A if args.A is None else read_array(args.A, "A")
    try:
        with (
            _reported(OSError, of="equilibrium"),
            new_directory(args.out, force=args.force) as folder,
        ):
            begin = time.perf_counter()
            kinds = (ValueError, TypeError, ImportError, RuntimeError, MemoryError)
            with _reported(*kinds, of="equilibrium"):
                found = equilibrium(
                    cloud.points,
                    alpha=args.alpha,
                    A=A,
                    max_layers=args.max_layers,
                    engine=args.engine,
                    num_threads=args.threads,
                )
            seconds = time.perf_counter() - begin
            summary = _summary.summarise_equilibrium(found, seconds)
            summary["input"] = args.input
            summary["A"] = args.A or cloud.A_name
            if args.certify:
                summary["not_verified"] = found.certificate().n_not_verified
            (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
            save_equilibrium(folder / "equilibrium.npz", found, A)
            if cloud.images is None:
                picture = clusters_figure(found)
            else:
                picture = plot_image_clusters(found, cloud.images)
            picture.savefig(folder / "picture.png", dpi=150)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; nothing was written") from None
    _summary.print_equilibrium(summary, args.out)


def _animate(args: argparse.Namespace) -> None:
    kinds = (ValueError, TypeError, ImportError, RuntimeError, MemoryError)
    with _reported(OSError, *kinds, of="animate"):
        from .plotting import _animation

        layers = check_count("n_layers", args.layers, 1)
        suffix = _animation.check_suffix(args.out)
        cloud = read_cloud(args.input)
        A = cloud.A if args.A is None else read_array(args.A, "A")
        k = _animation.coordinates(cloud.points.shape[1], suffix)
        recorder = _animation.Recorder(range(layers + 1), k)
    try:
        with (
            _reported(OSError, of="animate"),
            new_file(args.out, force=args.force) as path,
        ):
            with _reported(*kinds, of="animate"):
                trajectory = simulate(
                    cloud.points,
                    alpha=args.alpha,
                    n_layers=layers,
                    A=A,
                    record=recorder,
                    engine=args.engine,
                    num_threads=args.threads,
                    progress=sys.stderr.isatty(),
                )
            film = recorder.film(trajectory)
            _animation.write_film(film, path)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; nothing was written") from None
    n, d = cloud.points.shape
    frames = f" in {len(film.layers)} frames" if len(film.layers) <= layers else ""
    print(
        f"{args.out}: {n} points in {d} dimensions, layers 0 to {layers}{frames}, "
        f"{len(trajectory.leaders)} leaders"
    )


@contextlib.contextmanager
def _reported(*kinds: type[Exception], of: str = "simulate") -> Iterator[None]:
    """Turn exceptions that are about the user's input or machine into one sentence."""
    try:
        yield
    except kinds as error:
        name, colon, rest = str(error).partition(":")
        known = _ON_COMMAND_LINE | ({"path": "DIR"} if of == "resume" else {})
        sentence = known.get(name, name) + colon + rest.replace("overwrite=True", "--force")
        raise _UsageError(f"fasthardmax {of}", sentence or "out of memory") from None
