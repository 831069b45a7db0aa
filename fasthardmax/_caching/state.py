"""The tokens of a layer as arrays, and back; and whether a state is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import check_count, check_finite, check_threads
from .core import Core

__all__ = ["check_state", "layer_state", "load_layer"]

# What a pruned head needs beside its keys and values: sums over all tokens, and bounds.
_PRUNED = ("keys", "values", "sums", "bounds")


def check_state(state: Any, sizes: dict[str, Any]) -> None:
    """``ValueError`` unless it looks like a state of a cache of these sizes."""
    if not isinstance(state, dict):
        raise ValueError(
            f"state: got {type(state).__name__}, expected a dictionary, as state_dict gives"
        )
    for name in (*sizes, "ties", "layers"):
        if name not in state:
            raise ValueError(f"state: got no {name}, expected a dictionary, as state_dict gives")
    for name, own in sizes.items():
        if not isinstance(state[name], (int, str, np.generic)) or state[name] != own:
            raise ValueError(
                f"state: got {state[name]!r} for {name}, expected {own!r} as this cache"
            )
    layers, n_layers = state["layers"], sizes["n_layers"]
    if (
        not isinstance(layers, (list, tuple))
        or len(layers) != n_layers
        or not all(isinstance(layer, dict) for layer in layers)
    ):
        raise ValueError(
            f"state: got {type(layers).__name__} for layers, expected a list of {n_layers} "
            "dictionaries, as state_dict gives"
        )


def layer_state(core: Core, layer: int) -> dict[str, Any]:
    """Keys (n, H, d) and values (n, H, dv); where heads prune, lists of what each has kept."""
    heads = [core.stored(layer, head) for head in range(core.n_heads)]
    n_tokens = core.n_tokens(layer)
    if not core.prune:
        keys, values = (np.stack([head[i] for head in heads], axis=1) for i in range(2))
        return {"n_tokens": n_tokens, "keys": keys, "values": values}
    summaries = [core.summary(layer, head) for head in range(core.n_heads)]
    each = ([*head, *summary] for head, summary in zip(heads, summaries, strict=True))
    lists = map(list, zip(*each, strict=True))
    return {"n_tokens": n_tokens, **dict(zip(_PRUNED, lists, strict=True))}


def load_layer(core: Core, layer: int, state: dict[str, Any], dtype: np.dtype[Any]) -> None:
    """Put the tokens of a state in place of a layer's own; ``ValueError`` if it is no state."""
    core.clear(layer)
    heads, d, dv = core.n_heads, core.head_dim, core.value_dim
    n_tokens = check_count("state: n_tokens", state.get("n_tokens"), 0)
    if not core.prune:
        keys = _array(state, "keys", (n_tokens, heads, d), dtype)
        values = _array(state, "values", (n_tokens, heads, dv), dtype)
        if core.extend(layer, keys, values, None, None, check_threads(None)) is not None:
            core.clear(layer)
            done, reason = core.extend_by_token(layer, keys, values, None, None)
            raise ValueError(f"state: got a token {done} that no cache holds ({reason})")
        return
    for name in _PRUNED:
        given = state.get(name)
        if not isinstance(given, (list, tuple, np.ndarray)) or len(given) != heads:
            raise ValueError(
                f"state: got {type(given).__name__} for {name}, expected a list of {heads} arrays"
            )
    for head in range(heads):
        one = {name: state[name][head] for name in _PRUNED}
        keys = _array(one, "keys", (None, d), dtype)
        values = _array(one, "values", (len(keys), dv), dtype)
        sums = _array(one, "sums", (3, dv), dtype)
        bounds = _array(one, "bounds", (2, d), np.dtype(np.float64))
        for name, array in (("keys", keys), ("values", values), ("sums", sums)):
            check_finite(f"state: {name}", array)
        core.restore(layer, head, keys, values, sums, bounds, n_tokens)


def _array(
    state: dict[str, Any], name: str, shape: tuple[int | None, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """An array of a state, if it has this shape (any length where it says None) and dtype."""
    array = state.get(name)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"state: got {type(array).__name__} for {name}, expected an array")
    fits = array.ndim == len(shape) and all(
        wanted in (None, got) for wanted, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        expected = str(shape).replace("None", "any")
        raise ValueError(
            f"state: got {name} of shape {array.shape} and dtype {array.dtype}, expected "
            f"{expected} and {dtype}"
        )
    return np.ascontiguousarray(array)
