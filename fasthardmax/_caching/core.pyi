"""The extension module, for type checkers."""

from typing import Any

from numpy.typing import NDArray

CODES: dict[int, str]

class Refused(Exception): ...  # an exception is named after what happened

class Core:
    n_layers: int
    n_heads: int
    head_dim: int
    value_dim: int
    prune: bool
    def __init__(
        self,
        n_layers: int,
        n_heads: int,
        head_dim: int,
        value_dim: int,
        single: bool,
        prune: bool,
    ) -> None: ...
    def step(self, layer: int, keys: Any, queries: Any, values: Any) -> NDArray[Any]: ...
    def append(self, layer: int, keys: Any, values: Any) -> None: ...
    def query(self, layer: int, queries: Any) -> NDArray[Any]: ...
    def extend(
        self,
        layer: int,
        keys: NDArray[Any],
        values: NDArray[Any],
        queries: NDArray[Any] | None,
        out: NDArray[Any] | None,
        n_threads: int,
    ) -> str | None: ...
    def extend_by_token(
        self,
        layer: int,
        keys: NDArray[Any],
        values: NDArray[Any],
        queries: NDArray[Any] | None,
        out: NDArray[Any] | None,
    ) -> tuple[int, str | None]: ...
    def set_ties(self, layer: int, head: int, ties: int) -> None: ...
    def get_ties(self, layer: int, head: int) -> int: ...
    def n_tokens(self, layer: int) -> int: ...
    def address(self, layer: int) -> int: ...
    def truncate(self, layer: int, count: int) -> None: ...
    def clear(self, layer: int) -> None: ...
    def swap(self, other: Core) -> None: ...
    def kept(self, layer: int, head: int) -> int: ...
    def nbytes(self, layer: int) -> int: ...
    def stored(self, layer: int, head: int) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def summary(self, layer: int, head: int) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def restore(
        self,
        layer: int,
        head: int,
        keys: NDArray[Any],
        values: NDArray[Any],
        sums: NDArray[Any],
        bounds: NDArray[Any],
        tokens: int,
    ) -> None: ...
