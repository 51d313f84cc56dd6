"""From a chat model's answer to a program of MultiPL-E: its code block, the prompt's preamble, the tests.

In some languages the tests begin by closing the function (`}`), so the block is taken apart: the body of the
function asked for goes after the prompt, what else the block defines goes before it. In the others the tests
follow a whole program. Either way the text is cut with brackets in mind, never run.
"""

from __future__ import annotations

import re

from evolcoder.evaluate.benchmarks.multipl_e.languages import Language
from evolcoder.extraction.code_blocks import Extraction, block_of, code_blocks, defining_program, extract
from evolcoder.extraction.definitions import definition
from evolcoder.records import Problem

_IMPORT = re.compile(r"^[ \t]*(?:#include\b.*|using [^(={]*;|import .*|use .*;|package .*)$", re.MULTILINE)
_CLASS = re.compile(r"^[ \t]*(?:(?:public|final|static|internal|sealed)\s+)*(?:class|object)\s+\w+[^\n{]*\{")
_MAIN = re.compile(
    r"^[ \t]*(?:public\s+static\s+\w+\s+[mM]ain|int\s+main|fn\s+main|func\s+main|def\s+main)\s*\(",
    re.MULTILINE,
)
_TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*(?=\{)")
_SKIPPED = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|' + r"'(?:\\.|[^'\\\n])'|`(?:\\.|[^`\\])*`", re.DOTALL
)


def entry_point(prompt: str) -> str:
    """Return the name of the function that a prompt's last line begins, or its last `def`."""
    if python := re.findall(r"^def (\w+)", prompt, re.MULTILINE):
        return str(python[-1])
    header = prompt.rstrip().rsplit("\n", 1)[-1]
    match = re.search(r"(\w+)\s*<-\s*function", header) or re.search(r"(\w+)\s*\(", header)
    return match[1] if match else ""


def program_of(problem: Problem, language: Language, text: str, how: Extraction) -> tuple[str, bool]:
    """Return (program with its tests, True), or (continuation of the prompt, False) without a function."""
    found = None
    if how == "auto" and language.label == "python":
        found = extract(text, how, entry_point=problem.entry_point)
    elif how == "auto":
        found = defining_program(text, problem.entry_point, language.label)
    code = found or block_of(code_blocks(text), language.label, how) or text
    if not definition(code, problem.entry_point):
        return code, False
    if language.whole_answer:
        return _after_preamble(problem, language.key, code), True
    parts = _taken_apart(problem, code, language.key)
    return (parts, True) if parts is not None else (code, False)


def _after_preamble(problem: Problem, key: str, code: str) -> str:
    if key == "php":
        code = "<?php\n" + re.sub(r"^\s*<\?(?:php)?|\?>\s*$", "", code)
    elif key in ("js", "ts"):
        code = re.sub(r"^export\s+(?:default\s+)?(?=\w)", "", code, flags=re.MULTILINE)
        code = re.sub(r"^(?:const|let|var|import)\s+assert\b.*$", "", code, flags=re.MULTILINE)
    elif key == "py":
        code = "\n".join(re.findall(r"^(?:from|import) .*$", problem.prompt, re.MULTILINE)) + "\n" + code
    elif key == "go":
        code = _with_go_imports(problem.prompt, code)
    return f"{code}\n{problem.tests}"


def _with_go_imports(prompt: str, code: str) -> str:
    """Return the answer under the prompt's package, its imports and the tests' together, without a main."""
    package = next(iter(re.findall(r"^package .*$", prompt, re.MULTILINE)), "package main_test")
    group = re.compile(r"^import\s*\((.*?)\)", re.MULTILINE | re.DOTALL)
    single = re.compile(r'^import\s+((?:\w+\s+)?"[^"]+")', re.MULTILINE)
    imports: dict[str, None] = {}
    for text in (prompt, code):
        lines = [line.strip() for inside in group.findall(text) for line in inside.splitlines()]
        imports |= dict.fromkeys([line for line in lines if line] + single.findall(text))
    code = re.sub(r"^package .*$", "", single.sub("", group.sub("", code)), flags=re.MULTILINE)
    return "\n".join([package, "import (", *imports, ")", _without(code, _MAIN)])


def _taken_apart(problem: Problem, code: str, key: str) -> str | None:
    """Return imports, prompt with the answer's other definitions before its header, body and tests."""
    found = definition(code, problem.entry_point)
    opening = code.find("{", found.end() - 1) if found else -1
    if found is None or opening < 0:
        return None
    closing = code.find("\n}", opening) if key == "sh" else closing_bracket(code, opening)
    body = code[opening + 1 : closing if closing >= 0 else len(code)].rstrip()
    around = code[: found.start()] + "\n" + (code[closing + 1 :].lstrip("}") if closing >= 0 else "")
    around = _without(around, _TEST_MODULE)
    imports = [line.strip() for line in _IMPORT.findall(around) if not line.strip().startswith("package")]
    others = _without(_IMPORT.sub("", around), _MAIN)
    others = _CLASS.sub("", others.lstrip("\n"), count=1) if key in ("java", "cs", "scala") else others
    before, header = problem.prompt.rstrip().rsplit("\n", 1)
    new = [line for line in dict.fromkeys(imports) if line not in problem.prompt]
    return "\n".join([*new, before, _balanced(others), f"{header}{body}", problem.tests])


def _without(code: str, header: re.Pattern[str]) -> str:
    """Return code without the block in brackets that a header begins."""
    match = header.search(code)
    if match is None:
        return code
    opening = code.find("{", match.end())
    closing = closing_bracket(code, opening) if opening >= 0 else -1
    return code[: match.start()] + (code[closing + 1 :] if closing >= 0 else "")


def _balanced(code: str) -> str:
    """Drop closing brackets at the end that nothing opens: those of a class around the function."""
    text = code.rstrip()
    while text.endswith("}") and _depth(text) < 0:
        text = text[:-1].rstrip()
    return text


def _depth(code: str) -> int:
    plain = _SKIPPED.sub("", code)
    return plain.count("{") - plain.count("}")


def closing_bracket(code: str, opening: int) -> int:
    """Return where the bracket opened at `opening` closes, strings and comments apart; -1 for nowhere."""
    depth, at = 0, opening
    while at < len(code):
        if skipped := _SKIPPED.match(code, at):
            at = skipped.end()
            continue
        depth += (code[at] == "{") - (code[at] == "}")
        if depth == 0:
            return at
        at += 1
    return -1
