"""fasthardmax: exact hardmax attention and its dynamics, fast.

>>> import fasthardmax as fh
>>> fh.hardmax_attention([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[3.0], [4.0]])
array([[3.]])
"""

from .attention import Winners, hardmax_attention, hardmax_winners
from .cache import HardmaxCache
from .certificate import Certificate
from .dynamics import Trajectory, simulate
from .equilibrium import Equilibrium, equilibrium
from .explanation import Explanation, explain
from .index import HardmaxIndex

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Equilibrium",
    "Explanation",
    "HardmaxCache",
    "HardmaxIndex",
    "Trajectory",
    "Winners",
    "__version__",
    "equilibrium",
    "explain",
    "hardmax_attention",
    "hardmax_winners",
    "simulate",
]
