"""A local model on a cluster: its answers are written by copies of the weights there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from evolcoder.models.local.replicas import Replicas, ReplicaWork
from evolcoder.models.protocol import LanguageModel


class Opens(Protocol):
    """What is needed of an engine; `evolcoder.execution.engine.Engine` is one."""

    @property
    def name(self) -> str:
        """ "local", or where else it works."""
        ...

    def open(self, work: ReplicaWork) -> AbstractContextManager[Replicas]:
        """Get replicas ready."""
        ...


@contextmanager
def on_cluster(model: LanguageModel, engine: Opens) -> Iterator[None]:
    """Have a local model's answers written on an engine's GPUs (or machines).

    Nothing changes where the engine is this machine, or for a model behind an endpoint.
    """
    with ExitStack() as held:
        if engine.name != "local":
            for part in _parts(model):
                if hasattr(part, "replica_work"):
                    part.write_on(held.enter_context(engine.open(part.replica_work())))
                    held.callback(part.write_on, None)
        yield


def _parts(model: Any) -> Iterator[Any]:
    """Yield the models that answer: behind a journal, in a pool."""
    inner = getattr(model, "inner", model)
    if not hasattr(inner, "models"):
        yield inner
        return
    for teacher in inner.models:
        yield from _parts(teacher)
