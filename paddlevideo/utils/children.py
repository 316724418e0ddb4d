"""Child processes that end with their parent, even if it is killed; SIGTERM as an exception."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

#: Seconds in which a child must save and end before it is killed.
GRACE = 30.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: like Ctrl-C, but for the exit code."""


def this_python(statement: str) -> list[str]:
    """Returns a command that runs ``statement`` with the module path of this process.

    Commands of a clone thus start those of the same clone, installed or not, from any folder. The
    statement may use ``sys``; arguments can be appended to the command.
    """
    path = [os.path.abspath(entry) for entry in sys.path]
    return [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {statement}"]


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise :class:`Terminated` within the context, so that cleanup code runs."""
    if threading.current_thread() is not threading.main_thread():  # Python allows it only there
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers repeat it
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Makes Linux send this process a signal when its parent, process ``parent``, dies."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it has died already
            os.kill(os.getpid(), number)


def quiet_worker(parent: int) -> None:
    """Initializes a pool's worker: it leaves Ctrl-C to its parent, and dies with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)


class Children:
    """Commands that run at the same time, and end together.

    Python code runs between fork and exec, which is not safe beside the threads of Paddle or
    OpenCV: a process that loads these must not use it.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_ending = False

    def call(self, words: Sequence[str], output: Any) -> int:
        """Runs a command that prints to the file ``output``, and returns its exit code."""
        with self._lock:
            if self._is_ending:
                return 128 + signal.SIGTERM
            child = subprocess.Popen(
                words,
                stdout=output,
                stderr=output,
                # If this process is killed, the child receives what a scheduler would send it.
                preexec_fn=partial(end_with_parent, os.getpid(), signal.SIGTERM),
            )
            self._running.add(child)
        code = child.wait()
        self._running.discard(child)
        return code

    def end(self) -> None:
        """Terminates all children, and kills those that are still running after :data:`GRACE`."""
        with self._lock:
            self._is_ending = True
            children = list(self._running)
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
