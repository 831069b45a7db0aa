"""How kernels are compiled: without fast-math, without the GIL, and no more than is called.

Parts of kernels allocate nothing, so they need not count references: an atomic addition for each
array and view, and threads that share an array wait for one another to add. What Python calls does
count them, so there rows are passed as an array and an index.
"""

from __future__ import annotations

from numba import njit

__all__ = ["compiled", "inlined", "part"]

# What Python calls.
compiled = njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)
# What only kernels call, and share out.
part = njit(
    nogil=True, _nrt=False, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)
inlined = njit(
    nogil=True,
    _nrt=False,
    error_model="numpy",
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    forceinline=True,
)
