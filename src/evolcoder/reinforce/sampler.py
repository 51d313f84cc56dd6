"""Samples answers from the model that is being trained: its own weights, nothing reloaded or copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evolcoder.models.local.decoding import DecodeJob, Decoder
from evolcoder.progress import Bar
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

    @property
    def answer(self) -> Answer:
        """The answer as it was judged."""
        return Answer(self.text, len(self.tokens), self.truncated)


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
    return [
        Rollout(
            row["task_id"],
            tuple(row["tokens"]),
            tuple(row["log_probabilities"]),
            row["truncated"],
            row["text"],
            Reward(**row["reward"]),
        )
        for _, row in read_jsonl(path)
    ]
