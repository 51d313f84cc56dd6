"""Who may use the app: whoever has the address that was printed when it started.

The address holds a secret, and the page and everything on it lies below a path of that secret: no other page
that the browser shows, and no other user of the machine, knows where to ask. A cookie would go to every
other server on this host.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_STARTED = "/gradio_api/startup-events"
"""Gradio asks its own server for this before it says that it serves."""


def new_token() -> str:
    """Return a secret of 192 bits that can stand in an address."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """ASGI middleware that answers only requests under the token's path, from pages of its own.

    `/?token=TOKEN` leads to that path. A request under another host's name is refused where the app is for
    this machine alone (a name elsewhere could be pointed at it: DNS rebinding), and so is one that a page of
    another origin makes.
    """

    def __init__(self, app: ASGIApp, token: str, local_only: bool) -> None:
        self._app, self._token, self._local_only = app, token, local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, refusal = self._refusal(headers)
        path, rest = scope["path"], self._below_token(scope["path"])
        if refusal:
            answer: ASGIApp = PlainTextResponse(refusal, status)
        elif rest:
            within = {**scope, "path": rest, "raw_path": rest.encode("utf-8")}
            await self._app(within, receive, send)
            return
        elif path == _STARTED:
            answer = self._app
        elif path == "/favicon.ico":  # browsers ask for it here wherever the page lies
            answer = Response(status_code=204)
        elif rest is not None or self._asks_with_token(scope):
            answer = RedirectResponse(f"/{self._token}/", 303)
        else:
            told = "this app asks for its token: open the address that `evolcoder app` printed at its start"
            answer = PlainTextResponse(told, 403)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await answer(scope, receive, send)

    def _refusal(self, headers: Mapping[str, str]) -> tuple[int, str]:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._local_only and not _names_this_machine(host):
            return 400, "this app is served under this machine's own name only"
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "this app answers its own pages only"
        # A picture or a script that another page asks for comes without an origin.
        by_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not by_link:
            return 403, "this app answers its own pages only"
        return 200, ""

    def _below_token(self, path: str) -> str | None:
        """Return what follows the token in a path, "" where nothing does; None where it is not there."""
        _, first, *rest = path.split("/", 2) if path.startswith("/") else ("", "")
        return "/".join(["", *rest]) if self._is_token(first) else None

    def _asks_with_token(self, scope: Scope) -> bool:
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return scope["path"] == "/" and self._is_token(asked[0])

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode("utf-8", "replace"), self._token.encode())


def _names_this_machine(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
