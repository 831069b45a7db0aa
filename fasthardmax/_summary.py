"""What a run amounts to: numbers for a file, and a table on the terminal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import __version__
from .dynamics import Trajectory
from .equilibrium import Equilibrium

try:
    from rich.console import Console
    from rich.table import Table
except ImportError:
    raise ImportError(
        "command line: the package rich is missing: pip install 'fasthardmax[cli]'"
    ) from None

__all__ = ["print_equilibrium", "print_table", "summarise", "summarise_equilibrium"]

_ROWS = 12  # leaders in the table; the file has them all


def summarise(trajectory: Trajectory, seconds: float) -> dict[str, Any]:
    """A trajectory of one cloud in JSON's types; its leaders by decreasing cluster size.

    A cluster is a leader and the points that end up with it. ``seconds`` is the time of
    ``simulate``, the start-up of its engine included; a pass over all queries compares n^2 pairs.
    """
    n, d = trajectory.points.shape
    labels, leaders = trajectory.labels, np.flatnonzero(trajectory.leader_layer >= 0)
    sizes = np.bincount(labels[labels >= 0], minlength=n)
    pairs = n * n * trajectory.n_passes
    return {
        "version": __version__,
        "n": n,
        "d": d,
        "dtype": str(trajectory.points.dtype),
        "layers": trajectory.n_layers,
        "alpha": trajectory.alpha if math.isfinite(trajectory.alpha) else "inf",
        "beta": trajectory.beta if math.isfinite(trajectory.beta) else "inf",
        "engine": trajectory.engine,
        "seconds": seconds,
        "passes": trajectory.n_passes,
        "pairs_per_second": pairs / seconds,
        "not_settled": int(np.count_nonzero(labels < 0)),
        "leaders": [
            {
                "index": int(leader),
                "layer": int(trajectory.leader_layer[leader]),
                "cluster_size": int(sizes[leader]),
            }
            for leader in leaders[np.argsort(-sizes[leaders], kind="stable")]
        ],
    }


def print_table(summary: dict[str, Any], out: str) -> None:
    """Print a summary with its largest clusters, and where the files are."""
    console = Console()
    leaders = summary["leaders"]
    facts = Table.grid(padding=(0, 2))
    model = f"{summary['layers']} layers, alpha {summary['alpha']}, A {summary['A']}"
    led = f"{len(leaders)}, with {summary['n'] - summary['not_settled']} points; "
    led += f"{summary['not_settled']} not settled"
    if summary["beta"] != "inf":
        model += f", softmax with beta {summary['beta']:g}"
        led = "none: every point counts in every mean"
    for name, fact in {
        "input": f"{summary['input']}: {summary['n']} points in {summary['d']} dimensions",
        "model": model,
        "engine": f"{summary['engine']}: {summary['seconds']:.3g} s with its start-up, "
        f"{summary['pairs_per_second']:.3g} pairs per second",
        "leaders": led,
        "written": out,
    }.items():
        facts.add_row(name, fact)
    console.print(facts)
    if leaders:
        table = Table("leader", "emerged at layer", "cluster size", "share of points")
        for column in table.columns:
            column.justify = "right"
        for leader in leaders[:_ROWS]:
            size = leader["cluster_size"]
            share = f"{size / summary['n']:.1%}"
            table.add_row(str(leader["index"]), str(leader["layer"]), str(size), share)
        rest = leaders[_ROWS:]
        if rest:
            size = sum(leader["cluster_size"] for leader in rest)
            table.add_row(f"{len(rest)} more", "", str(size), f"{size / summary['n']:.1%}")
        console.print(table)


def summarise_equilibrium(found: Equilibrium, seconds: float) -> dict[str, Any]:
    """An equilibrium of one cloud in JSON's types; its clusters by decreasing size."""
    n, d = found.limit.shape
    sizes = np.bincount(found.labels[found.labels >= 0])
    first = [int(np.argmax(found.labels == label)) for label in range(len(sizes))]
    return {
        "version": __version__,
        "n": n,
        "d": d,
        "dtype": str(found.limit.dtype),
        "alpha": found.alpha if math.isfinite(found.alpha) else "inf",
        "engine": found.engine,
        "seconds": seconds,
        "layers": found.n_layers,
        "passes": found.n_passes,
        "leaders": len(found.leaders),
        "not_settled": int(np.count_nonzero(found.labels < 0)),
        "largest_residual": float(found.residual.max(initial=0)),
        "clusters": [
            {
                "label": int(label),
                "kind": str(found.kind[first[label]]),
                "leader": int(found.leader_of[first[label]]),
                "size": int(sizes[label]),
            }
            for label in np.argsort(-sizes, kind="stable")
        ],
    }


def print_equilibrium(summary: dict[str, Any], out: str) -> None:
    """Print the summary of an equilibrium with its largest clusters, and where the files are."""
    console = Console()
    clusters = summary["clusters"]
    not_settled = f"{summary['not_settled']} not settled"
    if summary["not_settled"]:
        not_settled += f", residual up to {summary['largest_residual']:.3g}"
    rows = {
        "input": f"{summary['input']}: {summary['n']} points in {summary['d']} dimensions",
        "model": f"infinitely many layers, alpha {summary['alpha']}, A {summary['A']}",
        "engine": f"{summary['engine']}: {summary['seconds']:.3g} s with its start-up, "
        f"{summary['passes']:.3g} passes over the queries",
        "limits": f"{len(clusters)} after {summary['layers']} layers; {summary['leaders']} "
        f"leaders; {not_settled}",
    }
    if "not_verified" in summary:
        failed = summary["not_verified"]
        rows["certificate"] = f"{failed} limits not verified" if failed else "holds"
    facts = Table.grid(padding=(0, 2))
    for name, fact in (rows | {"written": out}).items():
        facts.add_row(name, fact)
    console.print(facts)
    if clusters:
        table = Table("cluster", "limit", "size", "share of points")
        for column in table.columns:
            column.justify = "right"
        for cluster in clusters[:_ROWS]:
            place = cluster["kind"]
            if cluster["leader"] >= 0:
                place += f" {cluster['leader']}"
            share = f"{cluster['size'] / summary['n']:.1%}"
            table.add_row(str(cluster["label"]), place, str(cluster["size"]), share)
        rest = sum(cluster["size"] for cluster in clusters[_ROWS:])
        if rest:
            share = f"{rest / summary['n']:.1%}"
            table.add_row(f"{len(clusters) - _ROWS} more", "", str(rest), share)
        console.print(table)
