"""Listens, prints the address, and serves until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import sys

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol

from paddlevideo.serve.app import Site, Watching, create_app
from paddlevideo.serve.guard import Access
from paddlevideo.utils.children import Terminated, terminable
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.log import is_json, tell
from paddlevideo.utils.metrics import naming_address

SHORTEST_TOKEN = 16  # characters
#: Bytes of a request line with its headers; the longest text fits several times.
LONGEST_HEAD = 1 << 15
#: Connections at a time, more than requests (guard.py), which are told when to try again.
CONNECTIONS = 800
IDLE = 60  # seconds until a connection without further requests is closed
SLOWEST = 10  # seconds for a client to send a request with its headers
#: Seconds for a client to take what is waiting for it. A player that pauses is cut off too, and
#: asks for the rest when it goes on.
STALLED = 60
GRACE = 3  # seconds for answers that are being sent when the server ends


class Protocol(H11Protocol):
    """Closes connections whose request does not arrive in ``SLOWEST`` seconds.

    Also those whose answer, about 64 KiB of it, is not taken in ``STALLED`` seconds. uvicorn waits
    for both without end, so that clients that send or read nothing, for which the first ones need
    no token, would soon hold all connections.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expects the first request."""
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Expects the rest of a request, unless one is being answered."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_request()
        else:
            self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expects nothing more."""
        self._stop_clock()
        self._stop_stalled()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Expects the client to take what is waiting."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Stops expecting it."""
        self._stop_stalled()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, which would wait for the client to take the last answer."""
        super().timeout_keep_alive_handler()
        self._end()

    def _expect_reading(self) -> None:
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED, self.transport.abort)

    def _stop_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _expect_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(SLOWEST, self._end)

    def _end(self) -> None:
        """Closes the connection, also if the client does not take the last answer."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._expect_reading()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket bound to an address; connections are refused until it is served.

    Raises ConfigError if the port is taken, or the host is not an address of this machine.
    """
    with naming_address(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound


def access_for(bound: socket.socket, host: str, names: list[str], token: str) -> Access:
    """Returns who may use a server that listens at ``bound``.

    Only this machine needs no token; elsewhere one is made if none is given. ``names``: further
    names of the machine. Raises ConfigError for a short token.
    """
    if token and len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"--token: at least {SHORTEST_TOKEN} characters, or it can be guessed")
    if token and not (token.isascii() and token.replace("-", "").replace("_", "").isalnum()):
        raise ConfigError("--token: only the characters A-Z, a-z, 0-9, - and _")
    is_local = ipaddress.ip_address(bound.getsockname()[0]).is_loopback
    known = {"localhost", host, *names}
    if not is_local:
        known |= {socket.gethostname(), socket.getfqdn()}
    allowed = frozenset(name.lower().rstrip(".") for name in known)
    return Access(allowed, is_local, token or ("" if is_local else secrets.token_urlsafe(24)))


def address_of(bound: socket.socket, token: str) -> str:
    """Returns the address to open, with a token unless that is empty."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def serve(site: Site, bound: socket.socket, access: Access, watching: Watching) -> None:
    """Serves until SIGTERM, or Ctrl-C, which raises KeyboardInterrupt.

    In JSON the address is printed without the token: logs are read by others. Raises what ended the
    engine, such as a DataError for a damaged clip.
    """
    config = uvicorn.Config(
        create_app(site, access, watching),
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="warning",
        log_config=None if is_json() else LOGGING_CONFIG,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(config)
    connections = server.server_state.connections
    site.engine.metrics.gauge(
        "paddlevideo_connections", "Open connections.", lambda: len(connections)
    )
    site.engine.metrics.gauge("paddlevideo_connections_limit", "The most.", lambda: CONNECTIONS)
    site.engine.on_error = lambda: setattr(server, "should_exit", True)
    server.should_exit = site.engine.error is not None  # already
    bound.listen(CONNECTIONS)
    address = address_of(bound, "" if is_json() else access.token)
    tell("serving", f"serving on {address}", address=address)
    sys.stdout.flush()
    if not is_json():
        print("Ctrl-C ends it.", file=sys.stderr)
    try:
        with terminable():
            server.run(sockets=[bound])
    except Terminated:
        return  # as a service manager asks for
    finally:
        site.engine.close()
        site.close()
    if site.engine.error is not None:
        raise site.engine.error
