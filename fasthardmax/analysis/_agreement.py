"""How far two clusterings of the same points agree."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from ._leaders import check_labels

__all__ = ["Agreement", "compare_clusterings"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """scikit-learn's measures of how far a clustering agrees with another; 1 is the best of each.

    Attributes
    ----------
    n_compared : int
        Points that are in a cluster of both.
    adjusted_rand : float
        Pairs that are together in both or in none, corrected for chance: 0 on average by chance.
    adjusted_mutual_info : float
        Information in common, corrected likewise.
    homogeneity : float
        1 where each of the second clustering's clusters lies within one of the first's.
    completeness : float
        1 where each of the first's lies within one of the second's.
    v_measure : float
        The harmonic mean of the last two.
    """

    n_compared: int
    adjusted_rand: float
    adjusted_mutual_info: float
    homogeneity: float
    completeness: float
    v_measure: float


def compare_clusterings(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Measure how far two clusterings of the same points agree.

    Parameters
    ----------
    first, second : array_like of int, shape (n,)
        Labels; their values and order do not matter. Points with -1 in either are left out.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError, TypeError
        For labels that do not fit, or without a point that is in a cluster of both.
    ImportError
        If scikit-learn is missing.

    Notes
    -----
    Cost: O(n log n), and for the adjusted mutual information of k and l clusters at least O(k l):
    half a minute where both are tens of thousands.

    References
    ----------
    The user guide of scikit-learn, "Clustering performance evaluation".

    Examples
    --------
    >>> from fasthardmax.analysis import compare_clusterings
    >>> found = compare_clusterings([0, 0, 1, 1, -1], [5, 5, 5, 5, 2])
    >>> found.n_compared, found.homogeneity, found.completeness
    (4, 0.0, 1.0)
    """
    try:
        from sklearn import metrics
    except ImportError:
        raise ImportError(
            "comparison: the package scikit-learn is missing: pip install 'fasthardmax[data]'"
        ) from None
    a, b = check_labels("first", first), check_labels("second", second)
    if len(a) != len(b):
        raise ValueError(f"second: got {len(b)} labels, expected {len(a)}, as many as first")
    both = (a >= 0) & (b >= 0)
    if not both.any():
        raise ValueError(
            "first and second: got no point that is in a cluster of both, expected one"
        )
    a, b = a[both], b[both]
    homogeneity, completeness, v_measure = metrics.homogeneity_completeness_v_measure(a, b)
    return Agreement(
        n_compared=len(a),
        adjusted_rand=float(metrics.adjusted_rand_score(a, b)),
        adjusted_mutual_info=float(metrics.adjusted_mutual_info_score(a, b)),
        homogeneity=float(homogeneity),
        completeness=float(completeness),
        v_measure=float(v_measure),
    )
