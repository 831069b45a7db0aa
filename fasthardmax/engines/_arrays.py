"""Arrays as the Numba kernels take them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = ["readonly"]


def readonly(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: Numba compiles anew for each mix of writable and read-only arguments."""
    view = array.view()
    view.setflags(write=False)
    return view
