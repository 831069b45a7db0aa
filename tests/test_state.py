"""The state of a computation comes back as it was, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasthardmax._state import Resumable


class Part(Resumable):
    def __init__(self) -> None:
        self.number = 1


class Counter(Resumable):
    NOT_SAVED = ("_engine",)

    def __init__(self) -> None:
        self._engine = object()
        self._search = Part()
        self.kept: NDArray[Any] | None = None
        self.number = 3
        self.scale = np.float32(0.1)
        self.ready = False
        self.rows = np.arange(6.0).reshape(3, 2)
        self.left = np.arange(3)


def test_a_state_comes_back() -> None:
    counter, other = Counter(), Counter()
    other.restore(counter.state())
    assert other.kept is None
    counter.number, counter.ready, counter.left = 7, True, np.array([2])
    counter.kept, counter._search.number = np.arange(2), 4
    other.restore(counter.state())
    assert (other.kept.tolist(), other._search.number) == ([0, 1], 4)
    assert (other.number, other.ready, other.left.tolist()) == (7, True, [2])
    assert [type(x) for x in (other.number, other.ready, other.scale)] == [int, bool, np.float32]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.zeros((3, 3))},
        {"rows": np.zeros(3)},
        {"rows": np.zeros((3, 2), np.float32)},
        {"left": np.zeros((3, 1), int)},
        {"_search.number": np.array(1.0)},
        {"number": np.array(1.0)},
        {"new": np.array(1)},
    ],
    ids=str,
)
def test_a_state_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    counter = Counter()
    with pytest.raises(ValueError, match=r"^state: got "):
        counter.restore(counter.state() | change)
    assert counter.rows.tolist() == Counter().rows.tolist()


def test_a_part_of_a_state_is_refused() -> None:
    state = Counter().state()
    del state["rows"]
    with pytest.raises(ValueError, match=r"^state: got "):
        Counter().restore(state)


def test_a_state_that_cannot_be_saved_says_so() -> None:
    counter = Counter()
    counter.friends = []
    with pytest.raises(TypeError, match=r"^friends: cannot be saved: list$"):
        counter.state()
