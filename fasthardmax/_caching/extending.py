"""A whole prompt: taken in and answered, or refused with nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import TIES
from .core import Core
from .refusals import explained
from .state import layer_state, load_layer

__all__ = ["extend"]

Array = NDArray[Any]

# Features from which on the operator answers a prompt in less time than one step after the other:
# lengths of keys rule little out then, and many queries at once make more of each key that is read.
_FEATURES = 8  # up to so many tokens, and however many with twice as many features
_TOKENS = 1 << 11


def _is_for_the_operator(d: int, n_before: int, n: int) -> bool:
    is_quicker = d >= 2 * _FEATURES or (d >= _FEATURES and n <= _TOKENS)
    return is_quicker and n_before <= n  # it asks something for each token before, too


def extend(
    core: Core, layer: int, arrays: dict[str, Array], dtype: np.dtype[Any], n_threads: int
) -> Array | None:
    """Take in keys (T, H, d) and values (T, H, dv); answer queries (T, H, d), if there are any."""
    before = core.n_tokens(layer)
    saved = layer_state(core, layer) if core.prune else None
    queries = arrays.get("queries")
    out = None if queries is None else np.empty(arrays["values"].shape, dtype)
    prompt = arrays["keys"], arrays["values"], queries, out

    def take_back() -> None:
        if saved is None:
            core.truncate(layer, before)
        else:
            load_layer(core, layer, saved, dtype)

    error: BaseException
    try:
        if queries is not None and _is_for_the_operator(core.head_dim, before, len(queries)):
            answers = _by_the_operator(core, layer, arrays, before, n_threads)
            if answers is not None:
                return answers
            take_back()
        reason = core.extend(layer, *prompt, n_threads)
        done = 0
        if reason not in (None, "memory", "broken"):
            take_back()
            done, reason = core.extend_by_token(layer, *prompt)
        if reason is None:
            return out
        bad = {name: array[done] for name, array in arrays.items()}
        error = explained(core, reason, layer, bad, dtype, f" at token {done}")
    except KeyboardInterrupt as interrupt:
        error = interrupt
    take_back()
    raise error


def _by_the_operator(
    core: Core, layer: int, arrays: dict[str, Array], before: int, n_threads: int
) -> Array | None:
    """Take in a prompt, and answer it as one causal attention; None where either is refused."""
    from ..attention import hardmax_attention

    keys, values, queries = arrays["keys"], arrays["values"], arrays["queries"]
    if core.extend(layer, keys, values, None, None, n_threads) is not None:
        return None
    if before:  # rows of the tokens that were there are asked anything, and not looked at
        heads = [core.stored(layer, head) for head in range(core.n_heads)]
        keys, values = (np.stack([head[i] for head in heads], axis=1) for i in range(2))
        queries = np.concatenate([np.repeat(queries[:1], before, axis=0), queries])
    rules = np.array([core.get_ties(layer, head) for head in range(core.n_heads)])
    answers = np.empty(arrays["values"].shape, values.dtype)
    for rule in np.unique(rules):
        of = rules == rule
        try:
            rows = hardmax_attention(
                *(array[:, of].swapaxes(0, 1) for array in (queries, keys, values)),
                is_causal=True,
                ties=TIES[rule],
                num_threads=n_threads,
            )
        except ValueError:  # it names its own arguments, not the first bad token
            return None
        answers[:, of] = rows[:, before:].swapaxes(0, 1)
    return answers
