"""The model that learns: prepared as for fine-tuning, moved by objectives over its own log-probabilities.

Several processes shard its weights and divide the answers of a step; each holds a whole copy to sample with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from evolcoder.errors import DataError, TrainingError
from evolcoder.models.local.weights import load_weights
from evolcoder.progress import Progress
from evolcoder.records import Instruction
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.train.adapters import add_adapters
from evolcoder.train.loss import Objective, SummedLoss
from evolcoder.train.optimizer import TORCH_DTYPES
from evolcoder.train.packing import Step, micro_batches, row_capacity
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings
from evolcoder.train.step import PreparedModel, prepare
from evolcoder.train.tokenization import TokenizedData, tokenize

_AS_FINE_TUNING = (
    *("learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "dtype", "lora", "prompt_style"),
    *("keep", "seed"),
)
"""Settings that fine-tuning has under the same name."""
_ANY_LENGTH = 1 << 30
_ROW_TOKENS = 2048
"""Tokens that go through the model at once, unless one answer is longer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A model that samples and learns."""

    prepared: PreparedModel
    writer: Any
    """The model that samples: the one that is trained, or its copy where that one is sharded."""
    tokenizer: Any
    prompts: dict[str, tuple[int, ...]]
    """Prompt tokens by task id."""
    temperature: float

    def update(
        self,
        data: TokenizedData,
        documents: Sequence[int],
        objective_of: Callable[[tuple[int, ...]], Objective],
        rate: float,
        groups: Sequence[tuple[int, ...]] | None = None,
    ) -> tuple[float, float]:
        """Do one optimizer step on `documents`; return the loss and the gradient's norm before clipping.

        `groups`, where given, are the micro-batches themselves (of pairs that must stay together). Of several
        processes each asks for the objectives of its own micro-batches only.
        """
        prepared, processes = self.prepared, self.prepared.processes
        if groups and prepared.rows == "single":
            raise TrainingError("pairs of answers cannot go through this model together; grpo and rft can")
        batches = prepared.share(Step(tuple(groups or ()) or self._batches(documents, data)), data.lengths)
        total = 0.0
        for at, (batch, counts) in enumerate(batches, 1):
            inputs = prepared.batch(batch, data).to(processes.device)
            loss = prepared.loss(inputs, objective_of(batch) if counts else None, self.temperature)
            if not counts:
                loss = loss * 0.0
            # FSDP averages gradients over the processes; the sum is wanted.
            prepared.update.backward(loss * processes.count, last=at == len(batches))
            total += float(loss.detach())
        return processes.sum(total), prepared.update.step(rate)

    def log_probabilities(
        self, data: TokenizedData, documents: Sequence[int], loss: SummedLoss | None = None
    ) -> dict[int, torch.Tensor]:
        """Return log-probabilities of the supervised tokens by document, of this model or of `loss`.

        Of several processes each gets those of the documents that `update` gives it.
        """
        prepared = self.prepared
        model: SummedLoss = prepared.loss if loss is None else loss
        model.eval()
        found: dict[int, torch.Tensor] = {}
        for batch, _ in prepared.share(Step(self._batches(documents, data)), data.lengths):
            inputs = prepared.batch(batch, data).to(prepared.processes.device)
            logp_S, _ = model.log_probabilities(inputs, self.temperature)
            lengths = [int(data.supervised[i]) for i in batch]
            found |= dict(zip(batch, torch.split(logp_S, lengths), strict=True))
        prepared.model.train()
        return found

    def _batches(self, documents: Sequence[int], data: TokenizedData) -> tuple[tuple[int, ...], ...]:
        """Divide documents into micro-batches, of which each process gets some."""
        settings, count = self.prepared.settings, self.prepared.processes.count
        if count > 1:
            lengths = data.lengths[list(documents)]
            part = -(-int(lengths.sum()) // count)
            room = max(int(lengths.max()), min(part, row_capacity(settings)))
            settings = replace(settings, pack_length=room)
        return micro_batches(documents, data.lengths, settings)

    @torch.no_grad()
    def refresh_writer(self) -> None:
        """Bring the copy that samples up to date, by all processes together."""
        if self.writer is self.prepared.model:
            return
        self.prepared.loss.reshard()  # a forward pass leaves the outermost weights gathered
        pairs = zip(self.prepared.model.parameters(), self.writer.parameters(), strict=True)
        for sharded, whole in pairs:
            if sharded.requires_grad:
                whole.copy_(sharded.full_tensor())


def open_policy(
    base: str, tasks: Sequence[Task], settings: ReinforceSettings, processes: Processes, progress: Progress
) -> Policy:
    """Load a model and make it ready to sample and to learn; tasks whose prompts leave no room are left out.

    Raises DataError where none is left, TrainingError for what this model cannot do.
    """
    with processes.in_turn():  # each holds the whole model until it is sharded
        model, tokenizer = load_weights(base, "fp32")
        rows = [_row(task) for task in tasks]
        data = tokenize(rows, tokenizer, settings.prompt_style, _ANY_LENGTH)
        positions = getattr(model.config, "max_position_embeddings", None) or _ANY_LENGTH
        prompts = {
            task.id: tuple(int(t) for t in data.document(i)[: data.prompt_lengths[i]])
            for i, task in enumerate(tasks)
            if data.prompt_lengths[i] + settings.max_tokens <= positions
        }
        if not prompts:
            raise DataError(
                f"no task leaves room for max_tokens {settings.max_tokens} in {positions} positions"
            )
        if too_long := {task.id for task in tasks} - prompts.keys():
            progress.note(f"{len(too_long)} tasks leave no room for an answer and are left out")
        longest = max(map(len, prompts.values())) + settings.max_tokens
        trained = train_settings(settings, longest)
        pad = tokenizer.pad_token_id
        assert isinstance(pad, int)
        few = [row for row in rows if row.id in prompts][:64]
        short = tokenize(few, tokenizer, settings.prompt_style, max(longest, 64))
        writer = model if processes.count == 1 else copy.deepcopy(model)
        prepared = prepare(model, short, trained, processes, pad)
        if writer is not model:
            make_writer(writer, trained, processes.device)
        policy = Policy(prepared, writer, tokenizer, prompts, settings.temperature)
    for line in (*policy.prepared.notes, policy.prepared.prove()):
        progress.note(line)
    return policy


def make_writer(writer: Any, settings: TrainSettings, device: torch.device) -> None:
    """Make a copy of the model sample as the one that is trained would: its adapters, its number format."""
    if settings.lora:
        add_adapters(writer, settings)
    writer.requires_grad_(False)
    for parameter in writer.parameters():  # not the buffers: positions need fp32
        parameter.data = parameter.data.to(device, TORCH_DTYPES[settings.dtype])
    writer.to(device)


def train_settings(settings: ReinforceSettings, longest: int) -> TrainSettings:
    """Return how the model is trained; `longest` tokens have a prompt and an answer at most."""
    return TrainSettings(
        **{name: getattr(settings, name) for name in _AS_FINE_TUNING},
        max_length=longest,
        pack_length=max(longest, _ROW_TOKENS),
        schedule="constant",
        dropout=False,
        save_every_steps=settings.save_every,
        tracking=(),
    )


def documents_of(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], end_token: int
) -> TokenizedData:
    """Return prompts and their answers as documents whose answers are supervised."""
    documents = [(*prompt, *answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return TokenizedData.of(documents, list(map(len, prompts)), end_token)


def _row(task: Task) -> Instruction:
    # Only the prompt is used; the proofs of batching want a response beside it.
    row = task.row
    return Instruction(row.id, row.instruction, row.input, task.solution or "pass", row.lineage)
