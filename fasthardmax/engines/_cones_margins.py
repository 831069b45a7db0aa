"""By how much a key must lose over a box of directions before a cone index leaves it out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["margins", "sizes"]

_STEP = 2.0**-53  # v below


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
    it, and ``slip`` is twice that; from four features on t is in float32, with the u of that. A
    canonical score errs by at most
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
    u = float(np.finfo(dtype).eps) / 2
    rough = max(u, 2.0**-24) if d > 3 else u
    return (d + 1) * u + (8 * d + 24) * _STEP, u * u, 8 * rough


def sizes(
    exact: NDArray[np.float64], moved: NDArray[np.float64], relative: float, absolute: float
) -> NDArray[np.float64]:
    """Each key's part of the margin, where not keys (d, n) but ``moved`` ones are compared.

    These are the ``exact`` ones less a common point: only the canonical scores are then of the size
    of |p|_1. A difference from the point is rounded by v of itself, for which 2 v are added.
    """
    d = len(exact)
    far = relative - (8 * d + 24) * _STEP
    near = (8 * d + 26) * _STEP
    sums = far * np.abs(exact).sum(axis=0) + near * np.abs(moved).sum(axis=0) + absolute
    return np.asarray(sums)
