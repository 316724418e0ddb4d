"""Metrics for Prometheus at an address of their own. Needs the package prometheus_client."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.log import tell

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@contextmanager
def naming_address(host: str, port: int, prefix: str = "") -> Iterator[None]:
    """Context in which an address that cannot be listened at is a ConfigError.

    ``prefix``: of the names of the two options, as in ``--metrics_port``.
    """
    host_option, port_option = f"--{prefix}host {host}", f"--{prefix}port {port}"
    try:
        yield
    except socket.gaierror as error:
        raise ConfigError(f"{host_option}: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"choose another one, or --{prefix}port 0 for any that is free"
            message = f"{port_option} is used by another program: {advice}"
            raise ConfigError(message) from None
        raise ConfigError(f"{host_option} {port_option}: {error.strerror}") from None


@contextmanager
def answering(registry: CollectorRegistry, host: str, port: int | None) -> Iterator[None]:
    """Context in which a thread answers Prometheus, at any path, and prints where.

    Without a port, nothing happens. Raises ConfigError if the port is taken, or the host is not an
    address of this machine.
    """
    if port is None:
        yield
        return
    from prometheus_client import start_http_server

    with naming_address(host, port, "metrics_"):
        server, thread = start_http_server(port, host, registry)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{server.server_port}/metrics"
    tell("metrics", f"metrics on {address}", news=True, address=address)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
