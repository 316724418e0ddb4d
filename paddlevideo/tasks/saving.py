"""Saves in the background: training waits for a copy in memory, not for the disk."""

from __future__ import annotations

import logging
import platform
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import paddle

import paddlevideo
from paddlevideo.checkpoint import AVERAGE, BEST, Checkpoints, Progress
from paddlevideo.utils.errors import DataError

log = logging.getLogger("paddlevideo")

#: States that may wait in memory to be written: the best one and that of its epoch.
WAITING = 2


class Saver:
    """Writes checkpoints in a thread, one after another.

    If one cannot be written, for example on a full disk, the error is logged and training
    continues: the previous one stays, and the next may fit again. If the last one of a run fails,
    :meth:`close` raises DataError.
    """

    def __init__(self, checkpoints: Checkpoints, steps: int = 0, minutes: float = 0.0) -> None:
        """``steps`` and ``minutes``: intervals between checkpoints within an epoch; 0: none."""
        self.checkpoints, self.steps, self.seconds = checkpoints, steps, 60.0 * minutes
        self._last_step, self._last_time = 0.0, time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._waiting: deque[tuple[str, Future[object]]] = deque()
        self._failed = ""
        self._error: DataError | None = None

    def begin(self, step: float) -> None:
        """Restarts the intervals at ``step``, the last one that is saved."""
        self._last_step, self._last_time = step, time.monotonic()

    def is_due(self, step: float) -> bool:
        """Returns whether a checkpoint within the epoch is due after ``step``."""
        by_steps = 0 < self.steps <= step - self._last_step
        return by_steps or 0 < self.seconds <= time.monotonic() - self._last_time

    def save(
        self,
        tag: str,
        weights: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        progress: Progress,
        extra: Mapping[str, Any],
    ) -> None:
        """Copies the weights and queues a checkpoint to be written; see :class:`Checkpoints`.

        The arrays in ``optimizer`` must be copies already.
        """
        while len(self._waiting) >= WAITING:
            self._settle()
        kept = {name: on_host(tensor) for name, tensor in weights.items()}
        extra = {**extra, "versions": versions()}
        self._submit(self.checkpoints.save, tag, kept, optimizer, progress, extra)

    def amend(self, tag: str, progress: Progress, extra: Mapping[str, Any]) -> bool:
        """Queues a replacement of the progress in a saved checkpoint.

        Returns False if the checkpoint could not be written and has to be saved again.
        """
        while any(waiting == tag for waiting, _ in self._waiting):
            self._settle()
        if self._failed == tag:
            return False
        self._submit(self.checkpoints.amend, tag, progress, {**extra, "versions": versions()})
        return True

    def _submit(self, write: Callable[..., object], tag: str, *arguments: Any) -> None:
        self._waiting.append((tag, self._thread.submit(write, tag, *arguments)))
        while self._waiting and self._waiting[0][1].done():
            self._settle()

    def _settle(self) -> None:
        """Waits for the oldest checkpoint and logs the result."""
        tag, writing = self._waiting.popleft()
        try:
            if (path := writing.result()) is not None:
                log.info("saved %s", path)
            self._error = None
            self._failed = "" if self._failed == tag else self._failed
        except OSError as error:
            self._failed = tag if tag not in (AVERAGE, BEST) else self._failed
            self._error = DataError(
                f"{self.checkpoints.folder}: a checkpoint could not be written ({error}). "
                f"Complete ones: {', '.join(self.checkpoints.tags()) or 'none'}. Free some space"
            )
            log.error("%s; training continues and will try again", self._error)

    def close(self) -> None:
        """Waits for the disk. Raises DataError if the last checkpoint could not be written."""
        while self._waiting:
            self._settle()
        self._thread.shutdown()
        if self._error is not None:
            raise self._error


def on_host(tensor: Any) -> Any:
    """Returns a copy of a tensor in host memory, half precision as float32; else ``tensor``."""
    if not isinstance(tensor, paddle.Tensor):
        return tensor
    with paddle.no_grad():
        if tensor.dtype in (paddle.float16, paddle.bfloat16):
            tensor = tensor.astype("float32")
        return tensor.clone() if tensor.place.is_cpu_place() else tensor.cpu()


def versions() -> dict[str, str]:
    """Returns the versions of the software that writes a checkpoint."""
    return {
        "paddlevideo": paddlevideo.__version__,
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
