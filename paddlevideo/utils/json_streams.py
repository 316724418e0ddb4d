"""Standard output and errors as JSON lines, from any source: Python, native code or a child.

Both descriptors become pipes to a process of its own, which puts each line that is not JSON yet
into an object. A process rather than a thread: it also passes on what this one prints while it
crashes, and native code that prints cannot wait for itself.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import IO, Any

from paddlevideo.utils.children import this_python

#: Seconds to wait for the last lines, if a child holds the pipes open.
GRACE = 5.0
#: Bytes of a line; a longer one is divided.
LONGEST = 1 << 20
#: Of a line that is JSON.
_START = b'{"time": "'
#: Of how many bytes a pipe is read at a time.
_READ = 1 << 16


def json_line(
    level: str, logger: str, message: str, event: str, when: datetime | None = None, **fields: Any
) -> str:
    """Returns a line of the log without its end: time (RFC 3339, UTC) and fields, in ASCII.

    Numbers that JSON does not have, NaN and infinity, become null.
    """
    time = (when or datetime.now(timezone.utc)).isoformat(timespec="milliseconds")
    stamp = time.replace("+00:00", "Z")
    head = {"time": stamp, "level": level, "logger": logger, "event": event, "message": message}
    return json.dumps(_finite({**head, **fields}), default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


@contextmanager
def json_streams() -> Iterator[None]:
    """Context in which all that this process and its children print becomes JSON lines."""
    pipes = [os.pipe(), os.pipe()]
    ends = [read for read, _ in pipes]
    wrapper = subprocess.Popen(
        this_python(f"from paddlevideo.utils.json_streams import wrap; wrap{tuple(ends)}"),
        pass_fds=ends,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the command
    )
    before, kept = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
    for stream in before:
        stream.flush()
    for number, (read, write) in enumerate(pipes, 1):
        os.dup2(write, number)
        os.close(read)
        os.close(write)
    sys.stdout, sys.stderr = _text(1), _text(2)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the reader is gone
                stream.flush()
        sys.stdout, sys.stderr = before
        for number, copy in enumerate(kept, 1):
            os.dup2(copy, number)
            os.close(copy)
        with suppress(subprocess.TimeoutExpired):
            wrapper.wait(GRACE)


def _text(descriptor: int) -> IO[str]:
    """Returns a text file on a descriptor that writes line by line."""
    return open(  # noqa: SIM115 - it lasts as long as the command
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


# ------------------------------------------------------------------ in the other process


def wrap(output: int, errors: int) -> None:
    """Passes on the lines of two pipes to standard output and errors until both are closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a service manager ends the whole group
        signal.signal(number, signal.SIG_IGN)
    with selectors.DefaultSelector() as selector:
        for source, stream in ((output, "stdout"), (errors, "stderr")):
            selector.register(source, selectors.EVENT_READ, _Lines(stream))
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.pass_on(key.fd):
                    selector.unregister(key.fd)
                    os.close(key.fd)  # if no one reads any more, the command is told by an error


class _Lines:
    """The lines of one stream."""

    def __init__(self, stream: str) -> None:
        self._stream, self._rest = stream, b""
        self._target = 1 if stream == "stdout" else 2

    def pass_on(self, source: int) -> bool:
        """Passes on what can be read; returns whether there may be more."""
        data = os.read(source, _READ)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data or len(self._rest) > LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        text = b"".join(as_json(line, self._stream) for line in lines)
        try:
            while text:
                text = text[os.write(self._target, text) :]
        except OSError:
            return False
        return bool(data)


def as_json(line: bytes, stream: str) -> bytes:
    """Returns a line as JSON with its end: as it is, or as the message of an object.

    Nothing for an empty line. What a command prints to standard error after ``error:`` has that
    level; other lines there are warnings.
    """
    start = line.find(_START)
    if start >= 0:
        with suppress(ValueError):
            json.loads(line[start:])
            # What is before it was printed without an end, or by another process at once.
            return as_json(line[:start], stream) + line[start:] + b"\n"
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return b""
    level, event = "info" if stream == "stdout" else "warning", "output"
    if stream == "stderr" and text.startswith("error: "):
        level, event, text = "error", "error", text.removeprefix("error: ")
    return (json_line(level, stream, text, event) + "\n").encode()
