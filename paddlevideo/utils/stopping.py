"""Signals that stop a run after it has finished its step and saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from paddlevideo.utils.command import is_command
from paddlevideo.utils.errors import Stopped

#: The launcher sends SIGTERM; Slurm can send SIGUSR1 before its time limit.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Records the first signal. A second Ctrl-C ends the process at once, without saving.

    >>> with StopRequest() as stop:
    ...     while work and not stop.received:
    ...         step()
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for signum in SIGNALS:
                self._before[signum] = signal.signal(signum, self._record)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        if self._before and isinstance(exception[1], Stopped) and is_command():
            # The launcher sends SIGTERM to the ranks that end after the first, and would then
            # report its signal instead of their exit code.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _record(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            # The system's handler: Python's would wait until Paddle returns from a long call.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.received is not None:
            return  # the launcher sends it repeatedly
        self.received = signum
        name = signal.Signals(signum).name
        more = "; Ctrl-C again stops at once without saving" if signum == signal.SIGINT else ""
        # Printing is not safe in a handler; writing is.
        os.write(2, f"\n{name}: stops after this step and saves{more}\n".encode())
