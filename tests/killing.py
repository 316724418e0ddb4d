"""Processes that die at a chosen moment: what a power cut or ``kill -9`` leaves behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

#: What the audit hook of Python is told before a file or folder gets, changes or loses a name.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "open", "os.truncate"}
DIED = 77


def dies_at(action: Callable[[], object], moment: int) -> bool:
    """Runs ``action`` in a child that dies before its change number ``moment``.

    Returns whether it died: False where there were fewer changes.
    """
    child = os.fork()
    if not child:
        try:
            die_at(moment)
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == DIED


def die_at(moment: int) -> None:
    """Ends this process, as ``kill -9`` would, before its change number ``moment``."""
    seen = [0]

    def count(event: str, given: tuple) -> None:
        if event not in CHANGES or (event == "open" and not _writes(given)):
            return
        seen[0] += 1
        if seen[0] > moment:
            os._exit(DIED)

    sys.addaudithook(count)


def _writes(given: tuple) -> bool:
    flags = given[2] if len(given) > 2 and isinstance(given[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
