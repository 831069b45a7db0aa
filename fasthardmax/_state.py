"""The state of a computation as named arrays, so that it can go on in another process."""

from __future__ import annotations

import numbers
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resumable"]


class Resumable:
    """A class whose state is its attributes: arrays and numbers, but for those it names.

    Whatever it is made with again, or finds again before it is needed, stands in ``NOT_SAVED``.
    """

    NOT_SAVED: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, NDArray[Any]]:
        """Every attribute that is saved; the arrays are not copied."""
        saved = {}
        for name, value in vars(self).items():
            if name in self.NOT_SAVED:
                continue
            if not isinstance(value, (np.ndarray, np.generic, numbers.Number)):
                raise TypeError(f"{name}: cannot be saved: {type(value).__name__}")
            saved[name] = np.asarray(value)
        return saved

    def restore(self, saved: dict[str, NDArray[Any]]) -> None:
        """Take the state of an object that was made with the same arguments.

        ``ValueError`` if it is not of the same names, dtypes and numbers of columns.
        """
        now = self.state()
        if now.keys() != saved.keys():
            raise ValueError(f"state: got {sorted(saved)}, expected {sorted(now)}")
        for name, expected in now.items():
            got = saved[name]
            # Rows may be fewer: some arrays list the points that still matter.
            if (got.dtype, got.ndim, got.shape[1:]) != (
                expected.dtype, expected.ndim, expected.shape[1:],
            ) or len(np.atleast_1d(got)) > len(np.atleast_1d(expected)):  # fmt: skip
                raise ValueError(
                    f"state: got {name} of shape {got.shape} and dtype {got.dtype}, expected "
                    f"{expected.shape} and {expected.dtype}"
                )
        for name, got in saved.items():
            kind = type(vars(self)[name])
            setattr(self, name, got if kind is np.ndarray else kind(got.item()))
