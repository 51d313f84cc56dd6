"""A right program stays right through `auto`: bare, fenced, with demonstrations after it, among examples.

Each of `right_programs.txt` defines add(x, y) by way of something at the top level. All of them are written
for this test, so they are executed here.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from evolcoder.extraction.code_blocks import extract

HERE = Path(__file__).parent


def pieces(name: str) -> dict[str, str]:
    """Return the programs of a file by the line `=== NAME` before each."""
    text = (HERE / name).read_text(encoding="utf-8")
    return {piece.partition("\n")[0]: piece.partition("\n")[2] for piece in text.split("=== ")[1:]}


PROGRAMS = pieces("right_programs.txt")
DEMONSTRATIONS = {"none": "", **pieces("demonstrations.txt")}
DRAFT = "def add(x, y):\n    return 0\n"


def fenced(code: str, label: str = "python") -> str:
    return f"```{label}\n{code}```\n"


WAYS: tuple[Callable[[str], str], ...] = (
    str,
    fenced,
    lambda code: f"Sure.\n\n{fenced(code, 'py')}\nIt adds.\n\n{fenced('print(add(1, 2))', 'python')}",
    lambda code: f"Sure, this adds:\n\n{code}\nIt takes two numbers.\n",
    lambda code: f"<think>\n{fenced(DRAFT)}\n</think>\n{fenced(code, '')}",
)


def right(program: str) -> bool:
    """Whether a program, written here, adds."""
    names: dict[str, Any] = {"__name__": "builtins"}
    with redirect_stdout(StringIO()):
        exec(compile(program, "program", "exec", dont_inherit=True), names)
    return bool(names["add"](2, 3) == 5 and names["add"](300, 1) == 301 and names["add"](-1, 1) == 0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_right_program_stays_right(name: str) -> None:
    assert right(PROGRAMS[name])
    for demonstration in DEMONSTRATIONS.values():
        for way in WAYS:
            answer = way(PROGRAMS[name] + demonstration)
            assert right(extract(answer, "auto", entry_point="add")), answer


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_what_only_demonstrates_is_dropped(name: str) -> None:
    program = "def add(x, y):\n    return x + y\n"
    kept = extract(fenced(program + DEMONSTRATIONS[name]), "auto", entry_point="add")
    assert {type(statement) for statement in ast.parse(kept).body} == {ast.FunctionDef}


def published(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (entry point, prompt, right program or continuation) of the published solutions."""
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt") as f:
        for row in map(json.loads, f):
            yield row["entry_point"], row["prompt"], row["canonical_solution"]
            yield row["entry_point"], row["prompt"], row["prompt"] + row["canonical_solution"]
    with gzip.open(folder / "mbpp" / "mbpp.jsonl.gz", "rt") as f:
        for row in map(json.loads, f):
            for name in re.findall(r"\w+(?=\()", row["test_list"][0]):
                if re.search(rf"(?:def|class) {name}\b", row["code"]):
                    yield name, "", row["code"]


def test_published_solutions_pass_through_unchanged(data_folder: Path) -> None:
    for entry_point, prompt, code in published(data_folder):
        code = code.replace("\r\n", "\n").rstrip()
        bare = extract(code, "auto", entry_point=entry_point, prompt=prompt)
        assert bare.rstrip() == code
        assert extract(fenced(code + "\n"), "auto", entry_point=entry_point, prompt=prompt).rstrip() == code
