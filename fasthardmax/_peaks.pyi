from typing import Any

from numpy.typing import NDArray

def raise_peaks(batch: NDArray[Any], peak: NDArray[Any]) -> bool: ...
