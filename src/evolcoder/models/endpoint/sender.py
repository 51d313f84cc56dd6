"""Sends requests to the addresses of one model, over connections that are kept open."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
from yarl import URL

from evolcoder.models.endpoint.address import Connection, address_of, open_session, post
from evolcoder.models.endpoint.chat_format import Failure, Reply
from evolcoder.models.endpoint.settings import EndpointSettings


class Sender:
    """Sends any number of requests at once to several addresses."""

    def __init__(self, settings: EndpointSettings, connections: Sequence[Connection]) -> None:
        self._keys = {connection.base_url: connection.key for connection in connections}
        self._sessions: dict[str, aiohttp.ClientSession] = {
            connection.base_url: open_session(connection, settings) for connection in connections
        }
        self._urls: dict[tuple[str, str], URL] = {}

    def session(self, base_url: str) -> aiohttp.ClientSession:
        """Return the session that goes with an address."""
        return self._sessions[base_url]

    async def send(self, base_url: str, path: str, body: bytes) -> Reply | Failure:
        """Post a JSON body to a path under an address; never raises for what endpoint or network did."""
        place = (base_url, path)
        if place not in self._urls:
            self._urls[place] = address_of(base_url, path)
        return await post(self.session(base_url), self._urls[place], body, self._keys[base_url])

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
