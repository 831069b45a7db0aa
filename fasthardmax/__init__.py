"""fasthardmax: exact hardmax attention and its dynamics, fast.

>>> import fasthardmax as fh
>>> fh.hardmax_attention([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[3.0], [4.0]])
array([[3.]])
"""

from typing import TYPE_CHECKING, Any

from .attention import Winners, hardmax_attention, hardmax_winners
from .cache import HardmaxCache
from .certificate import Certificate
from .dynamics import Trajectory, simulate
from .equilibrium import Equilibrium, equilibrium
from .explanation import Explanation, explain
from .index import HardmaxIndex
from .resume import resume
from .trajectory_store import TrajectoryStore

if TYPE_CHECKING:
    from .clustering import HardmaxClustering as HardmaxClustering

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Equilibrium",
    "Explanation",
    "HardmaxCache",
    "HardmaxIndex",
    "Trajectory",
    "TrajectoryStore",
    "Winners",
    "__version__",
    "equilibrium",
    "explain",
    "hardmax_attention",
    "hardmax_winners",
    "resume",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """HardmaxClustering, at first use: it needs scikit-learn."""
    if name != "HardmaxClustering":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .clustering import HardmaxClustering

    return HardmaxClustering


def __dir__() -> list[str]:
    return sorted([*globals(), "HardmaxClustering"])
