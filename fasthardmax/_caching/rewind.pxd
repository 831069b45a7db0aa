"""The newest tokens of a layer taken back: undone one by one, or what is left indexed anew."""

from libc.stdint cimport int64_t

from .layer cimport Layer

cdef int layer_forget(Layer *layer, int64_t count) noexcept nogil
