"""The extension module, for type checkers: kernels of real arrays are picked by C type."""

from collections.abc import Callable

place: dict[str, Callable[..., None]]
settle_at_once: Callable[..., tuple[int, int, int]]
list_left: Callable[..., None]
put_back: dict[str, Callable[..., None]]
aim: dict[str, Callable[..., None]]
settle_at_home: Callable[..., None]
settle_followers: dict[str, Callable[..., None]]
step: dict[str, Callable[..., None]]
outside: dict[str, Callable[..., None]]
settled: Callable[..., None]
