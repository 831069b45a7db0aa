"""The extension module, for type checkers: each kernel is picked by C type, then called."""

from collections.abc import Callable

QUERIES_IN_BLOCK: int
attend: dict[str, Callable[..., None]]
collect: dict[str, Callable[..., None]]
