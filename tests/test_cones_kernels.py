"""Parts of the cones engine against the same in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from fasthardmax.engines import _cones_divide as dividing
from fasthardmax.engines import _cones_index as index
from fasthardmax.engines import _cones_kernels as kernels
from fasthardmax.engines import _cones_long as longer
from fasthardmax.engines import _cones_open as opened
from fasthardmax.engines import _cones_plane as plane
from fasthardmax.engines import _cones_search as search
from fasthardmax.engines import _cones_shell as shell
from fasthardmax.engines import _cones_sweep as sweeping
from fasthardmax.engines import cones
from fasthardmax.engines._cones_divide import GROUPED
from fasthardmax.engines._cones_entries import candidate_of, length_of
from fasthardmax.engines._cones_lanes import settle_streams, stream
from fasthardmax.engines._cones_radius import inner_radius
from fasthardmax.engines._cones_shell import outer_keys
from fasthardmax.engines._cones_vectors import LANES, PACK
from fasthardmax.numerics import canonical_scores

from .clouds import DTYPES, ball, circle, gaussian, seeded, ulp_neighbours


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_extremes_are_extreme(d: int) -> None:
    columns = np.ascontiguousarray(gaussian(5 * LANES, d, DTYPES[1]).T)
    directions = gaussian(9, d, DTYPES[1])
    heads = np.full(9, -1)
    kernels.extremes(columns, directions, 2, 9, heads)
    assert heads[:2].tolist() == [-1, -1]
    np.testing.assert_array_equal(heads[2:], (directions @ columns).argmax(axis=1)[2:])


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_farthest_of_each_box_of_directions(d: int) -> None:
    rng = np.random.default_rng(d)
    middle, widths, per_side = rng.standard_normal(d), rng.uniform(0.5, 2, d), 3
    moved = rng.standard_normal((500, d))
    moved[7], moved[8], moved[9] = middle, np.nan, np.inf
    best = np.zeros(2 * d * per_side ** (d - 1))
    heads = np.full(len(best), -1)
    kernels.farthest(moved, middle, widths, per_side, best, heads)
    away = (np.delete(moved, [7, 8, 9], axis=0) - middle) / widths
    face = np.abs(away).argmax(axis=1)
    top = np.take_along_axis(away, face[:, None], 1)
    rest = np.array([np.delete(row, f) for row, f in zip(away, face, strict=True)])
    along = np.minimum((rest / np.abs(top) + 1) / 2 * per_side, per_side - 1).astype(int)
    box = along @ per_side ** np.arange(d - 1)[::-1]
    box = box + (2 * face + (top[:, 0] < 0)) * per_side ** (d - 1)
    square = (away * away).sum(axis=1)
    expected = np.zeros(len(best))
    np.maximum.at(expected, box, square)
    assert np.allclose(best, expected)
    named = heads[heads >= 0]
    assert len(np.unique(named)) == len(named) == len(np.unique(box))
    assert np.allclose((((moved[named] - middle) / widths) ** 2).sum(axis=1), best[best > 0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_outside_is_what_no_body_holds(d: int, box: bool, dtype: np.dtype) -> None:
    keys = gaussian(1000, d, dtype)
    frames = np.array([[9.0] * 4, [9.0] * 4, [0.1, 0, 0, 0.2], [0.5, 1, 0.7, 0.6]], dtype)[:, :d]
    frames = np.ascontiguousarray(frames)
    shear = np.tril(gaussian(d, d, dtype), -1) + np.eye(d, dtype=dtype)
    x = ((keys - frames[2]) @ shear.T) * frames[3]
    norm = np.abs(x).max(axis=1) if box else np.square(x).sum(axis=1)
    kept = np.full(1000, -1)
    found = kernels.outside(keys, frames, shear, 2, dtype.type(1.5), box, 3, 997, kept, (0,) * d)
    sure = np.abs(norm - 1.5) > 1e-5
    assert (np.diff(kept[3 : 3 + found]) > 0).all()
    assert (kept[:3] == -1).all()
    assert (kept[997:] == -1).all()
    expected = np.zeros(1000, bool)
    expected[kept[3 : 3 + found]] = True
    assert not expected[:3].any()
    np.testing.assert_array_equal(expected[3:997][sure[3:997]], (norm >= 1.5)[3:997][sure[3:997]])


@pytest.mark.parametrize("d", [3, 4, 6])
@pytest.mark.parametrize("box", [False, True])
def test_a_body_fits_into_the_hull(box: bool, d: int) -> None:
    """No direction of a face sees the body reach beyond the keys; more boxes show a larger one."""
    columns = np.ascontiguousarray(gaussian(64 * LANES, d, DTYPES[1]).T)
    middle, unit = np.full(d, 0.05), np.linspace(1, 1.5, d)
    body = (middle, unit, 0.0, 0.0, box)
    radii = [inner_radius(columns, 1, -1.0, *body, most) for most in (64, 512)]
    assert 0 < radii[0] < radii[1]
    directions = seeded(f"face {d}").uniform(-1, 1, (5000, d))
    directions[:, 1] = -1
    reach = (directions @ (columns - middle[:, None])).max(axis=1)
    length = np.linalg.norm(directions * unit, 1 if box else 2, axis=1)
    assert radii[1] <= (reach / length).min() < 3 * radii[1]
    within = np.hstack([columns / 10, columns])  # which are best nowhere
    assert radii == [inner_radius(within, 1, -1.0, *body, most) for most in (64, 512)]


@pytest.mark.parametrize("fill", [gaussian, ball])
@pytest.mark.parametrize("d", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_keys_outside_of_a_body_hold_all_winners(
    dtype: np.dtype, d: int, fill: Callable[..., np.ndarray]
) -> None:
    """And of another where many are left, as in a ball."""
    keys = fill(100_000 if d == 3 else 20_000, d, dtype) * dtype.type(3) + dtype.type(7)
    directions = gaussian(3000, d, dtype).astype(np.float64)
    winners = (directions @ keys.astype(np.float64).T).argmax(axis=1)
    relative, absolute, slip = index.margins(d, dtype)
    peak = float(np.abs(keys).max())
    kept = outer_keys(keys, int(np.frexp(peak)[1]), relative, absolute, slip, 2)
    assert set(winners) <= set(kept)
    assert len(kept) < len(keys) / 3 or (d > 3 and fill is ball)
    if d == 3:  # large enough to be looked at twice
        assert len(kept) < 0.06 * len(keys)


@pytest.mark.parametrize("d", [3, 4])
def test_many_keys_left_are_looked_at_more_closely(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wins stays, of turns of a few keys as of one; the more sides, the fewer others."""
    keys = ball(100_000, d, DTYPES[1])
    directions = gaussian(3000, d, DTYPES[1])
    winners = (directions @ keys.T).argmax(axis=1)
    monkeypatch.setattr(shell, "_ROWS", 1 << 10)

    def outer(n_threads: int) -> np.ndarray:
        return outer_keys(keys, 0, *index.margins(d, DTYPES[1]), n_threads)

    coarse = outer(3)
    np.testing.assert_array_equal(outer(1), coarse)
    monkeypatch.setattr(shell, "_WORTH_MORE", 1 << 14)
    fine = outer(3)
    assert set(winners) <= set(fine)
    assert len(fine) < 0.9 * len(coarse)


def test_screening_tells_winners_from_near_ties() -> None:
    """Where float32 cannot tell, and only there, lists are scored again; less slack is noticed."""
    d = 4
    keys = 1 + 1e-3 * gaussian(500, d, DTYPES[1])
    keys[1::2] = keys[::2] * (1 + 1e-9)
    query = gaussian(2000, d, DTYPES[1])
    built = index.build(keys, np.abs(keys).max(axis=0), 1)

    def first_winners(built: index.ConeIndex) -> np.ndarray:
        first, count = np.empty(2000, np.int64), np.empty(2000, np.int64)
        none = np.empty((2000, 0))
        cones.attend(built, query, keys, keys[:, :0], "mean", 1, none, first, count)
        return first

    expected = canonical_scores(query, keys).argmax(axis=1)
    np.testing.assert_array_equal(first_winners(built), expected)
    blind = built._replace(slack=np.zeros_like(built.slack))
    assert (first_winners(blind) != expected).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [3, 5])
def test_groups_hold_the_winners_of_a_list(d: int, dtype: np.dtype) -> None:
    """All of them, ties included, of several lists of any length; most groups are passed over."""
    keys = np.round(gaussian(3000, d, dtype) * dtype.type(8))  # many tie
    lengths = np.array([0, PACK, 700, -1, 1, 2 * PACK + 3], np.int32)  # -1: a node, no list
    high = np.where(lengths > 0, lengths + GROUPED, lengths).astype(np.int32)
    rng = seeded(f"groups {d}")
    lists = rng.permutation(len(keys))[: lengths.clip(0).sum()].astype(np.int32)
    low = np.concatenate([[0], np.cumsum(lengths.clip(0))[:-1]]).astype(np.int32)
    named = [set(lists[i : i + max(n, 0)].tolist()) for i, n in zip(low, lengths, strict=True)]
    n_groups = int((-(-lengths.clip(0) // PACK)).sum())
    long = np.empty(n_groups * PACK, np.int32)
    columns = np.empty((n_groups, d, PACK), dtype)
    corners = np.zeros((2, d, n_groups + PACK), dtype)
    longer.group(keys, lists, low, high, long, columns, corners, (0,) * d)

    @njit
    def find(query, i, start, n, tied, room, dims):
        return longer.tied_in_groups(query, i, start, n, long, columns, corners, tied, room, dims)

    query = np.round(gaussian(40, d, dtype) * dtype.type(2))
    scores = canonical_scores(query, keys)
    tied, room = np.empty(len(keys), np.int32), np.empty(longer.ROOM, dtype)
    for leaf in np.flatnonzero(lengths > 0):
        there = np.array(sorted(named[leaf]))
        scored = 0
        for i in range(len(query)):
            found, more = find(query, i, low[leaf], lengths[leaf], tied, room, (0,) * d)
            best = scores[i, there].max()
            assert set(tied[:found].tolist()) == set(there[scores[i, there] == best].tolist())
            assert len(set(tied[:found].tolist())) == found
            scored += more
        assert lengths[leaf] < 700 or scored < len(query) * lengths[leaf] / 2


def test_asked_are_sorted_by_face() -> None:
    queries = np.concatenate([gaussian(50, 3, DTYPES[0]), np.zeros((2, 3), np.float32)])
    placed, starts = np.empty((52, 2)), np.empty(7, np.int64)
    dividing.place(queries, placed, starts)
    assert starts[0] == 0
    assert starts[-1] == 50
    faces = 2 * np.abs(queries).argmax(axis=1)
    faces += queries[np.arange(52), faces // 2] < 0
    for face in range(6):
        here = queries[:50][faces[:50] == face]
        f = face // 2
        expected = np.delete(here, f, axis=1) / np.abs(here[:, [f]])
        np.testing.assert_array_equal(placed[starts[face] : starts[face + 1]], expected)


def test_a_large_tie_set_is_kept() -> None:
    """What many candidates give is not computed anew because of queries between with few."""
    axis = np.arange(-6.0, 7)
    keys = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    built = index.build(keys, np.abs(keys).max(axis=0), 1)
    query = np.concatenate([np.eye(3), np.round(3 * gaussian(300, 3, DTYPES[1]))])
    room = opened.new_room(built.candidates, np.empty((303, 0)))
    parts = cones._searched(built)
    firsts = built.members[built.spans[:-1]]
    none = np.empty((303, 0))
    search.attend(
        query, keys, keys[:, :0], *parts[:3], firsts, keys[:, :0], firsts, *parts[3:], built.zero,
        0, room, False, 0, 303, none, np.empty(303, np.int64), np.empty(303, np.int64), (0,) * 3,
    )  # fmt: skip
    n_held = room[2]
    assert sorted(n_held)[-3:] == [169, 169, 169]
    assert (n_held > 0).sum() > 3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_moved_keys_are_told_apart_by_the_roundoff_of_scores(dtype: np.dtype) -> None:
    """Far from the origin the margin of what is computed in float64 hardly counts."""
    exact = (1 + 1e-9 * gaussian(100, 3, DTYPES[1])).T
    moved = exact - 1
    relative, absolute, _ = index.margins(3, dtype)
    sizes = index.sizes(exact, moved, relative, absolute)
    plain = relative * np.abs(exact).sum(axis=0)
    unit = np.finfo(dtype).eps / 2
    assert (sizes >= 4 * unit * np.abs(exact).sum(axis=0)).all()
    assert (sizes < plain).all()
    assert dtype == DTYPES[0] or (sizes < plain / 10).all()


@pytest.mark.parametrize("dtype", [*DTYPES, np.dtype(np.int64)], ids=str)
def test_streams_copy_rows_and_nothing_else(dtype: np.dtype) -> None:
    """From and to places of any alignment, less than a vector and many."""

    @njit
    def copy(source, begin, n, target, at):
        stream(source, begin, n, target, at)
        settle_streams()

    source = np.arange(300).astype(dtype).reshape(100, 3)
    for begin, n, at in ((0, 0, 5), (1, 1, 0), (3, 5, 1), (7, 61, 2), (0, 100, 3)):
        target = np.full((110, 3), -1, dtype)
        expected = target.copy()
        expected[at : at + n] = source[begin : begin + n]
        copy(source, begin, n, target, at)
        np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("farthest", [0.0, -1.0])
@pytest.mark.parametrize("step", [1e-3, 1e-20, 1e-310])
def test_keys_of_a_face_come_by_slope(step: float, farthest: float) -> None:
    """Also where their leading digits do not tell slopes apart."""
    keys = np.ones((401, 2))
    keys[:, 1] = np.random.default_rng(0).permutation(401) * step
    keys[7, 1] = farthest
    relative, absolute, slip = index.margins(2, DTYPES[1])
    frame = (1.0, 1.0, 1.0, relative, absolute)
    which, rows, first, last = plane.Room(keys).runs(keys, 0, frame, 1 + slip)
    np.testing.assert_array_equal(rows, keys[which])
    assert (np.diff(rows[:, 1]) >= 0).all()
    assert (first[1:] >= first[:-1]).all()
    assert (last[1:] >= last[:-1]).all()
    assert len(which) == 401  # at slope 0 all tie


@pytest.mark.parametrize("kind", ["circle", "ball", "gaussian", "near ties"])
def test_sweep_keeps_every_winner(kind: str) -> None:
    """Between its neighbours in slope: at random places and where the best two cross."""
    dtype = DTYPES[1]
    keys = {
        "circle": circle(500, dtype), "ball": ball(500, 2, dtype),
        "gaussian": gaussian(500, 2, dtype), "near ties": ulp_neighbours(500, 2, dtype),
    }[kind]  # fmt: skip
    relative, absolute, slip = index.margins(2, dtype)
    frame = (1.0, 1.0, 1.0, relative, absolute)
    which, rows, first, last = plane.Room(keys).runs(keys, 0, frame, 1 + slip)
    found = len(which)
    np.testing.assert_array_equal(rows, keys[which])
    assert (np.diff(rows[:, 1]) >= 0).all()
    table = np.empty(64, np.int32)
    low, high, at = sweeping.cells(first, last, 64, table, 3, slip, 2.0**-40, 4, 1000, 500)
    some = seeded(f"sweep {kind}").integers(0, found, (2, 200))
    rises = keys[which[some[1]], 1] - keys[which[some[0]], 1]
    with np.errstate(all="ignore"):
        crossings = (keys[which[some[0]], 0] - keys[which[some[1]], 0]) / rises
    places = np.concatenate([crossings[np.abs(crossings) <= 1], np.linspace(-1, 1, 101)])
    for t in places:
        scores = keys[:, 0] + t * keys[:, 1]  # as the canonical score of the query (1, t)
        winners = np.flatnonzero(scores == scores.max())
        entry = table[min(63, int((t + 1) * 32))]
        if entry < 0:
            start = candidate_of.py_func(entry)
            listed = set(which[start : start + length_of.py_func(entry)].tolist())
        else:
            while high[entry] < 0:
                entry = low[entry] + (t >= at[entry])
            listed = set(which[low[entry] : low[entry] + high[entry]].tolist())
        assert set(winners.tolist()) <= listed
