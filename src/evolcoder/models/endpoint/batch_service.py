"""The files and batches of one OpenAI-compatible address: uploaded, submitted, looked at, downloaded.

Submitting is repeated only where the batch is known not to have been made: each carries a marker, and the
list of batches is searched for it wherever an answer got lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import aiohttp
import orjson

from evolcoder.errors import EndpointError
from evolcoder.models.endpoint import address
from evolcoder.models.endpoint.chat_format import error_message, parsed, read_failure
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.runs import content_hash

Answer = TypeVar("Answer")
FINISHED = ("completed", "failed", "expired", "cancelled")
_UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")
_NETWORK_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.5
_SUBMIT_ATTEMPTS = 3
_LISTED_AFTER_S = (0.0, 1.0, 3.0)
"""When a batch that may have been made is looked for: lists may lag behind."""
_LONGEST_TOLD_WAIT_S = 900.0
_MOST_PAGES = 100
_MOST_FILE_BYTES = 2 << 30


class GoneError(EndpointError):
    """The endpoint no longer has the batch, or a file of it."""


class _MaybeArrivedError(EndpointError):
    """Nobody knows whether the endpoint made the batch."""


class BatchService:
    """The files and batches API of one address; every method raises EndpointError in the endpoint's words,
    GoneError where it says that there is no such thing.

    Raises ModelError for an address that is none and a vendor's missing key.
    """

    def __init__(self, base_url: str, settings: EndpointSettings) -> None:
        self._settings = settings
        self._connection = address.connection_to(base_url, settings)
        self._base_url = self._connection.base_url
        self._session: aiohttp.ClientSession | None = None
        self.shown = address.shown_url(self._base_url)
        """The address as messages show it."""

    async def upload(self, lines: Sequence[bytes]) -> str:
        """Send the file of a batch and return its id."""
        content, content_type = _form(b"\n".join(lines) + b"\n")
        # A file that arrived twice costs nothing, so that a lost answer may be asked for again.
        file = await self._ask("POST", "/files", content, content_type, may_repeat=True, read=_object_of)
        return _id_of(file, f"{self.shown}/files")

    async def submit(self, marker: str, file: str, path: str) -> str:
        """Make a batch of an uploaded file and return its id; `path`: of the requests, under the base URL."""
        body = {
            "input_file_id": file,
            "endpoint": f"/v1{path}",
            "completion_window": "24h",
            "metadata": {"evolcoder": marker},
        }
        for _ in range(_SUBMIT_ATTEMPTS):
            try:
                batch = await self._ask("POST", "/batches", orjson.dumps(body), read=_object_of)
            except _MaybeArrivedError as error:
                told = error
                for pause_s in _LISTED_AFTER_S:
                    await asyncio.sleep(pause_s)
                    if (found := await self.find(marker)) is not None:
                        return found
            else:
                return _id_of(batch, f"{self.shown}/batches")
        raise told

    async def find(self, marker: str) -> str | None:
        """Return the id of the batch with this marker; None only where the endpoint lists all and not it."""
        after = ""
        for _ in range(_MOST_PAGES):
            listed = await self._ask("GET", f"/batches?limit=100{after}", read=_listing)
            batches = [batch for batch in listed["data"] if isinstance(batch, dict)]
            for batch in batches:
                metadata = batch.get("metadata")
                if isinstance(metadata, dict) and metadata.get("evolcoder") == marker:
                    return _id_of(batch, f"{self.shown}/batches")
            if not listed.get("has_more") or not batches:
                return None
            after = f"&after={batches[-1].get('id')}"
        raise EndpointError(f"{self.shown}/batches: more than {_MOST_PAGES} pages of batches are listed")

    async def look(self, batch_id: str) -> dict[str, Any]:
        """Return how a batch stands; its `status` is one that OpenAI's API knows."""
        return await self._ask("GET", f"/batches/{batch_id}", read=_state)

    async def download(self, file: str) -> bytes:
        """Return the content of a file, one JSON object a line."""
        return await self._ask("GET", f"/files/{file}/content", read=_lines_in)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        content_type: str = "application/json",
        *,
        may_repeat: bool = False,
        read: Callable[[bytes], Answer],
    ) -> Answer:
        """Ask with a few retries; only what may be repeated is repeated after a cut connection.

        `read` raises ValueError for an answer of no use. Raises EndpointError; GoneError where nothing is
        there, _MaybeArrivedError where a batch may have been made although no answer says so.
        """
        if self._session is None:
            self._session = address.open_session(self._connection, self._settings)
        why, maybe_arrived, may_repeat = "", False, may_repeat or method == "GET"
        status = 0
        for attempt in range(_NETWORK_ATTEMPTS):
            status, told_s = 0, 0.0
            try:
                async with self._session.request(
                    method,
                    address.address_of(self._base_url, path),
                    data=data,
                    headers={"Content-Type": content_type},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        sock_connect=self._settings.connect_timeout_s, sock_read=self._settings.timeout_s
                    ),
                ) as response:
                    body = await address.read_body(response, _MOST_FILE_BYTES)
                    if 200 <= response.status < 300:
                        return read(body)
                    failure = read_failure(response.status, response.headers, body, str(response.url))
                    why, status, told_s = failure.detail, response.status, failure.retry_after_s or 0.0
                    maybe_arrived = status >= 500 or status == 408
                    # What was made just now may not be found everywhere yet.
                    if not (status >= 500 or status in _PASSING or (status == 404 and method == "GET")):
                        break
                    if failure.status == 402 or told_s > _LONGEST_TOLD_WAIT_S:
                        break
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why, maybe_arrived = address.words_of(error), True
            except (ValueError, RecursionError) as error:  # it answers, and of no use
                why, maybe_arrived = address.words_of(error), True
                may_repeat = method == "GET"
            if maybe_arrived and not may_repeat:
                break
            if attempt + 1 < _NETWORK_ATTEMPTS:
                await asyncio.sleep(max(min(_FIRST_PAUSE_S * 2**attempt, 10.0), told_s))
        why = address.masked(why, self._connection.key, self._base_url)
        kind = _MaybeArrivedError if maybe_arrived and path == "/batches" else EndpointError
        kind = GoneError if status in (404, 410) else kind
        raise kind(f"{self.shown}{path}: {why}; what was answered is safe, the same command continues")


_PASSING = (408, 409, 425, 429)
"""Refusals of the moment."""


def _object_of(data: bytes) -> dict[str, Any]:
    """Read an answer of the files or batches API; raises ValueError in the endpoint's words."""
    try:
        body = parsed(data)
    except ValueError:
        raise ValueError(f"JSON is expected, found {data[:80].decode('utf-8', 'replace')!r}") from None
    if not isinstance(body, dict):
        raise ValueError(f"an object is expected, found {type(body).__name__}")
    if body.get("error"):
        raise ValueError(error_message(data))
    return body


def _lines_in(data: bytes) -> bytes:
    """Return a file of JSON objects, or an empty one; raises ValueError for any other."""
    if (line := data.lstrip()[:80].split(b"\n")[0]) and not line.startswith(b"{"):
        raise ValueError(f"JSON lines are expected, found {line.decode('utf-8', 'replace')!r}")
    return data


def _listing(data: bytes) -> dict[str, Any]:
    body = _object_of(data)
    if not isinstance(body.get("data"), list):
        raise ValueError(f"a list of batches is expected, found {data[:80].decode('utf-8', 'replace')!r}")
    return body


def _state(data: bytes) -> dict[str, Any]:
    body = _object_of(data)
    if (status := body.get("status")) not in FINISHED + _UNDER_WAY:
        raise ValueError(f"a status is expected ({', '.join(_UNDER_WAY + FINISHED)}), found {status!r:.80}")
    return body


def _id_of(body: dict[str, Any], where: str) -> str:
    if not isinstance(body.get("id"), str) or not body["id"]:
        raise EndpointError(f"{where}: an id is expected, found {str(body)[:120]}")
    return str(body["id"])


def _form(content: bytes) -> tuple[bytes, str]:
    """Return the multipart form that uploads the file of a batch, and its content type."""
    boundary = b"evolcoder-" + content_hash(content).encode()
    head = (
        b'--%s\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    parts = (head % (boundary, boundary), content, b"\r\n--%s--\r\n" % boundary)
    return b"".join(parts), f"multipart/form-data; boundary={boundary.decode()}"
