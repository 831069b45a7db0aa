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
        """Every attribute that is saved, but for those that are None; arrays are not copied."""
        saved: dict[str, NDArray[Any]] = {}
        for name, value in vars(self).items():
            if name in self.NOT_SAVED or value is None:
                continue
            if isinstance(value, Resumable):
                saved |= {f"{name}.{part}": array for part, array in value.state().items()}
            elif isinstance(value, (np.ndarray, np.generic, numbers.Number)):
                saved[name] = np.asarray(value)
            else:
                raise TypeError(f"{name}: cannot be saved: {type(value).__name__}")
        return saved

    def restore(self, saved: dict[str, NDArray[Any]]) -> None:
        """Take the state of an object that was made with the same arguments.

        ``ValueError`` if it is not of the same names, dtypes and numbers of columns.
        """
        now = self.state()
        optional = {name for name, value in vars(self).items() if value is None}
        if not now.keys() <= saved.keys() <= now.keys() | optional:
            raise ValueError(f"state: got {sorted(saved)}, expected {sorted(now)}")
        for name, expected in now.items():
            got = saved[name]  # there may be more rows or fewer
            if (got.dtype, got.shape[1:]) != (expected.dtype, expected.shape[1:]) or (
                got.ndim != expected.ndim
            ):
                raise ValueError(
                    f"state: got {name} of shape {got.shape} and dtype {got.dtype}, expected "
                    f"{expected.shape} and {expected.dtype}"
                )
        for name, got in saved.items():
            if "." not in name:
                kind = type(vars(self)[name])
                setattr(self, name, got if got.ndim else kind(got.item()))
        for name, value in vars(self).items():
            if isinstance(value, Resumable) and name not in self.NOT_SAVED:
                parts = (key for key in saved if key.startswith(f"{name}."))
                value.restore({key.partition(".")[2]: saved[key] for key in parts})
