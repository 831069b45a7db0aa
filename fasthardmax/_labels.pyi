"""The extension module, for type checkers."""

from collections.abc import Callable

emerge: Callable[..., None]
join: Callable[..., None]
describe: Callable[..., None]
number: Callable[..., None]
