"""One table of attention problems for tests and benchmarks.

``CASES[name](dtype)`` gives the arguments of ``hardmax_attention`` as a dict. Each case is
deterministic, and built only when called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .clouds import (
    CLOUDS,
    Array,
    Cloud,
    DType,
    ball,
    circle,
    gaussian,
    lattice,
    mirrored,
    permuted_features,
    seeded,
    sphere,
    ulp_neighbours,
)

Case = Callable[[DType], dict[str, Any]]

# Powers of two, and their neighbours: where the blocks of an engine may end.
BORDERS = (
    *(1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65),
    *(127, 128, 129, 255, 256, 257, 511, 512, 513, 1000),
)


def n_products(arguments: dict[str, Any]) -> int:
    """How many products all scores of a case take: what a plain Python loop over it costs."""
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    lead = query.shape[:-2]
    if not arguments.get("enable_gqa"):
        lead = np.broadcast_shapes(lead, key.shape[:-2], value.shape[:-2])
    return math.prod((*lead, query.shape[-2], *key.shape[-2:]))


def _values(n_keys: int, width: int, dtype: DType) -> Array:
    """Values whose sums round, so that the order of summation shows."""
    return seeded(f"values {n_keys} {width}").standard_normal((n_keys, width)).astype(dtype)


def _problem(query: Cloud, key: Cloud, value: Cloud, **options: Any) -> Case:
    return lambda t: {"query": query(t), "key": key(t), "value": value(t), **options}


def _cross(query: Cloud, key: Cloud, width: int = 3) -> Case:
    def make(dtype: DType) -> dict[str, Any]:
        k = key(dtype)
        return {"query": query(dtype), "key": k, "value": _values(len(k), width, dtype)}

    return make


def _self_attention() -> Iterator[tuple[str, Case]]:
    for name, cloud in CLOUDS.items():
        yield f"self: {name}", _problem(cloud, cloud, cloud)


def _cross_attention() -> Iterator[tuple[str, Case]]:
    yield (
        "circle with A = diag(1, 2)",
        _problem(lambda t: circle(90, t) * t.type([1, 2]), *[partial(circle, 90)] * 2),
    )
    line = np.stack([np.linspace(-25, 25, 101), np.ones(101)], axis=1)
    yield "parabola, exact hits and midpoints", _cross(line.astype, CLOUDS["parabola"])
    yield "zero query", _cross(partial(np.zeros, (3, 4)), partial(gaussian, 37, 4))
    yield "zero keys", _cross(partial(gaussian, 5, 4), partial(np.zeros, (37, 4)))
    yield (
        "values of negative zero",
        _problem(
            partial(np.ones, (2, 1)), partial(np.ones, (5, 1)), partial(np.full, (5, 3), -0.0)
        ),
    )
    yield (
        "diagonal queries, permuted features",
        _cross(
            lambda t: np.full((4, 8), [[1.0], [-1.0], [0.1], [-0.7]], t),
            partial(permuted_features, 60, 8),
        ),
    )
    yield (
        "diagonal queries, mirrored keys",
        _cross(lambda t: 0.3 * np.array([[1, 1], [1, -1], [-1, 1], [0, 1], [-1, 0]], t), mirrored),
    )
    yield (
        "subnormal scores",
        _cross(CLOUDS["subnormal"], partial(gaussian, 40, 2)),
    )
    yield (
        "subnormal values",
        _problem(partial(np.zeros, (2, 2)), partial(np.zeros, (25, 2)), CLOUDS["subnormal"]),
    )
    for d in (3, 8, 64):
        yield f"near ties d={d}", _cross(partial(gaussian, 20, d), partial(ulp_neighbours, 50, d))
    for n_queries, n_keys, d in ((1, 5, 2), (5, 1, 2), (7, 60, 3), (60, 7, 3), (2, 20, 257)):
        yield (
            f"L={n_queries} S={n_keys} d={d}",
            _cross(partial(gaussian, n_queries, d), partial(gaussian, n_keys, d)),
        )
    yield "L=2 S=9 d=1030", _cross(partial(gaussian, 2, 1030), partial(gaussian, 9, 1030))
    for n_keys, d in ((4097, 2), (1000, 16), (700, 64)):
        yield (
            f"few queries, S={n_keys} d={d}",
            _cross(partial(gaussian, 2, d), partial(gaussian, n_keys, d)),
        )
    for width in (1, 5, 130):
        # All keys win, then a few, then one.
        for name, query in (("zero", np.zeros), ("one", np.ones)):
            yield (
                f"{name} query, values of width {width}",
                _cross(partial(query, (3, 2)), partial(lattice, 6, 2), width),
            )


def _borders() -> Iterator[tuple[str, Case]]:
    for n in BORDERS:
        yield f"border: circle, L=S={n}", _cross(partial(circle, n), partial(circle, n))
        if n <= 513:
            yield (
                f"border: sphere d=17, L=S={n}",
                _cross(partial(sphere, n, 17), partial(sphere, n, 17), 17),
            )
        if n <= 257:
            yield f"border: L=3 S={n}", _cross(lambda t: -sphere(3, 3, t), partial(sphere, n, 3))
            yield f"border: L={n} S=3", _cross(partial(sphere, n, 3), partial(sphere, 3, 3))
    # Every tie set meets every block.
    yield (
        "border: ties far apart",
        _cross(partial(circle, 37), lambda t: np.resize(circle(37, t), (1000, 2))),
    )
    yield (
        "border: 1000 keys tie",
        _cross(partial(np.ones, (3, 2)), partial(np.ones, (1000, 2))),
    )
    for n in (33, 129, 513):
        yield (
            f"border: the last of {n} keys wins",
            _cross(
                partial(np.ones, (2, 5)),
                lambda t, n=n: np.repeat(np.arange(n, dtype=t), 5).reshape(n, 5),
            ),
        )


def _reversed(x: Array) -> Array:
    return np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]


def _strided(x: Array) -> Array:
    wide = np.full((2 * x.shape[0], 3 * x.shape[1]), 1e9, x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def _unaligned(x: Array) -> Array:
    raw = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    return raw


def _read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "negative strides": _reversed,
    "every second row, every third column": _strided,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}


def _layouts() -> Iterator[tuple[str, Case]]:
    for name, change in LAYOUTS.items():

        def make(dtype: DType, change: Callable[[Array], Array] = change) -> dict[str, Any]:
            points = ball(40, 3, dtype)
            return {
                "query": change(points),
                "key": change(points[::-1].copy()),
                "value": change(_values(40, 3, dtype)),
            }

        yield f"layout: {name}", make
    yield (
        "layout: heads beside features",
        _problem(partial(_heads, 9), partial(_heads, 20), partial(_heads, 20)),
    )
    yield (
        "layout: one row for all",
        _problem(partial(_one_row, 9), partial(_one_row, 20), partial(_one_row, 20)),
    )


def _heads(n: int, dtype: DType) -> Array:
    """Four heads of width 3, as a view of rows of width 12."""
    return gaussian(n, 12, dtype).reshape(n, 4, 3).swapaxes(0, 1)


def _one_row(n: int, dtype: DType) -> Array:
    return np.broadcast_to(gaussian(1, 3, dtype), (n, 3))


def _batch(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], **more: Any
) -> Case:
    """A case with these shapes, on a coarse grid: unique winners and ties in one batch."""

    def make(dtype: DType) -> dict[str, Any]:
        rng = seeded(f"batch {query} {key} {value}")
        grid = {"query": rng.integers(-3, 4, query), "key": rng.integers(-3, 4, key)}
        arrays = {name: array.astype(dtype) for name, array in grid.items()}
        return {**arrays, "value": rng.standard_normal(value).astype(dtype), **more}

    return make


def _batches() -> Iterator[tuple[str, Case]]:
    yield "batch: one dimension", _batch((3, 5, 2), (3, 7, 2), (3, 7, 4))
    yield "batch: many small", _batch((8, 6, 8, 3), (8, 6, 8, 3), (8, 6, 8, 3))
    yield "batch: many single rows", _batch((50, 1, 2), (50, 1, 2), (50, 1, 2))
    yield "batch: broadcast heads", _batch((2, 3, 5, 2), (2, 1, 7, 2), (1, 3, 7, 4))
    yield "batch: broadcast dimensions", _batch((5, 2), (2, 3, 7, 2), (3, 7, 1))
    yield "batch: shared query and key", _batch((1, 5, 2), (7, 2), (4, 7, 2))
    yield (
        "batch: grouped queries",
        _batch((2, 6, 5, 2), (2, 2, 7, 2), (2, 2, 7, 4), enable_gqa=True),
    )
    yield "batch: one key head", _batch((6, 5, 2), (1, 7, 2), (1, 7, 4), enable_gqa=True)
    yield "batch: groups of one", _batch((3, 5, 2), (3, 7, 2), (3, 7, 4), enable_gqa=True)
    yield "batch: causal", _batch((3, 9, 2), (3, 9, 2), (3, 9, 4), is_causal=True)
    yield "empty: no query", _batch((0, 2), (7, 2), (7, 4))
    yield "empty: no key", _batch((5, 2), (0, 2), (0, 4))
    yield "empty: no query, no key", _batch((0, 2), (0, 2), (0, 4))
    yield "empty: no feature", _batch((5, 0), (7, 0), (7, 4))
    yield "empty: values of no feature", _batch((5, 2), (7, 2), (7, 0))
    yield "empty: no batch", _batch((0, 5, 2), (7, 2), (0, 7, 4))
    yield "empty: no key, causal", _batch((5, 2), (0, 2), (0, 4), is_causal=True)


def _some(shape: tuple[int, ...], dtype: DType) -> Array:
    """About half of all pairs, and no key at all for every fifth query."""
    mask = seeded(f"some {shape}").random(shape) < 0.5
    mask[..., ::5, :] = False
    return mask


def _float_mask(low: Callable[[DType], float], shape: tuple[int, ...], dtype: DType) -> Array:
    """Random numbers where ``_some`` allows and ``low`` elsewhere."""
    mask = seeded(f"float {shape}").standard_normal(shape).astype(dtype)
    return np.where(_some(shape, dtype), mask, dtype.type(low(dtype)))


MASKS: dict[str, Callable[[tuple[int, ...], DType], Array]] = {
    "boolean": _some,
    "all allowed": lambda shape, t: np.ones(shape, bool),
    "all forbidden": lambda shape, t: np.zeros(shape, bool),
    "float": lambda shape, t: seeded(f"float {shape}").standard_normal(shape).astype(t),
    "float on the grid": lambda shape, t: seeded(f"grid {shape}").integers(-2, 3, shape).astype(t),
    "float that absorbs": lambda shape, t: np.full(shape, 2 / np.finfo(t).eps, t),
    "-inf": partial(_float_mask, lambda t: -np.inf),
    "-1e9": partial(_float_mask, lambda t: -1e9),
    "finfo.min": partial(_float_mask, lambda t: float(np.finfo(t).min)),
    "finfo.min and -inf": lambda shape, t: np.where(
        _some(shape, t), np.finfo(t).min, t.type(-np.inf)
    ),
    "all -inf": lambda shape, t: np.full(shape, -np.inf, t),
    "all finfo.min": lambda shape, t: np.full(shape, np.finfo(t).min, t),
    "unaligned": lambda shape, t: _unaligned(seeded(f"float {shape}").random(shape).astype(t)),
    "of another layout": lambda shape, t: np.asfortranarray(_some(shape, t))[..., ::-1],
}


def _masked(case: Case, mask: Callable[[DType], Array], **more: Any) -> Case:
    return lambda t: {**case(t), "attn_mask": mask(t), **more}


def _halfway(dtype: DType) -> dict[str, Any]:
    """Scores within an ulp or so of half an ulp of the mask, at every seventh key; others lose."""
    key = np.zeros((301, 16), dtype)
    key[::7] = ulp_neighbours(43, 16, dtype)
    query = gaussian(20, 16, dtype)
    query /= 16 * (query @ key[:1].T)
    mask = np.full((20, 301), 0.125 / np.finfo(dtype).eps, dtype)
    return {"query": query, "key": key, "value": _values(301, 3, dtype), "attn_mask": mask}


def _masks() -> Iterator[tuple[str, Case]]:
    for n_queries, n_keys in ((5, 5), (20, 65), (33, 17)):
        plain = _batch((n_queries, 2), (n_keys, 2), (n_keys, 3))
        shape = (n_queries, n_keys)
        for name, mask in MASKS.items():
            yield f"mask: {name}, {n_queries} x {n_keys}", _masked(plain, partial(mask, shape))
    generic = _cross(partial(gaussian, 40, 5), partial(gaussian, 50, 5))
    for name in ("boolean", "float", "-inf"):
        yield f"mask: {name}, generic", _masked(generic, partial(MASKS[name], (40, 50)))
    yield "mask: the sum's rounding decides", _halfway
    heads = _batch((3, 2, 6, 2), (3, 2, 9, 2), (3, 2, 9, 3))
    for name in ("boolean", "-inf"):
        for shape in ((3, 1, 1, 9), (3, 2, 6, 9), (2, 6, 9), (6, 9), (6, 1), (1, 9), (1, 1)):
            yield f"mask: {name} of shape {shape}", _masked(heads, partial(MASKS[name], shape))
        yield (
            f"mask: {name} of one dimension",
            _masked(heads, lambda t, name=name: MASKS[name]((2, 9), t)[1]),
        )
    yield "mask: one boolean", _masked(heads, lambda t: np.array(True))
    yield "mask: one number", _masked(heads, lambda t: np.array(0.3, t))
    lengths = np.array([9, 1, 0])
    padding = (np.arange(9) < lengths[:, None])[:, None, None, :]
    yield "mask: padding", _masked(heads, lambda t: padding)
    yield (
        "mask: padding, grouped queries",
        _masked(
            _batch((3, 4, 6, 2), (3, 2, 9, 2), (3, 2, 9, 3), enable_gqa=True), lambda t: padding
        ),
    )
    for n_queries, n_keys in ((1, 9), (9, 1), (17, 64), (64, 64), (65, 33), (129, 129)):
        plain = _batch((n_queries, 2), (n_keys, 2), (n_keys, 3), is_causal=True)
        yield f"causal: {n_queries} x {n_keys}", plain
        for name in ("boolean", "-inf"):
            mask = partial(MASKS[name], (n_queries, n_keys))
            yield f"causal: and {name}, {n_queries} x {n_keys}", _masked(plain, mask)
    yield (
        "causal: generic d=16",
        lambda t: {
            **_cross(partial(sphere, 100, 16), partial(sphere, 100, 16))(t),
            "is_causal": True,
        },
    )


CASES: dict[str, Case] = {
    name: case
    for group in (_self_attention, _cross_attention, _borders, _layouts, _batches, _masks)
    for name, case in group()
}
