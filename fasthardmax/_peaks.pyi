from typing import Any

from numpy.typing import NDArray

def raise_peaks(
    batch: NDArray[Any], peak: NDArray[Any], copy: NDArray[Any] | None = None
) -> float: ...
