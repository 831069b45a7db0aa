"""The extension module, for type checkers: kernels of real arrays are picked by C type."""

from collections.abc import Callable
from typing import Any

place: dict[str, Callable[..., None]]
settle_at_once: Callable[..., int]
aim: dict[str, Callable[..., None]]
settle_at_home: Callable[..., None]
settle_followers: dict[str, Callable[..., None]]
step: dict[str, Callable[..., None]]
outside: dict[str, Callable[..., int]]
extremes: dict[str, Callable[[Any, Any, Any], None]]
describe: Callable[..., None]
number: Callable[..., None]
