"""How the direct engine cuts its work: panels of queries, blocks of keys and turns of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ._canonical import fewest_keys
from ._decide import block_size
from ._lone_blocks import MOST_TURNED
from ._vectors import geometry, panel_of_sums

__all__ = ["Plan", "Shape", "plan_for"]

# Multiply-adds of a turn: few enough to share out evenly, and beside which handing out is nothing.
_TURN_WORK = 1 << 28
_TURN_LEAST = 1 << 20
_THREAD_WORK = 1 << 20  # below this a second thread costs more than it brings
_AT_ONCE = 1 << 33  # and of a thread between two looks for an interruption: some tenths of a second
# At most so many packed panels share each run of keys, and its bytes: best for every d measured.
_TOGETHER = 8
_KEY_BYTES = 1 << 16
_TABLE_BYTES = 1 << 19  # the tables of one range: written once, read a few times
# Bytes of keys in a turn, where keys are shared out.
_KEYS_PER_TURN = 1 << 20
# Features and bytes of keys that are turned, beyond which the copy takes longer than it saves; for
# how many keys one query's look must pay; and what a look at other keys costs beside one at these.
_TURNED_TO, _TURNED_BYTES, _LOOKS, _CHEAPER = 32, 1 << 23, 4, 2
_MORE_LOOKS = 3  # blocks scored again for each query, where there would be one


class Shape(NamedTuple):
    """What a plan depends on."""

    n_batch: int
    n_entries: int  # of the keys
    n_queries: int
    n_keys: int
    n_features: int
    itemsize: int
    is_causal: bool
    num_threads: int
    rough: bool
    wait: bool  # the keys are still to be checked
    masked: bool


class Plan(NamedTuple):
    """Shapes of the work, chosen from the problem's shape alone.

    A turn is some panels with all blocks of keys or, where queries are few, some blocks of one
    entry of keys with all panels that attend to it.
    """

    width: int  # queries per panel
    vectors: tuple[int, ...]
    unroll: tuple[int, ...]
    n_panels: int  # over all batches
    panels: int  # per turn
    together: int  # of them, that share each run of keys
    block: int  # keys per block
    n_blocks: int
    blocks: int  # per turn
    few: bool  # blocks of keys are shared out
    stride: int  # blocks per run of keys
    rough: bool  # screened in bytes first
    turned: bool  # keys are copied for canonical scores
    threads: int
    n_turns: int
    at_once: int  # turns shared out at once


@lru_cache(maxsize=256)
def plan_for(problem: Shape) -> Plan:
    n_keys, d, itemsize, rough = (
        problem.n_keys, problem.n_features, problem.itemsize, problem.rough
    )  # fmt: skip
    width, vectors, unroll = (
        panel_of_sums(d, itemsize) if rough else geometry(d, problem.n_queries, itemsize)
    )
    n_panels = problem.n_batch * -(-problem.n_queries // width)
    block = block_size(n_keys, _MORE_LOOKS * d if rough else d, itemsize)
    panel_work = width * n_keys * (d + 2)
    threads = problem.num_threads if n_panels * panel_work > _THREAD_WORK else 1
    few = problem.wait or 1 < threads > n_panels
    turned = not (few or problem.masked) and _turned(problem, block)
    if turned:
        looked_at = (_MORE_LOOKS * d if rough else d) // _CHEAPER
        block = min(block_size(n_keys, looked_at, itemsize), MOST_TURNED * fewest_keys(itemsize))
    n_blocks = -(-n_keys // block)
    if few:
        n_entries = problem.n_entries
        turns = max(1, -(-4 * threads // n_entries))
        panels = -(-problem.n_queries // width)
        blocks = min(
            -(-n_blocks // turns), max(1, _KEYS_PER_TURN // (block * max(1, d) * itemsize))
        )
        n_turns = n_entries * -(-n_blocks // blocks)
    else:
        panels, blocks = (
            _panels_per_turn(problem, threads, n_panels, panel_work, n_blocks * width * itemsize),
            n_blocks,
        )
        n_turns = -(-n_panels // panels)
    return Plan(
        width=width,
        vectors=vectors,
        unroll=unroll,
        n_panels=n_panels,
        panels=panels,
        together=min(_TOGETHER, panels),
        block=block,
        n_blocks=n_blocks,
        blocks=blocks,
        few=few,
        stride=max(1, _KEY_BYTES // (block * max(1, d) * (1 if rough else itemsize))),
        rough=rough,
        turned=turned,
        threads=threads,
        n_turns=n_turns,
        at_once=threads * max(1, _AT_ONCE * n_turns // (n_panels * panel_work)),
    )


def _turned(problem: Shape, block: int) -> bool:
    """Whether so many queries look at keys that a copy of them pays; blocks are whole vectors."""
    n_keys = problem.n_entries * problem.n_keys
    return (
        block in [v * fewest_keys(problem.itemsize) for v in range(1, MOST_TURNED + 1)]
        and 1 <= problem.n_features <= _TURNED_TO
        and n_keys * problem.n_features * problem.itemsize <= _TURNED_BYTES
        and problem.n_batch * problem.n_queries * _LOOKS >= n_keys
    )


def _panels_per_turn(
    problem: Shape, threads: int, n_panels: int, panel_work: int, table_bytes: int
) -> int:
    """Few enough to share out evenly, most of all where causal, and for the tables' sake."""
    most = (16 if problem.is_causal else 4) * threads
    worth = n_panels * panel_work // _TURN_LEAST
    n_turns = 1 if threads == 1 else max(threads, min(most, worth))
    panels = min(
        max(1, _TURN_WORK // panel_work),
        max(1, _TABLE_BYTES // table_bytes),
        -(-n_panels // n_turns),
    )
    if n_panels > 16 * threads * panels:
        return panels - panels % _TOGETHER if panels > _TOGETHER else panels

    def longest(panels: int) -> int:
        """Panels of the thread that has most turns."""
        n_turns = -(-n_panels // panels)
        return -(-n_turns // threads) * panels

    return min(range(panels, panels // 4, -1), key=longest)
