"""Where a training run's numbers go: JSON lines, TensorBoard, VisualDL, a picture of the curves."""

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
#: Say where a record stands; the others are curves.
PLACES = ("epoch", "step", "step_total")


class Writers:
    """``train.jsonl``, TensorBoard's event file and, where it is asked for, VisualDL's."""

    def __init__(self, folder: Path, visualdl: bool = False) -> None:
        """Goes on with the files that are there. Raises ConfigError without VisualDL."""
        folder.mkdir(parents=True, exist_ok=True)
        self._board = _TensorBoard(folder / "tensorboard")
        self._visualdl = visualdl_writer(folder / "visualdl") if visualdl else None
        self._path = path = folder / "train.jsonl"
        cut_off = path.is_file() and not path.read_bytes().endswith(b"\n")
        self._jsonl = path.open("a", encoding="utf-8")
        #: Whether there is something to draw.
        self.any_line = self._jsonl.tell() > 0
        if cut_off and self.any_line:  # a killed run's last line: ours must not continue it
            self._jsonl.write("\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, and one scalar at step ``step_total`` for every other number in it."""
        with naming(self._path):  # appended to, a line at a time, as the run goes
            self._jsonl.write(json.dumps(record) + "\n")
            self._jsonl.flush()
        self.any_line = True
        step = int(record["step_total"])
        for name, value in record.items():
            if name in PLACES:
                continue
            tag = name.replace("@", "_at_")
            self._board.add_scalar(tag, value, step)
            if self._visualdl is not None:
                self._visualdl.add_scalar(tag=tag, value=float(value), step=step)

    def close(self) -> None:
        """Flushes all."""
        self._jsonl.close()
        self._board.close()
        if self._visualdl is not None:
            self._visualdl.close()


class _TensorBoard:
    """TensorBoard's event file. On a full disk its thread dies, and waiting for it would hang."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._folder = folder
        self._writer: Any = SummaryWriter(str(folder), max_queue=10_000)

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Adds a point to a curve; nothing once the disk was full."""
        if self._works():
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flushes what waits."""
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
        log.error("%s: cannot be written to, is the disk full? Nothing more is added", self._folder)
        events._event_queue.cancel_join_thread()  # or Python's end would wait for the thread
        self._writer = None
        return False


def visualdl_log_writer() -> Any:
    """VisualDL's class of writers. Raises ConfigError where it is not installed."""
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise ConfigError(
            f"visualdl: True needs VisualDL ({error}): pip install visualdl. Without it, leave the "
            "setting out: TensorBoard's files and train.jsonl hold the same numbers"
        ) from None
    return LogWriter


def visualdl_writer(folder: Path) -> Any:
    """A writer of VisualDL's logs in ``folder``. Raises ConfigError where it is not installed."""
    return visualdl_log_writer()(logdir=str(folder))


def draw_curves(folder: Path) -> None:
    """Writes ``curves.png``, from the ``train.jsonl`` of the whole run.

    A picture is not worth a run: any error is only a warning.
    """
    try:
        from paddlevideo.report.curves import write_curves
        from paddlevideo.report.history import read_history

        write_curves(folder / "curves.png", [read_history(folder / "train.jsonl")])
    except Exception as error:
        log.warning("curves.png is not drawn: %s", missing_package(error) or error)
    else:
        log.info("curves in %s", folder / "curves.png")
