"""From a chat model's answer to a program of MultiPL-E: its code block, the prompt's preamble, the tests.

In some languages the tests begin by closing the function (`}`). There an answer keeps its own order,
and something empty is opened for the tests to close. What has the function in a class is taken apart: the
function goes after the prompt, all else before it. In the other languages the tests follow a whole program.
Either way the text is cut with brackets in mind, never run.
"""

from __future__ import annotations

import re

from evolcoder.evaluate.benchmarks.multipl_e.languages import Language
from evolcoder.extraction.code_blocks import Extraction, block_of, code_blocks, defining_program, extract
from evolcoder.extraction.definitions import definition
from evolcoder.records import Problem

_IMPORT = re.compile(r"^[ \t]*(?:#include\b.*|using [^(={]*;|import .*|use .*;|package .*)$", re.MULTILINE)
_AROUND = re.compile(
    r"^[ \t]*(?:(?:public|final|static|internal|sealed|abstract|partial)\s+)*"
    r"(?:class|object|namespace)\s+[\w.]+[^{};()\"']{0,200}\{",
    re.MULTILINE,
)
_MOST_AROUND = 64
_OUTER_CLASS = re.compile(r"^(?=(?:(?:public|final|abstract)\s+)*class\s)", re.MULTILINE)
_MAIN = re.compile(
    r"^[ \t]*(?:(?:public\s+|private\s+|internal\s+)?static\s+[\w<> ]+\s[mM]ain"
    r"|(?:int|void|signed|auto)\s+main|(?:pub\s+)?fn\s+main|func\s+main|def\s+main)\s*\(",
    re.MULTILINE,
)
_TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*(?=\{)")
_GIVEN = re.compile(r"^(union|struct|enum|extension)\s+([\w\[\]]+)[^\n{;]*\{", re.MULTILINE)
"""A type that a prompt defines, and an answer that repeats the prompt too."""
_EXPORTS = re.compile(r"^(?:export\s*\{[^{}]*\}[^\n]*|export\s+(?:default\s+)?(?=\w))", re.MULTILINE)
_ASSERT_IMPORT = re.compile(r"^import\s.*\bassert\b.*$", re.MULTILINE)
_OPENED_FOR_TESTS = {
    "cpp": "namespace {",
    "rs": "mod after_the_answer {",
    "sh": "after_the_answer() {\n    :",
}
"""What the tests close, by language, where an answer stands before them in its own order."""
_NAMED_FIRST = ("rs", "swift", "scala")
"""Languages that write a parameter's name before its type."""
_SKIPPED = re.compile(
    # What never closes goes to the end: to look for its close from every opening would take quadratic time.
    r'"{3}.*?(?:"{3}|\Z)|\bR"(?P<mark>[^()\s\\"]{0,16})\(.*?(?:\)(?P=mark)"|\Z)'
    r'|\bb?r(?P<signs>#*)".*?(?:"(?P=signs)|\Z)'
    r'|//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])'|`(?:\\.|[^`\\])*`",
    re.DOTALL,
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
        # The tests in a scope of their own: the answer may have an assert and a test of its own.
        code = _ASSERT_IMPORT.sub("const assert = require('node:assert');", _EXPORTS.sub("", code), 1)
        code = _ASSERT_IMPORT.sub("", code)
        types = re.match(r"(?:declare [^\n]*\n)*", problem.tests)  # which stand in no block
        at = types.end() if types else 0
        return f"{code}\n{problem.tests[:at]};(() => {{\n{problem.tests[at:]}\n}})();\n"
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
    """Return the prompt, the answer and the tests; None where the function has no body."""
    if key in ("java", "cs", "scala"):
        code = _out_of_classes(code, problem.entry_point)
    found = definition(code, problem.entry_point)
    opening = code.find("{", found.end() - 1) if found else -1
    if found is None or (opening < 0 and key != "sh"):
        return None
    before, header = problem.prompt.rstrip().rsplit("\n", 1)
    before = _without_repeated(before, code)
    own = code[found.start() : opening + 1]
    if _parameters(own, key) != _parameters(header, key):
        header = own if key not in ("java", "cs") or "static" in own else f"static {own.lstrip()}"
    if key == "sh" or (key in _OPENED_FOR_TESTS and not _depth(code[: found.start()])):
        if key != "sh":
            code = f"{code[: found.start()]}{header}{code[opening + 1 :]}"
        return _in_own_order(problem, before, code, key)
    closing = closing_bracket(code, opening)
    body = code[opening + 1 : closing if closing >= 0 else len(code)].rstrip()
    around = code[: found.start()] + "\n" + (code[closing + 1 :].lstrip("}") if closing >= 0 else "")
    around = _without(around, _TEST_MODULE)
    imports = [line.strip() for line in _IMPORT.findall(around) if not line.strip().startswith("package")]
    others = _without(_IMPORT.sub("", around), _MAIN)
    if key == "java":  # within the prompt's class now, and of no instance of it
        others = _OUTER_CLASS.sub("static ", others)
    new = [line for line in dict.fromkeys(imports) if line not in problem.prompt]
    return "\n".join([*new, before, _balanced(others), f"{header}{body}", problem.tests])


def _in_own_order(problem: Problem, before: str, code: str, key: str) -> str:
    """Return an answer as it is but for `main`, under the prompt's preamble, and the tests."""
    if key != "sh":
        code = _without(_without(code, _TEST_MODULE), _MAIN)
    if key == "rs":  # neither a comment of documentation nor `use` may stand before `#![allow(...)]`
        uses = [line for line in _IMPORT.findall(before) if line not in code]
        before, code = "", "\n".join([code, *uses])
    return "\n".join([before, code, _OPENED_FOR_TESTS[key], problem.tests])


def _out_of_classes(code: str, name: str) -> str:
    """Return code without the classes and namespaces around a function, but with all that they hold."""
    found = definition(code, name)
    for header in list(_AROUND.finditer(code[: found.start()]))[:-_MOST_AROUND:-1] if found else ():
        closing = closing_bracket(code, header.end() - 1)
        if found and not 0 <= closing < found.start():
            inside = code[header.end() : closing if closing >= 0 else len(code)]
            code = code[: header.start()] + inside + (code[closing + 1 :] if closing >= 0 else "")
    return code


def _parameters(header: str, key: str) -> list[str]:
    """Return the names of a function's parameters, `mut` included: what its body calls them."""
    text = header[header.find("(") :][:2_000]
    while (plain := re.sub(r"<[^<>]*>", "", text)) != text:
        text = plain
    return re.findall(r"(?:\bmut\s+)?\w+(?=\s*:)" if key in _NAMED_FIRST else r"\w+(?=\s*[,)=])", text)


def _without_repeated(preamble: str, code: str) -> str:
    """Return a prompt's preamble without the types that the answer defines too."""
    for kind, name in _GIVEN.findall(preamble):
        again = rf"^[ \t]*{kind}\s+{re.escape(name)}[^\n{{;]*\{{"
        if re.search(again, code, re.MULTILINE):
            preamble = _without(preamble, re.compile(again[:-2], re.MULTILINE))
    return preamble


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
