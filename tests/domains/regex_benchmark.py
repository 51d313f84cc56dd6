"""Two problems of regular expressions, judged by `re.fullmatch` in the sandbox."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.domains.regex_domain import matching, pattern_in

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, PromptForm
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.sandbox.protocol import Job, Limits, Outcome

TASKS = {"Match one or more digits.": (["12"], ["a", ""]), "Match the word yes.": (["yes"], ["no", "yess"])}


@dataclass(frozen=True)
class Patterns(Benchmark):
    prompt_form: PromptForm = "prose"

    def question(self, problem: Problem) -> str:
        return f"{problem.prompt}\n\nAnswer with one Python regular expression in a code block."

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        return Sample(problem.task_id, index, raw, pattern_in(raw), whole=True)

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        return None if program else Verdict(False, "no answer", "there is no pattern")

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        right, wrong = json.loads(problem.tests)
        return matching(program, right + wrong, limits)

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        right, wrong = json.loads(problem.tests)
        expected = [True] * len(right) + [False] * len(wrong)
        if not outcome.verdict.passed or json.loads(outcome.stdout) == expected:
            return outcome.verdict
        return Verdict(False, "failed", "matches otherwise", "stdio", outcome.verdict.level)


def load() -> Benchmark:
    problems = [
        Problem(f"Regex/{n}", "regex", text, "", json.dumps(tests))
        for n, (text, tests) in enumerate(TASKS.items())
    ]
    return Patterns("regex", "", tuple(problems))
