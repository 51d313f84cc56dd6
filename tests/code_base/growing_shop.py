"""A code base with enough documented functions that some are held out, and a teacher for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolcoder.sandbox import probe

from .conftest import PRICES, replies

_MORE = '''
def number_{n}(values):
    """Return how many of the values are greater than {n}."""
    count = 0
    for value in values:
        if value > {n}:
            count += 1
    return count
'''


def calls(text: str) -> str:
    """Answer as the teacher of the code base does, with calls that tell `number_N` from its changes."""
    if "test it well" in text and "`number_" in text:
        name = text.rpartition("calls of `")[2].partition("`")[0]
        n = int(name.rpartition("_")[2])
        return f"```python\n{name}([{n}, {n + 1}])\n{name}([])\n{name}([{n + 5}, {n + 2}, 0, {n + 1}])\n```"
    return replies("", text)


def make_shop(folder: Path) -> Path:
    """Write the code base `shop` into a folder; its programs need a machine that can contain them."""
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    root = folder / "shop"
    root.mkdir()
    (root / "prices.py").write_text(PRICES)
    for n in range(12):
        words = f"# {n} " + " ".join(f"word{n * 40 + i}" for i in range(3))
        (root / f"part_{n}.py").write_text(f"{words}\n{_MORE.format(n=n)}")
    return root
