"""The extension module, for type checkers."""

CODES: dict[int, str]
ADDRESSES: dict[str, int]
