"""Tells which rank hangs, or is gone, while the others wait for it.

gloo kills a process that waits 30 s in a collective operation, without naming the missing rank.
Other Python threads run meanwhile, so a thread can log before what each rank is doing. The launcher
ends the ranks of its own machine together, but does not notice that another machine is lost: the
thread also gives a sign of life every second, and ranks that give none are not waited for.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import paddle

log = logging.getLogger("paddlevideo")

#: Seconds between two checks, and between writing a rank's report and reading the others'.
INTERVAL, GATHERING = 1.0, 3.0
#: Seconds without a sign of life after which a rank is lost. Other threads of a rank stand still
#: while it packs large objects, or is swapped out.
SILENCE = 60.0
WAITS = "waits for the others in "
PADDLE = os.path.dirname(paddle.__file__)


class Silence:
    """How long ranks have given no sign of life while this rank waited for them.

    A new one for each wait: a rank that itself waits gives none, and no rank waits for it.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self._seen: dict[int, tuple[int, float]] = {}

    def lost(self, ranks: Iterable[int]) -> list[int]:
        """Returns those of ``ranks`` that once gave signs of life, but none for ``SILENCE``."""
        now, lost = time.monotonic(), []
        for rank in ranks:
            count = self.store.add(f"alive/{rank}", 0)
            if count != self._seen.get(rank, (-1, now))[0]:
                self._seen[rank] = count, now
            elif count and now - self._seen[rank][1] > SILENCE:
                lost.append(rank)
        return lost


class Watch:
    """A thread that times the steps of one rank, and gives its signs of life.

    The ranks' reports go through the launcher's store.
    """

    #: Guards this process's connection to the store.
    lock = threading.Lock()

    def __init__(self, rank: int, size: int, store: Any, patience: float) -> None:
        self.rank, self.size, self.store, self.patience = rank, size, store, patience
        self._longest, self._count = 0.0, 0
        self._since: tuple[float, str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        # A thread that wakes up while the interpreter and Paddle shut down may crash them.
        atexit.register(self.stop)

    def stop(self) -> None:
        """Ends the thread."""
        self._over.set()
        self._thread.join(timeout=2 * INTERVAL)

    def begin(self, where: str) -> None:
        """Starts timing a step, which the log calls ``where``; call it on all ranks."""
        self._count += 1
        self._since = time.monotonic(), where

    def end(self) -> None:
        """Stops timing."""
        if self._since is not None:
            self._longest = max(self._longest, time.monotonic() - self._since[0])
        self._since = None

    def _run(self) -> None:
        reported = 0
        while not self._over.wait(INTERVAL):
            try:
                with self.lock:  # which a rank that waits for others holds: they do not wait for it
                    self.store.add(f"alive/{self.rank}", 1)
            except (RuntimeError, ValueError):
                return  # rank 0 is gone, and the store with it: whatever needs it says so
            since, count = self._since, self._count
            if since is None or count == reported:
                continue
            if time.monotonic() - since[0] > self.patience + self._longest:
                reported = count
                self._report(count, *since)

    def _report(self, count: int, began: float, where: str) -> None:
        with self.lock:
            self.store.set(f"place/{count}/{self.rank}", main_thread_location())
            self.store.add(f"placed/{count}/{self.rank}", 1)
        if self._over.wait(GATHERING) or self._since != (began, where):
            return  # the step has ended
        locations: dict[int, str | None] = dict.fromkeys(range(self.size))
        with self.lock:
            for rank in locations:
                if self.store.add(f"placed/{count}/{rank}", 0):
                    locations[rank] = self.store.get(f"place/{count}/{rank}").decode()
        seconds = time.monotonic() - began
        log.warning("%s takes %.0f s so far. %s", where, seconds, message(locations))


def main_thread_location() -> str:
    """Returns what this process's main thread is doing."""
    return location(sys._current_frames()[threading.main_thread().ident or 0])


def location(frame: FrameType) -> str:
    """Returns the collective operation in which a thread waits, or its function and file."""
    code = frame.f_code
    waits = code.co_filename.startswith(os.path.join(PADDLE, "distributed"))
    if waits or (code.co_filename.startswith(PADDLE) and code.co_name == "backward"):
        return f"{WAITS}{code.co_name}"
    return f"is in {code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno})"


def message(locations: Mapping[int, str | None]) -> str:
    """Returns a message with each rank's location, late ranks first; None: it does not answer."""
    texts = {rank: text or "does not answer" for rank, text in locations.items()}
    late = [rank for rank, text in texts.items() if not text.startswith(WAITS)]
    order = sorted(texts, key=lambda rank: (rank not in late, rank))
    sentences = "; ".join(f"rank {rank} {texts[rank]}" for rank in order)
    if not late or len(late) == len(texts):
        return sentences
    ranks = ", ".join(map(str, late))
    verb = "is" if len(late) == 1 else "are"
    return f"Rank(s) {ranks} {verb} late; on CPU the other ranks abort after 30 s: {sentences}"
