"""Executed answers: an answer is kept only if its code parses and, if `verify` is "tests", passes tests.

The teacher that wrote an answer also writes tests for it; both run in the sandbox. A failing answer goes back
to the teacher with its error, and is dropped if it still fails. The tests may be wrong: they come from the
same model, so a pass says that two of its texts agree. Tests run in another process than the answer (tier
"rpc"), so an answer cannot forge its pass. A row is kept as "untested" if nothing was shown: tests that do
not parse or reach no assertion about the answer, tests that would pass whatever its functions return (their
assertions swallowed, `or True`, `is not None`), tests that read more of it than functions, an answer that no
assertion can call, a module or a network that the sandbox does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Literal, Self

from evolcoder.errors import SandboxError
from evolcoder.evolve.answer_tests import (
    NOTHING_ASSERTED,
    RunnableTests,
    needs_of,
    runnable_tests,
    why_untestable,
)
from evolcoder.evolve.answering import Answering, Ask, VerifiedAnswer
from evolcoder.evolve.elimination import Elimination, EliminationReason
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.execution.engine import Engine, Pool
from evolcoder.extraction.code_blocks import CodeBlock, code_blocks, extract, syntax_error
from evolcoder.extraction.grammar import has_grammar
from evolcoder.models.protocol import Message
from evolcoder.sandbox.protocol import CallJob, Job, Limits, Outcome

State = Literal["no code", "unchecked", "parses", "syntax error", "passed", "repaired", "failed", "untested"]
"""What became of an answer. "unchecked": no grammar for its language, or none that can be trusted."""

_LANGUAGES = {
    "py": "python", "python3": "python", "js": "javascript", "node": "javascript", "ts": "typescript",
    "c++": "cpp", "cc": "cpp", "bash": "bash", "sh": "bash", "shell": "bash", "golang": "go", "rs": "rust",
    "rb": "ruby", "mysql": "sql", "postgresql": "sql", "sqlite": "sql", "jsx": "javascript",
    "mjs": "javascript", "cxx": "cpp", "python2": "python 2",
}  # fmt: skip
_LENIENT = {"bash", "console", "sql"}
"""What does not parse there is often no mistake: shell blocks are transcripts of commands and their output,
and the grammar of SQL is no dialect's (23 of 93 blocks that GPT-3.5 wrote for evol-teacher fail it, for
`INTERVAL 6 MONTH` and the like; of 907 blocks in JavaScript, Java, C++, C and PHP, 2 do)."""
_DETAIL = 600
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)")

TESTS_REQUEST = """\
Write tests for the solution below, as plain `assert` statements that call what it defines, with expected \
values that follow from the task. At most eight of them, no test framework, no input(), no files, no \
network, and do not repeat the solution. Reply with one Python code block.

Task:
{task}

Solution:
```python
{program}
```
"""

REPAIR_REQUEST = """\
Your solution fails. {error}

Correct it, and reply with the whole corrected answer."""


_ELIMINATED: Mapping[State, EliminationReason] = {"syntax error": "syntax error", "failed": "failed tests"}


def _verified(
    answer: str, state: State, language: str, detail: str = "", tests: str = "", repairs: int = 0
) -> VerifiedAnswer:
    """Return an answer, as it was or as repaired, with what became of it; `detail` is the last error."""
    columns = {
        "language": language,
        "verdict": state,
        "repairs": repairs,
        "tests": tests,
        "verdict_detail": detail,
    }
    reason = _ELIMINATED.get(state)
    elimination = None if reason is None else Elimination(reason, detail)
    return VerifiedAnswer(answer, elimination, columns, proved=state in ("passed", "repaired"))


class SandboxVerifier:
    """What verifiers that run programs have in common; a context manager, for the sandbox it may hold.

    `blocking` lets all else wait for a program: what a model in this process does next must not depend on how
    fast one ran. Raises SandboxError on a machine that offers no protection.
    """

    def __init__(self, *, blocking: bool, cpu_s: float, engine: Engine) -> None:
        self._blocking, self._engine = blocking, engine
        self._limits = Limits(cpu_s=cpu_s, memory_bytes=1 << 30)
        self._stack = ExitStack()
        self._sandbox: Pool[Job, Outcome] | None = None

    def __enter__(self) -> Self:
        from evolcoder.sandbox.work import SandboxWork

        self._sandbox = self._stack.enter_context(self._engine.open(SandboxWork()))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    async def _outcome(self, job: Job) -> Outcome:
        assert self._sandbox is not None
        if self._blocking:
            ((_, outcome),) = self._sandbox.run_many([(0, job)])
        else:
            outcome = await self._sandbox.one(job)
        if outcome.verdict.reason == "infrastructure":
            raise SandboxError(f"the sandbox could not run a program: {outcome.verdict.detail}")
        return outcome


class Verifier(SandboxVerifier):
    """Verifies programs; without `tests` only by their grammar."""

    def __init__(self, *, tests: bool, repairs: int, blocking: bool, cpu_s: float, engine: Engine) -> None:
        super().__init__(blocking=blocking, cpu_s=cpu_s, engine=engine)
        self._tests, self._repairs = tests, repairs

    def __enter__(self) -> Self:
        return super().__enter__() if self._tests else self

    @property
    def unverified(self) -> Mapping[str, Any]:
        """The columns of a row that was dropped before its answer could be verified."""
        return {"language": "", "verdict": "", "repairs": 0, "tests": "", "verdict_detail": ""}

    async def verify(
        self, question: str, answers: Mapping[str, int], ask: Ask, given: str
    ) -> list[VerifiedAnswer]:
        """Verify answers in order; the tests that the teacher writes for one are those of all that follow."""
        tests: str | None = None
        found = []
        for answer in answers:
            verified = await self._verify_one(question, answer, ask, tests)
            tests = tests or verified.columns["tests"] or None
            found.append(verified)
        return found

    async def _verify_one(self, task: str, answer: str, ask: Ask, tests: str | None) -> VerifiedAnswer:
        """Check an answer, with `tests` if there are some, and have it repaired; raises what `ask` raises."""
        repairs = 0
        while True:
            block = answer_block(answer)
            if block is None:
                return _verified(answer, "no code", "", repairs=repairs)
            error = _parse_error(answer)
            parsed = has_grammar(block.language) and block.language not in _LENIENT
            state: State = "syntax error" if error else "parses" if parsed else "unchecked"
            if not error and self._sandbox is not None and block.language == "python":
                if useless := why_untestable(block.code):
                    return _verified(answer, "untested", "python", useless, tests or "", repairs)
                if tests is None:
                    tests = await self._ask_for_tests(task, block.code, ask)
                runnable = runnable_tests(tests, block.code)
                if useless := _why_useless(runnable):
                    return _verified(answer, "untested", "python", useless, tests, repairs)
                error = await self._run(block.code, runnable)
                lacking = _nothing_proved(error, block.code)
                if not error and not await self._run(_never_right(runnable), runnable):
                    lacking = _PASS_ANYTHING
                if lacking:
                    return _verified(answer, "untested", "python", lacking, tests, repairs)
                state = "failed" if error else ("repaired" if repairs else "passed")
            if not error or repairs == self._repairs:
                return _verified(answer, state, block.language, error, tests or "", repairs)
            repairs += 1
            answer = await self._repair(task, answer, error, ask)

    async def _ask_for_tests(self, task: str, program: str, ask: Ask) -> str:
        """Return the tests that the teacher wrote, whatever they are."""
        text = TESTS_REQUEST.format(task=task, program=program.strip())
        return extract((await ask("tests", (Message("user", text),))).text, "fence").strip()

    async def _repair(self, task: str, answer: str, error: str, ask: Ask) -> str:
        told = Message("user", REPAIR_REQUEST.replace("{error}", error))
        turns = (Message("user", task), Message("assistant", answer), told)
        return (await ask("answer", turns)).text.strip()

    async def _run(self, program: str, tests: RunnableTests) -> str:
        """Run a program and, in another process, its tests in the sandbox; return the error, or ""."""
        first, *others = tests.functions
        job = CallJob(f"{program}\n", first, tests.code, limits=self._limits, helpers=tuple(others))
        verdict = (await self._outcome(job)).verdict
        if verdict.passed:
            return ""
        if verdict.reason == "failed":
            # The error alone: the line of the tests before it is not as the teacher wrote it.
            return verdict.detail.split(" -> ", 1)[-1][:_DETAIL]
        return f"{verdict.reason}: {verdict.detail}".strip().removesuffix(":")[:_DETAIL]


def answer_block(answer: str) -> CodeBlock | None:
    """Return the first code block (unlabelled: Python) with its language by common name; None for no code."""
    for block in code_blocks(answer):
        language = _LANGUAGES.get(block.language, block.language)
        if language or _is_python(block.code):
            return CodeBlock(language or "python", block.code, block.closed)
    if _is_python(answer):
        return CodeBlock("python", answer, True)
    return None


def _why_useless(tests: RunnableTests) -> str:
    """Say why tests cannot prove anything of a program in another process, or return ""."""
    if not tests.code:
        return "the tests do not parse or assert nothing about the answer"
    if tests.beyond or not tests.functions:
        return f"the tests read more than functions of the answer: {', '.join(tests.beyond)}"[:_DETAIL]
    return ""


_PASS_ANYTHING = "the tests pass functions that return ... whatever they are given"


def _never_right(tests: RunnableTests) -> str:
    """Return a program whose functions cannot be right."""
    return "".join(f"def {name}(*given, **named):\n    return ...\n" for name in tests.functions)


def _nothing_proved(error: str, program: str) -> str:
    """Say why an error is neither the answer's nor proof of anything, or return ""."""
    if NOTHING_ASSERTED in error:
        return NOTHING_ASSERTED
    missing = _MISSING.search(error)
    if missing and missing[1] in needs_of(program):
        return f"it needs the module {missing[1]}, which the sandbox does not have"
    return error if error.startswith(("forbidden", "unsupported")) else ""


def _is_python(code: str) -> bool:
    starts = ("def ", "class ", "import ", "from ", "async def ", "@")
    return any(line.startswith(starts) for line in code.splitlines()) and not syntax_error(code, "python")


def _parse_error(answer: str) -> str:
    """Return what does not parse in the answer's code blocks, or ""."""
    blocks = code_blocks(answer)
    if any(not block.closed for block in blocks):
        return "the last code block is not closed"
    for number, block in enumerate(blocks, 1):
        language = _LANGUAGES.get(block.language, block.language)
        checked = language and language not in _LENIENT
        if checked and (error := syntax_error(block.code, language)):
            return f"code block {number} ({language}), {error}"[:_DETAIL]
    return ""


def _verifier(settings: EvolveSettings, blocking: bool, engine: Engine) -> Verifier:
    tests, repairs = settings.verify == "tests", settings.repairs if settings.answers == 1 else 0
    cpu_s = settings.verify_cpu_s
    return Verifier(tests=tests, repairs=repairs, blocking=blocking, cpu_s=cpu_s, engine=engine)


PROGRAMS = Answering(verifiers={"syntax": _verifier, "tests": _verifier})
"""Answers that are programs: parsed, or run with tests that the teacher writes."""
