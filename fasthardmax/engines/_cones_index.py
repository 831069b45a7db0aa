"""The cone index of one set of keys: cells of query directions, each with the keys that may win.

A query q with largest coordinate q_f is moved to (1, t) or (-1, t), t = q_g / |q_f|, on a face of
the cube of directions. A box of t on a face is a cone of queries; its corners are the cone's
generators. Key p can never win there if some key w scores higher at every corner. A linear function
is least at a corner, and the box is a product, so that needs no corners: over the box with centre c
and half widths h, the largest value of <t, p - w> is <c, p - w> + sum_g h_g |p_g - w_g|.

    keys --outside--> outer keys --collapse--> candidates --divide, a face at a time--> cells
                                                       (d = 2: sweep)
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import for_each_range
from . import _cones_divide as dividing
from . import _cones_kernels as kernels
from . import _cones_sweep as sweeping
from ._arrays import readonly
from ._cones_vectors import LANES

__all__ = ["MAX_FEATURES", "ConeIndex", "build", "kept_on_faces", "margins"]

MAX_FEATURES = 6
_SOME = 1 << 14
_SOME_TRIED = 1 << 10
# Keys looked at first, to find bodies that spare most of the others a closer look.
_SAMPLE = {1: 1 << 10, 2: 1 << 12, 3: 1 << 14, 4: 1 << 14}
# Fewer keys are divided at once.
_WORTH_REDUCING = 2048
# And fewer than these left over, once reduced, are not reduced again.
_WORTH_ANOTHER = 1 << 14
# Boxes per side of a face that keys are reduced with, coarse ones first.
_FANS = {1: (1,), 2: (2, 16, 64), 3: (2, 4, 12), 4: (2, 6)}
_FAN_SCORES = 1 << 21  # at most so many, to find the keys that span the hull
_SCORES_PER_RANGE = 1 << 17  # about 50 us
_GRID = {1: 1, 2: 128, 3: 16, 4: 8, 5: 8, 6: 4}  # cells per side of a face, at least
# Cells of the table, at most one for so many of the keys left over, or of all.
_PER_CELL = {1: 4, 2: 2, 3: 4, 4: 4, 5: 4, 6: 4}
_KEYS_PER_CELL = {1: 64, 2: 64, 3: 16, 4: 16, 5: 16, 6: 16}
_CELLS = 1 << 22  # cells of the table, at most
_INNER = {1: 1, 2: 1, 3: 1, 4: 12, 5: 16, 6: 32}  # candidates that a cell of the grid may keep
# In space up to so many, while there are few queries: a lookup among more candidates takes longer,
# but cells that keep fewer take longer to find. Fitted; the limit is so many over the queries.
_MOST_INNER, _FEW_QUERIES = 8, 400_000
_OUTER = {1: 6, 2: 8, 3: 32, 4: 40, 5: 48, 6: 64}  # and one below the grid
# Boxes are divided until so many candidates a key left over have been listed.
_SPENT = {1: 16, 2: 16, 3: 6, 4: 16, 5: 16, 6: 16}
# More candidates than this are searched for in a tree of boxes.
_LISTED = 64
_ROWS = 1 << 16


class ConeIndex(NamedTuple):
    """Candidates are distinct keys, numbered as the cells name them."""

    candidates: NDArray[Any]  # (c, d)
    spans: NDArray[np.int64]  # (c + 1,): candidate i stands for keys members[spans[i]:spans[i+1]]
    members: NDArray[np.int64]
    table: NDArray[np.int32]  # (2 d grid^(d-1),): the cells of the faces
    grid: int
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    at: NDArray[Any]
    lists: NDArray[np.int32]
    boxes: NDArray[Any]  # (2^l, 2, d): boxes of keys, for cells whose candidates are not listed
    least: Any  # the shortest query, in the maximum norm, that the cells are proven for
    zero: Any  # no longer queries score 0 everywhere

    @property
    def nbytes(self) -> int:
        """Memory that the index holds."""
        return sum(part.nbytes for part in self if isinstance(part, np.ndarray))

    @property
    def n_leaves(self) -> int:
        """Cells that are not divided."""
        return int(np.count_nonzero(self.high >= 0))


def margins(d: int, dtype: np.dtype[Any]) -> tuple[float, float, float]:
    """``(relative, absolute, slip)`` by which a key must lose over a box to be left out of it.

    Key p is left out of the box (c, h) because of key w only if

        <c, p-w> + sum_g (h_g + slip) |p_g - w_g| + relative (|p|_1 + |w|_1) + absolute P < 0,

    P the sum of the features' largest magnitudes. Then p does not win canonically for any query
    that is looked up in the box and has M = max |q_f| >= 2 d eta / (absolute P).

    Derivation. Let u be the unit roundoff of the dtype, v that of float64, and eta half the
    smallest subnormal. The quotients t = q / M have an error of u |t| <= u (or eta, where they
    underflow), t + 1 is rounded by at most 2 u, the scaling to a cell is by a power of two, and
    boxes are divided at multiples of powers of two: the query looked up in a box is within 4 u of
    it, and ``slip`` is twice that. A canonical score errs by at most
    gamma_d sum_f |q_f p_f| + d eta <= M gamma_d |p|_1 + d eta, with gamma_d = d u / (1 - d u)
    <= (d + 1) u. So p loses to w if <t, p - w> + (d + 1) u (|p|_1 + |w|_1) + 2 d eta / M < 0, and
    the last term is at most absolute P. The left side above is formed in float64. Its terms add
    up, without signs, to at most 2 (|p|_1 + |w|_1) + absolute P but for factors 1 + 8 u, and no
    term is rounded more than 4 d + 8 times, so it errs by less than
    (8 d + 24) v (|p|_1 + |w|_1 + absolute P). ``relative`` is the sum of both, and ``absolute`` is
    u^2, so that M may be small. w may itself be left out because of a third key: the inequalities
    add up, and the chain ends at a key that stays. And w may be a mean of keys, at most 2 d of them
    with equal weights: for any t, p loses to at least one of those.
    """
    info = np.finfo(dtype)
    u, v = float(info.eps) / 2, 2.0**-53
    return (d + 1) * u + (8 * d + 24) * v, u * u, 8 * u


def build(
    keys: NDArray[Any], peak: NDArray[Any], num_threads: int, n_queries: float = math.inf
) -> ConeIndex:
    """The index of ``keys`` (n, d), n and d positive, with largest magnitudes ``peak`` (d,).

    About n + c log c for c candidates; memory is a few times the keys' at most. It is divided less
    finely for few ``n_queries``.
    """
    n, d = keys.shape
    keys = readonly(keys)
    dtype = keys.dtype
    top = float(peak.max())
    if top == 0:
        return _all_tie(keys)
    # Scaled by a power of two, so that nothing overflows: products of small keys may.
    exponent = math.frexp(top)[1]
    total = float(np.ldexp(peak.astype(np.float64), -exponent).sum())
    relative, absolute, slip = margins(d, dtype)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    with np.errstate(all="ignore"):
        short = np.ldexp(1.5 * d * (tiny / absolute) / total, -exponent).astype(dtype)
        least = np.nextafter(short, dtype.type(np.inf))
    outer = _outer_keys(keys, exponent, relative, absolute * total, num_threads)
    distinct, group, n_groups = _distinct(keys if len(outer) == n else _rows_of(keys, outer))
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
    budget = (_SPENT[d] * n_groups + n / 4 + (1 << 14)) / (2 * d)
    halvings = 18 if dtype == np.float32 else 40
    limits = (slip, 2.0**-halvings, inner, _OUTER[d], _LISTED, budget)
    margin = (exponent, relative, absolute * total / 2)
    divide = _sweep if d == 2 else _divide
    parts = divide(readonly(distinct), margin, grid, table, limits, num_threads)
    low, high, at, lists = _join(parts, table)
    table = table.reshape(-1)
    boxes = np.empty((0, 2, d), dtype)
    if not high.all():
        levels = max(0, (n_groups // 16).bit_length())
        boxes = np.empty((2 << levels, 2, d), dtype)
        order = np.arange(n_groups, dtype=np.int32)
        kernels.tree(readonly(distinct), levels, order, boxes)
        lists = np.concatenate([lists, order])
    named, spans, members = _members(lists, table, group, outer, n_groups)
    return ConeIndex(
        _rows_of(distinct, named), spans, members, table, grid, low, high, at.astype(dtype), lists,
        boxes, least, dtype.type(0),
    )  # fmt: skip


def kept_on_faces(keys: NDArray[Any]) -> float:
    """How many of a sample of ``keys`` may win on each face before it is divided, as a share.

    Added up over the faces, so at most 2 d. It takes some 0.2 ms.
    """
    n, d = keys.shape
    distinct, _, _ = _distinct(np.ascontiguousarray(keys[:: max(1, n // _SOME_TRIED)]))
    relative, _, slip = margins(d, keys.dtype)
    exponent = math.frexp(float(np.abs(distinct).max()))[1]
    table = np.empty((2 * d, 1), np.int32)
    limits = (slip, 1.0, 1, 1, len(distinct), 0.0)
    parts = _divide(distinct, (exponent, relative, 0.0), 1, table, limits, 1)
    return sum(len(lists) for _, _, _, lists in parts) / min(n, _SOME_TRIED)


def _divide(
    keys: NDArray[Any], margin: tuple[int, float, float], grid: int, table: NDArray[np.int32],
    limits: tuple[Any, ...], num_threads: int,
) -> list[Any]:  # fmt: skip
    """Halve each face until its boxes have few candidates."""
    n, d = keys.shape
    exponent, relative, absolute = margin
    exact = _scaled(keys, -exponent)
    size = relative * np.abs(exact).sum(axis=1) + absolute
    parts: list[Any] = [None] * (2 * d)

    def split(start: int, stop: int) -> None:
        for face in range(start, stop):
            f, sign = face // 2, 1 - 2 * (face % 2)
            rows = np.empty((n, d + 1))
            np.multiply(exact[:, f], sign, out=rows[:, 0])
            for g in range(d - 1):
                rows[:, 1 + g] = exact[:, g + (g >= f)]
            rows[:, d] = size
            parts[face] = dividing.divide(rows, grid, table[face], *limits)

    for_each_range(split, 2 * d, 1, num_threads)
    return parts


def _sweep(
    keys: NDArray[Any], margin: tuple[int, float, float], grid: int, table: NDArray[np.int32],
    limits: tuple[Any, ...], num_threads: int,
) -> list[Any]:  # fmt: skip
    """In the plane, go over each face once, by the slopes of the keys."""
    n = len(keys)
    exponent, *margins = margin
    slip, least, _, outer, most, budget = limits
    end = 1 + slip
    parts: list[Any] = [None] * 4

    def split(start: int, stop: int) -> None:
        for face in range(start, stop):
            f = face // 2
            frame = (1.0 - 2 * (face % 2), *_powers(-exponent), *margins)
            kept, slopes = np.empty(n, np.int32), np.empty(n)
            found = sweeping.flank(keys, f, frame, end, kept, slopes)
            order = kept[np.argsort(slopes[:found])]
            first, last = slopes[:found], np.empty(found)
            which = kept[:found]
            found = sweeping.intervals(keys, f, frame, end, order, which, first, last)
            which = which[:found].copy()
            nodes = sweeping.cells(
                which, first[:found], last[:found], grid, table[face],
                slip, least, outer, most, int(budget),
            )  # fmt: skip
            parts[face] = (*nodes, which)

    for_each_range(split, 4, 1, num_threads)
    return parts


def _join(parts: list[Any], table: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
    """The faces' nodes and lists as one; the table's entries follow."""
    nodes = listed = 0
    lows = []
    for face, (low, high, _, lists) in enumerate(parts):
        lows.append(np.where(high < 0, low + nodes, low + listed).astype(np.int32))
        table[face][table[face] >= 0] += nodes
        nodes += len(low)
        listed += len(lists)
    high, at, lists = (np.concatenate([part[p] for part in parts]) for p in (1, 2, 3))
    return np.concatenate(lows), high, at, lists


def _all_tie(keys: NDArray[Any]) -> ConeIndex:
    """Keys that are all zero: no query tells them apart."""
    none = np.empty(0, np.int32)
    boxes = np.empty((0, 2, keys.shape[1]), keys.dtype)
    largest = keys.dtype.type(np.inf)
    return ConeIndex(
        keys[:1], np.zeros(2, np.int64), np.zeros(1, np.int64), none, 1, none, none,
        np.empty(0, keys.dtype), none, boxes, largest, largest,
    )  # fmt: skip


def _members(
    lists: NDArray[np.int32], table: NDArray[np.int32], group: NDArray[np.int32],
    outer: NDArray[np.int64], n_groups: int,
) -> tuple[NDArray[Any], ...]:  # fmt: skip
    """The groups that cells name, in that order; where the keys of each begin; and those keys.

    The arrays are NumPy's: it asks for large pages, and queries read them in random order.
    """
    named, number = np.empty(n_groups, np.int32), np.empty(n_groups, np.int32)
    spans = np.empty(n_groups + 1, np.int64)
    n = kernels.renumber(lists, table, group, named, number, spans)
    members = np.empty(spans[n], np.int64)
    kernels.enlist(group, outer, number, spans[: n + 1], members)
    return named[:n], spans[: n + 1], members


def _rows_of(keys: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """``keys[rows]``, several times as fast."""
    return np.take(keys, rows, axis=0)


def _distinct(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32], int]:
    """Distinct keys, the number of each key among them, and how many they are.

    To tell equal keys apart is slower but not wrong: a sample shows whether they are many.
    """
    keys = keys + keys.dtype.type(0)  # -0 becomes 0, which scores the same
    n = len(keys)
    group, first = np.empty(n, np.int32), np.empty(n, np.int32)
    unsigned = f"u{keys.dtype.itemsize}"
    sample = np.ascontiguousarray(keys[:: max(1, n // _SOME)])
    if kernels.collapse(sample.view(unsigned), group, first) == len(sample):
        return keys, np.arange(n, dtype=np.int32), n
    n_groups = kernels.collapse(keys.view(unsigned), group, first)
    return _rows_of(keys, first[:n_groups]), group, n_groups


def _outer_keys(
    keys: NDArray[Any], exponent: int, relative: float, absolute: float, num_threads: int
) -> NDArray[np.int64]:
    """Increasing indices of keys, all that may win among them; inner ones are left out if possible.

    Two balls and a box in the middle of the keys, stretched as the keys are, are blown up to inside
    the convex hull of some outermost keys; what lies inside never wins.
    """
    n, d = keys.shape
    if n <= _WORTH_REDUCING or d not in _FANS:
        return np.arange(n)
    margin = (exponent, relative, absolute, num_threads)
    outer = keys[:: max(1, n // _SAMPLE[d])]
    enough = len(outer) // 2
    for per_side in _FANS[d]:
        bodies = _bodies(outer, per_side, *margin)
        outer = _rows_of(outer, _outside(outer, *bodies, num_threads))
    if len(outer) > enough:
        return np.arange(n)
    kept = _outside(keys, *bodies, num_threads)
    if len(kept) > _WORTH_ANOTHER:
        outer = _rows_of(keys, kept)
        middle, scale = bodies[0][:2]
        some = _some_outer(outer, middle, scale, _SOME)
        kept = kept[_outside(outer, *_bodies(some, _FANS[d][1], *margin), num_threads)]
    return kept


def _bodies(
    keys: NDArray[Any], per_side: int, exponent: int, relative: float, absolute: float,
    num_threads: int,
) -> tuple[NDArray[Any], NDArray[Any]]:  # fmt: skip
    """Frames (4, d) and radii (3,) of a ball, another ball and a box in the hull of ``keys``.

    The first frame is the median and the inverse distance of the quartiles, for heavy tails; the
    second the middle and the inverse width of the range, for keys that fill their box.

    For a query t in a box of directions and any key w, the hull reaches to <t, w>, and a body of
    radius r to <t, middle> + r |t / scale|, in the dual norm. The quotient of the linear
    <t, w - middle> and the convex |t / scale| is quasi-concave where positive: over a box of
    directions it is least at a corner. The margin of w is taken off first. That of an inner key p,
    with |p|_1 <= |middle|_1 + r sum 1/scale, is taken off afterwards, by the least |t / scale|.
    """
    d = keys.shape[1]
    dtype = keys.dtype
    few = np.sort(keys[:: max(1, len(keys) // 1024)], axis=0)
    columns = np.ascontiguousarray(keys.T)  # much faster to reduce
    low, high = columns.min(axis=1), columns.max(axis=1)
    frames = np.empty((4, d), dtype)
    with np.errstate(all="ignore"):
        frames[0] = few[len(few) // 2]
        frames[1] = 1 / (few[3 * len(few) // 4] - few[len(few) // 4])
        frames[2] = low / 2 + high / 2
        frames[3] = 1 / (high - low)
    centres, corners = _fan(d, per_side)
    keys = _some_outer(keys, frames[0], frames[1], _FAN_SCORES // len(centres))
    exact = _scaled(keys, -exponent)
    outermost = np.empty_like(centres)
    heads = np.empty(len(centres), np.int64)
    # Whole vectors, filled up with the first key.
    columns = np.empty((d, -(-len(exact) // LANES) * LANES))
    columns[:, : len(exact)], columns[:, len(exact) :] = exact.T, exact[:1].T

    def head(start: int, stop: int) -> None:
        kernels.extremes(columns, centres, start, stop, heads)

    together = max(1, -(-_SCORES_PER_RANGE // len(exact)))
    for_each_range(head, len(centres), together, num_threads)
    np.take(columns.T, heads, axis=0, out=outermost)
    radii = np.zeros(3)
    for body, (frame, norm) in enumerate(((0, 2), (2, 2), (2, np.inf))):
        scale = frames[frame + 1]
        if not np.all(np.isfinite(scale) & (scale > 0)):
            continue
        middle = _scaled(frames[frame], -exponent)
        unit = _scaled(1 / scale.astype(np.float64), -exponent)
        size = np.abs(middle).sum()
        radius = kernels.radius(
            corners, outermost, middle, unit, relative, absolute, norm == np.inf
        )  # fmt: skip
        radius -= relative * (size + max(0.0, radius) * unit.sum()) / unit.min()
        radius *= 1 - (8 * d + 64) * float(np.finfo(dtype).eps)
        if radius > 2.0**-10:  # squares of much smaller numbers may underflow
            radii[body] = radius**2 if norm == 2 else radius
    frames[~np.isfinite(frames)] = 0
    return frames, radii.astype(dtype)


def _some_outer(
    keys: NDArray[Any], middle: NDArray[Any], scale: NDArray[Any], most: int
) -> NDArray[Any]:
    """At most ``most`` of the keys: half spread out, half those farthest from the middle."""
    if len(keys) <= most:
        return keys
    spread = keys[:: -(-2 * len(keys) // most)]
    some = keys[:: max(1, len(keys) // (4 * most))]
    with np.errstate(all="ignore"):
        far = np.square((some - middle) * scale).sum(axis=1)
    farthest = np.argpartition(far, -(most // 2))[-(most // 2) :]
    return np.concatenate([spread, _rows_of(some, farthest)])


def _scaled(x: NDArray[Any], exponent: int) -> NDArray[Any]:
    """``x`` times a power of two, in float64."""
    half, rest = _powers(exponent)
    return x.astype(np.float64) * half * rest


def _powers(exponent: int) -> tuple[float, float]:
    """Two numbers whose product is a power of two, which alone might overflow."""
    half = exponent // 2
    return 2.0**half, 2.0 ** (exponent - half)


@cache
def _fan(d: int, per_side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres (F, d) and corners (F, 2^(d-1), d) of equal boxes on all faces."""
    steps = (2 * np.arange(per_side) + 1) / per_side - 1
    boxes = np.array(list(itertools.product(steps, repeat=d - 1)))
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=d - 1)))
    ends = boxes[:, None] + signs / per_side
    centres, corners = [], []
    for f in range(d):
        for side in (1.0, -1.0):
            centres.append(np.insert(boxes, f, side, axis=1))
            corners.append(np.insert(ends, f, side, axis=2))
    return np.concatenate(centres), np.concatenate(corners)


def _outside(
    keys: NDArray[Any], frames: NDArray[Any], radii: NDArray[Any], num_threads: int
) -> NDArray[np.int64]:
    """Indices of keys, all those that lie in none of the bodies among them.

    The body that holds most of a sample is tried first, others only where they hold enough of the
    rest.
    """
    bodies = [(0, radii[0], False), (2, radii[1], False), (2, radii[2], True)]
    bodies = [body for body in bodies if body[1] > 0]
    some = np.ascontiguousarray(keys[:: max(1, len(keys) // _SOME_TRIED)])
    bodies.sort(key=lambda body: len(_outside_one(some, frames, body, 1)))
    kept = None
    for body in bodies:
        rest = _outside_one(some, frames, body, 1)
        if kept is None:
            kept = _outside_one(keys, frames, body, num_threads)
        elif 4 * len(rest) < 3 * len(some):
            kept = kept[_outside_one(_rows_of(keys, kept), frames, body, num_threads)]
        some = _rows_of(some, rest)
    return np.arange(len(keys)) if kept is None else kept


def _outside_one(
    keys: NDArray[Any], frames: NDArray[Any], body: tuple[int, Any, bool], num_threads: int
) -> NDArray[np.int64]:
    n, d = keys.shape
    keys = readonly(np.ascontiguousarray(keys))
    kept = np.empty(n, np.int64)
    found: dict[int, int] = {}

    def look(start: int, stop: int) -> None:
        found[start] = kernels.outside(keys, frames, *body, start, stop, kept, (0,) * d)

    for_each_range(look, n, _ROWS, num_threads)
    return np.concatenate([kept[start : start + found[start]] for start in sorted(found)])
