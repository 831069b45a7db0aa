"""The examples: that they do what they say, and that the README shows them as they are."""

import re
import textwrap
from pathlib import Path

import pytest

from examples import decoder
from fasthardmax import HardmaxCache

ROOT = Path(__file__).parents[1]


def test_hand_written_decoder_is_right_at_every_token(capsys):
    assert decoder.main(3_000) == 0
    last, told = capsys.readouterr().out.splitlines()
    assert last == f"... {', '.join(map(str, decoder.interpret(3_000)[-5:]))}"
    assert re.fullmatch(r"3,000 tokens, 0 wrong, [\d,]+ tokens/s", told)


def test_hand_written_decoder_counts_wrong_tokens(capsys, monkeypatch):
    right = decoder.interpret(50)
    monkeypatch.setattr(decoder, "interpret", lambda n: [*right[:48], 0, 0])
    assert decoder.main(50) == 1
    assert "50 tokens, 2 wrong" in capsys.readouterr().out


@pytest.mark.parametrize("address", [1, 12_345, 2**26 - 1, 2**26])
def test_look_up_is_exact_as_far_as_the_decoder_says(address):
    cache = HardmaxCache(1, 1, value_dim=1)
    for j in range(address - 1, min(address + 2, 2**26 + 1)):
        cache.append(0, [[2 * j, -j * j]], [[j]])
    assert cache.query(0, [[address, 1]]) == address


def test_the_readme_shows_the_decoder_as_it_is():
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (shown,) = (block for block in blocks if "yield" in block)
    assert textwrap.indent(shown, 4 * " ") in (ROOT / "examples" / "decoder.py").read_text()
