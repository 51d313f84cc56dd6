"""One OpenAI-compatible address: sends one asking and says what came back."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from evolcoder import __version__
from evolcoder.errors import ModelError
from evolcoder.models.endpoint.chat_format import Failure, Reply, read_failure, read_reply
from evolcoder.models.endpoint.rate_limit import RateLimiter
from evolcoder.models.endpoint.settings import EndpointSettings

_REFUSED_REQUESTS = 3
"""Different requests refused with none answered before an address is taken to refuse every request."""
OPENAI_URL = "https://api.openai.com/v1"
MOST_BYTES = 32 << 20
"""Most bytes of one answer."""
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@dataclass(slots=True)
class Endpoint:
    """An address, its rate limit, and how requests to it went."""

    base_url: str
    weight: float
    limiter: RateLimiter
    assigned: int = 0
    """Requests given to this address: in flight, waiting for the rate limit, or about to be sent."""
    answers: int = 0
    """HTTP answers of any status."""
    last_whole_answer: float | None = None
    """When it last gave a readable answer, on the loop's clock."""
    first_sent: float | None = None
    refused: int = 0
    """Requests it would not take."""
    dead: str | None = None
    """Why it is no longer asked; None while it is."""

    def url(self, path: str) -> URL:
        """Return the whole address of a path under it."""
        return URL(self.base_url + path)

    @property
    def shows_whose_fault_it_is(self) -> bool:
        """Whether it shows by now if it refuses one request or all."""
        nobody_left = self.assigned == 0 or self.refused >= _REFUSED_REQUESTS
        return self.last_whole_answer is not None or nobody_left or self.dead is not None

    def silent_s(self, now: float) -> float:
        """Return how long it has given no readable answer, in seconds."""
        since = self.last_whole_answer if self.last_whole_answer is not None else self.first_sent
        return 0.0 if since is None else now - since


def refusal_hint(status: int, key_env: str) -> str:
    """Return what to look at where an address refuses every request with this HTTP status."""
    key = f"; is {key_env} set to its key?"
    return {
        400: "; a sampling field it does not know can be left out with the setting `omit`",
        401: key,
        402: "; the account has no money left",
        403: key,
        404: "; does the address end in /v1, and is the model's name right?",
    }.get(status, "")


def checked_base_url(base_url: str) -> str:
    """Return a base URL without its closing slash; raises ModelError where it is no http(s) address."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"base URL {base_url!r}: an address such as http://127.0.0.1:8000/v1 is expected")
    if parts.username or parts.password:
        raise ModelError("base URL: a key does not belong into the address; give it in the environment")
    return base_url.rstrip("/")


def key_from_environment(settings: EndpointSettings, base_url: str) -> str | None:
    """Return the key of an endpoint; None where the variable is unset.

    Raises ModelError where OpenAI itself is asked without one.
    """
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key and urlsplit(base_url).hostname == "api.openai.com":
        raise ModelError(
            f"{base_url} needs a key: export {settings.api_key_env}=...,"
            " or name another server with --base-url"
        )
    return key or None


def open_session(key: str | None, settings: EndpointSettings) -> aiohttp.ClientSession:
    """Return the HTTP session of one model; call it inside the event loop."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": f"evolcoder/{__version__}",
    }
    if key:
        headers["Authorization"] = f"Bearer {key}"
    _allow_open_files(settings.concurrency + 200)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=30),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        # Deadlines are watched for all requests by one timer (see http.py); a timer each costs more.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
        auto_decompress=True,
        trust_env=any(os.environ.get(name) for name in _PROXY_VARIABLES),
    )


def _allow_open_files(n: int) -> None:
    """Raise this process's own limit of open files, often 1,024, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def read_body(response: aiohttp.ClientResponse, most: int = MOST_BYTES) -> bytes:
    """Return a whole body, unpacked; raises ValueError where it is longer than `most` bytes."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            response.close()
            raise ValueError(f"the answer is longer than {most >> 20} MiB")
    return bytes(data)


async def post(session: aiohttp.ClientSession, url: URL, body: bytes, key: str | None) -> Reply | Failure:
    """Send one asking and return what came; never raises for what the endpoint or the network did."""
    try:
        # A redirect could carry the key to another host.
        async with session.post(url, data=body, allow_redirects=False) as response:
            data = await read_body(response)
            if response.status in (200, 201):
                return read_reply(data)
            failure = read_failure(response.status, response.headers, data)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        failure = Failure("connection", _words_of(error))
    if key and key in failure.detail:
        failure = Failure(
            failure.kind, failure.detail.replace(key, "***"), failure.retry_after_s, failure.status
        )
    return failure


def _words_of(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno).lower() if error.os_error.errno else str(error.os_error)
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return str(error) or type(error).__name__
