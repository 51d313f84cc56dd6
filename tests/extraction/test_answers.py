"""Answers of chat models of many forms: the one right program in each is found, and no draft is judged.

The answers are written for this test, so their programs are executed here.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
import tracemalloc
from typing import Any

import pytest
from tests.extraction.test_right_programs import pieces

from evolcoder.extraction.code_blocks import extract

PROMPT = 'def double(n):\n    """Return twice n."""\n'

WHOLE = "```python\ndef double(n):\n    return 2 * n\n```\n"

# What an editor would not keep in a file of text: no newline at the end, odd blanks.
ODD_ANSWERS = {
    "cut last": f"{WHOLE}Better:\n```python\ndef double(n):\n    m = n,",
    "cut last 2": f"{WHOLE}Better:\n```python\ndef double(n):\n    if n",
    "close on code EOT": "```python\ndef double(n):\n    return 2 * n```",
    "code on fence": "```python def double(n):\n    return 2 * n\n```",
    "one-liner": "```python def double(n): return 2 * n```",
    "only closing on line": "def double(n):\n    return 2 * n```",
    "bom": "\ufeffdef double(n):\n    return 2 * n\n",
    "bom body": "\ufeff    m = n\n    return m + n\n",
    "newline before": "\n\ndef double(n):\n    return 2 * n\n",
    "tab before": "\tdef double(n):\n    return 2 * n\n",
    "fence space def": "```python\n def double(n):\n    return 2 * n\n```",
    "nbsp": "def double(n):\n\xa0\xa0\xa0\xa0return 2 * n\n",
    "zwsp": "\u200bdef double(n):\n    return 2 * n\n",
    **{
        f"separator {ord(mark):x}": f"def double(n):\n    return 2 * n\n{mark}It doubles."
        for mark in "\x85\u2028\u2029"
    },
    "soft hyphen": "def double(n):\n    return 2 *\xad n\n",
    "marks of direction": "\u200edef double(n):\u200d\n    return 2 * n\u200f\n",
    "embedded directions": "\u202bdef double(n):\n    return 2 * n\n\u202c",
    "invisible in a string": "def double(n):\n    return 2 * n if len('\u200b\u200d') == 2 else 0\n",
    "crlf": "```python\r\ndef double(n):\r\n    return 2 * n\r\n```\r\n",
    "s": "def double(n):\n    return 2 * n</s>",
    "two": "def double(n):\n    return 2 * n</s></s>",
    "im_start": "<|im_start|>assistant\n```python\ndef double(n):\n    return 2 * n\n```\n<|im_end|>",
    "EOT": "def double(n):\n    return 2 * n<|EOT|>",
    **{
        f"token {token}": f"def double(n):\n    return 2 * n{token}"
        for token in (
            "<file_sep>",
            "<fim_pad>",
            "<unk>",
            "<EOD>",
            "<turn|>",
            "[|endofturn|]",
            "[e~[",
            "<pad>",
        )
    },
    "next file": "def double(n):\n    return 2 * n<file_sep>def double(n):\n    return n\n",
}
ANSWERS = pieces("answers.txt") | pieces("answers_in_other_forms.txt") | ODD_ANSWERS
DRAFTS = pieces("thinking_only.txt")


def doubles(program: str) -> bool:
    """Whether a program, written here, doubles."""
    names: dict[str, Any] = {"__name__": "builtins"}
    exec(compile(program, "program", "exec", dont_inherit=True), names)
    found = names["double"](4)
    return bool((asyncio.run(found) if inspect.iscoroutine(found) else found) == 8)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_program_is_found(name: str) -> None:
    assert doubles(PROMPT + extract(ANSWERS[name], "auto", entry_point="double", prompt=PROMPT))
    if "body" not in name:
        assert doubles(extract(ANSWERS[name], "auto", entry_point="double"))


@pytest.mark.parametrize("name", DRAFTS)
def test_a_draft_in_reasoning_is_never_judged(name: str) -> None:
    program = extract(DRAFTS[name], "auto", entry_point="double", prompt=PROMPT)
    assert "return" not in program


REPEATED = [
    *("```\n", "```python\n", "```python\nprint(1)\n```\n", "~~~\n", "x```\n", '"""\n```\n', "\n<think> x"),
    *(" ```x", " <think>", " </think>", " <think>a</think>", "a <think> b ", "a </think> b ", " <think"),
    *("[THINK]\n", "<|im_end|>\n", "<|im_end|>\n<|im_start|>", "<|channel|>analysis<|message|>x", "</s>"),
    *(
        "<|end|><|start|>assistant",
        "analysis",
        "assistantfinal",
        "prose and more prose. ",
        "(",
        "'",
        "\\",
        " ",
    ),
    *("def double(n):\n    return n\n", "def double(n):\n", "    return n\n", "double(1)\n", "T.append(1)\n"),
    *("x = double(1); ", "x = [", "@a\n", "if x:\n", "class A:\n    x = 1\n", "from a import b\n", "\n"),
    "def f1(): f2()\ndef f2(): print(f1())\n",
    *(
        "<answer>",
        "<answer>x</answer>\n",
        "<plan>def double(n):\n</plan>\n",
        '{"double": ',
        '[{"a": "double"}] ',
    ),
    *("`double` ", "```diff\n+def double(n):\n```\n", "1 def double\n", "double &lt; 1\n", "{double}\n"),
]


def calls_in(text: str) -> int:
    """Return how many calls the extraction of a text takes: a measure of time that no other process moves."""
    n = 0

    def count(*_: object) -> None:
        nonlocal n
        n += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        extract(text, "auto", entry_point="double", prompt=PROMPT)
    finally:
        sys.setprofile(before)
    return n


@pytest.mark.parametrize("piece", REPEATED)
def test_extraction_is_linear_in_the_text(piece: str) -> None:
    few, many = (calls_in(piece * (size // len(piece))) for size in (5_000, 20_000))
    assert many < 8 * few + 2_000  # four times the text; sixteen times the calls would be quadratic


def test_a_line_of_tags_is_not_copied_for_each_of_them() -> None:
    text = "<code>" * 160_000
    before = time.process_time()
    assert extract(text, "auto", entry_point="double") == text
    assert time.process_time() - before < 2.5  # 0.4 s; 80 GB copied would take 5 s


def test_long_answers_are_read() -> None:
    for piece in REPEATED[:15]:
        assert isinstance(extract(piece * (200_000 // len(piece)), "auto", entry_point="double"), str)


@pytest.mark.parametrize(
    "piece", ["(a),\n", "a = 1\n", "```\n(a),\n```\n", "```python\n" + "x[0]+1;" * 5_000 + "\n```\n"]
)
def test_a_long_answer_costs_bounded_memory_and_its_last_block_is_found(piece: str) -> None:
    text = piece * (1_000_000 // len(piece)) + "\n" + WHOLE
    tracemalloc.start()
    program = extract(text, "auto", entry_point="double", prompt=PROMPT)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert doubles(program)
    assert most < 160 << 20
