"""fasthardmax: exact hardmax attention and its dynamics, fast.

>>> import fasthardmax as fh
>>> fh.hardmax_attention([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[3.0], [4.0]])
array([[3.]])
"""

from .attention import Winners, hardmax_attention, hardmax_winners
from .certificate import Certificate
from .dynamics import Trajectory, simulate
from .equilibrium import Equilibrium, equilibrium
from .explanation import Explanation, explain
from .index import HardmaxIndex
from .resume import resume
from .trajectory_store import TrajectoryStore

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Equilibrium",
    "Explanation",
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
