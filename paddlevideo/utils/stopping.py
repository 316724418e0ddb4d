"""Signals that ask a run to end: it finishes its step, saves and goes, and nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

#: What a run that was asked to end exits with, but for Ctrl-C: "try again later" in sysexits.h.
STOPPED = 75
#: The launcher sends SIGTERM; Slurm sends SIGUSR1 some time before the end, where it is asked to.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stopped(Exception):
    """The run was asked to end, and everything is saved."""

    def __init__(self, number: int | None) -> None:
        """``number``: the signal, or None where another rank received it."""
        super().__init__("stopped on request; --resume auto goes on from here")
        self.exit_code = 128 + signal.SIGINT if number == signal.SIGINT else STOPPED


class StopRequest:
    """Notes a first signal. A second Ctrl-C ends the process at once, without saving.

    >>> with StopRequest() as stop:
    ...     while work and not stop.received:
    ...         step()
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            # The system's own answer: Python's would wait until Paddle returns from a long call.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.received is not None:
            return  # the launcher repeats itself
        self.received = number
        name = signal.Signals(number).name
        more = "; Ctrl-C again ends it at once, unsaved" if number == signal.SIGINT else ""
        # Printing is not safe in a handler; writing is.
        os.write(2, f"\n{name}: ends after this step, and saves{more}\n".encode())
