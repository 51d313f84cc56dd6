"""Sends requests to the addresses of one model, over connections that are kept open."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from yarl import URL

from evolcoder.models.endpoint.address import open_session, post, url_under
from evolcoder.models.endpoint.chat_format import Failure, Reply
from evolcoder.models.endpoint.settings import EndpointSettings


class Sender:
    """Sends any number of requests at once; `keys` are the API keys by address."""

    def __init__(self, settings: EndpointSettings, keys: Mapping[str, str | None]) -> None:
        self._keys = keys
        self._sessions: dict[str | None, aiohttp.ClientSession] = {
            key: open_session(key, settings) for key in set(keys.values())
        }
        self._urls: dict[str, URL] = {}

    def session(self, base_url: str) -> aiohttp.ClientSession:
        """Return the session that goes with an address."""
        return self._sessions[self._keys[base_url]]

    async def send(self, base_url: str, path: str, body: bytes) -> Reply | Failure:
        """Post a JSON body to a path under an address; never raises for what endpoint or network did."""
        text = url_under(base_url, path)
        if text not in self._urls:
            self._urls[text] = URL(text)
        return await post(self.session(base_url), self._urls[text], body, self._keys[base_url])

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
