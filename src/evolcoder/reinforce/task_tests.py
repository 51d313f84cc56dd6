"""The tests of a task: each knows what of an answer it judges, the job that judges it, and what that says.
A domain whose answers are no programs brings a test of its own."""

from __future__ import annotations

import ast
import types
from dataclasses import dataclass
from typing import Any

from evolcoder.evaluate.benchmarks.benchmark import preimport_for
from evolcoder.extraction.code_blocks import code_blocks, extract, syntax_error
from evolcoder.extraction.grammar import compiled_python, parse_python
from evolcoder.records import Verdict
from evolcoder.sandbox.own_classes import own_classes
from evolcoder.sandbox.protocol import CallJob, Job, Limits, Outcome, StdioJob

_LONGEST_ANSWER = 200_000


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a task; as it stands here, of a Python program, which is run in the sandbox."""

    __test__ = False  # for pytest, which takes the name for its own

    def judged(self, text: str, entry_point: str) -> str:
        """Return what of a model's answer is judged: its program; "" where it has none."""
        return extract(text, "auto", entry_point=entry_point)

    def distinct(self, text: str, entry_point: str) -> str:
        """Return a text that answers share which are the same: programs but for comments and layout."""
        program = self.judged(text, entry_point)
        tree = parse_python(program)
        try:
            return program if tree is None else ast.unparse(tree)
        except RecursionError:
            return program

    def well_formed(self, text: str) -> bool:
        """Whether an answer has the form that is rewarded: its program in one closed code block."""
        blocks = code_blocks(text)
        return len(blocks) == 1 and blocks[0].closed

    def at_once(self, judged: str) -> Verdict | None:
        """Return the verdict on what needs no run: none, or no Python."""
        if not judged.strip():
            return Verdict(False, "no answer", "no program was found in the answer")
        if len(judged) > _LONGEST_ANSWER:
            return Verdict(False, "unsupported", f"a program of {len(judged):,} characters")
        error = self.mistake_in(judged)
        return Verdict(False, "syntax error", error[:500]) if error else None

    def mistake_in(self, judged: str) -> str:
        """Return why an answer need not be run; "" where it must be."""
        return syntax_error(judged, "python") or ""

    def without_answer(self) -> str:
        """Return an answer that can be asked and does nothing; "" where a test asks nothing."""
        return ""

    def job(self, judged: str, limits: Limits) -> Job:
        """Return the job that judges an answer."""
        raise NotImplementedError(f"{type(self).__name__} has no job")

    def verdict(self, outcome: Outcome) -> Verdict:
        """Return what the outcome of the job means: here, the sandbox's own verdict."""
        return outcome.verdict

    def named(self) -> list[Any]:
        """Return what decides its verdicts, as plain data: part of the key that they are kept under."""
        raise NotImplementedError(f"{type(self).__name__} is not named")


@dataclass(frozen=True, slots=True)
class CallTest(Test):
    """Test code that runs in another process than the answer and calls its functions."""

    code: str
    functions: tuple[str, ...]
    """The functions of the answer that it calls; the first is the entry point."""
    trusted: bool = False
    """True for tests that no model wrote: one process then runs those of many programs."""

    def without_answer(self) -> str:
        """Return functions that take anything and return None."""
        return "".join(f"def {name}(*arguments, **keywords):\n    pass\n" for name in self.functions)

    def mistake_in(self, judged: str) -> str:
        """Return why an answer need not be run; one that compiles, as its job does, has no such mistake."""
        compiles = isinstance(compiled_python(_as_run(judged)), types.CodeType)
        return "" if compiles else Test.mistake_in(self, judged)

    def job(self, judged: str, limits: Limits) -> Job:
        """Return the job that calls the program's functions from another process."""
        first, *helpers = self.functions
        how = (limits, preimport_for(judged), tuple(helpers))
        return CallJob(_as_run(judged), first, self.code, *how, trusted_tests=self.trusted)

    def named(self) -> list[Any]:
        """Return the code and the functions."""
        crosses = own_classes(self.code, frozenset((*self.functions, "candidate")))
        return ["call", self.code, *self.functions, *(["objects cross"] if crosses else [])]


@dataclass(frozen=True, slots=True)
class StdinTest(Test):
    """What a program gets on its standard input, and what it must write."""

    input: str
    output: str

    def job(self, judged: str, limits: Limits) -> Job:
        """Return the job that runs the program on the input."""
        return StdioJob(judged, _encoded(self.input), limits, preimport_for(judged))

    def verdict(self, outcome: Outcome) -> Verdict:
        """Compare what was written, line by line."""
        if not outcome.verdict.passed or _lines(outcome.stdout) == _lines(_encoded(self.output)):
            return outcome.verdict
        return Verdict(False, "failed", "another output is expected", "stdio", outcome.verdict.level)

    def named(self) -> list[Any]:
        """Return input and output."""
        return ["stdin", self.input, self.output]


def _as_run(judged: str) -> str:
    return f"{judged}\n\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _lines(output: bytes) -> list[bytes]:
    """Return the lines that are compared: blanks at their ends and at the end of the output do not count."""
    return [line.rstrip() for line in output.rstrip().splitlines()]
