"""Searches in the hulls of many heads side by side."""

from .layer cimport Head
from .tree cimport Spot

cdef enum:
    ABREAST = 24  # heads whose searches wait for memory together

cdef void find_places(
    Head *heads, int n, bint single, const char *keys, Spot *places
) noexcept nogil
cdef void find_peaks(
    Head *heads, int n, bint single, const char *queries, Spot *peaks
) noexcept nogil
