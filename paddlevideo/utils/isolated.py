"""Calls in a process of their own, so that native code that crashes costs one call."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Crash(Exception):
    """The process of a call ended without an answer."""


class Isolated:
    """A child process that calls one function after another; a new one follows a crash.

    The child is a fork, which has everything imported; where systems have none, the calls are made
    in this process.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def call(self, function: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        """What ``function``, of the top level of a module, returns or raises.

        Raises Crash where it ends its process.
        """
        if "fork" not in multiprocessing.get_all_start_methods():
            return function(*arguments, **more)
        if self._pool is None:
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(1, context, _begin)
        try:
            return self._pool.submit(function, *arguments, **more).result()
        except BrokenProcessPool:
            self._pool = None
            raise Crash from None


def _begin() -> None:
    """In the child: Ctrl-C is the parent's, and the child does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.disable()  # the parent says in one line what crashed
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
