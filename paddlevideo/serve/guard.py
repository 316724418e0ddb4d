"""Who may ask what: hosts, token, methods and bodies, and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from paddlevideo.serve.metrics import REQUESTS
from paddlevideo.serve.requests import Requests

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
#: Status, text and further headers.
Refusal = tuple[int, str, dict[str, str]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: With the port: browsers send cookies of one host to all servers of it.
COOKIE = "paddlevideo_token_{port}"
#: Requests at a time, with those that wait for a search and those that receive a video.
MOST = 256
#: Answered beyond that too, at once: who watches the server must not take it for dead.
ALWAYS = {"/api/health", "/metrics"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


@dataclass(frozen=True)
class Access:
    """``names``: under which the server may be called besides IP addresses, in lower case.

    ``is_local``: it listens on this machine only, so the addresses are those of the loopback.
    ``token``: what browsers must know, "" if nothing is asked.
    """

    names: frozenset[str]
    is_local: bool = True
    token: str = ""

    def allows_host(self, header: str) -> bool:
        """Returns whether a request for a host is meant for this server.

        A page elsewhere can let its own name point to this machine (DNS rebinding), but not an IP
        address.
        """
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            return False
        try:
            return ipaddress.ip_address(name).is_loopback or not self.is_local
        except ValueError:
            return name in self.names

    def knows(self, given: str) -> bool:
        """Returns whether this is the token, in a time that does not depend on it."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode("utf-8"))


class Guard:
    """An ASGI application around another one; only what :class:`Access` allows reaches it.

    HEAD reaches it as GET, with ``is_head`` in its scope; the server drops the body. ``page``
    returns an HTML page for a status and a text. ``requests`` is told of every answer.
    """

    def __init__(
        self, app: App, access: Access, page: Callable[[int, str], str], requests: Requests
    ) -> None:
        self.app, self.access, self._page, self._requests = app, access, page, requests
        self._active = 0
        metrics = requests.metrics
        metrics.gauge(
            "paddlevideo_requests_active", "Requests being answered.", lambda: self._active
        )
        metrics.gauge("paddlevideo_requests_active_limit", "The most.", lambda: MOST)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request itself, or lets the application answer."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return  # which closes a web socket

        started, status = time.perf_counter(), 500

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        self._active += 1
        try:
            if (refusal := self._refusal(scope, headers)) is not None:
                await self._refuse(scope, send_safely, *refusal)
                return
            is_head = scope["method"] == "HEAD"
            await self.app({**scope, "method": "GET", "is_head": is_head}, receive, send_safely)
        finally:
            self._active -= 1
            self._requests.finished(scope, status, time.perf_counter() - started)

    async def _refuse(
        self, scope: Message, send: Send, status: int, text: str, more: dict[str, str]
    ) -> None:
        if scope["path"].startswith("/api/"):
            kind, body = "application/json", json.dumps({"error": text}).encode()
        else:
            kind, body = "text/html; charset=utf-8", self._page(status, text).encode()
        pairs = {"content-type": kind, "content-length": str(len(body)), **more}
        start = [(name.encode(), value.encode("latin-1")) for name, value in pairs.items()]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Message, headers: dict[str, str]) -> Refusal | None:
        """Returns status, text and headers of a refusal, or None."""
        if not self.access.allows_host(headers.get("host", "")):
            return 421, "This server is not called by this name (see --allow_host).", {}
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, "Only GET and HEAD are answered.", {"allow": "GET, HEAD"}
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return 413, "Requests have no body here.", {"connection": "close"}
        if self._active > MOST and scope["path"] not in ALWAYS:
            self._requests.metrics.refused(REQUESTS)
            return 503, "Please try again in 1 s: too many requests at once.", {"retry-after": "1"}
        if self.access.token:
            return self._token_refusal(scope, headers)
        return None

    def _token_refusal(self, scope: Message, headers: dict[str, str]) -> Refusal | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        in_address = dict(query).get("token")
        if in_address is not None and self.access.knows(in_address):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            path = "/" + scope["raw_path"].decode("latin-1").split("?")[0].lstrip("/\\")
            cookie = f"{_cookie_name(scope)}={self.access.token}; Path=/; HttpOnly; SameSite=Lax"
            return (
                303,
                "See the address without the token.",
                {"location": path + (f"?{rest}" if rest else ""), "set-cookie": cookie},
            )
        bearer = headers.get("authorization", "")
        if self.access.knows(bearer.removeprefix("Bearer ")) and bearer.startswith("Bearer "):
            return None
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        name = _cookie_name(scope)
        if any(self.access.knows(value) for known, _, value in pairs if known == name):
            return None
        text = "Open the address that the server printed when it started: it ends with a token."
        return 401, text, {"www-authenticate": "Bearer"}


def _cookie_name(scope: Message) -> str:
    return COOKIE.format(port=scope["server"][1])
