"""Function calls in a separate process, so that a crash of native code costs one call."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from paddlevideo.utils.children import this_python

P = ParamSpec("P")
T = TypeVar("T")
GRACE = 2.0  # seconds in which an idle process must end, unless told otherwise


class Crash(Exception):
    """The process ended during a call, or the call took too long."""


class Isolated:
    """A process that calls one function after another, and is replaced after a crash.

    A fresh Python rather than a fork, since OpenCV's threads do not survive a fork. It starts at
    the first call, and ends with this object or this process.
    """

    def __init__(self, seconds: float | None = None, grace: float = GRACE) -> None:
        """``seconds``: how long a call may take; None: for ever. ``grace``: and the end."""
        self.seconds, self._grace = seconds, grace
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def call(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Calls ``function``, which must be at the top level of a module, and returns its result.

        Raises its exceptions, and Crash if the process ends or takes too long.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send((function, arguments, keywords))
            if not pipe.poll(self.seconds):
                raise EOFError
            error, value = pipe.recv()
        except (EOFError, OSError):
            self.close()
            raise Crash from None
        if error is not None:
            raise error
        return value

    def _start(self) -> Connection:
        self._pipe, other = multiprocessing.Pipe()
        serving = f"from paddlevideo.utils.isolated import serve; serve({other.fileno()})"
        with other:
            self._process = subprocess.Popen(
                this_python(serving),
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # messages of a crashing library
                start_new_session=True,  # Ctrl-C is for the caller
            )
        return self._pipe

    def close(self) -> None:
        """Ends the process."""
        pipe, process, self._pipe, self._process = self._pipe, self._process, None, None
        if pipe is None or process is None:
            return
        pipe.close()
        try:
            process.wait(self._grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __del__(self) -> None:
        with suppress(Exception):  # modules may be gone already
            self.close()


def serve(descriptor: int) -> None:
    """Answers calls until the other end is closed."""
    with Connection(descriptor) as pipe, suppress(EOFError, OSError):
        while True:
            function, arguments, keywords = pipe.recv()
            try:
                error, value = None, function(*arguments, **keywords)
            except Exception as raised:
                error, value = raised, None
            pipe.send((error, value))
