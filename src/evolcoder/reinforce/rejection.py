"""Rejection sampling (RFT, arXiv 2308.01825): fine-tune on the answers that pass, sample again, repeat.

Each round samples from the model so far and fine-tunes the first one on all distinct right answers found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.instructions import read_instructions, write_instructions
from evolcoder.records import Instruction, Lineage
from evolcoder.reinforce.answers import JudgedAnswer, RunUnderWay, judged_answers, outcomes
from evolcoder.reinforce.policy import train_settings
from evolcoder.reinforce.tasks import Task
from evolcoder.runs import write_json_whole
from evolcoder.train.result import TrainResult
from evolcoder.train.trainer import train

_ROUNDS = "rounds.json"
"""In `OUT.rollouts/`: one entry for each round whose answers are sampled and judged."""
_LONGEST = 2048
"""Tokens of a prompt and an answer that are learnt from."""
_BATCH = 32
"""Answers of an optimizer step."""


def rejection_sampling(run: RunUnderWay, tasks: Sequence[Task]) -> TrainResult:
    """Fine-tune the base on its own right answers, round after round; write the last model.

    What was kept of each round, and how many passed, stays in `OUT.rollouts/`; a killed run goes on from
    there. Of several processes the first one samples, all train. Raises DataError where no answer passes, and
    what training raises.
    """
    folder, settings = run.rollouts, run.settings
    model, result = run.base, None
    shared = train_settings(settings, _LONGEST)
    how = replace(shared, epochs=settings.epochs, batch_size=_BATCH, schedule="cosine")
    for number in range(1, settings.rounds + 1):
        now = replace(run, base=model, settings=replace(settings, seed=settings.seed + number - 1))
        rounds, rows = run.processes.from_first(partial(_round, number, now, tasks))
        run.progress.note(
            f"round {number}: {rounds[-1]['passed']:.1%} of {len(tasks) * settings.group_size} answers pass, "
            f"{rounds[-1]['new']} distinct ones are new, {len(rows)} to learn from"
        )
        last = number == settings.rounds
        target = run.out if last else folder / f"round-{number}"
        told = {"reinforce": {"settings": asdict(settings), "rounds": rounds}}
        named = (run.fingerprint, told) if last else None
        result = train(run.base, rows, how, target, run.progress, run=named)
        model = str(target)
    assert result is not None
    return result


def _round(
    number: int, run: RunUnderWay, tasks: Sequence[Task]
) -> tuple[list[dict[str, Any]], list[Instruction]]:
    """Return what is told of the rounds up to this one, and the rows to learn from.

    Those of an earlier sitting of this run stand: a verdict that another machine or version gives otherwise
    would make other rows, another model, and so other answers. Raises DataError where there are no rows.
    """
    folder, file = run.rollouts, run.rollouts / f"round-{number}.jsonl"
    rounds = _rounds_of(folder, run.fingerprint)
    if len(rounds) < number:
        earlier = read_instructions(folder / f"round-{number - 1}.jsonl") if rounds else []
        answers = judged_answers(run, tasks)
        rows = [*earlier, *_distinct(answers, earlier, run.settings.answers_kept, number)]
        if not rows:
            raise DataError(
                f"none of {len(answers)} answers to {len({a.task.id for a in answers})} tasks passes "
                f"({outcomes(answers)}); easier tasks, more answers (group_size) or more tokens (max_tokens) "
                "are needed"
            )
        write_json_whole(folder / _ROUNDS, rounds)  # of no other run, before this one's rows stand there
        write_instructions(file, rows)
        passed = sum(answer.right for answer in answers) / len(answers)
        new = len(rows) - len(earlier)
        told = {"round": number, "passed": passed, "new": new, "rows": len(rows), "run": run.fingerprint}
        rounds.append(told)
        write_json_whole(folder / _ROUNDS, rounds)
    return rounds[:number], read_instructions(file)


def _rounds_of(folder: Path, run: str) -> list[dict[str, Any]]:
    """Return what is told of this run's finished samplings."""
    try:
        told = json.loads((folder / _ROUNDS).read_text(encoding="utf-8"))
        return [entry for entry in told if entry.get("run") == run]
    except (OSError, ValueError):
        return []


def _distinct(
    answers: Sequence[JudgedAnswer], earlier: Sequence[Instruction], most: int, number: int
) -> Iterator[Instruction]:
    """Yield the right answers whose programs are new, `most` a task, those of earlier rounds counted."""
    tasks = {answer.task.id: answer.task for answer in answers}
    known = {(row.lineage.seed_id, tasks[row.lineage.seed_id].distinct(row.response)) for row in earlier}
    kept = Counter(row.lineage.seed_id for row in earlier)
    for answer in answers:
        key = answer.task.id, answer.same
        if answer.right and key not in known and kept[answer.task.id] < most:
            known.add(key)
            kept[answer.task.id] += 1
            id_ = f"{answer.task.id}#{kept[answer.task.id]}"
            lineage = Lineage(answer.task.id, answer.task.id, number, "rejection sampling")
            yield Instruction(id_, answer.task.instruction, "", answer.text, lineage)
