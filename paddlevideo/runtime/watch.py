"""Says where each rank is when a step takes too long: one may hang while the others wait for it.

gloo ends a process that waits half a minute in an exchange, without a word about who is missing.
Paddle lets other threads of Python run meanwhile, so a thread can tell before.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import paddle

log = logging.getLogger("paddlevideo")

#: Seconds between two looks, and between a rank's own report and the reading of the others'.
INTERVAL, GATHERING = 1.0, 3.0
WAITS = "waits for the others in "
PADDLE = os.path.dirname(paddle.__file__)


class Watch:
    """A thread beside the steps of one rank.

    The ranks' reports go through the launcher's store; ``lock`` guards this process's connection.
    """

    def __init__(self, rank: int, size: int, store: Any, patience: float) -> None:
        self.rank, self.size, self.store, self.patience = rank, size, store, patience
        self.lock = threading.Lock()
        self._longest, self._number = 0.0, 0
        self._since: tuple[float, str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        # A thread that wakes up while the interpreter and Paddle are taken down may crash them.
        atexit.register(self.stop)

    def stop(self) -> None:
        """Ends the thread."""
        self._over.set()
        self._thread.join(timeout=2 * INTERVAL)

    def begin(self, where: str) -> None:
        """A step that ``where`` names begins, on all ranks."""
        self._number += 1
        self._since = time.monotonic(), where

    def end(self) -> None:
        """What comes now may take its time."""
        if self._since is not None:
            self._longest = max(self._longest, time.monotonic() - self._since[0])
        self._since = None

    def _run(self) -> None:
        reported = 0
        while not self._over.wait(INTERVAL):
            since, number = self._since, self._number
            if since is None or number == reported:
                continue
            if time.monotonic() - since[0] > self.patience + self._longest:
                reported = number
                self._report(number, *since)

    def _report(self, number: int, began: float, where: str) -> None:
        with self.lock:
            self.store.set(f"place/{number}/{self.rank}", place_of_main_thread())
            self.store.add(f"placed/{number}/{self.rank}", 1)
        if self._over.wait(GATHERING) or self._since != (began, where):
            return  # it went on
        places: dict[int, str | None] = dict.fromkeys(range(self.size))
        with self.lock:
            for rank in places:
                if self.store.add(f"placed/{number}/{rank}", 0):
                    places[rank] = self.store.get(f"place/{number}/{rank}").decode()
        log.warning("%s takes %.0f s so far. %s", where, time.monotonic() - began, tell(places))


def place_of_main_thread() -> str:
    """What this process is doing, in a few words."""
    return place(sys._current_frames()[threading.main_thread().ident or 0])


def place(frame: FrameType) -> str:
    """Where a thread is: in an exchange with other ranks, or in which function of which file."""
    code = frame.f_code
    exchanges = code.co_filename.startswith(os.path.join(PADDLE, "distributed"))
    if exchanges or (code.co_filename.startswith(PADDLE) and code.co_name == "backward"):
        return f"{WAITS}{code.co_name}"
    return f"is in {code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno})"


def tell(places: Mapping[int, str | None]) -> str:
    """One sentence about each rank, those that keep others waiting first. None: no answer."""
    texts = {rank: text or "does not answer" for rank, text in places.items()}
    late = [rank for rank, text in texts.items() if not text.startswith(WAITS)]
    order = sorted(texts, key=lambda rank: (rank not in late, rank))
    sentences = "; ".join(f"rank {rank} {texts[rank]}" for rank in order)
    if not late or len(late) == len(texts):
        return sentences
    named = ", ".join(map(str, late))
    return f"Rank(s) {named} keep(s) the others waiting, who end after 30 s on CPUs: {sentences}"
