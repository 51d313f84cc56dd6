"""Rejection sampling (RFT, arXiv 2308.01825): fine-tune on the answers that pass, sample again, repeat.

Each round samples from the model so far and fine-tunes the first one on all distinct right answers found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from evolcoder.errors import DataError
from evolcoder.execution.engine import Engine
from evolcoder.instructions import write_instructions
from evolcoder.progress import Progress
from evolcoder.records import Instruction, Lineage
from evolcoder.reinforce.answers import JudgedAnswer, judged_answers, outcomes
from evolcoder.reinforce.policy import train_settings
from evolcoder.reinforce.reward import Rewarder
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.runs import write_json_whole
from evolcoder.train.processes import Processes
from evolcoder.train.result import TrainResult
from evolcoder.train.settings import TrainSettings
from evolcoder.train.trainer import train

_LONGEST = 2048
"""Tokens of a prompt and an answer that are learnt from."""
_BATCH = 32
"""Answers of an optimizer step."""


def rejection_sampling(
    base: str,
    tasks: Sequence[Task],
    settings: ReinforceSettings,
    out: Path,
    rewarder: Rewarder,
    progress: Progress,
    processes: Processes,
    engine: Engine,
    overwrite: bool = True,
) -> TrainResult:
    """Fine-tune `base` on its own right answers, round after round; write the last model to `out`.

    What was kept of each round, and how many passed, stays in `OUT.rollouts/`. Of several `processes` the
    first one samples and judges (`engine` says where), all train. Raises DataError where no
    answer passes, and what training raises.
    """
    folder = out.with_name(f"{out.name}.rollouts")
    rows: dict[tuple[str, str], Instruction] = {}
    kept: dict[str, int] = defaultdict(int)
    rounds: list[dict[str, float]] = []
    model, result = base, None
    for number in range(1, settings.rounds + 1):
        now = replace(settings, seed=settings.seed + number - 1)
        sampled = partial(
            judged_answers, model, tasks, now, folder / "journal.sqlite", rewarder, engine, progress
        )
        answers = processes.from_first(sampled)
        new = _take_distinct(answers, rows, kept, settings.answers_kept, number)
        if not rows:
            raise DataError(
                f"{base}: none of {len(answers)} answers to {len(tasks)} tasks passes ({outcomes(answers)}); "
                "easier tasks, more answers (group_size) or more tokens (max_tokens) are needed"
            )
        passed = sum(answer.right for answer in answers) / len(answers)
        progress.note(
            f"round {number}: {passed:.1%} of {len(answers)} answers pass, {new} distinct ones are new, "
            f"{len(rows)} to learn from"
        )
        rounds.append({"round": number, "passed": passed, "new": new, "rows": len(rows)})
        data = list(rows.values())
        if processes.first:
            write_instructions(folder / f"round-{number}.jsonl", data)
            write_json_whole(folder / "rounds.json", rounds)
        last = number == settings.rounds
        target = out if last else folder / f"round-{number}"
        result = train(base, data, _training(settings), target, progress, overwrite=overwrite or not last)
        model = str(target)
    assert result is not None
    return result


def _take_distinct(
    answers: Sequence[JudgedAnswer],
    rows: dict[tuple[str, str], Instruction],
    kept: dict[str, int],
    most: int,
    number: int,
) -> int:
    """Add the right answers whose programs are new, `most` a task; return how many."""
    before = len(rows)
    for answer in answers:
        key = answer.task.id, answer.same
        if answer.right and key not in rows and kept[answer.task.id] < most:
            kept[answer.task.id] += 1
            id_ = f"{answer.task.id}#{kept[answer.task.id]}"
            lineage = Lineage(answer.task.id, answer.task.id, number, "rejection sampling")
            rows[key] = Instruction(id_, answer.task.instruction, "", answer.text, lineage)
    return len(rows) - before


def _training(settings: ReinforceSettings) -> TrainSettings:
    shared = train_settings(settings, _LONGEST)
    return replace(shared, epochs=settings.epochs, batch_size=_BATCH, schedule="cosine")
