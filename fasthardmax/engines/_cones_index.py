"""The cone index of one set of keys: cells of query directions, each with the keys that may win.

A query q with largest coordinate q_f is moved to (1, t) or (-1, t), t = q_g / |q_f|, on a face of
the cube of directions. A box of t on a face is a cone of queries; its corners are the cone's
generators. Key p can never win there if some key w scores higher at every corner. A linear function
is least at a corner, and the box is a product, so that needs no corners: over the box with centre c
and half widths h, the largest value of <t, p - w> is <c, p - w> + sum_g h_g |p_g - w_g|.

    keys --outer_keys--> outer keys --collapse--> candidates --divide, a face at a time--> cells
                                                           (in the plane: sweep)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_divide as dividing
from . import _cones_kernels as kernels
from . import _cones_long as longer
from . import _cones_packs as packing
from . import _cones_plane as plane
from . import _cones_polygon as polygon
from . import _cones_shell as shell
from ._arrays import powers, readonly, rows_of, scaled
from ._cones_entries import candidate_of, entry_of
from ._cones_losing import losing_nowhere
from ._cones_margins import margins, sizes
from ._distinct import distinct_keys

__all__ = ["MAX_FEATURES", "ConeIndex", "Look", "build", "look", "margins", "share_not_lost"]

Look = polygon.Look | shell.Look  # in the plane, and from three features on

MAX_FEATURES = 6
_GRID = {1: 1, 2: 128, 3: 16, 4: 8, 5: 8, 6: 4}  # cells per side of a face, at least
# Cells of the table, at most one for so many of the keys left over, or of all. In the plane a finer
# table costs little, and a query then reads fewer candidates.
_PER_CELL = {1: 4, 2: 0.5, 3: 4, 4: 4, 5: 4, 6: 4}
_KEYS_PER_CELL = {1: 64, 2: 64, 3: 16, 4: 16, 5: 16, 6: 16}
_CELLS = 1 << 22  # cells of the table, at most
_INNER = {1: 1, 2: 1, 3: 1, 4: 16, 5: 64, 6: 64}  # candidates that a cell of the grid may keep
# In space up to so many, while there are few queries: a lookup among more candidates takes longer,
# but cells that keep fewer take longer to find. Fitted; the limit is so many over the queries.
_MOST_INNER, _FEW_QUERIES = 8, 400_000
_OUTER = {1: 6, 2: 8, 3: 32, 4: 40, 5: 64, 6: 128}  # and one below the grid
# Boxes are divided until so many candidates a key left over have been listed.
_SPENT = {1: 16, 2: 16, 3: 6, 4: 16, 5: 16, 6: 16}
_SPENT_OF_ALL = {4: 2, 5: 4, 6: 8}  # or one of all keys, at least
# More candidates than this are in groups, and more than that in a tree of boxes, or not even that
# where it takes longer to build than so few queries to answer.
_LISTED, _MORE_IN_PACKS = 64, 4
_LONGEST = longer.LONGEST
_WORTH_A_TREE = 256
_WORTH_GROUPS = 2  # such lists of so many a key left over take as long as a tree


class ConeIndex(NamedTuple):
    """Candidates are distinct keys, numbered as the cells name them."""

    candidates: NDArray[Any]  # (c, d)
    spans: NDArray[np.int32]  # (c + 1,): candidate i stands for keys members[spans[i]:spans[i+1]]
    members: NDArray[np.int32]
    table: NDArray[np.int32]  # (2 d grid^(d-1),): cells of the faces, as of ``_cones_entries.py``
    grid: int
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    at: NDArray[Any]
    lists: NDArray[np.int32]  # none where they would run over all candidates
    boxes: NDArray[Any]  # (2^l, 2, d): boxes of keys, for cells whose candidates are not listed
    # Lists marked ``GROUPED`` are in ``long``, as of ``_cones_long.group``.
    long: NDArray[np.int32]
    columns: NDArray[Any]
    corners: NDArray[Any]
    least: Any  # the shortest query, in the maximum norm, that the cells are proven for
    zero: Any  # no longer queries score 0 everywhere
    # From four features on, the lists as differences in vectors, and how much these are rounded.
    packs: NDArray[np.float32]
    slack: NDArray[np.float32]
    work: float = 0.0  # how many keys all boxes had, from three features on

    @property
    def nbytes(self) -> int:
        """Memory that the index holds."""
        return sum(part.nbytes for part in self if isinstance(part, np.ndarray))

    @property
    def n_leaves(self) -> int:
        """Cells that are not divided."""
        return int(np.count_nonzero(self.high >= 0) + np.count_nonzero(self.table < 0))


def build(
    keys: NDArray[Any], peak: NDArray[Any], num_threads: int, n_queries: float = math.inf,
    some: NDArray[Any] | None = None, seen: Look | None = None,
) -> ConeIndex:  # fmt: skip
    """The index of ``keys`` (n, d), n and d positive, with largest magnitudes ``peak`` (d,).

    About n + c log c for c candidates; memory is a few times the keys' at most. It is divided less
    finely for few ``n_queries``, and where few of a sample of them, ``some`` (s, d), fall. ``seen``
    is of a :func:`look` at these very keys.
    """
    n, d = keys.shape
    keys = readonly(keys)
    dtype = keys.dtype
    top = float(peak.max())
    if top == 0:
        return _all_tie(keys)
    exponent, total = _scale(peak)
    relative, absolute, slip = margins(d, dtype)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    with np.errstate(all="ignore"):
        short = np.ldexp(1.5 * d * (tiny / absolute) / total, -exponent).astype(dtype)
        least = np.nextafter(short, dtype.type(np.inf))
    if d >= packing.FEATURES:
        least = max(least, np.finfo(dtype).tiny)  # its inverse is finite
    margin = (exponent, relative, absolute * total)
    if d == 2:
        in_plane = cast("polygon.Look | None", seen)
        outer = polygon.outer_keys(keys, *margin, slip, num_threads, in_plane)
    else:
        in_space = cast("shell.Look | None", seen)
        outer = shell.outer_keys(keys, *margin, slip, num_threads, in_space)
    distinct, group, n_groups = distinct_keys(keys if len(outer) == n else rows_of(keys, outer))
    once = n_groups == len(outer)
    grid = _GRID[d]
    while d > 1 and 2 * d * (2 * grid) ** (d - 1) <= min(
        max(n_groups // _PER_CELL[d], n // _KEYS_PER_CELL[d]), _CELLS
    ):
        grid *= 2
    table = np.empty((2 * d, grid ** (d - 1)), np.int32)
    # Where most keys may win, cells of one candidate each would be too many.
    inner = _INNER[d] if 4 * n_groups < n else _OUTER[d]
    if d == 3:
        inner = max(inner, min(_MOST_INNER, int(_FEW_QUERIES / n_queries)))
    spent = max(_SPENT[d] * n_groups, _SPENT_OF_ALL.get(d, 0) * n)
    budget = (spent + n / 4 + (1 << 14)) / (2 * d)
    halvings = 18 if dtype == np.float32 or d >= packing.FEATURES else 40
    listed = _LISTED * (_MORE_IN_PACKS if d >= packing.FEATURES else 1)
    limits = (
        slip, 2.0**-halvings, inner, _OUTER[d], _LISTED if d == 2 else _LONGEST, budget, listed
    )  # fmt: skip
    halved = (exponent, relative, absolute * total / 2)
    distinct = readonly(distinct)
    left_out, work = math.inf, 0.0
    if d == 2:
        cells = plane.sweep(distinct, halved, grid, table, limits, once, num_threads)
        low, high, at, lists, candidates = cells
    else:
        asked = _asked(some, d, n_queries)
        parts, left_out, work = _divide(distinct, halved, grid, table, limits, asked, num_threads)
        low, high, at, lists = _join(parts, table)
    table = table.reshape(-1)
    boxes = np.empty((0, 2, d), dtype)
    grouped = high >= dividing.GROUPED
    if (high[grouped] - dividing.GROUPED).sum() > _WORTH_GROUPS * n_groups:
        high[grouped], left_out = 0, math.inf
    if d == 2 and once:
        members, lists, boxes = plane.spread(cells, distinct, outer)
        spans = np.arange(len(candidates) + 1, dtype=np.int32)
    else:
        if d == 2:
            one = table < 0
            table[one] = entry_of.py_func(lists[candidate_of.py_func(table[one])], 1)
        if not high.all():
            order, boxes = plane.tree(distinct) if d == 2 else _tree(distinct, left_out)
            low[high == 0] = len(lists)
            lists = np.concatenate([lists, order])
        named, spans, members = _members(lists, table, group, outer, n_groups)
        candidates = rows_of(distinct, named)
    short = np.where(high >= dividing.GROUPED, 0, high)
    packs, slack = _packed(candidates, low, short, lists, margin)
    long, columns, corners = _grouped(candidates, low, high, lists)
    return ConeIndex(
        candidates, spans, members, table, grid, low, high, at.astype(dtype), lists, boxes,
        long, columns, corners, least, dtype.type(0), packs, slack, work,
    )  # fmt: skip


def look(keys: NDArray[Any], peak: NDArray[Any], num_threads: int) -> Look | None:
    """What :func:`build` begins with, which tells how long the rest takes.

    O(n), and some 2 ms, or 0.2 ms in the plane. None for one feature or few keys.
    """
    d = keys.shape[1]
    if d < 2 or float(peak.max()) == 0:
        return None
    exponent, total = _scale(peak)
    relative, absolute, _ = margins(d, keys.dtype)
    margin = (exponent, relative, absolute * total)
    if d == 2:
        return polygon.look(readonly(keys), *margin)
    return shell.look(readonly(keys), *margin, num_threads)


def share_not_lost(keys: NDArray[Any], peak: NDArray[Any], num_threads: int) -> float:
    """The share of ``keys`` that :func:`build` keeps where no body fits: others lose everywhere."""
    exponent, total = _scale(peak)
    relative, absolute, slip = margins(keys.shape[1], keys.dtype)
    kept = losing_nowhere(keys, exponent, relative, absolute * total / 2, slip, num_threads)
    return len(kept) / len(keys)


def _scale(peak: NDArray[Any]) -> tuple[int, float]:
    """Keys are scaled by a power of two, so that nothing overflows: products of small keys may.

    And how large a sum of magnitudes is then.
    """
    exponent = math.frexp(float(peak.max()))[1]
    return exponent, float(np.ldexp(peak.astype(np.float64), -exponent).sum())


def _asked(
    some: NDArray[Any] | None, d: int, n_queries: float
) -> tuple[NDArray[Any], NDArray[np.int64], float]:
    """Where on their faces ``some`` of the queries are, where a face's begin, how many all are."""
    starts = np.zeros(2 * d + 1, np.int64)
    if some is None or len(some) == 0:
        return np.empty((0, d - 1)), starts, n_queries
    placed = np.empty((len(some), d - 1))
    dividing.place(readonly(some), placed, starts)
    return placed, starts, n_queries


def _divide(
    keys: NDArray[Any], margin: tuple[int, float, float], grid: int, table: NDArray[np.int32],
    limits: tuple[Any, ...], asked: tuple[Any, ...], num_threads: int,
) -> tuple[list[Any], float, float]:  # fmt: skip
    """Halve each face until its boxes have few candidates.

    And how many queries are to be expected where those are not listed; how many keys boxes had.
    """
    n, d = keys.shape
    exponent, relative, absolute = margin
    exact = scaled(np.ascontiguousarray(keys.T), -exponent)  # much faster to reduce
    moved = exact - (exact.min(axis=1) / 2 + exact.max(axis=1) / 2)[:, None]
    size = sizes(exact, moved, relative, absolute)
    parts: list[Any] = [None] * (2 * d)
    placed, starts, n_queries = asked
    n_asked = np.count_nonzero(np.diff(starts)) or 2 * d
    counts = np.zeros((2 * d, 2))

    def split(start: int, stop: int) -> None:
        for face in range(start, stop):
            here = placed[starts[face] : starts[face + 1]]
            if n > limits[-1] and len(here) == 0 < len(placed):
                table[face], none = 0, np.zeros(1, np.int32)
                parts[face] = (none, none, none.astype(np.float64), none[:0])
                continue
            of_face = (face, grid, table[face], *limits, here, n_queries / n_asked)
            parts[face] = dividing.divide(moved, size, *of_face, counts[face])

    for_each_range(split, 2 * d, 1, num_threads)
    left_out, work = counts.sum(axis=0).tolist()
    return parts, (left_out + 1) * n_queries / max(1, len(placed)), work


def _tree(keys: NDArray[Any], n_asked: float) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Boxes around ``keys``, for ``n_asked`` queries; and the order in which they hold them."""
    n, d = keys.shape
    levels = 0 if n_asked < _WORTH_A_TREE else (n // 16).bit_length()
    order, boxes = np.arange(n, dtype=np.int32), np.empty((2 << levels, 2, d), keys.dtype)
    kernels.tree(keys, levels, order, boxes)
    return order, boxes


def _join(parts: list[Any], table: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
    """The faces' nodes and lists as one; the table's entries follow."""
    low, high, at, lists = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    lengths = np.array([(len(part[0]), len(part[3])) for part in parts], np.int32)
    before = np.cumsum(lengths, axis=0, dtype=np.int32) - lengths
    nodes, listed = np.repeat(before, lengths[:, 0], axis=0).T
    low += np.where(high < 0, nodes, listed)
    table += before[:, :1] * (table >= 0)
    return low, high, at, lists


def _packed(
    candidates: NDArray[Any], low: NDArray[np.int32], high: NDArray[np.int32],
    lists: NDArray[np.int32], margin: tuple[int, float, float],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    d = candidates.shape[1]
    if d < packing.FEATURES:
        return np.empty((0, d, packing.PACK), np.float32), np.empty(0, np.float32)
    exponent, relative, absolute = margin
    packs = np.empty((-(-len(lists) // packing.PACK), d, packing.PACK), np.float32)
    slack = np.empty(len(low), np.float32)
    packing.pack(
        readonly(candidates), readonly(low), readonly(high), readonly(lists), powers(-exponent),
        relative, absolute, packs, slack, 0, len(low), (0,) * d,
    )  # fmt: skip
    return packs, slack


def _grouped(
    candidates: NDArray[Any], low: NDArray[np.int32], high: NDArray[np.int32],
    lists: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[Any]]:  # fmt: skip
    """The lists marked ``GROUPED``, and their keys and boxes; changes ``low``."""
    d = candidates.shape[1]
    lengths = high[high >= dividing.GROUPED] - dividing.GROUPED
    n_groups = int((-(-lengths // packing.PACK)).sum())
    long = np.empty(n_groups * packing.PACK, np.int32)
    columns = np.empty((n_groups, d, packing.PACK), candidates.dtype)
    corners = np.zeros((2, d, n_groups + packing.PACK if n_groups else 0), candidates.dtype)
    if n_groups:
        longer.group(
            readonly(candidates), readonly(lists), low, readonly(high), long, columns, corners,
            (0,) * d,
        )  # fmt: skip
    return long, columns, corners


def _all_tie(keys: NDArray[Any]) -> ConeIndex:
    """Keys that are all zero: no query tells them apart."""
    none = np.empty(0, np.int32)
    boxes = np.empty((0, 2, keys.shape[1]), keys.dtype)
    largest = keys.dtype.type(np.inf)
    return ConeIndex(
        keys[:1], np.zeros(2, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32), 1, none,
        none, np.empty(0, keys.dtype), none, boxes, none, boxes, boxes, largest, largest,
        np.empty((0, keys.shape[1], packing.PACK), np.float32), np.empty(0, np.float32),
    )  # fmt: skip


def _members(
    lists: NDArray[np.int32], table: NDArray[np.int32], group: NDArray[np.int32] | None,
    outer: NDArray[np.int64], n_groups: int,
) -> tuple[NDArray[Any], ...]:  # fmt: skip
    """The groups that cells name, in that order; where the keys of each begin; and those keys.

    The arrays are NumPy's: it asks for large pages, and queries read them in random order.
    """
    if group is None:
        group = np.arange(n_groups, dtype=np.int32)
    named, number = np.empty(n_groups, np.int32), np.empty(n_groups, np.int32)
    spans = np.empty(n_groups + 1, np.int32)
    n = kernels.renumber(lists, table, group, named, number, spans)
    members = np.empty(spans[n], np.int32)
    kernels.enlist(group, outer, number, spans[: n + 1], members)
    return named[:n], spans[: n + 1], members
