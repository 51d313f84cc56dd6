"""Sampling of grpo on a cluster: each replica writes a share of the answers with the weights of that moment.

The trainable weights travel with the work, once for all replicas of a machine; what is frozen each replica
reads from the base model, which must lie under the same path on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from evolcoder.errors import ModelError, OutsideError
from evolcoder.execution.engine import Engine, Tag
from evolcoder.models.local.identity import content_identity
from evolcoder.models.local.weights import load_weights
from evolcoder.progress import Bar
from evolcoder.reinforce.policy import Policy, make_writer, train_settings
from evolcoder.reinforce.sampler import Asked, Sampled, Sampler
from evolcoder.reinforce.settings import ReinforceSettings

_ANSWERS = 32
"""Of a share. Answers that are written together are those of a share, so that neither the number of replicas
nor the loss of one changes what is written."""


@dataclass(frozen=True, slots=True)
class SamplingWork:
    """Answers shares with a base model whose trained weights are given."""

    base: str
    identity: str
    """Of the base's content, so that no other model answers."""
    weights: dict[str, torch.Tensor]
    end_token: int
    settings: ReinforceSettings

    @property
    def place(self) -> Literal["replica"]:
        """A replica takes up a GPU, or a machine."""
        return "replica"

    def open(self, slots: int) -> SamplingReplica:
        """Load the base and set its weights; raises ModelError where it is another one there."""
        if content_identity(self.base) != self.identity:
            raise ModelError(f"{self.base}: a worker has another model there than the driver")
        model, tokenizer = load_weights(self.base, "fp32")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        make_writer(model, train_settings(self.settings, self.settings.max_tokens), device)
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, weight in self.weights.items():
                own[name].copy_(weight)
        return SamplingReplica(Sampler(model, tokenizer, self.end_token, self.settings))

    def label(self, worker: Any) -> str:
        """Return ""."""
        return ""

    def set_aside(self, item: Asked, reason: str) -> list[list[Sampled]]:
        """Raise OutsideError: a step without these answers would be another step."""
        raise OutsideError(f"answers to {len(item.prompts)} tasks cannot be sampled: {reason}")


class SamplingReplica:
    """A model that answers shares."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def run_many(self, tagged: Iterable[tuple[Tag, Asked]], /) -> Iterator[tuple[Tag, list[list[Sampled]]]]:
        """Answer share after share."""
        for tag, share in tagged:
            yield tag, self._sampler.sample(share)

    def close(self) -> None:
        """Nothing to do: the weights go with the object."""


class ClusterSampler:
    """Samples as `Sampler` does, on the replicas of an engine."""

    def __init__(self, engine: Engine, base: str, policy: Policy, settings: ReinforceSettings) -> None:
        self._engine = engine
        self._base = base
        self._identity = content_identity(base)
        self._policy = policy
        self._settings = settings

    def sample(self, asked: Asked, bar: Bar | None = None) -> list[list[Sampled]]:
        """Return the answers to each prompt, as `Sampler.sample`; raises what the engine raises."""
        model, end_token = self._policy.writer, self._policy.prepared.data.end_token
        weights = {
            name: weight.detach().cpu() for name, weight in model.named_parameters() if weight.requires_grad
        }
        work = SamplingWork(self._base, self._identity, weights, end_token, self._settings)
        tasks = max(1, _ANSWERS // asked.n)
        parts = [slice(at, at + tasks) for at in range(0, len(asked.prompts), tasks)]
        shares = [replace(asked, prompts=asked.prompts[part], noise=asked.noise[part]) for part in parts]
        found: dict[int, list[list[Sampled]]] = {}
        with self._engine.open(work) as pool:
            for number, answers in pool.run_many(enumerate(shares)):
                found[number] = answers
                if bar is not None:
                    bar.advance(asked.n * len(answers))
        return [answers for number in range(len(shares)) for answers in found[number]]
