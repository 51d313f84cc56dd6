"""One OpenAI-compatible address: sends one request and returns the reply or the failure."""

from __future__ import annotations

import math
import os
import re
import resource
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit
from urllib.request import proxy_bypass

import aiohttp
from yarl import URL

from evolcoder import __version__
from evolcoder.errors import ModelError
from evolcoder.models.endpoint.chat_format import UNTOLD, Billed, Failure, Reply, read_failure, read_reply
from evolcoder.models.endpoint.rate_limit import RateLimiter
from evolcoder.models.endpoint.settings import EndpointSettings

OPENAI_URL = "https://api.openai.com/v1"
MOST_BYTES = 32 << 20
"""Most bytes of one answer."""
_LONGEST_HEADER = 1 << 17


@dataclass(slots=True)
class Endpoint:
    """An address, its rate limit, and how requests to it went."""

    connection: Connection
    session: aiohttp.ClientSession
    weight: float
    limiter: RateLimiter
    assigned: int = 0
    """Requests given to this address: in flight, waiting for the rate limit, or about to be sent."""
    answers: int = 0
    """HTTP answers of any status."""
    billed: bool = False
    """Whether anything that it sent may have been billed."""
    last_whole_answer: float | None = None
    """When it last gave a readable answer, on the loop's clock."""
    failing_since: float | None = None
    """When it first failed since then."""
    first_sent: float | None = None
    answered_sent: float = -math.inf
    """When the youngest request was sent that it gave a readable answer to."""
    refused: int = 0
    """Requests it would not take, since its last readable answer."""
    in_flight: dict[object, float] = field(default_factory=dict)
    """When each request in flight was sent, the oldest first."""
    dead: str | None = None
    """Why it is no longer asked; None while it is."""
    awaited_until: float = 0.0
    """How long answers still in flight are waited for once it is dead, on the loop's clock."""

    @property
    def shown(self) -> str:
        """The address as messages show it."""
        return shown_url(self.connection.base_url)

    async def send(self, path: str, body: bytes) -> Reply | Failure:
        """Post a JSON body to a path under the address; never raises for what endpoint or network did."""
        url = address_of(self.connection.base_url, path)
        return await post(self.session, url, body, self.connection.key)

    def silent_s(self, now: float) -> float:
        """Return how long it has given no readable answer, in seconds."""
        since = self.last_whole_answer if self.last_whole_answer is not None else self.first_sent
        return 0.0 if since is None else now - since

    def works_long(self, now: float, patience_s: float) -> bool:
        """Whether a request has been in flight for so long: answers take their time there."""
        return now - min(self.in_flight.values(), default=now) >= patience_s


def refusal_hint(status: int, key_env: str) -> str:
    """Return what to look at where an address refuses every request with this HTTP status."""
    key = f"; is {key_env} set to its key?"
    return {
        400: "; a sampling field it does not know can be left out with the setting `omit`",
        401: key,
        402: "; the account has no money left",
        407: "; the proxy wants a name and a password: http://NAME:PASSWORD@HOST:PORT",
        403: key,
        404: "; does the address end in /v1, and is the model's name right?",
    }.get(status, "")


def checked_base_url(base_url: str) -> str:
    """Return a base URL without its closing slash; raises ModelError where it is no http(s) address."""
    try:
        parts = urlsplit(base_url)
        sound = parts.scheme in ("http", "https") and bool(URL(base_url).host) and parts.port != 0
    except ValueError:  # a bracket or a port that is none
        sound = False
    if not sound:
        raise ModelError(
            f"base URL {shown_url(base_url)!r}: an address such as http://127.0.0.1:8000/v1 is expected"
        )
    if parts.username or parts.password:
        raise ModelError("base URL: a key does not belong into the address; give it in the environment")
    return parts._replace(path=parts.path.rstrip("/"), fragment="").geturl()


_OPEN_FIELDS = ("api-version",)
"""Fields of a query that are no secret."""
_SHORTEST_SECRET = 8
"""A shorter text cannot be told from the words of a message."""


def shown_url(url: str) -> str:
    """Return an address without what may be a secret in it: the values of its query, a user's password."""
    before, mark, query = url.partition("?")
    fields = [field.partition("=") for field in query.split("&")] if mark else []
    shown = "&".join(
        f"{name}={value if name in _OPEN_FIELDS else '***'}" if equals else "***"
        for name, equals, value in fields
    )
    return re.sub(r"(?<=://)[^/@]*@", "***@", before) + mark + shown


def masked(text: str, key: str | None, url: str = "") -> str:
    """Return a message without the key and the values of the address's query, where these stand whole."""
    secrets = [key or ""]
    for part in urlsplit(url).query.split("&"):
        name, _, value = part.partition("=")
        if name not in _OPEN_FIELDS:
            secrets += [value or name, unquote_plus(value or name)]
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", "***", text)
    return text


@lru_cache(maxsize=64)
def address_of(base_url: str, path: str) -> URL:
    """Return the address of a path under a base URL; a query of either stands behind both."""
    base, _, query = base_url.partition("?")
    path, _, more = path.partition("?")
    return URL(f"{base}{path}{'?' if query or more else ''}{'&'.join(filter(None, (query, more)))}")


@dataclass(frozen=True, slots=True)
class Connection:
    """What connections to one address are made with."""

    base_url: str
    key: str | None
    headers: dict[str, str]
    """Those that say who asks; they are for the address alone."""
    proxy: URL | None


def connection_to(base_url: str, settings: EndpointSettings) -> Connection:
    """Return what the settings and the environment say about connections to an address.

    Raises ModelError for an address that is none, for an unset variable that a key of OpenAI itself or a
    header is expected in, and for a proxy that is no HTTP proxy.
    """
    base_url = checked_base_url(base_url)
    key = os.environ.get(settings.api_key_env, "").strip() or None
    if not key and urlsplit(base_url).hostname == "api.openai.com":
        raise ModelError(
            f"{shown_url(base_url)} needs a key: export {settings.api_key_env}=...,"
            " or name another server with --base-url"
        )
    headers = {}
    if key:
        headers = {"api-key": key} if _is_azure(base_url) else {"Authorization": f"Bearer {key}"}
    if settings.organization:
        headers["OpenAI-Organization"] = settings.organization
    if settings.project:
        headers["OpenAI-Project"] = settings.project
    for name, variable in settings.headers.items():
        if not (value := os.environ.get(variable, "").strip()):
            raise ModelError(
                f"header {name}: its value is expected in the variable {variable}, which is unset"
            )
        headers[name] = value
    return Connection(base_url, key, headers, _proxy_for(base_url))


class _Connector(aiohttp.TCPConnector):
    """Connections that are kept; one on which more came than was asked for is closed instead.

    The second answer of a server or gateway that answers twice would be taken for that to the next request.
    """

    async def connect(self, *asked: Any, **how: Any) -> aiohttp.connector.Connection:
        """Return a connection from which nothing is to be read yet."""
        while True:
            connection = await super().connect(*asked, **how)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


def open_session(connection: Connection, settings: EndpointSettings) -> aiohttp.ClientSession:
    """Return the HTTP session of one address; call it inside the event loop."""
    proxy = connection.proxy
    # A session's own headers go to a proxy as well, before TLS begins: no key may be among them there.
    to_all = {} if proxy else connection.headers
    _allow_open_files(settings.concurrency + 200)

    async def say_who_asks(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(connection.headers)
        return await send(request)

    return aiohttp.ClientSession(
        connector=_Connector(limit=0, ttl_dns_cache=300, keepalive_timeout=30),
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"evolcoder/{__version__}",
        }
        | to_all,
        middlewares=(say_who_asks,) if proxy else (),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Deadlines are watched for all requests by one timer (see hedging.py); a timer each costs more.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
        auto_decompress=True,
        # An answer that is paid for is not lost to what a proxy writes above it.
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        proxy=proxy and proxy.with_user(None),
        proxy_auth=aiohttp.BasicAuth(proxy.user, proxy.password or "") if proxy and proxy.user else None,
    )


def _is_azure(base_url: str) -> bool:
    """Whether an address wants its key as Azure does: in the header `api-key`."""
    parts = urlsplit(base_url)
    return (parts.hostname or "").endswith(".azure.com") or "api-version" in dict(parse_qsl(parts.query))


def _proxy_for(base_url: str) -> URL | None:
    """Return the proxy that the environment names for an address; ALL_PROXY where none for its scheme is."""
    parts = urlsplit(base_url)
    names = (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    proxy = next((found for name in names if (found := os.environ.get(name, "").strip())), None)
    if proxy is None or _is_reached_directly(parts.hostname or "", parts.port):
        return None
    try:
        url = URL(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError as error:
        said = shown_url(proxy)
        raise ModelError(f"proxy {said}: an address such as http://127.0.0.1:3128 is expected") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModelError(f"proxy {url.scheme}://{url.host}: an HTTP proxy is expected, no other is supported")
    return url


def _is_reached_directly(host: str, port: int | None) -> bool:
    """Whether NO_PROXY names a host: as it is, by its domain, with its port, or by its network."""
    if proxy_bypass(host) or (port and proxy_bypass(f"{host}:{port}")):
        return True
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    for network in named.split(","):
        with suppress(ValueError):  # a name is no network
            if ip_address(host) in ip_network(network.strip(), strict=False):
                return True
    return False


def _allow_open_files(n: int) -> None:
    """Raise this process's own limit of open files, often 1,024, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def read_body(
    response: aiohttp.ClientResponse, most: int = MOST_BYTES, *, data: bytearray | None = None
) -> bytes:
    """Return a whole body, unpacked; raises ValueError where it is longer than `most` bytes.

    `data` has what came, also where it broke off.
    """
    data = bytearray() if data is None else data
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            response.close()
            raise ValueError(f"the answer is longer than {most >> 20} MiB")
    return bytes(data)


async def post(session: aiohttp.ClientSession, url: URL, body: bytes, key: str | None) -> Reply | Failure:
    """Send one request and return what came; never raises for what the endpoint or the network did."""
    failure: Failure
    try:
        # A redirect could carry the key to another host.
        async with session.post(url, data=body, allow_redirects=False) as response:
            came = bytearray()
            try:
                data = await read_body(response, data=came)
            except aiohttp.ClientPayloadError:
                # What is whole JSON is a whole answer, whatever became of the end of its message.
                whole = read_reply(bytes(came)) if 200 <= response.status < 300 else None
                if not isinstance(whole, Reply):
                    raise
                return whole
            except ValueError as error:
                failure = Failure("broken", str(error), None, response.status, UNTOLD)
            else:
                if 200 <= response.status < 300:  # 203 is what a proxy that rewrites makes of 200
                    return read_reply(_as_utf8(data, response.charset))
                failure = read_failure(response.status, response.headers, data, str(response.url))
    except aiohttp.ClientHttpProxyError as error:  # it would not connect to the address
        failure = read_failure(error.status, error.headers or {}, error.message.encode())
        failure = replace(failure, detail=f"the proxy says {failure.detail}")
    except aiohttp.ClientResponseError as error:  # a server that speaks, and no HTTP that can be read
        failure = Failure("broken", " ".join(error.message.split()), None, 200, UNTOLD)
    except aiohttp.ClientPayloadError as error:  # it cannot be unpacked, or it broke off
        packed = "content-encoding" in str(error)
        failure = Failure("broken", words_of(error), None, 200 if packed else 0, UNTOLD)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        # Where a connection stood, the request may have been answered, and billed, before it broke.
        stood = not isinstance(error, aiohttp.ClientConnectorError)
        failure = Failure("connection", words_of(error), billed=UNTOLD if stood else Billed(0, 0))
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        failure = Failure("connection", words_of(error))
    return replace(failure, detail=masked(failure.detail, key, str(url)))


def _as_utf8(data: bytes, charset: str | None) -> bytes:
    """Return a body in UTF-8, as JSON has to be, where the server says that it is not."""
    if charset is None or charset.lower() in ("utf-8", "utf8", "us-ascii"):
        return data
    try:
        return data.decode(charset, "replace").encode()
    except LookupError:
        return data


def words_of(error: BaseException) -> str:
    """Return what a failed connection comes down to, for a person."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        return f"its certificate is not trusted: {why}; SSL_CERT_FILE names a file of private authorities"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no TLS is spoken there; is it http:// instead of https://?"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy cannot be reached: {_words_of_system(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionResetError) and error.os_error.errno is None:
            return "it hung up while TLS began; is it http:// instead of https://?"
        return _words_of_system(error.os_error)
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return " ".join(str(error).split()) or type(error).__name__


def _words_of_system(error: OSError) -> str:
    """Return the system's words; its resolver has numbers below 0 and words of its own."""
    number = error.errno or 0
    return (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
