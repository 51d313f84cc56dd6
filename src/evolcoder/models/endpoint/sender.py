"""Sends requests: from this process, or from the machines of a cluster.

The driver keeps all that has to be in one place: gate, budget, retries, hedges, the journal. A machine gets
one asking, sends it, and hands back what came; it keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from evolcoder.errors import ModelError
from evolcoder.models.endpoint.address import open_session, post
from evolcoder.models.endpoint.chat_format import Failure, Reply
from evolcoder.models.endpoint.settings import EndpointSettings


@dataclass(frozen=True, slots=True)
class Asking:
    """One request as it is sent: an address, the path under it, the JSON body."""

    base_url: str
    path: str
    body: bytes


class Askers(Protocol):
    """What an `HttpModel` needs of a cluster; `evolcoder.execution.ray.machines.RayMachines` is one."""

    @property
    def count(self) -> int:
        """Machines that are ready."""
        ...

    @property
    def has_home(self) -> bool:
        """Whether the driver's own machine is one of them."""
        ...

    async def one(self, item: Asking, at_home: bool = False) -> Reply | Failure:
        """Send one asking, `at_home` from the driver's machine; raises OutsideError where that is lost."""
        ...


@dataclass(frozen=True, slots=True)
class AskingWork:
    """How a machine gets ready: the settings of a model's addresses, and their keys."""

    settings: EndpointSettings
    keys: Mapping[str, str | None] = field(repr=False)
    """By address."""

    async def open(self) -> Asker:
        """Return what sends; raises ModelError where an address cannot be reached from here."""
        for base_url in self.keys:
            if not is_loopback(base_url):
                await _check_reached(base_url, self.settings.connect_timeout_s)
        return Asker(self.settings, self.keys)


class Asker:
    """Sends askings from this process, any number at once."""

    def __init__(self, settings: EndpointSettings, keys: Mapping[str, str | None]) -> None:
        self._keys = keys
        self._sessions: dict[str | None, aiohttp.ClientSession] = {
            key: open_session(key, settings) for key in set(keys.values())
        }
        self._urls: dict[str, URL] = {}

    def session(self, base_url: str) -> aiohttp.ClientSession:
        """Return the session that goes with an address."""
        return self._sessions[self._keys[base_url]]

    async def one(self, asking: Asking) -> Reply | Failure:
        """Send one asking; never raises for what the endpoint or the network did."""
        text = asking.base_url + asking.path
        if text not in self._urls:
            self._urls[text] = URL(text)
        key = self._keys[asking.base_url]
        return await post(self._sessions[key], self._urls[text], asking.body, key)

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()


def is_loopback(base_url: str) -> bool:
    """Whether an address means the machine it is asked from."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


async def _check_reached(base_url: str, within_s: float) -> None:
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, port), within_s)
    except (TimeoutError, OSError) as error:
        raise ModelError(
            f"{base_url} cannot be reached from there ({error or 'no connection in time'})"
        ) from None
    writer.close()
