"""The engines behind the operator, and how one of them is chosen.

    hardmax_attention, hardmax_winners, simulate
              |  one checked Problem
              v
        choose(problem) --- small, or Numba not yet ------> compiled  (Cython, no warm-up)
              |             worth loading
              +-- few features, few keys can win ---------> cones     (Numba, an index)
              +-- short keys win nowhere -----------------> longest   (direct, on the longest)
              +-- like queries share few candidates ------> pruned    (Numba, bounds for groups)
              +------------ everything else --------------> direct    (Numba, all pairs, threads)

        never by itself: reference (NumPy, the definition)

An engine is a module with two functions over a ``Problem``: ``run`` returns an ``Answer`` and
``list_winners`` fills in the tie sets. All give the same bits, so the choice changes only the time.
Input comes checked, but for many keys that few queries attend to: :class:`Keys` says who checks.
"""

from ._choice import Choice, Runner, choose, resolve
from ._table import ENGINES, SELECTIVE, Engine, engine_names

__all__ = [
    "ENGINES",
    "SELECTIVE",
    "Choice",
    "Engine",
    "Runner",
    "choose",
    "engine_names",
    "resolve",
]
