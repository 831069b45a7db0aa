"""A file appears complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fasthardmax._new_file import new_file


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    with new_file(out) as path:
        path.write_text("new")
        assert path.name == out.name  # whoever writes goes by the suffix
        assert not out.exists()
    assert contents(tmp_path) == {"out.txt": "new"}
    with new_file(out, force=True) as path:
        path.write_text("newer")
        assert out.read_text() == "new"
    assert contents(tmp_path) == {"out.txt": "newer"}


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_earlier_file(failure: BaseException, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    out.write_text("earlier")

    def write_half() -> None:
        with new_file(out, force=True) as path:
            path.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write_half()
    assert contents(tmp_path) == {"out.txt": "earlier"}
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_file_that_may_not_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "full").touch()
    for name, force, error in (
        ("full", False, FileExistsError),
        (".", True, IsADirectoryError),
        ("none/out", True, FileNotFoundError),
    ):
        with pytest.raises(error, match=r"^out: got '"), new_file(tmp_path / name, force=force):
            pytest.fail("the block must not start")
