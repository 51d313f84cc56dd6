"""Who may use the app: whoever has the address that was printed when it started.

The address holds a secret, and the page and everything on it lies below a path of that secret: no other page
that the browser shows, and no other user of the machine, knows where to ask. A cookie would go to every
other server on this host.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_HEADERS = {
    # Charts are drawn with classes and attributes only, so no style or script stands in the page itself.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def access(token: str, local_only: bool) -> Middleware:
    """Return what lets through only requests under the token's path, from pages of the app's own.

    `/?token=TOKEN` leads to that path. A request under another host's name is refused where the app is for
    this machine alone (a name elsewhere could be pointed at it: DNS rebinding), and so is one that a page of
    another origin makes. Every answer tells the browser to ask no other host and to run no script but ours.
    """

    def is_token(text: str) -> bool:
        return secrets.compare_digest(text.encode("utf-8", "replace"), token.encode())

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        status, refusal = _refusal(request.headers, local_only)
        first = request.path.removeprefix("/").partition("/")[0]  # `OPTIONS *` has no slash
        if refusal:
            return web.Response(text=refusal, status=status)
        if is_token(first) and request.path != f"/{token}":
            return await handler(request)
        if request.path == "/favicon.ico":  # browsers ask for it here wherever the page lies
            return web.Response(status=204)
        if is_token(first) or (request.path == "/" and is_token(request.query.get("token", ""))):
            kept = {name: value for name, value in request.query.items() if name != "token"}
            target = request.url.with_path(f"/{token}/").with_query(kept).relative()
            return web.Response(status=303, headers={"Location": str(target)})
        told = "this app asks for its token: open the address that `evolcoder app` printed at its start"
        return web.Response(text=told, status=403)

    return guard


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the browser's rules to an answer; for the signal that comes before each one is sent."""
    response.headers.update(_HEADERS)


def _refusal(headers: Mapping[str, str], local_only: bool) -> tuple[int, str]:
    host, origin = headers.get("Host", ""), headers.get("Origin")
    if local_only and not _names_this_machine(host):
        return 400, "this app is served under this machine's own name only"
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return 403, "this app answers its own pages only"
    # A picture or a script that another page asks for comes without an origin.
    by_link = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    if headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not by_link:
        return 403, "this app answers its own pages only"
    return 200, ""


def _names_this_machine(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
