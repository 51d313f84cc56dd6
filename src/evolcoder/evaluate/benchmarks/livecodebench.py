"""LiveCodeBench: contest problems, each with its date (Jain et al. 2024, arXiv 2403.07974), code generation.

`livecodebench` is release 6 of the published lite files, `livecodebench@v1` to `@v5` the earlier ones; a
window of dates stands before it: `livecodebench:2024-08-01..2025-02-01@v5`. No checksum of these files is
known here, so the version names theirs. A program reads stdin and writes stdout, or has a method `Solution`.

The files are read row by row: their hidden tests alone take gigabytes. Some are pickled; a pickle can run
code when it is loaded, so none is: its opcodes are read, and all but one string is refused.

One process answers all tests of a problem, one call a test: it gets the inputs alone, and what it answers is
compared in another process. As published, a program finds much of the standard library imported, a program
that reads stdin is executed anew for each test, and a `Solution` is made once.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evolcoder.cache import kept_file_hash
from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm, preimport_for
from evolcoder.evaluate.benchmarks.data_files import DataFile, file_of_rows
from evolcoder.evaluate.settings import Decoding
from evolcoder.evaluate.styles import Asked
from evolcoder.extraction import Extraction
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, CallValue, Job, Limits, Outcome

_HUB = "https://huggingface.co/datasets/livecodebench/code_generation_lite/resolve/main/"
_FILES = tuple(f"test{number}.jsonl" for number in ("", 2, 3, 4, 5, 6))
_SIZES = {"v1": 400, "v2": 511, "v3": 612, "v4": 713, "v5": 880, "v6": 1055}
_NEWEST = "v6"
DATA = {
    release: tuple(DataFile(f"livecodebench/{file}", "", _HUB + file) for file in _FILES[:number])
    for number, release in enumerate(_SIZES, 1)
}
"""The files of each release: it adds one to those of the release before."""
_NAMED = {
    release: NamedSet(
        "livecodebench",
        size=size,
        hub_dataset="livecodebench/code_generation_lite",
        dated=True,
        licence="see its card on the hub",
        tier="batch",
        files=DATA[release],
    )
    for release, size in _SIZES.items()
}
NAMES = {"livecodebench": _NAMED[_NEWEST]} | {f"livecodebench@{name}": of for name, of in _NAMED.items()}
ASK = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will "
    "generate a correct Python program that matches the specification and passes all tests."
)
WITH_STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code "
    "within delimiters."
)
WITH_STDIN = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on "
    "the sample inputs). Enclose your code within delimiters as follows. Ensure that when the python program "
    "runs, it reads the inputs, runs the algorithm and writes output to STDOUT."
)
"""The published prompt's parts, as they stand."""
_LONGEST_S = 300.0
"""CPU seconds of all tests of a problem together."""
_ORACLE_VERSION = 1
"""Raised when the meaning of a verdict changes."""


@dataclass(frozen=True)
class LiveCodeBench(Benchmark):
    """A release of LiveCodeBench."""

    origin_set = "livecodebench"
    oracles: tuple[str, ...] = ("livecodebench",)
    default_timeout_s: float = 6.0
    """CPU seconds of one test; the published 6 are of wall time."""
    default_memory_bytes: int = 4 << 30
    decoding: Decoding = Decoding(n=10, temperature=0.2, top_p=0.95, max_tokens=2000)  # noqa: RUF009
    """That of the published scores."""
    prompt_form: PromptForm = "prose"

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return how hard the problem is, and where it was set."""
        return problem.extra["difficulty"], problem.extra["platform"]

    def text(self, problem: Problem) -> str:
        """Return the problem's words, which have its examples."""
        return problem.prompt

    def question(self, problem: Problem) -> str:
        """Return the published question."""
        return f"{ASK}\n\n{_asked(problem)}"

    def instruction(self, problem: Problem) -> str:
        """Return the published question."""
        return self.question(problem)

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have a base model write the block that answers; the published prompt for those is another one."""
        return Asked(f"{self.question(problem)}```python\n", ("\n```",))

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the program: of several blocks the last, as published, where the user does not say."""
        return super().sample(problem, index, raw, "last" if how == "auto" else how)

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Name the tests: the hash of the files that they lie in stands in the version."""
        return content_hash(_ORACLE_VERSION, oracle, suite, self.version, problem.task_id)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return a batch job with a call a test; `limits.cpu_s` is the limit of one."""
        tests = tests_at(*problem.extra["place"])
        functional = bool(problem.entry_point)
        total = min(_LONGEST_S, limits.cpu_s * len(tests.inputs)) + 2.0
        comparison = partial(partial, wrong_answer, tests.outputs, functional)
        return BatchJob(
            program=wrapped(program, problem.entry_point),
            entry_point=ANSWER,
            inputs=tuple(
                tuple(map(json.loads, text.split("\n"))) if functional else (text,) for text in tests.inputs
            ),
            limits=replace(limits, cpu_s=total, wall_s=1.5 * total + 5.0),
            call_cpu_s=(limits.cpu_s,) * len(tests.inputs),
            stop_at_first_error=True,
            preimport=preimport_for(program),
            comparison=BatchComparison(self.tests_key(problem, oracle, suite), comparison),
        )

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Tell which test failed first."""
        verdict = outcome.verdict
        if outcome.mismatch is None:
            return verdict
        return replace(verdict, detail=f"test {outcome.compared - 1}: {outcome.mismatch}"[:500])


def load(name: str) -> Benchmark:
    """Return a release of LiveCodeBench; raises DataError where a file is missing or not of its form."""
    release = name.partition("@")[2] or _NEWEST
    paths = [file_of_rows(file) for file in DATA[release]]
    problems = [_problem(path, offset, row) for path in paths for offset, row in read_rows(path)]
    twice = len(problems) - len({problem.task_id for problem in problems})
    if twice:
        raise DataError(f"{paths[0].parent}: {twice} problems stand twice")
    if not problems:
        raise DataError(f"{paths[0]}: no rows")
    digest = content_hash([kept_file_hash(path) for path in paths])[:8]
    return LiveCodeBench("livecodebench", f"{release} {digest}", tuple(problems))


def _problem(path: Path, offset: int, row: dict[str, Any]) -> Problem:
    try:
        metadata = json.loads(row["metadata"] or "{}")
        function = str(metadata.get("func_name") or "")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: problem {row['question_id']}: metadata is no JSON object") from error
    return Problem(
        task_id=row["question_id"],
        benchmark="livecodebench",
        prompt=row["question_content"],
        entry_point=function,
        tests=row["public_test_cases"],
        extra={
            "title": row["question_title"],
            "platform": row["platform"],
            "difficulty": row["difficulty"],
            "date": row["contest_date"][:10],
            "starter_code": row["starter_code"],
            "place": (path, offset),
        },
    )


def _asked(problem: Problem) -> str:
    starter = problem.extra["starter_code"]
    return (
        f"### Question:\n{problem.prompt}\n\n### Format: {WITH_STARTER if starter else WITH_STDIN}\n"
        f"```python\n{starter or '# YOUR CODE HERE'}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )


MOST_BYTES = 512 << 20
"""Of the hidden tests of one problem, unpacked."""
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_AROUND = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


@dataclass(frozen=True, slots=True)
class Tests:
    """All tests of a problem, public ones first."""

    inputs: tuple[str, ...]
    """What is read from stdin, or one JSON value a line: the arguments."""
    outputs: tuple[str, ...]
    """What must be written to stdout, or a JSON value that must be returned."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a file and the byte that it begins at; raises DataError for a row of another form."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield offset, _row(line, f"{path}: line {number}")
            offset += len(line)


@lru_cache(maxsize=2)
def tests_at(path: Path, offset: int) -> Tests:
    """Return the tests of the row that begins at a byte; raises DataError where they cannot be read."""
    with path.open("rb") as file:
        file.seek(offset)
        row = _row(file.readline(), f"{path}: byte {offset}")
    where = f"{path}: problem {row['question_id']}"
    try:
        tests = [*json.loads(row["public_test_cases"]), *_hidden(row["private_test_cases"])]
        return Tests(*(tuple(str(test[part]) for test in tests) for part in ("input", "output")))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: its tests cannot be read ({error})") from error


_TEXTS = (
    *("question_id", "question_title", "question_content", "platform", "contest_date", "difficulty"),
    *("starter_code", "public_test_cases", "private_test_cases", "metadata"),
)


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict) or (lacks := [n for n in _TEXTS if not isinstance(row.get(n), str)]):
        lacks = lacks if isinstance(row, dict) else ["an object"]
        raise DataError(f"{where}: not a row of LiveCodeBench: {', '.join(lacks)} as text is expected")
    return row


def _hidden(text: str) -> list[Any]:
    """Return hidden tests in either form; raises ValueError for any other."""
    if not text.lstrip().startswith("["):
        unpacking = zlib.decompressobj()
        try:
            data = unpacking.decompress(base64.b64decode(text), MOST_BYTES)
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"neither JSON nor compressed: {error}") from error
        if unpacking.unconsumed_tail:
            raise ValueError(f"over {MOST_BYTES >> 20} MiB unpacked")
        text = _pickled_string(data)
    tests = json.loads(text)
    if not isinstance(tests, list):
        raise ValueError("a list of tests is expected")
    return tests


def _pickled_string(data: bytes) -> str:
    """Return the string of a pickle that holds one string and nothing else, without loading it."""
    found: list[str] = []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _STRINGS:
            found.append(str(argument))
        elif opcode.name not in _AROUND:
            raise ValueError(f"its pickle holds {opcode.name}; one string is expected")
    if len(found) != 1:
        raise ValueError(f"its pickle holds {len(found)} strings; one is expected")
    return found[0]


ANSWER = "answer_of_test"
"""The function of a wrapped program that is called with the input of each test."""
_IMPORTED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
_GIVEN = (
    *(f"from {name} import *" for name in (*_IMPORTED, "builtins", "typing")),
    *(f"import {name}" for name in _IMPORTED),
    "sys.setrecursionlimit(50000)",
)
"""What the published harness puts before a program."""

_FUNCTIONAL = f"""
import types
module = types.ModuleType("solution")
exec(GIVEN, module.__dict__)
exec(compile(SOURCE, "solution.py", "exec"), module.__dict__)
{ANSWER} = getattr(module.Solution() if "class Solution" in SOURCE else module, NAME)
"""

_STDIN = f"""
import os, sys, tempfile
CODE = compile(SOURCE, "main.py", "exec")

def {ANSWER}(text):
    for number in (0, 1):  # a program may have closed them
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
        given.write(text.encode())
        given.seek(0)
        os.dup2(given.fileno(), 0)
        os.dup2(written.fileno(), 1)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        names = {{"__name__": "__main__"}}
        exec(GIVEN, names)
        try:
            exec(CODE, names)
        except SystemExit:
            pass
        sys.stdout.flush()
        written.seek(0)
        return written.read().decode("utf-8", "replace")
"""
_FORMAT = "SOURCE = {source!r}\nNAME = {name!r}\nGIVEN = {given!r}\n{wrapper}"


def wrapped(program: str, function: str) -> str:
    """Return a program whose `ANSWER` takes a test's input; `function` is "" for one that reads stdin."""
    wrapper = _FUNCTIONAL if function else _STDIN
    return _FORMAT.format(source=program, name=function, given="\n".join(_GIVEN), wrapper=wrapper)


def wrong_answer(outputs: tuple[str, ...], functional: bool, number: int, value: CallValue) -> str | None:
    """Return what is wrong with a program's answer to one of its tests, None for a right one."""
    if not value.ok:
        return value.error
    wanted = outputs[number]
    if functional:
        # As published: `==`, with a tuple taken for a list.
        said = list(value.value) if isinstance(value.value, tuple) else value.value
        right = bool(said == json.loads(wanted))
    else:
        right = isinstance(value.value, str) and _same_lines(value.value, wanted)
    return None if right else f"expected {wanted.strip()[:120]!r}, got {str(value.value).strip()[:120]!r}"


def _same_lines(written: str, wanted: str) -> bool:
    """As published: line by line without outer blanks, equal as text or number by number as decimals."""
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (written, wanted))
    return len(ours) == len(theirs) and all(
        a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True)
    )


def _same_numbers(ours: str, theirs: str) -> bool:
    try:
        return [Decimal(part) for part in ours.split()] == [Decimal(part) for part in theirs.split()]
    except InvalidOperation:
        return False
