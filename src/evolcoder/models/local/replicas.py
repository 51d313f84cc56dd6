"""Copies of a model's weights in other processes: one a GPU of a cluster, where there is none one a machine.

The driver keeps the requests, chooses what is written together, and puts every reply into its journal; a
replica gets a list of requests, returns their completions, and keeps nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from evolcoder.errors import ModelError, RequestFailedError
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, Request

if TYPE_CHECKING:
    from evolcoder.models.local.engine import AnsweringEngine

Tag = TypeVar("Tag")
Wave = list[Request]
"""Requests that are written together."""
Answers = Sequence[Completion | RequestFailedError]
"""Of a wave, in its order; an error for a request that was given up."""


class Replicas(Protocol):
    """What a local model needs of an engine's pool."""

    @property
    def workers(self) -> int:
        """Waves that are written at once."""
        ...

    def run_many(self, tagged: Iterable[tuple[Tag, Wave]], /) -> Iterator[tuple[Tag, Answers]]:
        """Yield each wave's answers with its tag, as they come."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaWork:
    """Answers waves of requests with the weights that `ref` names where the worker is."""

    ref: str
    """A MODEL string; a folder or file must lie under this path on every machine."""
    name: str
    """Identity of the weights (see `weights_identity`), so that no other ones answer in their name."""
    settings: LocalSettings

    @property
    def place(self) -> Literal["replica"]:
        """A replica takes up a GPU, or a machine."""
        return "replica"

    def open(self, slots: int) -> Replica:
        """Load the weights; raises ModelError where they are missing or others."""
        import torch

        from evolcoder.models.local.engine import open_answering_engine, weights_identity

        if (found := weights_identity(self.ref)) != self.name:
            raise ModelError(f"{self.ref}: a worker has {found} there, the driver {self.name}")
        if not torch.cuda.is_available():
            # A cluster's scheduler tells OpenMP to use one thread; a replica has its machine to itself.
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        return Replica(open_answering_engine(self.ref, self.settings))

    def label(self, worker: Any) -> str:
        """Return ""."""
        return ""

    def set_aside(self, item: Wave, reason: str) -> Answers:
        """Return errors: an answer that nobody wrote must not stand in a journal."""
        return [RequestFailedError(f"{self.ref}: a request cannot be answered: {reason}") for _ in item]


def answers_on(replicas: Replicas, waves: Sequence[Wave]) -> list[Answers]:
    """Return the answers of each wave; the requests of one that was given up are asked one by one.

    So that a request that kills its replica keeps nobody else's answer back.
    """
    answered = dict(replicas.run_many(enumerate(waves)))
    given_up = [number for number, wave in enumerate(waves) if len(wave) > 1 and _failed(answered[number])]
    alone = {(number, place): [request] for number in given_up for place, request in enumerate(waves[number])}
    found = dict(replicas.run_many(alone.items()))
    for number in given_up:
        answered[number] = [found[number, place][0] for place in range(len(waves[number]))]
    return [answered[number] for number in range(len(waves))]


def _failed(answers: Answers) -> bool:
    return all(isinstance(answer, RequestFailedError) for answer in answers)


class Replica:
    """Weights in this process."""

    def __init__(self, engine: AnsweringEngine) -> None:
        self._engine = engine

    def run_many(self, tagged: Iterable[tuple[Tag, Wave]], /) -> Iterator[tuple[Tag, Answers]]:
        """Answer wave after wave."""
        for tag, wave in tagged:
            yield tag, self._engine.answer(wave)

    def close(self) -> None:
        """Nothing to do: the weights go with the object."""
