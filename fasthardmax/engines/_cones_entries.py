"""What a cell of a cone index's table holds: a node, or else a run of a few candidates.

One number says where a run begins and how long it is, so nothing more need be looked up. The note
on Numba's disk cache in ``_vectors.py`` holds for this file too.
"""

from __future__ import annotations

import numpy as np

from ._jit import inlined

__all__ = [
    "LONGEST_RUN",
    "MOST_CANDIDATES",
    "candidate_of",
    "entry_of",
    "length_of",
    "lone_candidate",
]

_BITS = 3
LONGEST_RUN = 1 << _BITS
MOST_CANDIDATES = 1 << 28  # that runs may begin with; others have nodes


@inlined
def entry_of(first, length):
    """Of a run of candidates, negative; nodes are entries from 0 on.

    From one candidate to the next entries sink by ``LONGEST_RUN``.
    """
    return np.int32(-1 - (first * LONGEST_RUN + length - 1))


@inlined
def candidate_of(entry):
    """The first candidate of a run, any negative number for a node."""
    return (-1 - entry) >> _BITS


@inlined
def length_of(entry):
    """The length of a run, anything for a node."""
    return ((-1 - entry) & (LONGEST_RUN - 1)) + 1


@inlined
def lone_candidate(entry):
    """The candidate of a run of one; the first of all for any other entry."""
    return max(candidate_of(entry), 0) if length_of(entry) == 1 else 0
