"""The reward: an answer is judged in the sandbox by each test of its task.

Programs are judged in the closed tiers: tests run in another process ("rpc"), or compare what the program
writes ("stdio"), so that expected values never enter its process. Equal answers are judged once for a task,
and verdicts are kept.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from evolcoder.errors import SandboxError
from evolcoder.evaluate.benchmarks.benchmark import JobRunner
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.extraction import Extraction
from evolcoder.extraction.code_blocks import extract
from evolcoder.records import Verdict
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.reinforce.task_tests import Test
from evolcoder.reinforce.tasks import Task
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import Job, Limits, Outcome

_MOST_KNOWN = 65_536
"""Verdicts held in memory, the latest ones."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote for a task, as far as its reward is concerned."""

    text: str
    n_tokens: int
    truncated: bool
    """True where it was cut at the longest allowed length."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What an answer earned, and why."""

    value: float
    passed: float
    """Share of the rewarded tests that passed, in [0, 1]."""
    watched: float | None
    """Share of the watched tests that passed; None where the task has none."""
    solved: bool
    """True where every rewarded test passed."""
    reason: str
    """Of the first rewarded test that did not pass; "passed" where all did."""


class Rewarder:
    """Judges answers in a sandbox (or an engine's pool of them)."""

    def __init__(
        self, sandbox: JobRunner, settings: RewardSettings, max_tokens: int, cache: VerdictCache | None = None
    ) -> None:
        self._sandbox = sandbox
        self._settings = settings
        self._max_tokens = max_tokens
        self._cache = cache
        self._limits = Limits(cpu_s=settings.cpu_s, memory_bytes=settings.memory_bytes)
        self._known: dict[str, Verdict] = {}
        self._lock = Lock()

    def rewards(self, answers: Sequence[tuple[Task, Answer]]) -> list[Reward]:
        """Return the reward of each answer to its task; raises SandboxError where the machine fails."""
        how = self._settings.extract or "auto"
        programs = [program_of(task, answer.text, how) for task, answer in answers]
        wanted = [
            (program, test)
            for (task, _), program in zip(answers, programs, strict=True)
            for test in (*task.tests, *task.watched)
        ]
        verdicts = iter(self.verdicts(wanted))
        return [
            self._reward(
                task, answer, [next(verdicts) for _ in task.tests], [next(verdicts) for _ in task.watched]
            )
            for task, answer in answers
        ]

    def verdicts(self, wanted: Sequence[tuple[str, Test]]) -> list[Verdict]:
        """Return the verdict of each program on its test, in order; equal ones are judged once."""
        keys = [self.key(program, test) for program, test in wanted]
        found = {key: self._known[key] for key in keys if key in self._known}
        if self._cache is not None:
            found |= self._cache.get_many(key for key in keys if key not in found)
        asked = {key: item for key, item in zip(keys, wanted, strict=True) if key not in found}

        def jobs() -> Iterator[tuple[str, Job]]:
            for key, (program, test) in asked.items():
                # One after the other: what the first compiled is at hand for the second.
                if verdict := test.at_once(program):
                    found[key] = verdict
                else:
                    yield key, self.job(program, test)

        for key, outcome in self._sandbox.run_many(jobs()):
            verdict = asked[key][1].verdict(outcome)
            if verdict.reason == "infrastructure":
                raise SandboxError(f"the sandbox could not run a program: {verdict.detail}")
            found[key] = verdict
            if self._cache is not None:
                self._cache.put(key, verdict)
        if self._cache is not None:
            self._cache.flush()
        self._remember(found)
        return [found[key] for key in keys]

    def known(self, key: str) -> Verdict | None:
        """Return the verdict that is remembered under the key of a program and its test."""
        return self._known.get(key)

    def job(self, program: str, test: Test) -> Job:
        """Return the job that judges a program by one test."""
        return test.job(program, self._limits)

    def learn(self, key: str, test: Test, outcome: Outcome) -> Verdict:
        """Return the verdict that an outcome means, and remember it."""
        verdict = test.verdict(outcome)
        if verdict.reason != "infrastructure":
            self._remember({key: verdict})
        return verdict

    def _remember(self, found: dict[str, Verdict]) -> None:
        with self._lock:
            self._known |= found
            for key in list(islice(self._known, max(0, len(self._known) - _MOST_KNOWN))):
                del self._known[key]

    def key(self, program: str, test: Test) -> str:
        """Return what names a program and its test, under this rewarder's limits."""
        limits = [self._limits.cpu_s, self._limits.memory_bytes]
        return content_hash("reward 1", program, test.named(), limits, platform.python_version())

    def _reward(
        self, task: Task, answer: Answer, rewarded: Sequence[Verdict], watched: Sequence[Verdict]
    ) -> Reward:
        settings = self._settings
        passed = _share(rewarded)
        solved = all(verdict.passed for verdict in rewarded)
        value = passed if settings.score == "share" else float(solved)
        for name in settings.factors:
            value *= task.scores.get(name, 1.0)
        if settings.format and task.tests[0].well_formed(answer.text):
            value += settings.format
        if settings.length_buffer:
            beyond = answer.n_tokens - (self._max_tokens - settings.length_buffer)
            value -= min(max(beyond, 0) / settings.length_buffer, 1.0)
        reason = next((verdict.reason for verdict in rewarded if not verdict.passed), "passed")
        return Reward(value, passed, _share(watched) if watched else None, solved, reason)


def program_of(task: Task, text: str, how: Extraction = "auto") -> str:
    """Return what of an answer is judged: its program, found as `how` says, or what a domain's own test says.

    "" where it has none.
    """
    test = task.tests[0]
    if how != "auto" and type(test).judged is Test.judged:
        return extract(text, how, entry_point=task.entry_point)
    return test.judged(text, task.entry_point)


def tasks_that_cross(tasks: Sequence[Task], rewarder: Rewarder) -> tuple[list[Task], int]:
    """Return the tasks whose arguments reach an answer's process, and how many have others (functions, say).

    Asked of an answer that returns None: no answer could pass those.
    """
    tests = [(task.id, test) for task in tasks for test in (*task.tests, *task.watched)]
    asked = [(id_, program, test) for id_, test in tests if (program := test.without_answer())]
    verdicts = rewarder.verdicts([(program, test) for _, program, test in asked])
    held_back = {
        id_ for (id_, _, _), verdict in zip(asked, verdicts, strict=True) if verdict.reason == "unsupported"
    }
    return [task for task in tasks if task.id not in held_back], len(held_back)


def _share(verdicts: Sequence[Verdict]) -> float:
    return sum(verdict.passed for verdict in verdicts) / len(verdicts)
