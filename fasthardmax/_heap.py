"""What the C library does with the memory of large arrays once they are freed."""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["keep_freed"]

# glibc returns freed memory to the system beyond twice the largest array freed so far, of which it
# counts those of up to 32 MiB; an array is a little larger than its numbers.
_FREED = (1 << 25) - (1 << 16)
_LARGE = 1 << 20


@cache
def _free_the_largest() -> None:
    np.empty(_FREED, np.uint8)  # freed at once, and never touched


def keep_freed(n_bytes: int) -> None:
    """Before arrays of so many bytes are made: where they are large, freed memory is kept.

    With glibc, up to 64 MiB: to clear pages anew takes half as long as a search in the plane.
    """
    if n_bytes > _LARGE:
        _free_the_largest()
