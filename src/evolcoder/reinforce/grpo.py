"""GRPO (arXiv 2402.03300) with the corrections of Dr. GRPO and DAPO, the sandbox as its reward.

Read `grpo` first. A step samples groups of answers, judges them, learns from those groups whose answers
earned different rewards, and leaves its answers on disk before it learns, so that a run that was killed
samples nothing twice and ends in the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evolcoder.errors import TrainingError
from evolcoder.models.local.weights import load_weights
from evolcoder.progress import Progress
from evolcoder.reinforce.answers import RunUnderWay
from evolcoder.reinforce.curves import Curves, HeldOutScore, PolicyStep, mean
from evolcoder.reinforce.policy import Policy, documents_of, open_policy
from evolcoder.reinforce.policy_loss import (
    PolicyStats,
    advantages,
    all_stats,
    policy_objective,
    token_weights,
)
from evolcoder.reinforce.reward import Rewarder
from evolcoder.reinforce.sampler import Asked, ClusterSampler, Rollout, Sampler, read_rollouts, write_rollouts
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.train.checkpoints import Checkpoints
from evolcoder.train.export import export
from evolcoder.train.loss import Objective, SummedLoss
from evolcoder.train.measurements import Measurements, StepRecord
from evolcoder.train.optimizer import learning_rate
from evolcoder.train.result import TrainResult
from evolcoder.train.step import PreparedModel, placed_loss
from evolcoder.train.tokenization import TokenizedData

_EVAL_TEMPERATURE = 0.2


def grpo(given: RunUnderWay, tasks: Sequence[Task], held_out: Sequence[Task]) -> TrainResult:
    """Train the base on the verdicts on its own answers; write a model folder, whole or not at all.

    The answers of every step stay beside it in `OUT.rollouts/`, the curves in its `training.json`. A killed
    run goes on. Several processes sample each a part of the tasks and learn each from a part of the answers;
    the first one judges. A single one samples where the engine says. Raises TrainingError where the loss is
    not a number, and what the engine raises.
    """
    settings, progress = given.settings, given.progress
    policy = open_policy(given.base, [*tasks, *held_out], settings, given.processes, progress)
    checkpoints = Checkpoints(given.steps, given.fingerprint, settings.keep, given.processes)
    run = _Run(
        policy=policy,
        sampler=_sampler(given, policy),
        tasks=[task for task in tasks if task.id in policy.prompts],
        held_out=[task for task in held_out if task.id in policy.prompts],
        settings=settings,
        rewarder=given.rewarder,
        progress=progress,
        rollouts=given.rollouts / given.fingerprint[:16],
        reference=_reference(given.base, policy, settings),
    )
    with checkpoints.alone():
        run.resume(checkpoints)
        run.go(checkpoints)
    rows = [task.row for task in run.tasks]
    further = {"reinforce": {"settings": asdict(settings), **run.curves.facts()}}
    trained = (policy.prepared, policy.tokenizer, run.measurements, checkpoints)
    return export(given.out, given.base, rows, given.fingerprint, *trained, further)


def _sampler(given: RunUnderWay, policy: Policy) -> Sampler | ClusterSampler:
    if given.processes.count == 1 and given.engine.name != "local":
        return ClusterSampler(given.engine, given.base, policy, given.settings)
    return Sampler(policy.writer, policy.tokenizer, policy.prepared.data.end_token, given.settings)


def _reference(base: str, policy: Policy, settings: ReinforceSettings) -> SummedLoss | None:
    """Return the model before training, which the KL term keeps the policy near; None without that term."""
    if not settings.kl:
        return None
    prepared, processes = policy.prepared, policy.prepared.processes
    with processes.in_turn():
        model, _ = load_weights(base, prepared.settings.dtype)
        model.set_attn_implementation(prepared.model.config._attn_implementation)
        model.requires_grad_(False)
        return placed_loss(model, prepared.loss.head, prepared.settings, processes).to(processes.device)


@dataclass(slots=True)
class _Run:
    """A run under way."""

    policy: Policy
    sampler: Sampler | ClusterSampler
    tasks: list[Task]
    held_out: list[Task]
    settings: ReinforceSettings
    rewarder: Rewarder
    progress: Progress
    rollouts: Path
    reference: SummedLoss | None
    drawn: int = 0
    """Tasks taken from the endless order so far."""
    curves: Curves = field(default_factory=Curves)
    measurements: Measurements = field(default_factory=Measurements)
    seconds: dict[str, float] = field(default_factory=lambda: {"sampling": 0.0, "judging": 0.0})
    """Of the step under way: sampling, judging."""

    @property
    def prepared(self) -> PreparedModel:
        """The model, its loss and its optimizer."""
        return self.policy.prepared

    def resume(self, checkpoints: Checkpoints) -> None:
        """Go on from the newest whole checkpoint of this run, where there is one."""
        if (facts := checkpoints.resume(self.prepared.update.load, self.progress)) is not None:
            self.drawn = int(facts["drawn"])
            self.curves = Curves.of_facts(facts["curves"])
            self.measurements = Measurements.resumed(facts)

    def go(self, checkpoints: Checkpoints) -> None:
        """Do the steps that are left, measure, and keep checkpoints."""
        settings, update = self.settings, self.prepared.update
        with self.progress.bar("reinforce (steps)", settings.steps) as bar:
            bar.advance(len(self.curves.steps))
            if not self.curves.steps:
                self._measure(0)
            for number in range(len(self.curves.steps), settings.steps):
                record = self._step(number)
                self.curves.steps.append(record)
                bar.advance(1, reward=round(record.reward, 3), solved=round(record.solved, 3))
                last = number + 1 == settings.steps
                if last or (number + 1) % settings.eval_every == 0:
                    self._measure(number + 1)
                if not last and (number + 1) % settings.save_every == 0:
                    facts = {"drawn": self.drawn, "curves": self.curves.facts()}
                    facts |= {**self.measurements.facts(), **update.facts()}
                    checkpoints.save(number + 1, update.save, facts)
        if not any(step.with_signal for step in self.curves.steps):
            solved = mean([step.solved for step in self.curves.steps])
            cut = mean([step.truncated for step in self.curves.steps])
            self.progress.note(
                f"nothing was learnt: in {len(self.curves.steps)} steps the answers to each task earned the "
                f"same ({solved:.0%} solved, {cut:.0%} cut at max_tokens); "
                "other tasks, reward.score share, a larger group_size or a higher temperature may help"
            )

    def _step(self, number: int) -> PolicyStep:
        """Sample, judge and learn once."""
        begun = time.monotonic()
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        groups: list[list[Rollout]] = []
        seen: list[list[Rollout]] = []
        for wave in range(self.settings.refill + 1):
            wanted = self.settings.tasks_per_step - len(groups)
            if not wanted:
                break
            new = self._wave(number, wave, wanted)
            seen += new
            groups += [group for group in new if _has_signal(group)]
        loss, norm, rate, stats = self._learn(groups, number)
        seconds = time.monotonic() - begun
        learnt = [rollout for group in groups for rollout in group]
        supervised = sum(len(r.tokens) for r in learnt)
        tokens = supervised + sum(len(self.policy.prompts[r.task_id]) for r in learnt)
        record = StepRecord(number + 1, loss, rate, norm, tokens, supervised, tokens, seconds)
        self.measurements.steps.append(record)
        answers = [rollout for group in seen for rollout in group]
        rewards = [r.reward for r in answers]
        watched = [reward.watched for reward in rewards if reward.watched is not None]
        paired = [reward.passed for reward in rewards if reward.watched is not None]
        return PolicyStep(
            step=number + 1,
            reward=mean([reward.value for reward in rewards]),
            passed=mean([reward.passed for reward in rewards]),
            solved=mean([float(reward.solved) for reward in rewards]),
            watched=mean(watched) if watched else None,
            gap=mean(paired) - mean(watched) if watched else None,
            tokens=mean([float(len(r.tokens)) for r in answers]),
            truncated=mean([float(r.truncated) for r in answers]),
            with_signal=sum(map(_has_signal, seen)) / len(seen),
            answers=len(answers),
            loss=loss,
            grad_norm=norm,
            learning_rate=rate,
            seconds=seconds,
            seconds_sampling=self.seconds["sampling"],
            seconds_judging=self.seconds["judging"],
            **stats.means(),
        )

    def _wave(self, number: int, wave: int, n_tasks: int) -> list[list[Rollout]]:
        """Return the judged groups of the next tasks."""
        tasks = [self._task_at(self.drawn + i) for i in range(n_tasks)]
        self.drawn += n_tasks
        n = self.settings.group_size
        sampled = partial(self._sampled, tasks, n, self.settings.temperature, [number, wave])
        rollouts = self._kept(f"step-{number + 1:06d}-{wave}", sampled)
        return [rollouts[i : i + n] for i in range(0, len(rollouts), n)]

    def _kept(self, name: str, sample: Callable[[], list[Rollout]]) -> list[Rollout]:
        """Return judged answers as an earlier sitting left them under this name, or sampled now."""
        path, processes = self.rollouts / f"{name}.jsonl", self.prepared.processes
        rollouts = processes.from_first(lambda: read_rollouts(path) if path.exists() else None)
        if rollouts is None:
            rollouts = sample()
            if processes.first:
                write_rollouts(path, rollouts)
        return rollouts

    def _sampled(
        self, tasks: Sequence[Task], n: int, temperature: float, noise: Sequence[Any]
    ) -> list[Rollout]:
        begun = time.monotonic()
        processes = self.prepared.processes
        self.policy.refresh_writer()
        mine = [(i, task) for i, task in enumerate(tasks) if i % processes.count == processes.rank]
        prompts = tuple(self.policy.prompts[task.id] for _, task in mine)
        names = tuple([self.settings.seed, *noise, i, task.id] for i, task in mine)
        with self.progress.bar("sampling (answers)", n * len(mine)) as bar:
            written = self.sampler.sample(Asked(prompts, n, temperature, names), bar)
        parts = processes.every(written)
        between = time.monotonic()
        groups = [parts[i % processes.count][i // processes.count] for i in range(len(tasks))]
        flat = [(task, *one) for task, group in zip(tasks, groups, strict=True) for one in group]
        judged = [(task, answer) for task, answer, _, _ in flat]
        rewards = processes.from_first(lambda: self.rewarder.rewards(judged))
        self.seconds["sampling"] += between - begun
        self.seconds["judging"] += time.monotonic() - between
        return [
            Rollout(task.id, tokens, logps, answer.truncated, answer.text, reward)
            for (task, answer, tokens, logps), reward in zip(flat, rewards, strict=True)
        ]

    def _task_at(self, position: int) -> Task:
        """Return the task at a place of the endless order: one permutation after another."""
        epoch, at = divmod(position, len(self.tasks))
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.tasks))
        return self.tasks[int(order[at])]

    def _learn(
        self, groups: Sequence[Sequence[Rollout]], number: int
    ) -> tuple[float, float, float, PolicyStats]:
        """Move the weights by groups with signal; return loss, gradient norm, rate and what was seen."""
        settings, stats = self.settings, PolicyStats()
        rate = learning_rate(number, settings.steps, self.prepared.settings)
        batch = batch_of(groups, self.policy.prompts, settings, self.prepared.data.end_token)
        if not batch.documents:
            return 0.0, 0.0, rate, stats
        old = reference = None
        if settings.updates > 1:
            old = self.policy.log_probabilities(batch.data, batch.documents)
        if self.reference is not None:
            reference = self.policy.log_probabilities(batch.data, batch.documents, self.reference)
        loss = norm = 0.0
        for _ in range(settings.updates):
            stats = PolicyStats()
            objectives = batch.objectives(settings, stats, self.prepared.processes.device, old, reference)
            loss, norm = self.policy.update(batch.data, batch.documents, objectives, rate)
            if not np.isfinite(loss) or not np.isfinite(norm):
                raise TrainingError(
                    f"the loss of step {number + 1} is {loss}, its gradient {norm}; a lower learning_rate "
                    f"(now {rate:.1e}) or dtype fp32 usually helps"
                )
        return loss, norm, rate, all_stats(self.prepared.processes.every(stats))

    def _measure(self, step: int) -> None:
        """Measure on the held-out tasks."""
        if not self.held_out:
            return
        n = self.settings.eval_samples
        temperature = 0.0 if n == 1 else _EVAL_TEMPERATURE
        sampled = partial(self._sampled, self.held_out, n, temperature, ["held out"])
        rollouts = self._kept(f"held-out-{step:06d}-{n}", sampled)
        watched = [r.reward.watched for r in rollouts if r.reward.watched is not None]
        solved, n_tasks = mean([float(r.reward.solved) for r in rollouts]), len(self.held_out)
        score = HeldOutScore(step, solved, mean(watched) if watched else None, n_tasks, n)
        self.curves.held_out.append(score)
        self.progress.note(f"step {step}: {solved:.1%} of {n_tasks} held-out tasks solved")


def _has_signal(group: Sequence[Rollout]) -> bool:
    return len({rollout.reward.value for rollout in group}) > 1


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers of one step, ready to be learnt from."""

    data: TokenizedData
    documents: list[int]
    """Those that count."""
    advantages: list[float]
    weights: list[float]
    """Of each token of a document."""
    sampled: list[tuple[float, ...]]

    def objectives(
        self,
        settings: ReinforceSettings,
        stats: PolicyStats,
        device: torch.device,
        old: dict[int, torch.Tensor] | None,
        reference: dict[int, torch.Tensor] | None,
    ) -> Any:
        """Return a function from the documents of a micro-batch to its objective."""

        def per_token(values: Sequence[float], chosen: tuple[int, ...]) -> torch.Tensor:
            lengths = torch.tensor([len(self.sampled[i]) for i in chosen])
            return torch.tensor([values[i] for i in chosen]).repeat_interleave(lengths).to(device)

        def together(known: dict[int, torch.Tensor] | None, chosen: tuple[int, ...]) -> torch.Tensor | None:
            return None if known is None else torch.cat([known[i] for i in chosen])

        def objective(chosen: tuple[int, ...]) -> Objective:
            sampled = torch.tensor([logp for i in chosen for logp in self.sampled[i]])
            return policy_objective(
                per_token(self.advantages, chosen),
                per_token(self.weights, chosen),
                settings,
                stats,
                sampled_S=sampled.to(device),
                old_S=together(old, chosen),
                reference_S=together(reference, chosen),
            )

        return objective


def batch_of(
    groups: Sequence[Sequence[Rollout]],
    prompts: dict[str, tuple[int, ...]],
    settings: ReinforceSettings,
    end_token: int,
) -> Batch:
    """Return groups of answers as a batch: documents, advantages, weights."""
    rollouts = [rollout for group in groups for rollout in group]
    counts = [bool(r.tokens) and not (r.truncated and settings.mask_truncated) for r in rollouts]
    return Batch(
        data=documents_of([prompts[r.task_id] for r in rollouts], [r.tokens for r in rollouts], end_token),
        documents=[i for i, counted in enumerate(counts) if counted],
        advantages=[
            one for group in groups for one in advantages([r.reward.value for r in group], settings.loss)
        ],
        weights=token_weights([len(r.tokens) for r in rollouts], counts, settings),
        sampled=[r.log_probabilities for r in rollouts],
    )
