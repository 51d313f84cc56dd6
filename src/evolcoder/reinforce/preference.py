"""DPO (arXiv 2305.18290) on verdicts: of two answers to one task, the one that passes is preferred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from evolcoder.errors import DataError, TrainingError
from evolcoder.records import Instruction
from evolcoder.reinforce.answers import JudgedAnswer, RunUnderWay, judged_answers, outcomes
from evolcoder.reinforce.curves import mean
from evolcoder.reinforce.policy import Policy, open_policy
from evolcoder.reinforce.policy_loss import preference_objective
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.runs import write_jsonl_whole
from evolcoder.train.checkpoints import Checkpoints
from evolcoder.train.export import export
from evolcoder.train.loss import Objective
from evolcoder.train.measurements import Measurements, StepRecord
from evolcoder.train.optimizer import learning_rate
from evolcoder.train.result import TrainResult
from evolcoder.train.tokenization import TokenizedData, tokenize


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one task."""

    task: Task
    chosen: str
    rejected: str


def preference(run: RunUnderWay, tasks: Sequence[Task]) -> TrainResult:
    """Sample, judge, pair and train; write a model folder.

    The pairs stay in `OUT.rollouts/`. A killed run goes on. Of several processes the first one samples, all
    train. Raises DataError where no task has an answer that passes and one that fails.
    """

    def found() -> list[Pair]:
        answers = judged_answers(run, tasks)
        pairs = pairs_of(answers, run.settings.answers_kept)
        if not pairs:
            raise DataError(
                f"{run.base}: no task has both an answer that passes and one that fails ({outcomes(answers)})"
            )
        write_jsonl_whole(
            run.rollouts / "pairs.jsonl",
            ({"task_id": p.task.id, "chosen": p.chosen, "rejected": p.rejected} for p in pairs),
        )
        run.progress.note(f"{len(pairs)} pairs of {len({pair.task.id for pair in pairs})} tasks")
        return pairs

    return train_on_pairs(run, run.processes.from_first(found))


def pairs_of(answers: Sequence[JudgedAnswer], most: int) -> list[Pair]:
    """Return pairs of distinct answers, one that passes and one that fails, `most` a task."""
    right: dict[str, dict[str, JudgedAnswer]] = {}
    wrong: dict[str, dict[str, JudgedAnswer]] = {}
    for answer in answers:
        if answer.truncated:
            continue
        side = right if answer.right else wrong
        side.setdefault(answer.task.id, {}).setdefault(answer.same, answer)
    return [
        Pair(chosen.task, chosen.text, rejected.text)
        for id_, some in right.items()
        for chosen, rejected in list(zip(some.values(), wrong.get(id_, {}).values(), strict=False))[:most]
    ]


def train_on_pairs(run: RunUnderWay, pairs: Sequence[Pair]) -> TrainResult:
    """Train on pairs of answers against the first model's own log-probabilities, computed once."""
    settings, progress, processes = run.settings, run.progress, run.processes
    tasks = list({pair.task.id: pair.task for pair in pairs}.values())
    policy = open_policy(run.base, tasks, settings, processes, progress)
    prepared = policy.prepared
    data = _documents(pairs, policy, settings)
    checkpoints = Checkpoints(run.steps, run.fingerprint, settings.keep, processes)
    reference = _sums(policy, data)
    order = _steps(len(pairs), settings)
    measurements = Measurements.resumed(checkpoints.resume(prepared.update.load, progress))
    margins: list[float] = []
    with checkpoints.alone(), progress.bar("dpo (steps)", len(order)) as bar:
        bar.advance(measurements.n_steps)
        for number in range(measurements.n_steps, len(order)):
            margins = []
            rate = learning_rate(number, len(order), prepared.settings)
            groups = tuple((2 * i, 2 * i + 1) for i in order[number])
            objectives = partial(_objective, data, reference, settings.beta, len(groups), margins)
            loss, norm = policy.update(data, [], objectives, rate, groups)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss of step {number + 1} is {loss}; a lower learning_rate helps")
            documents = np.array(groups).reshape(-1)
            tokens, answered = int(data.lengths[documents].sum()), int(data.supervised[documents].sum())
            measurements.steps.append(StepRecord(number + 1, loss, rate, norm, tokens, answered, tokens, 0.0))
            margins = [margin for part in processes.every(margins) for margin in part]
            bar.advance(1, loss=round(loss, 4), margin=round(mean(margins), 3))
            if number + 1 < len(order) and (number + 1) % settings.save_every == 0:
                facts = {**measurements.facts(), **prepared.update.facts()}
                checkpoints.save(number + 1, prepared.update.save, facts)
    rows = [Instruction(t.id, t.instruction, "", "", t.row.lineage) for t in tasks]
    further = {"reinforce": {"settings": asdict(settings), "pairs": len(pairs), "last_margin": mean(margins)}}
    trained = (prepared, policy.tokenizer, measurements, checkpoints)
    return export(run.out, run.base, rows, run.fingerprint, *trained, further)


def _documents(pairs: Sequence[Pair], policy: Policy, settings: ReinforceSettings) -> TokenizedData:
    """Return all answers as documents, each chosen one before its rejected one."""
    rows = [
        Instruction(f"{i}", pair.task.instruction, "", text, pair.task.row.lineage)
        for i, pair in enumerate(pairs)
        for text in (pair.chosen or " ", pair.rejected or " ")
    ]
    longest = policy.prepared.settings.max_length
    data = tokenize(rows, policy.tokenizer, settings.prompt_style, longest + 1)
    assert len(data) == len(rows)
    return data


def _sums(policy: Policy, data: TokenizedData) -> list[float]:
    mine = policy.log_probabilities(data, range(len(data)))
    parts = policy.prepared.processes.every({i: float(some.sum()) for i, some in mine.items()})
    known = {i: total for part in parts for i, total in part.items()}
    return [known[i] for i in range(len(data))]


def _steps(n_pairs: int, settings: ReinforceSettings) -> list[list[int]]:
    """Return the pairs of each step: passes over all, in an order of their own."""
    random = np.random.default_rng(settings.seed)
    left = max(1, round(settings.epochs * n_pairs))
    size = settings.tasks_per_step
    steps: list[list[int]] = []
    while left > 0:
        order = [int(i) for i in random.permutation(n_pairs)[:left]]
        left -= len(order)
        steps += [order[i : i + size] for i in range(0, len(order), size)]
    return steps


def _objective(
    data: TokenizedData,
    reference: Sequence[float],
    beta: float,
    n_pairs: int,
    margins: list[float],
    documents: tuple[int, ...],
) -> Objective:
    lengths = [int(data.supervised[i]) for i in documents]
    return preference_objective(lengths, [reference[i] for i in documents], beta, n_pairs, margins)
