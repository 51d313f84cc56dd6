"""A fourth domain in one file from outside the package: SQL queries, verified and rewarded by sqlite.

`test_own_domain.py` takes it through evolution, a recipe and the reward.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from evolcoder.domains import Domain
from evolcoder.evolve.answering import Answering, VerifiedAnswer
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.methods import Method, MethodSet
from evolcoder.extraction.code_blocks import code_blocks
from evolcoder.models.protocol import Message
from evolcoder.records import Instruction, Verdict
from evolcoder.reinforce.task_tests import Test
from evolcoder.reinforce.tasks import Task, TaskForms, instruction_of
from evolcoder.sandbox.protocol import Limits, StdioJob
from evolcoder.sandbox.work import SandboxWork

SCHEMA = (
    "CREATE TABLE staff (name TEXT, team TEXT, pay INTEGER);"
    "INSERT INTO staff VALUES ('Ada', 'red', 3), ('Bo', 'red', 5), ('Cy', 'blue', 4);"
)
PROGRAM = """
import json, sqlite3, sys
database = sqlite3.connect(":memory:")
database.executescript({schema!r})
print(json.dumps([list(row) for row in database.execute(sys.stdin.read())]))
"""


def query_in(text: str) -> str:
    blocks = [block.code for block in code_blocks(text) if block.language == "sql"]
    return blocks[-1].strip() if blocks else ""


def sqlite_job(query: str, limits: Limits) -> StdioJob:
    return StdioJob(PROGRAM.format(schema=SCHEMA), query.encode(), limits)


class QueryVerifier:
    """Runs each query; a context manager, for its sandbox."""

    unverified: ClassVar[dict[str, str]] = {"verdict": ""}

    def __init__(self, settings: Any, blocking: bool, engine: Any) -> None:
        self.engine = engine

    def __enter__(self) -> Self:
        self.opened = self.engine.open(SandboxWork())
        self.sandbox = self.opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.opened.__exit__(*error)

    async def verify(self, question: str, answers: Any, ask: Any, given: str) -> list[VerifiedAnswer]:
        jobs = [(text, sqlite_job(query_in(text), Limits())) for text in answers]
        found = {text: outcome.verdict for text, outcome in self.sandbox.run_many(jobs)}
        return [self.verified(text, found[text]) for text in answers]

    def verified(self, text: str, verdict: Verdict) -> VerifiedAnswer:
        dropped = None if verdict.passed else Elimination("wrong answer", verdict.detail)
        return VerifiedAnswer(text, dropped, {"verdict": "runs" if verdict.passed else "fails"})


@dataclass(frozen=True, slots=True)
class RowsTest(Test):
    """The rows that a query must give."""

    rows: str

    def judged(self, text: str, entry_point: str) -> str:
        return query_in(text)

    def mistake_in(self, judged: str) -> str:
        return ""

    def job(self, judged: str, limits: Limits) -> StdioJob:
        return sqlite_job(judged, limits)

    def verdict(self, outcome: Any) -> Verdict:
        if not outcome.verdict.passed or json.loads(outcome.stdout) == json.loads(self.rows):
            return outcome.verdict
        return Verdict(False, "failed", f"{self.rows} is expected", "stdio", outcome.verdict.level)

    def named(self) -> list[Any]:
        return ["sql", SCHEMA, self.rows]


def task_of_row(row: Instruction) -> Task | None:
    rows = row.extra.get("rows")
    return Task(row.id, instruction_of(row), (RowsTest(json.dumps(rows)),)) if rows else None


def as_query(instruction: str) -> tuple[Message, ...]:
    return (Message("user", f"{instruction}\n\nTables:\n{SCHEMA}\n\nAnswer with one sql code block."),)


def load() -> Domain:
    methods = (Method("join", "Let it need a subquery."), Method("group", "Let it need a GROUP BY."))
    return Domain(
        "sql",
        MethodSet("sql", "Make this query task harder. {method}\n\n{question}", methods, ("query task",)),
        Answering(as_query, {"runs": QueryVerifier}),
        benchmarks=("humaneval",),
        stop_benchmark="mbpp-400",
        reported=(),
        tasks=TaskForms(task_of_row, lambda benchmark, problem: None, "column rows is expected"),
    )
