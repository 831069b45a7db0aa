"""What the processor that Numba compiles for has: the width of its vectors, and how many."""

from __future__ import annotations

from numba.core.registry import cpu_target

__all__ = ["REGISTERS", "VECTOR_BYTES", "has"]

_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()


def has(feature: str) -> bool:
    """Whether it has a feature, by LLVM's name."""
    return f"+{feature}" in _FEATURES.split(",")


VECTOR_BYTES = 64 if has("avx512f") else 32 if has("avx") else 16
REGISTERS = 16 if _TRIPLE.startswith(("x86_64", "i686")) and not has("avx512f") else 32
