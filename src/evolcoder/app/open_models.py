"""Models that are open in the app: each is loaded at its first question, and only a few stay open.

For one event loop. A model is named by its MODEL string and, behind an endpoint, its address. The model that
was unused longest is closed to make room; a model that is answering is never closed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.opening import is_remote, open_model
from evolcoder.models.protocol import LanguageModel


@dataclass(frozen=True, slots=True)
class ModelName:
    """What it takes to open a model."""

    ref: str
    """The MODEL string."""
    base_url: str = ""
    """Address of the endpoint, for openai:NAME; "" for the usual one."""
    keyed: bool = True
    """Whether the endpoint is sent the key of the environment."""


@dataclass(slots=True)
class _Open:
    opening: asyncio.Task[LanguageModel]
    users: int = 0
    """Answers that are being written, or waited for."""


@dataclass(slots=True)
class OpenModels:
    """At most `most` models, opened when asked for."""

    most: int = 2
    local: LocalSettings = field(default_factory=LocalSettings)
    open_: Callable[..., LanguageModel] = open_model
    _models: OrderedDict[ModelName, _Open] = field(default_factory=OrderedDict)
    _freed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def names(self) -> list[ModelName]:
        """The models that are open now, the one idle longest first."""
        return list(self._models)

    @asynccontextmanager
    async def borrowed(self, name: ModelName) -> AsyncIterator[LanguageModel]:
        """Hold a model while it answers, once there is room for it; raises ModelError for no model's name."""
        entry = await self._take(name)
        try:
            yield await asyncio.shield(entry.opening)
        finally:
            entry.users -= 1
            if _failed(entry) and self._models.get(name) is entry:
                del self._models[name]  # the next attempt tries again
            async with self._freed:
                self._freed.notify_all()

    async def close(self) -> None:
        """Close every model."""
        while self._models:
            _, entry = self._models.popitem()
            await _close(entry)

    async def _take(self, name: ModelName) -> _Open:
        while True:
            if (entry := self._models.get(name)) is not None:
                self._models.move_to_end(name)
                entry.users += 1
                return entry
            if len(self._models) < self.most:
                entry = _Open(asyncio.create_task(self._open(name)), users=1)
                self._models[name] = entry
                return entry
            idle = next((known for known, entry in self._models.items() if entry.users == 0), None)
            if idle is not None:
                await _close(self._models.pop(idle))
                continue
            async with self._freed:
                await self._freed.wait()

    async def _open(self, name: ModelName) -> LanguageModel:
        # Naming a folder's weights reads them whole.
        remote: dict[str, Any] = {}
        if is_remote(name.ref):
            remote = {"base_url": name.base_url or None}
            if not name.keyed:
                remote["settings"] = EndpointSettings(api_key_env="")
        return await asyncio.to_thread(self.open_, name.ref, local=self.local, **remote)


def _failed(entry: _Open) -> bool:
    opening = entry.opening
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


async def _close(entry: _Open) -> None:
    try:
        model = await entry.opening
    except Exception:
        return  # whoever asked for it was told
    await model.close()
