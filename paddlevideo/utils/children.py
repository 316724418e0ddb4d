"""Processes that a command starts: they end when it ends, however that happens."""

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

#: Seconds that a child has to save and end before it is killed.
GRACE = 30.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: like Ctrl-C, but for the exit code."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the context SIGTERM raises :class:`Terminated`, so that cleanup code runs."""
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
    """Asks Linux to send this process a signal when ``parent``, its parent process, dies."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it has died already
            os.kill(os.getpid(), number)


def quiet_worker(parent: int) -> None:
    """For a pool's workers: they leave Ctrl-C to their parent, and die when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)


class Children:
    """Commands that run at the same time, and end together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_ending = False

    def call(self, words: Sequence[str], output: Any) -> int:
        """Runs a command, with ``output`` for what it prints, and returns its exit code."""
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
        """Asks all to end, waits, and kills those that have not ended after :data:`GRACE`."""
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
