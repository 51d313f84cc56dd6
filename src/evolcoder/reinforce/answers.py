"""A run under way, and judged answers of a finished model: what rejection sampling and DPO learn from.

The model's journal keeps every answer, so a run that was killed samples nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evolcoder.execution.bounded import gathered
from evolcoder.execution.engine import Engine
from evolcoder.execution.event_loop import run_async
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, Message, Request, Sampling
from evolcoder.models.session import ModelChoice, model_session
from evolcoder.progress import Progress
from evolcoder.reinforce.reward import Answer, Reward, Rewarder
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.train.processes import Processes

_IN_FLIGHT = 4096
"""Requests begun at once; a model in this process takes its waves from all that wait."""
_IN_WORDS = {"no answer": "without a program", "syntax error": "with a syntax error"}


@dataclass(frozen=True, slots=True)
class RunUnderWay:
    """What each way of learning is given; of several `processes` the first judges, where `engine` says."""

    base: str
    settings: ReinforceSettings
    out: Path
    """Where the finished model goes, whole or not at all."""
    fingerprint: str
    """Names the run, so that one that was killed goes on."""
    rewarder: Rewarder
    progress: Progress
    processes: Processes
    engine: Engine

    @property
    def rollouts(self) -> Path:
        """The folder of what was sampled."""
        return self.out.with_name(f"{self.out.name}.rollouts")

    @property
    def steps(self) -> Path:
        """The folder of checkpoints."""
        return self.out.with_name(f"{self.out.name}.steps")


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer to one task."""

    task: Task
    text: str
    reward: Reward
    same: str
    """The same for answers that differ in nothing that counts (programs in comments and layout only)."""
    truncated: bool = False
    """Cut at the longest allowed length: it teaches nothing, whatever its verdict."""

    @property
    def right(self) -> bool:
        """Whether it is whole and every rewarded test passed."""
        return self.reward.solved and not self.truncated


def judged_answers(run: RunUnderWay, tasks: Sequence[Task]) -> list[JudgedAnswer]:
    """Return `group_size` answers of the base to each task, with their rewards, in the order of the tasks."""
    completions = run_async(_complete(run, tasks))
    asked = [task for task in tasks for _ in range(run.settings.group_size)]
    answers = [Answer(c.text, c.completion_tokens, c.finish_reason == "length") for c in completions]
    rewards = run.rewarder.rewards(list(zip(asked, answers, strict=True)))
    return [
        JudgedAnswer(task, answer.text, reward, task.distinct(answer.text), answer.truncated)
        for task, answer, reward in zip(asked, answers, rewards, strict=True)
    ]


def outcomes(answers: Sequence[JudgedAnswer]) -> str:
    """Say what came of answers, the most frequent first: "12 cut at max_tokens, 3 failed"."""
    told = Counter("cut at max_tokens" if answer.truncated else answer.reward.reason for answer in answers)
    return ", ".join(f"{n} {_IN_WORDS.get(reason, reason)}" for reason, n in told.most_common())


async def _complete(run: RunUnderWay, tasks: Sequence[Task]) -> list[Completion]:
    settings = run.settings
    sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens, seed=settings.seed)
    local = LocalSettings(batch_size=settings.sample_batch, dtype=settings.dtype)
    choice, journal = ModelChoice(run.base, local=local), run.rollouts / "journal.sqlite"
    async with model_session(choice, journal, run.engine) as opened:
        with run.progress.bar("sampling (answers)", len(tasks) * settings.group_size) as bar:
            asked = (_prompt(task, settings) for task in tasks)
            requests = (Request(prompt, sampling, i) for prompt in asked for i in range(settings.group_size))
            return await gathered(opened.complete, requests, _IN_FLIGHT, bar)


def _prompt(task: Task, settings: ReinforceSettings) -> tuple[Message, ...] | str:
    published = settings.prompt_style == "wizardcoder"
    return instruction_prompt(task.instruction) if published else (Message("user", task.instruction),)
