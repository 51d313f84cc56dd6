"""Samples answers from the model that is being trained: its own weights, nothing reloaded or copied.

On a cluster each replica writes a share of the answers with the weights of that moment: the trainable ones
travel with the work, what is frozen each reads from the base model, under the same path on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from evolcoder.errors import ModelError, OutsideError
from evolcoder.execution.engine import Engine, FunctionWorker
from evolcoder.models.local.decoding import DecodeJob, Decoder
from evolcoder.models.local.identity import content_identity
from evolcoder.models.local.weights import load_weights
from evolcoder.progress import Bar
from evolcoder.reinforce.policy import Policy, make_writer, train_settings
from evolcoder.reinforce.reward import Answer, Reward
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.runs import content_hash, read_jsonl, write_jsonl_whole


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer to one task, with its reward."""

    task_id: str
    tokens: tuple[int, ...]
    """The end token is the last one where the model wrote it."""
    log_probabilities: tuple[float, ...]
    """Of each token when it was sampled, in nats."""
    truncated: bool
    text: str
    reward: Reward


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts that are answered together."""

    prompts: tuple[tuple[int, ...], ...]
    n: int
    """Answers to each."""
    temperature: float
    noise: tuple[Any, ...]
    """Names the stream of random numbers of each prompt's answers."""


Sampled = tuple[Answer, tuple[int, ...], tuple[float, ...]]
"""An answer, its tokens, and their log-probabilities."""


class Sampler:
    """Writes answers with a model between its training steps."""

    def __init__(self, model: Any, tokenizer: Any, end_token: int, settings: ReinforceSettings) -> None:
        self._model = model
        self._settings = settings
        with _as_sampler(model):
            self._decoder = Decoder(model, tokenizer, settings.sample_batch, (end_token,))

    def sample(self, asked: Asked, bar: Bar | None = None) -> list[list[Sampled]]:
        """Return the answers to each prompt with their tokens and log-probabilities."""
        jobs = [
            DecodeJob(
                prompt,
                self._settings.max_tokens,
                temperature=asked.temperature,
                noise_key=int(content_hash("reinforce", name, i), 16),
                keep_log_probabilities=True,
            )
            for prompt, name in zip(asked.prompts, asked.noise, strict=True)
            for i in range(asked.n)
        ]
        with _as_sampler(self._model, self._decoder.attention):
            written = self._decoder.decode(
                jobs, on_step=lambda tokens, ended: bar.advance(ended) if bar is not None else None
            )
        answers = []
        for decoded in written:
            tokens = decoded.token_ids + (() if decoded.end_token is None else (decoded.end_token,))
            answer = Answer(decoded.text, len(tokens), decoded.end_token is None)
            answers.append((answer, tokens, decoded.log_probabilities))
        return [answers[i : i + asked.n] for i in range(0, len(answers), asked.n)]


@contextmanager
def _as_sampler(model: Any, writing: str | None = None) -> Iterator[None]:
    """Have a model in training write: no dropout, attention that knows a cache (`writing`, where chosen)."""
    attention, training = model.config._attn_implementation, model.training
    model.eval()
    model.set_attn_implementation(writing or ("sdpa" if model._supports_sdpa else "eager"))
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(training)


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """Write sampled answers as JSONL, whole or not at all: what is sampled is never sampled again."""
    write_jsonl_whole(path, (asdict(rollout) for rollout in rollouts))


def read_rollouts(path: Path) -> list[Rollout]:
    """Read what `write_rollouts` wrote."""
    rows = []
    for _, row in read_jsonl(path):
        tokens, logps = tuple(row["tokens"]), tuple(row["log_probabilities"])
        reward = Reward(**row["reward"])
        rows.append(Rollout(row["task_id"], tokens, logps, row["truncated"], row["text"], reward))
    return rows


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

    place: ClassVar[Literal["replica"]] = "replica"
    """A replica takes up a GPU, or a machine."""

    def open(self, slots: int) -> FunctionWorker[Asked, list[list[Sampled]]]:
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
        return FunctionWorker(Sampler(model, tokenizer, self.end_token, self.settings).sample)

    def label(self, worker: Any) -> str:
        """Return ""."""
        return ""

    def set_aside(self, item: Asked, reason: str) -> list[list[Sampled]]:
        """Raise OutsideError: a step without these answers would be another step."""
        raise OutsideError(f"answers to {len(item.prompts)} tasks cannot be sampled: {reason}")


class ClusterSampler:
    """Samples as `Sampler` does, on the replicas of an engine."""

    def __init__(self, engine: Engine, base: str, policy: Policy, settings: ReinforceSettings) -> None:
        self._engine, self._policy, self._settings = engine, policy, settings
        self._base, self._identity = base, content_identity(base)

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
