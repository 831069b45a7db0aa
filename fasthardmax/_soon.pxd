"""Asking for memory before it is read."""

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define soon(address) __builtin_prefetch(address)
    #else
    #define soon(address) ((void)(address))
    #endif
    """
    void soon(const void *address) noexcept nogil  # will be read: fetch it meanwhile
