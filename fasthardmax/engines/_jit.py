"""How kernels are compiled: without fast-math, without the GIL, and no more than is called.

Parts of kernels allocate nothing, so they need not count references, an atomic addition for each
array; rows are passed as an array and an index, since a view would be counted by the caller.
"""

from __future__ import annotations

from numba import njit

__all__ = ["compiled", "inlined", "part", "turn"]

# What Python calls.
compiled = njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)
# What only kernels call.
part = njit(
    nogil=True, _nrt=False, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)
# What a kernel shares out; unlike parts these may take views of rows, once for many keys.
turn = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(
    nogil=True,
    _nrt=False,
    error_model="numpy",
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    forceinline=True,
)
