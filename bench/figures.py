"""The figures: pairs per second over d, and time over n with the fitted exponent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .contestants import CACHES, OWN
from .decoding_tables import series as decoding_series
from .depth_tables import PASSES_TARGETS, passes_by_kind
from .search_tables import growth_series as search_series
from .tables import best_rate, growth_series, pairs_per_second, timed
from .timing import growth_exponent

__all__ = ["decoding", "depth", "growth", "near_linear", "speed"]

# Okabe and Ito's colours, told apart by all kinds of colour vision; the package's own in black.
_STYLES = {
    "direct": ("black", "o"),
    "numpy": ("#0072B2", "s"),
    "torch": ("#D55E00", "^"),
    "sklearn": ("#999999", "v"),
    "faiss-ip": ("#56B4E9", "D"),
    "faiss-l2": ("#009E73", "P"),
    "keops": ("#CC79A7", "X"),
    "jax": ("#E69F00", "<"),
    "loop": ("#666666", "+"),
}
_NAMES = {
    "direct": "fasthardmax", "numpy": "NumPy", "torch": "PyTorch", "sklearn": "scikit-learn",
    "faiss-ip": "FAISS inner product", "faiss-l2": "FAISS L2", "keops": "KeOps", "jax": "JAX",
    "loop": "Python loop",
}  # fmt: skip
# The near-linear races are run by others.
_SEARCHERS = {
    "auto": ("fasthardmax, auto", "black", "o"),
    "cones": ("fasthardmax, cones", "#0072B2", "s"),
    "longest": ("fasthardmax, longest", "#F0E442", "*"),
    "pruned": ("fasthardmax, pruned", "#009E73", "P"),
    "direct": ("fasthardmax, all pairs", "#999999", "v"),
    "ckdtree": ("SciPy cKDTree", "#D55E00", "^"),
    "sklearn-trees": ("scikit-learn trees", "#E69F00", "<"),
    "hull": ("SciPy hull, product", "#CC79A7", "X"),
    "hull-angles": ("SciPy hull, angles", "#56B4E9", "D"),
}
_DECODERS = {
    "cache": ("fasthardmax, HardmaxCache", "black", "o"),
    "hull-trick": ("C++ hull trick", "#009E73", "P"),
    "numpy-cache": ("NumPy", "#0072B2", "s"),
    "torch-cache": ("PyTorch", "#D55E00", "^"),
}
_PAPER: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "legend.frameon": False,
    "savefig.dpi": 300,
}


def speed(results: dict[str, Any], path: Path) -> bool:
    """Pairs per second over d at n = 20 000, one panel a dtype; False without such results."""
    records = timed(results, "winners", kind="gaussian", n_keys=20_000)
    if not records:
        return False
    with plt.rc_context(_PAPER):
        figure, panels = plt.subplots(1, 2, figsize=(7.0, 3.4), sharey=True, layout="constrained")
        for axes, dtype in zip(panels, ("float32", "float64"), strict=True):
            here = [record for record in records if record["case"]["dtype"] == dtype]
            dims = sorted({record["case"]["d"] for record in here})
            if dims:
                _ceiling(axes, results, dtype, dims)
            for name in dict.fromkeys(record["name"] for record in here):
                points = sorted(
                    (r["case"]["d"], pairs_per_second(r)) for r in here if r["name"] == name
                )
                _curve(axes, name, [d for d, _ in points], [s for _, s in points])
            axes.set(title=dtype, xlabel="features d", xscale="log", yscale="log")
            axes.set_xticks(dims, [str(d) for d in dims])
            axes.minorticks_off()
        panels[0].set_ylabel("query-key pairs per second")
        _legend(figure, panels[0])
        figure.savefig(path)
        plt.close(figure)
    return True


def growth(results: dict[str, Any], path: Path) -> bool:
    """Seconds for all n queries over n, with the fitted exponent; False without such results."""
    series = {name: by_n for name, by_n in growth_series(results).items() if len(by_n) > 1}
    if not series:
        return False
    case = timed(results, "growth")[0]["case"]
    with plt.rc_context(_PAPER):
        figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        # The legend lists the curves as they end, the slowest at the top.
        for name in sorted(series, key=lambda name: -_last(series[name])):
            sizes, seconds = zip(*sorted(series[name].items()), strict=True)
            colour, marker = _style(name)
            exponent = growth_exponent(sizes, seconds)
            label = f"{_NAMES.get(name, name)}, $n^{{{exponent:.2f}}}$"
            axes.plot(sizes, seconds, color=colour, marker=marker, label=label, zorder=_order(name))
        axes.set(
            title=f"all n points attend to themselves, d = {case['d']}, {case['dtype']}",
            xlabel="points n", ylabel="seconds", xscale="log", yscale="log",
        )  # fmt: skip
        figure.legend(loc="outside right center")
        figure.savefig(path)
        plt.close(figure)
    return True


def depth(results: dict[str, Any], path: Path) -> bool:
    """Passes over the queries, and 1000 layers in first layers; False without such results."""
    by_matrix = passes_by_kind(results)
    if not by_matrix:
        return False
    clouds = [(A, *cloud) for A, listed in by_matrix.items() for cloud in listed]
    with plt.rc_context(_PAPER):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(7.0, 0.8 + 0.16 * len(clouds)), sharey=True, layout="constrained"
        )
        for axes, column in ((left, 2), (right, 3)):
            for A, colour in zip(PASSES_TARGETS, ("black", "#D55E00"), strict=True):
                rows = [row for row, cloud in enumerate(clouds) if cloud[0] == A]
                axes.scatter([clouds[row][column] for row in rows], rows, color=colour, s=12)
            axes.grid(axis="y", linewidth=0.3)
            axes.set_axisbelow(True)
            axes.set_xscale("log")
        for A, colour in zip(PASSES_TARGETS, ("black", "#D55E00"), strict=True):
            left.axvline(PASSES_TARGETS[A], color=colour, linewidth=0.6, linestyle=":")
        left.set_yticks(range(len(clouds)), [cloud[1] for cloud in clouds], fontsize=6)
        left.invert_yaxis()
        left.set_xlabel("passes over the queries\n(dotted: goals for either A, alpha >= 0.5)")
        right.set_xlabel("1000 layers, in first layers")
        figure.savefig(path)
        plt.close(figure)
    return True


def near_linear(results: dict[str, Any], path: Path) -> bool:
    """Seconds for all n queries of the near-linear races, one panel a d; False without any."""
    panels = {
        f"Gaussian, d = {d}, float64": series
        for d, series in sorted(search_series(results).items())
    }
    return _over_n(panels, _SEARCHERS, "points n", "seconds for all n queries", path)


def decoding(results: dict[str, Any], path: Path) -> bool:
    """Microseconds of a step over the tokens so far, one panel a stream; False without any."""
    panels = {
        stream: series
        for stream, series in decoding_series(results).items()
        if ", d = 2, float64" in stream
    }
    return _over_n(panels, _DECODERS, "tokens so far n", "µs a step", path)


def _over_n(
    panels: dict[str, dict[str, dict[int, float]]],
    styles: dict[str, tuple[str, str, str]],
    across: str,
    up: str,
    path: Path,
) -> bool:
    """``[title][contestant][n]`` with fitted exponents; False where nothing has two sizes."""
    drawn = {}
    for title, series in panels.items():
        if curves := {k: by_n for k, by_n in series.items() if len(by_n) > 1 and k in styles}:
            drawn[title] = curves
    if not drawn:
        return False
    columns = min(len(drawn), 2)
    rows = -(-len(drawn) // columns)
    with plt.rc_context(_PAPER):
        figure, grid = plt.subplots(
            rows, columns, figsize=(3.5 * columns, 4.2 * rows), sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axes in grid.flat[len(drawn) :]:
            axes.set_visible(False)
        for axes, (title, curves) in zip(grid.flat, drawn.items(), strict=False):
            for name in sorted(curves, key=lambda name: -_last(curves[name])):
                sizes, seconds = zip(*sorted(curves[name].items()), strict=True)
                tool, colour, marker = styles[name]
                label = f"{tool}, $n^{{{growth_exponent(sizes, seconds):.2f}}}$"
                axes.plot(
                    sizes, seconds, color=colour, marker=marker, label=label, zorder=_order(name)
                )
            axes.set(title=title, xlabel=across, xscale="log", yscale="log")
            # Below: curves may run anywhere.
            axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        for axes in grid[:, 0]:
            axes.set_ylabel(up)
        figure.savefig(path)
        plt.close(figure)
    return True


def _ceiling(axes: Axes, results: dict[str, Any], dtype: str, dims: list[int]) -> None:
    peak = best_rate(results, "fma", dtype)
    d = np.array([dims[0], dims[-1]], dtype=float)
    axes.plot(d, peak / (2 * d), color="black", linestyle=(0, (4, 2)), linewidth=0.8,
              label="ceiling: fused multiply-adds")  # fmt: skip


def _curve(axes: Axes, name: str, dims: list[int], rates: list[Any]) -> None:
    colour, marker = _style(name)
    medians = [rate.median for rate in rates]
    bars = [[r.median - r.low for r in rates], [r.high - r.median for r in rates]]
    axes.errorbar(
        dims, medians, yerr=bars, color=colour, marker=marker, elinewidth=0.8,
        linewidth=1.8 if name in OWN else 1.1, label=_NAMES.get(name, name), zorder=_order(name),
    )  # fmt: skip


def _last(seconds: dict[int, float]) -> float:
    return seconds[max(seconds)]


def _style(name: str) -> tuple[str, str]:
    return _STYLES.get(name, ("black", "."))


def _order(name: str) -> int:
    """The package's own curve lies on top."""
    return 3 if name in (*OWN, *CACHES) else 2


def _legend(figure: Any, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
