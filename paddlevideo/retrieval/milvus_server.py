"""A connection to Milvus that is patient: requests are tried again, and errors say what to do."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paddlevideo.utils.command import INSTALL
from paddlevideo.utils.errors import ConfigError, UserError

#: The environment variable with the token of a server, which a command line would show to others.
TOKEN = "MILVUS_TOKEN"
#: Seconds in which a request is tried again: of a search, of others, and of what takes longer.
SEARCH_SECONDS, SECONDS, FLUSH_SECONDS = 5.0, 30.0, 120.0
#: Seconds in which one request may be answered, at least: a million clips take a server a while.
ANSWER_SECONDS = 30.0
_EXPECTED = "a folder, http://HOST:PORT or https://HOST:PORT of Milvus, or a file that ends in .db"
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]+")
#: Seconds between two attempts, doubled from the first to the last of these.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: What errors of a server that does not answer, rather than refuses, have in their text.
_AWAY = ("fail connecting", "retry timeout", "retry run out", "unavailable", "deadline", "closed")
#: A server that comes back is found at once, and not after minutes, as gRPC would by itself.
CHANNEL = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}


class IndexAway(UserError):
    """The server of an index does not answer, or refuses a request.

    ``answer``: what the server or its client said, in lower case, without what we add.
    """

    def __init__(self, message: str, answer: str = "") -> None:
        super().__init__(message)
        self.answer = answer.lower()


class IndexChanged(UserError):
    """An index no longer holds what it held when it was opened, and has to be opened again."""


def is_milvus(place: Path | str) -> bool:
    """Whether an index is a server's address or a file of Milvus Lite, and not a folder."""
    return isinstance(place, str) or place.suffix == ".db"


def check_place(text: str) -> None:
    """Raises ConfigError for what is neither an address of a server nor can be a path of an index.

    A server without ``http://`` would else be a folder, and a file is found out to be none only
    when all clips are encoded.
    """
    if "://" in text:
        check_address(text)
    elif _HOST_AND_PORT.fullmatch(text) and not os.path.exists(text):
        raise ConfigError(
            f"--index: {text}: write http://{text} for Milvus, or ./{text} for a folder"
        )
    elif os.path.isfile(text) and not is_milvus(Path(text)):
        raise ConfigError(f"--index: {text} is a file: expected {_EXPECTED}")


def check_address(address: str) -> None:
    """Raises ConfigError for an address that is not one of a server."""
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # not a port
        is_valid = False
    if not is_valid:
        raise ConfigError(f"--index: {address}: expected {_EXPECTED}")
    if parts.username or parts.password:
        raise ConfigError(
            f"--index: leave user and password out of the address, and set {TOKEN} to USER:PASSWORD"
        )


class MilvusServer:
    """Milvus at an address, or Milvus Lite, which runs in this process, in a file."""

    def __init__(self, place: Path | str) -> None:
        """Raises ConfigError without pymilvus or for a wrong address."""
        self.address = str(place)
        if isinstance(place, str):
            check_address(place)
        # gRPC would print a line whenever this process forks, as an extraction does; nothing that
        # is forked here talks to Milvus.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        try:
            import pymilvus
        except ImportError:
            raise ConfigError(
                f"--index: Milvus needs another package: pip install {INSTALL['pymilvus']}"
            ) from None
        for name in ("pymilvus", "milvus_lite", "faiss.loader"):  # they repeat what they raise
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._advice = f"it runs there and {TOKEN} is right"
        if isinstance(place, Path):
            self._advice = "no other process has the file open"
        self.pymilvus = pymilvus
        self._client: Any = None

    def ask(self, doing: str, request: str, *words: Any, seconds: float = 0, **more: Any) -> Any:
        """Returns the answer to a request, a method of MilvusClient.

        It is tried again for some seconds, ``SECONDS`` by default, with a new connection each time.
        Then, or if it is refused, raises IndexAway, which says what was ``doing``.
        """
        seconds = seconds or SECONDS
        end, pause = time.monotonic() + seconds, FIRST_PAUSE
        while True:
            left = max(end - time.monotonic(), FIRST_PAUSE)
            try:
                with self.answering(doing):
                    if self._client is None:
                        self._client = self._connect(left)
                    limit = max(left, ANSWER_SECONDS)
                    return getattr(self._client, request)(*words, timeout=limit, **more)
            except IndexAway as error:
                self.close()
                is_away = any(sign in error.answer for sign in _AWAY)
                if not is_away or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _connect(self, seconds: float) -> Any:
        token = os.environ.get(TOKEN, "")
        return self.pymilvus.MilvusClient(
            self.address, token=token, timeout=seconds, grpc_options=CHANNEL
        )

    def close(self) -> None:
        """Ends the connection; the next request makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def answering(self, doing: str) -> Iterator[None]:
        """Context in which errors of the server are IndexAway."""
        from grpc import RpcError

        try:
            yield
        except (self.pymilvus.MilvusException, RpcError) as error:
            text = " ".join(str(getattr(error, "message", "") or error).split())
            raise IndexAway(
                f"{self.address}: Milvus does not answer, or refuses ({doing}: {text:.300}). See "
                f"that {self._advice}, or choose another --index; what was written is kept",
                answer=text,
            ) from None
