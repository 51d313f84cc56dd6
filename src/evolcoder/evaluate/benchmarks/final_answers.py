"""Benchmarks of mathematics: a solution in words, judged by its final answer. No program is run.

Prompts, stops and the oracle "wizardmath" are those of WizardMath's scripts (arXiv 2308.09583): what follows
the last "The answer is: " is compared. The oracle "math-verify" looks for an answer in any form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evolcoder.answer_equality import comparison_version, equality_job
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, PromptForm
from evolcoder.evaluate.settings import Style
from evolcoder.evaluate.styles import Asked, check_style, of_preset
from evolcoder.extraction.code_blocks import Extraction, without_thinking
from evolcoder.extraction.final_answers import after_answer_words, final_answer, normalised
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.protocol import Message
from evolcoder.records import Problem, ProblemText, Reason, Sample, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import Job, Limits

COT = " Let's think step by step."
"""What WizardMath's scripts put after "### Response:"; the preset "direct" leaves it out."""
PRESETS = {"published": COT, "direct": ""}
STOPS = ("Instruction:", "Instruction", "Response:", "Response")
"""Those of WizardMath's scripts."""
ASK_FOR_ANSWER = 'Solve it step by step. End with "The answer is: " and the final answer.'
_NOT_READ = "nothing follows the words 'The answer is: '"


@dataclass(frozen=True)
class FinalAnswers(Benchmark):
    """Problems whose `tests` is the expected final answer."""

    oracles: tuple[str, ...] = ("wizardmath", "math-verify")
    prompt_form: PromptForm = "prose"
    own_extraction: bool = True
    default_timeout_s: float = 5.0
    default_memory_bytes: int = 1 << 30
    same: Callable[[str, str], bool] = lambda expected, said: expected == said
    """Whether what follows the published words is the expected answer, by the published rule."""
    symbolic: bool = False
    """Whether that rule also compares what two expressions mean, which is asked of math-verify."""

    @property
    def highlighted(self) -> None:
        """Answers are words."""
        return None

    def ask(self, problem: Problem, style: Style, preset: str = "published") -> Asked:
        """Return the published prompt, with the chain of thought or without; raises UserError."""
        check_style(style)
        if style == "wizardcoder":
            return Asked(instruction_prompt(problem.prompt) + of_preset(preset, PRESETS), STOPS)
        if style == "chat":
            return Asked((Message("user", self.question(problem)),))
        return Asked(f"Question: {problem.prompt}\nAnswer:", ("\nQuestion:",))

    def instruction(self, problem: Problem) -> str:
        """Return the problem as it stands."""
        return problem.prompt

    def question(self, problem: Problem) -> str:
        """Ask a chat model to end as the oracle reads."""
        return f"{problem.prompt}\n\n{ASK_FOR_ANSWER}"

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the solution without its thinking."""
        return Sample(problem.task_id, index, raw, without_thinking(raw), whole=True)

    def vote(self, problem: Problem, sample: Sample) -> str:
        """Return the sample's final answer in one spelling."""
        return normalised(final_answer(sample.program))

    def texts(self) -> list[ProblemText]:
        """Return the problems alone; their solutions are no code."""
        return [ProblemText(self.name, p.task_id, p.prompt, "") for p in self.problems]

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the expected answer, and how math-verify compares where it does."""
        version = comparison_version() if oracle == "math-verify" or self.symbolic else ""
        return content_hash(self.title, oracle, version, problem.task_id, problem.tests)

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Compare by the published rule; a solution for math-verify is judged in the sandbox."""
        if oracle == "math-verify":
            return None if program.strip() else Verdict(False, "no answer", "the solution is empty")
        said = after_answer_words(program)
        passed = bool(said) and self.same(problem.tests, said)
        if said and not passed and self.symbolic:
            return None
        detail = "" if passed else f"{problem.tests} is expected, found {said[:200]!r}" if said else _NOT_READ
        reason: Reason = "passed" if passed else "failed" if said else "no answer"
        return Verdict(passed, reason, detail, tier="text", level="nothing run")

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return the job that compares by math-verify; raises MissingExtraError without it."""
        text = f"\\boxed{{{after_answer_words(program)}}}" if oracle == "wizardmath" else program
        return equality_job(problem.tests, text, limits)
