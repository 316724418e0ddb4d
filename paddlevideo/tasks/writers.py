"""Writes the numbers of a training run: JSON lines, TensorBoard, VisualDL, a plot."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.files.whole import naming
from paddlevideo.utils.command import missing_package
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")
#: Entries of a record that locate it in the run; the others are curves.
COUNTERS = ("epoch", "step", "step_total")


class Writers:
    """Writes ``train.jsonl``, TensorBoard's event file and, if enabled, VisualDL's."""

    def __init__(self, folder: Path, visualdl: bool = False) -> None:
        """Appends to the files in ``folder``. Raises ConfigError if VisualDL is not installed."""
        folder.mkdir(parents=True, exist_ok=True)
        self._board = _TensorBoard(folder / "tensorboard")
        self._visualdl = visualdl_writer(folder / "visualdl") if visualdl else None
        self._path = path = folder / "train.jsonl"
        cut_off = path.is_file() and not path.read_bytes().endswith(b"\n")
        self._jsonl = path.open("a", encoding="utf-8")
        #: Whether there is something to plot.
        self.has_lines = self._jsonl.tell() > 0
        if cut_off and self.has_lines:  # a killed run left half a line
            self._jsonl.write("\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes a line, and each of its curves at step ``step_total``."""
        with naming(self._path):
            self._jsonl.write(json.dumps(record) + "\n")
            self._jsonl.flush()
        self.has_lines = True
        step = int(record["step_total"])
        for name, value in record.items():
            if name in COUNTERS:
                continue
            tag = name.replace("@", "_at_")
            self._board.add_scalar(tag, value, step)
            if self._visualdl is not None:
                self._visualdl.add_scalar(tag=tag, value=float(value), step=step)

    def close(self) -> None:
        """Flushes and closes all files."""
        self._jsonl.close()
        self._board.close()
        if self._visualdl is not None:
            self._visualdl.close()


class _TensorBoard:
    """Writes TensorBoard's event file. Its thread ends on a full disk; waiting would then hang."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._folder = folder
        self._writer: Any = SummaryWriter(str(folder), max_queue=10_000)

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Adds a point to a curve, unless the disk has been full."""
        if self._works():
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flushes the queue."""
        if self._works():
            closing = threading.Thread(target=self._writer.close, daemon=True)
            closing.start()
            closing.join(10.0)

    def _works(self) -> bool:
        if self._writer is None:
            return False
        events: Any = getattr(self._writer.file_writer, "event_writer", None)
        thread = getattr(events, "_worker", None)
        if thread is None or thread.is_alive():
            return True
        log.error(
            "%s cannot be written to; is the disk full? No more points are added", self._folder
        )
        events._event_queue.cancel_join_thread()  # or Python would wait for the thread at exit
        self._writer = None
        return False


def visualdl_log_writer() -> Any:
    """Returns VisualDL's writer class. Raises ConfigError if it is not installed."""
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise ConfigError(
            f"visualdl: True needs VisualDL ({error}): pip install visualdl. Without it, leave the "
            "setting out: TensorBoard's files and train.jsonl hold the same numbers"
        ) from None
    return LogWriter


def visualdl_writer(folder: Path) -> Any:
    """Returns a writer of VisualDL's logs. Raises ConfigError if it is not installed."""
    return visualdl_log_writer()(logdir=str(folder))


def draw_curves(folder: Path) -> None:
    """Writes ``curves.png`` from the ``train.jsonl`` of the whole run.

    Errors are only logged: a plot must not end a run.
    """
    try:
        from paddlevideo.report.curves import write_curves
        from paddlevideo.report.history import read_history

        write_curves(folder / "curves.png", [read_history(folder / "train.jsonl")])
    except Exception as error:
        log.warning("curves.png is not drawn: %s", missing_package(error) or error)
    else:
        log.info("curves in %s", folder / "curves.png")
