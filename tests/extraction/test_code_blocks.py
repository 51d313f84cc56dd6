"""From an answer to a program."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolcoder.evaluate.benchmarks.mbpp import CUTS
from evolcoder.extraction.code_blocks import (
    CodeBlock,
    Extraction,
    PublishedCuts,
    code_blocks,
    defining_program,
    extract,
    syntax_error,
    without_thinking,
)

PROMPT = 'def double(n):\n    """Return twice n."""\n'
ANSWER = "def double(n):\n    return 2 * n"


def fenced(code: str, label: str = "python") -> str:
    return f"```{label}\n{code}\n```\n"


def auto(raw: str, entry_point: str = "double", prompt: str = "") -> str:
    return extract(raw, "auto", entry_point=entry_point, prompt=prompt)


def test_the_published_wizardcoder_file_is_reproduced_row_by_row(data_folder: Path) -> None:
    with gzip.open(data_folder / "wizardcoder" / "15b-humaneval-greedy.jsonl.gz", "rt") as f:
        rows = [json.loads(line) for line in f]
    made = [extract(row["all_code"].split("### Response:", 1)[1], "wizardcoder") for row in rows]
    assert made == [row["completion"] for row in rows]


@pytest.mark.parametrize(
    ("cuts", "kept"),
    [
        (PublishedCuts(), "x = 1\n# Test examples\nassert x"),
        (PublishedCuts(("# Test examples",)), "x = 1"),
        (PublishedCuts(("assert",)), "x = 1\n# Test examples"),
    ],
)
def test_wizardcoder_cuts_at_a_benchmark_s_marks(cuts: PublishedCuts, kept: str) -> None:
    raw = fenced("x = 1\n# Test examples\nassert x\n# Example usage\nprint(x)")
    assert extract(raw, "wizardcoder", cuts=cuts) == kept


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("```python\nx = '```'\ny = 2\n```\nDone", "x = '```'\ny = 2"),
        ("```python\n# as in ```this```\nx = 1```\n```\n", "# as in ```this```\nx = 1```"),
        ("```python\r\nx = 1\r\n```\r\nDone", "x = 1"),
        ("```python\nx = 1\r\ny = 2\n```", "x = 1\r\ny = 2"),
        ("Text ```python x = 1 ``` more", " x = 1 ``` more"),
        ("```python\nx = 1\n  ```\nDone", "\nx = 1\n  ```\nDone"),
        ("x = 1\r\n# Test examples\r\nassert x", "x = 1"),
        ("```python\nx = 1\n```\n```python\nx = 2\n```", "x = 1"),
    ],
)
def test_mbpp_is_cut_as_by_its_published_script(raw: str, kept: str) -> None:
    """A block ends only where a line begins with the fence, and carriage returns stay (`process_mbpp.py`)."""
    assert extract(raw, "wizardcoder", cuts=CUTS) == kept


def test_none_keeps_the_answer_as_it_is() -> None:
    assert extract("  a\r\n```python", "none") == "  a\r\n```python"


def test_fence_takes_the_first_block_of_the_language() -> None:
    raw = fenced("pip install x", "bash") + fenced("x = 1") + fenced("x = 2")
    assert extract(raw, "fence") == "x = 1\n"


def test_blocks_carry_label_code_and_whether_they_end() -> None:
    text = "a\n  ```Python title=x\n  x = 1\n  ```\n~~~~\ny\n~~~\n~~~~\n```js\nz"
    assert code_blocks(text) == [
        CodeBlock("python", "x = 1\n", True),
        CodeBlock("", "y\n~~~\n", True),
        CodeBlock("js", "z\n", False),
    ]


def test_auto_prefers_the_function_over_a_longer_example_block() -> None:
    example = "\n".join(f"print(double({n}))" for n in range(50))
    assert auto(fenced(example) + "Here it is:\n" + fenced(ANSWER)).strip() == ANSWER


def test_auto_drops_examples_asserts_and_the_main_guard() -> None:
    example = "result = double(3)\nprint(result)\nassert double(1) == 2\n"
    code = f'{ANSWER}\n\n{example}if __name__ == "__main__":\n    input()'
    assert auto(fenced(code)).strip() == ANSWER


def test_auto_keeps_what_the_function_needs() -> None:
    code = (
        "import math\nimport os\nfrom functools import lru_cache\nLIMIT = 3\ntable = {}\n"
        "for i in range(LIMIT):\n    table[i] = i * 2\n"
        "def helper(n):\n    return table.get(n, math.floor(n * 2))\n"
        "def unused():\n    return os.getcwd()\n"
        "@lru_cache\ndef double(n):\n    return helper(n)\n"
        "print(double(1))\n"
    )
    namespace: dict[str, object] = {}
    program = auto(fenced(code))
    assert "def unused" in program and "print" not in program
    exec(program, namespace)  # written here, not generated
    assert namespace["double"](2) == 4 and namespace["double"](5) == 10  # type: ignore[operator]


def test_auto_borrows_a_helper_from_an_earlier_block() -> None:
    raw = fenced("def helper(n):\n    return n + n") + fenced("def double(n):\n    return helper(n)")
    assert "def helper" in auto(raw)


def test_auto_takes_the_implementation_and_not_the_repeated_stub() -> None:
    assert "return 2 * n" in auto(fenced(PROMPT) + "so:\n" + fenced(ANSWER))


def test_auto_continues_a_prompt() -> None:
    raw = "    return 2 * n\n\nprint(double(2))\n\ndef other():\n    pass\n"
    assert auto(raw, prompt=PROMPT) == "    return 2 * n\n\n\ndef other():\n    pass\n"


def test_auto_continues_a_prompt_though_the_first_indentation_was_stripped() -> None:
    assert auto("m = n\n    return m + n", prompt=PROMPT) == "    m = n\n    return m + n\n"


def test_auto_continues_a_prompt_though_the_end_was_cut_off() -> None:
    assert auto("    return 2 * n\n\ndef next_one(:\n  x", prompt=PROMPT) == "    return 2 * n\n"


def test_auto_finds_the_function_between_prose_without_fences() -> None:
    raw = f"Sure! Here's what you need:\n\n{ANSWER}\n\nThis doubles n, isn't it nice?"
    assert auto(raw).strip() == ANSWER


def test_auto_keeps_an_import_that_only_the_prompt_makes() -> None:
    prompt = 'def up(x):\n    import math\n    """Round x up."""\n'
    program = auto(fenced("def up(x):\n    return math.ceil(x)"), "up", prompt)
    assert program.startswith("import math\n")


def test_auto_drops_an_import_from_the_future_that_cannot_follow_a_prompt() -> None:
    program = auto(fenced("from __future__ import annotations\n" + ANSWER), prompt=PROMPT)
    assert syntax_error(PROMPT + program, "python") is None and "__future__" not in program


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("<think>maybe ```python\nx\n```</think>yes", "yes"),
        ("maybe</think>yes", "yes"),
        ("[THINK]maybe</think>yes", "yes"),
        ("<reasoning_content>maybe</reasoning_content>yes", "yes"),
        ("Hm<|channel|>final<|message|>yes", "yes"),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("Write </think> and\n```python\nx\n```\n</think>\nyes", "\nyes"),
        ("It ends at </think> as said.", "It ends at </think> as said."),
        ("analysis of it: x", "analysis of it: x"),
        ("before<think>cut off", "before"),
        ("no tags", "no tags"),
    ],
)
def test_reasoning_is_not_part_of_the_answer(raw: str, answer: str) -> None:
    assert without_thinking(raw) == answer


def test_reasoning_that_holds_code_is_not_taken() -> None:
    raw = "<think>" + fenced("def double(n):\n    return n") + "</think>" + fenced(ANSWER)
    assert auto(raw).strip() == ANSWER


def test_ten_thousand_fences_are_read() -> None:
    raw = fenced("print(1)") * 10_000 + fenced(ANSWER)
    assert auto(raw).strip() == ANSWER


def test_other_languages_take_the_sound_block_that_names_the_function() -> None:
    raw = fenced("function double(n {", "js") + fenced("function double(n) { return 2 * n; }", "javascript")
    assert (defining_program(raw, "double", "javascript") or "").startswith("function double(n) {")


@pytest.mark.parametrize(
    ("language", "good", "bad"),
    [
        ("python", "x = 1", "x = ("),
        ("javascript", "let x = 1;", "let = = 1"),
        ("typescript", "let x: number = 1;", "let x: = 1"),
        ("cpp", "int main() { return 0; }", "int main( { return"),
        ("go", "package main\nfunc f() {}", "package main\nfunc f( {"),
        ("rust", "fn f() {}", "fn f( {"),
        ("java", "class A {}", "class {"),
        ("ruby", "def f\nend", "def f("),
        ("php", "<?php echo 1;", "<?php echo (;"),
        ("bash", "echo 1", "if then ("),
        ("sql", "SELECT 1;", "SELECT FROM FROM ("),
    ],
)
def test_syntax_is_checked_by_grammar(language: str, good: str, bad: str) -> None:
    assert syntax_error(good, language) is None
    assert (syntax_error(bad, language) or "").startswith("line ")


def test_an_unknown_language_has_no_syntax_errors() -> None:
    assert syntax_error("((((", "befunge") is None


@pytest.mark.parametrize("code", ["x\0y", "x = '\ud800'", "(" * 5000, "-" * 100_000 + "1"])
def test_text_that_breaks_parsers_is_a_syntax_error(code: str) -> None:
    assert (syntax_error(code, "python") or "").startswith("line ")


PIECES = st.sampled_from(
    ["```", "```python", "~~~", "\n", "\r", "def double(n):", "    return 2*n", "<think>", "</think>", "\0",
     "\ud800", "import os", "print(1)", "'''", "(", "\\", "\t", "if __name__ == \"__main__\":",
     "# Example usage", "x = 1", "@", "class A:", ";", "é", "\f"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200), st.lists(PIECES, max_size=25).map("".join), st.lists(PIECES).map("\n".join)
)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(["wizardcoder", "fence", "auto", "none"]), st.sampled_from(["", PROMPT]))
def test_every_extraction_takes_any_text(raw: str, how: Extraction, prompt: str) -> None:
    assert isinstance(extract(raw, how, entry_point="double", prompt=prompt), str)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(0, 3))
def test_auto_finds_a_fenced_function_in_any_surroundings(noise: str, examples: int) -> None:
    if "```" in noise or "~~~" in noise or "double" in noise or "think>" in noise:
        return
    raw = noise + "\n" + fenced("print(double(1))") * examples + fenced(ANSWER)
    assert ast.dump(ast.parse(auto(raw))) == ast.dump(ast.parse(ANSWER))
