"""A model's work on a cluster: a local model's answers are written, an endpoint's requests sent there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, cast

from evolcoder.models.endpoint.address import PROXY_VARIABLES
from evolcoder.models.endpoint.sender import Askers, AskingWork, is_loopback
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


class OpensMachines(Protocol):
    """What is needed of a cluster's engine beside it; `evolcoder.execution.ray.engine.RayEngine` is one."""

    def machines(self, work: AskingWork, home_only: bool) -> AbstractContextManager[Askers]:
        """Get a sender ready on each machine."""
        ...


@contextmanager
def on_cluster(model: LanguageModel, engine: Opens) -> Iterator[None]:
    """Have a model work on an engine's machines; nothing changes where the engine is this machine.

    A local model's answers are written on GPUs (or machines). Requests to an endpoint are sent by all
    machines that reach it; behind a proxy, or where none does, by this process as ever.
    """
    with ExitStack() as held:
        if engine.name != "local":
            for part in _parts(model):
                if hasattr(part, "replica_work"):
                    part.write_on(held.enter_context(engine.open(part.replica_work())))
                    held.callback(part.write_on, None)
                elif hasattr(part, "asking_work") and not any(map(os.environ.get, PROXY_VARIABLES)):
                    work: AskingWork = part.asking_work
                    home_only = all(map(is_loopback, work.keys))
                    machines = cast("OpensMachines", engine).machines(work, home_only)
                    part.ask_from(held.enter_context(machines))
                    held.callback(part.ask_from, None)
        yield


def _parts(model: Any) -> Iterator[Any]:
    """Yield the models that answer: behind a journal, in a pool."""
    inner = getattr(model, "inner", model)
    if not hasattr(inner, "models"):
        yield inner
        return
    for teacher in inner.models:
        yield from _parts(teacher)
