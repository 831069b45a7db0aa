"""The hardmax transformer as a dynamical system on points, layer by layer."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import engines
from ._clouds import read_clouds
from ._problem import self_attention
from ._validate import check_alpha, check_beta, check_choice, check_count, check_threads
from .attention import Winners
from .settling import Settling
from .softening import Softening
from .stepping import Stepping
from .trajectory_store import TrajectoryStore

__all__ = ["METHODS", "Callback", "Trajectory", "simulate"]

Callback = Callable[[int, NDArray[Any], Winners], object]

METHODS = ("settling", "stepped")


@dataclass(slots=True, eq=False)
class Trajectory:
    """What :func:`simulate` found; for batches every shape below gains a leading B.

    Attributes
    ----------
    points : ndarray, shape (n, d)
        The points after the last layer that was computed.
    n_layers : int
        How many layers that is: fewer than asked for only after an interruption.
    alpha : float
    recorded : mapping of int to ndarray of shape (n, d)
        Layer number to points; layer 0 is the start.
    winners : mapping of int to Winners
        Layer number to the tie sets of the points of that layer, for the recorded layers. These two
        are dictionaries, or read from the disk at each look where a store recorded. Settling gives
        read-only ones, which layers without a search share.
    leader_layer : ndarray of int64, shape (n,)
        The layer at which each point emerged as a leader, the first with ``C_i = {i}``; -1 if it
        did not. Coincident points tie with each other and so are never leaders.
    labels : ndarray of int64, shape (n,)
        The leader that each point ends up with: the first leader that was its only winner, from
        which point on it moves to that leader for ever. -1: not settled on a leader.
    engine : str
        The engine that ran last: "auto" chooses one for each layer; "softmax" for a finite beta.
    beta : float
        The inverse temperature; infinite for hardmax. A softmax run has no winners and no leaders:
        first winners, ``leader_layer`` and ``labels`` are -1, counts 0.
    n_passes : float
        How many queries were searched for, over n: the cost in passes over all queries.
    """

    points: NDArray[Any]
    alpha: float
    engine: str
    leader_layer: NDArray[np.int64]
    labels: NDArray[np.int64]
    n_layers: int = 0
    n_passes: float = 0.0
    recorded: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    winners: Mapping[int, Winners] = field(default_factory=dict)
    beta: float = math.inf

    @property
    def leaders(self) -> NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the leaders; for batches (batch indices, point indices)."""
        found = tuple(index.astype(np.int64) for index in np.nonzero(self.leader_layer >= 0))
        return found[0] if len(found) == 1 else (found[0], found[1])


def simulate(
    points: ArrayLike,
    *,
    alpha: float,
    n_layers: int,
    A: ArrayLike | None = None,
    beta: float = math.inf,
    method: str | None = None,
    record: str | int | Callback | TrajectoryStore = "last",
    engine: str = "auto",
    num_threads: int | None = None,
    progress: bool = False,
) -> Trajectory:
    """Run a deep hardmax transformer on points: ``n_layers`` steps of attention to themselves.

    ``x_i <- x_i + alpha / (1 + alpha) (mean_{j in C_i} x_j - x_i)`` with
    ``C_i = {j : <A x_i, x_j> = max_l <A x_i, x_l>}``.

    Parameters
    ----------
    points : array_like, shape (n, d) or (B, n, d)
        One cloud, or B independent clouds. Negative zeros are read as zeros.
    alpha : float in [0, inf]
        Step size; ``inf`` moves each point onto its mean.
    n_layers : int, at least 0
    A : array_like, shape (d, d), optional
        The identity by default. Symmetric positive definite in the paper; any matrix runs.
    beta : float in [0, inf], default inf
        Inverse temperature. Infinite: hardmax. Finite: softmax attention, in which every point
        counts, ``mean = sum_j p_ij x_j`` with ``p_ij ~ exp(beta <A x_i, x_j>)``; for comparison.
    method : {"settling", "stepped"}, optional
        "settling", the default, does not search for the winners of points whose future is known: it
        is closer to exact dynamics, and a thousand layers take it about as long as two. "stepped"
        finds every point's winners at every layer, in the canonical arithmetic; with a finite
        ``beta`` it is the only one.
    record : {"last", "all"} or int or callable or TrajectoryStore, default "last"
        Which layers to keep: the last, all, or every so many (the start and the last included).
        A callable is given ``(layer, points, winners)`` at every layer, 0 and the last included;
        its points are read-only and not reused, so it may keep them. The last layer is kept as
        well. A :class:`~fasthardmax.TrajectoryStore` streams them to a directory, from which an
        interrupted run can be resumed.
    engine, num_threads
        As for :func:`fasthardmax.hardmax_attention`. No engine but "auto" for a finite ``beta``.
    progress : bool, default False
        Show a progress bar; needs the extra ``cli``.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        For wrong shapes, NaN or infinity, negative ``alpha`` or ``beta``, points so large that
        scores or sums could overflow, unknown options, and settling or an engine with a finite
        ``beta``.
    TypeError
        For inputs that are not real numbers of at most 64 bits.
    OSError
        If a store cannot be written.

    Notes
    -----
    Computed in the promoted dtype of ``points`` and ``A`` (float32 or float64); every engine gives
    the same bits, and a point that is its own only winner stays put bit for bit.

    *Stepping* is the canonical arithmetic of :mod:`fasthardmax.numerics`. The points of layer k are
    rounded, and points that collapse onto a leader then tie with it, which exact dynamics never
    does; the mean of k equal points is rounded too and may move a leader by about k/8 ulps
    (measured up to k = 10^5), which float32 shows.

    *Settling* rests on a lemma, stated and proved in :mod:`fasthardmax.settling`: a point whose
    only winner is a leader keeps it for ever, so that its later layers have a closed form. Each
    recorded coordinate is within 4 ulps of the cloud's diameter of the dynamics in exact
    arithmetic, for clouds around the origin and as long as canonical scores order the keys as exact
    scores do; 1 ulp is the most that the tests, with rational arithmetic, have seen. Where
    two scores are closer than rounding, and not equal for a reason that settling knows, the
    canonical arithmetic decides. Recorded winners of settled points are those with which they
    settled.

    *Softmax* (finite ``beta``) is deterministic too, but has its own contract and accuracy, stated
    and proved in :mod:`fasthardmax.softening`: a few ulps of the largest coordinate for each layer.
    It follows the hardmax path for a time that grows exponentially in ``beta``, and then leaves it.
    The hardmax winners of its points cost a search: ask :func:`fasthardmax.hardmax_winners`.

    A keyboard interrupt, or an exception in the callback, leaves with the partial result in its
    attribute ``trajectory``: its ``points`` are those after ``n_layers`` complete layers.

    Cost: a pass over all queries is O(n^2 d). Softmax takes one for each layer, and stepping one
    more, which finds the winners of the last. Settling takes as many as
    :func:`~fasthardmax.equilibrium`, one to four in total for most data and one for each layer at
    worst (``n_passes`` tells); beside that a layer costs O(d) for each point that still moves and
    each key that still matters, and a recorded one O(n d). Memory is O(n d) and the recorded
    layers, unless a store has them.

    References
    ----------
    Alcalde, Fantuzzi, Zuazua, "Clustering in pure-attention hardmax transformers and its role in
    sentiment analysis", SIAM J. Math. Data Sci. 7(3), 2025, arXiv:2407.01602 (the model).
    "Attention's forward pass and Frank-Wolfe", arXiv:2508.09628 (softmax at large ``beta``).

    Examples
    --------
    >>> from fasthardmax import simulate
    >>> run = simulate([[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]], alpha=1.0, n_layers=2)
    >>> run.points
    array([[ 1.   ,  1.   ],
           [-1.   , -1.   ],
           [ 0.875,  0.75 ]])
    >>> run.leaders, run.labels
    (array([0, 1]), array([0, 1, 0]))
    """
    if method is not None:
        check_choice("method", method, METHODS)
    check_choice("engine", engine, engines.engine_names())
    layers = check_count("n_layers", n_layers, 0)
    alpha = check_alpha(alpha)
    threads = check_threads(num_threads)
    keep, callback = _recording(record)
    clouds, matrix, single, peak = read_clouds(points, A, threads)
    beta = check_beta(beta, clouds.dtype)
    kernel: engines.Runner | Softening
    state: Settling | Stepping | Softening
    if math.isfinite(beta):
        _check_softmax(beta, method, engine)
        kernel = state = Softening(clouds, alpha, beta, matrix, threads)
    else:
        method = method or METHODS[0]
        searches = min(layers + 1, 2) if method == "settling" else layers + 1  # about
        problem = self_attention(clouds, clouds, threads, peak)
        kernel = engines.Runner(engine, problem, searches)
        if method == "settling":
            state = Settling(clouds, alpha, matrix, kernel, threads, peak)
        else:
            state = Stepping(clouds, alpha, matrix, kernel, threads)
    store = record if isinstance(record, TrajectoryStore) else None
    run = _Run(state, alpha, beta, kernel, single=single, store=store)
    options = {
        "alpha": alpha, "beta": beta, "n_layers": layers, "method": method, "engine": engine,
    }  # fmt: skip
    try:
        with run.kept(clouds, matrix, options), _progress_bar(layers, progress) as advance:
            run.advance(layers, keep, callback, advance)
    except BaseException as error:
        error.trajectory = run.trajectory()  # type: ignore[attr-defined]  # documented in Notes
        raise
    return run.trajectory()


class _Run:
    """What is kept of the layers: consistent whenever an exception can arrive."""

    def __init__(
        self,
        layers: Settling | Stepping | Softening,
        alpha: float,
        beta: float,
        engine: engines.Runner | Softening,
        *,
        single: bool,
        store: TrajectoryStore | None,
    ) -> None:
        self._layers = layers
        self._alpha = alpha
        self._beta = beta
        self._engine = engine
        self._single = single
        self._store = store
        self._recorded: dict[int, NDArray[Any]] = {}
        self._winners: dict[int, Winners] = {}

    def kept(
        self, start: NDArray[Any], matrix: NDArray[Any] | None, options: dict[str, Any]
    ) -> contextlib.AbstractContextManager[None]:
        """Where a store records: from layer 0 or from where a run was interrupted."""
        if self._store is None:
            return contextlib.nullcontext()
        start = self._shaped(start)
        return self._store.running(self._layers, start, matrix, options, self._result())

    def advance(
        self,
        n_layers: int,
        keep: Callable[[int], bool],
        callback: Callback | None,
        report: Callable[[], None],
    ) -> None:
        """Go through ``n_layers`` layers, recording and reporting on the way."""
        layers, store = self._layers, self._store
        for _ in range(layers.layer):  # done before an interruption
            report()
        while True:
            if store is not None and store.is_due(layers.layer) and layers.layer < n_layers:
                store.save(layers.layer, self._result(), layers.state())
            layers.search()
            recorded = layers.layer == n_layers or keep(layers.layer)
            if recorded or callback is not None:
                winners = Winners(self._shaped(layers.first), self._shaped(layers.count))
            if recorded and store is not None:
                store.add(layers.layer, self._shaped(layers.points), winners)
            elif recorded:
                self._recorded[layers.layer] = self._shaped(layers.points)
                self._winners[layers.layer] = winners
            if callback is not None:
                points = self._shaped(layers.points).view()
                points.setflags(write=False)
                callback(layers.layer, points, winners)
            if layers.layer == n_layers:
                if store is not None:
                    store.save(n_layers, self._result(), None)
                return
            begin, end = layers.layer, layers.layer + 1
            if callback is None and layers.n_moving == 0:
                while end < n_layers and not keep(end):
                    end += 1
            layers.go_to(end)
            for _ in range(begin, end):
                report()

    def trajectory(self) -> Trajectory:
        stored = self._store.stored() if self._store else None
        return Trajectory(
            points=self._shaped(self._layers.points),
            alpha=self._alpha,
            engine=self._engine.name,
            leader_layer=self._shaped(self._layers.leader_layer),
            labels=self._shaped(self._layers.labels),
            n_layers=self._layers.layer,
            n_passes=self._n_passes(),
            recorded=stored.recorded if stored else dict(self._recorded),
            winners=stored.winners if stored else dict(self._winners),
            beta=self._beta,
        )

    def _result(self) -> dict[str, NDArray[Any]]:
        """What a trajectory tells of the points at this layer."""
        return {
            "points": self._shaped(self._layers.points),
            "leader_layer": self._shaped(self._layers.leader_layer),
            "labels": self._shaped(self._layers.labels),
            "engine": np.array(self._engine.name),
            "n_passes": np.array(self._n_passes()),
        }

    def _n_passes(self) -> float:
        return self._layers.n_queries / max(1, self._layers.points[..., :1].size)

    def _shaped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[0] if self._single else array


def _check_softmax(beta: float, method: str | None, engine: str) -> None:
    """``ValueError`` for options that only hardmax has."""
    if method == "settling":
        raise ValueError(
            f"method: got 'settling' with beta {beta:g}, expected 'stepped': points settle under "
            "hardmax only (beta inf)"
        )
    if engine != "auto":
        raise ValueError(
            f"engine: got {engine!r} with beta {beta:g}, expected 'auto': engines search for the "
            "winners of hardmax (beta inf)"
        )


def _recording(
    record: str | int | Callback | TrajectoryStore,
) -> tuple[Callable[[int], bool], Callback | None]:
    """Which layers before the last to keep, and the callback if there is one."""
    if isinstance(record, TrajectoryStore):
        return record.keeps, None
    if callable(record) and not isinstance(record, type):  # TrajectoryStore, without its path
        return (lambda _: False), record
    if isinstance(record, str) and record in ("last", "all"):
        return (lambda _: record == "all"), None
    if isinstance(record, numbers.Integral) and not isinstance(record, bool) and record >= 1:
        every = int(record)
        return (lambda layer: layer % every == 0), None
    raise ValueError(
        f"record: got {record!r}, expected 'last', 'all', a positive integer, a callable or a "
        "TrajectoryStore"
    )


@contextlib.contextmanager
def _progress_bar(n_layers: int, wanted: bool) -> Iterator[Callable[[], None]]:
    if not wanted:
        yield lambda: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError:
        raise ImportError(
            "progress: the package rich is missing: pip install 'fasthardmax[cli]'"
        ) from None
    columns = ("layer", MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    # On stderr, so that it never mixes with results.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("layers", total=n_layers)
        yield lambda: bar.advance(task)
