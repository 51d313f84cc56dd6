"""Opens a model with its journal, its budget and the machines it works on, and closes them in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.local.replicas import Replicas, ReplicaWork
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import LanguageModel

if TYPE_CHECKING:
    from evolcoder.models.endpoint.pricing import Price


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model and how it is reached."""

    model: str = "embedded"
    """"embedded", a folder, a GGUF file, a Hugging Face name, or "openai:NAME"; several of the last kind with
    commas between them, each with its "@URL", are a pool of teachers."""
    base_url: str | tuple[str, ...] | None = None
    """Address of the OpenAI-compatible server, for "openai:NAME"; a list where several serve one model."""
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    """Limits, retries and prices of a remote endpoint."""
    local: LocalSettings = field(default_factory=LocalSettings)
    """Batch size and number format of a model in this process."""


def price_of(choice: ModelChoice) -> Price | None:
    """Return the price of a remote model, of the first where several are named; None where none is known."""
    from evolcoder.models.opening import is_remote, remote_price

    if not is_remote(choice.model.rpartition("*")[2]):
        return None
    return remote_price(choice.model, choice.base_url, choice.endpoint)


class ReplicaEngine(Protocol):
    """What is needed of an engine; `evolcoder.execution.engine.Engine` is one."""

    @property
    def name(self) -> str:
        """ "local", or where else it works."""
        ...

    def open(self, work: ReplicaWork) -> AbstractContextManager[Replicas]:
        """Get replicas ready."""
        ...


@asynccontextmanager
async def model_session(
    choice: ModelChoice,
    journal: Path,
    engine: ReplicaEngine,
    *,
    max_usd: float | None = None,
    max_requests: int | None = None,
) -> AsyncIterator[LanguageModel]:
    """Open a model whose replies are kept in the file `journal`; close all in order at the end.

    The budget counts what earlier sittings spent, as the journal says. Raises JournalError for the file,
    ModelError where the MODEL string names nothing, a key is missing, or `max_usd` has no price to go by.
    """
    from evolcoder.models.journal.journal import Journal
    from evolcoder.models.opening import budget_of, open_model

    async with Journal(journal) as kept:
        model = open_model(
            choice.model,
            base_url=choice.base_url,
            journal=kept,
            settings=choice.endpoint,
            local=choice.local,
            budget=budget_of(kept, max_usd, max_requests),
        )
        async with model:
            with ExitStack() as held:
                inner: Any = getattr(model, "inner", model)
                # A local model's answers are written on the engine's GPUs, or machines.
                if engine.name != "local" and hasattr(inner, "replica_work"):
                    inner.write_on(held.enter_context(engine.open(inner.replica_work())))
                    held.callback(inner.write_on, None)
                yield model
