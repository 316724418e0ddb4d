"""Where a training run's numbers go: JSON lines, TensorBoard, VisualDL, a picture of the curves."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")
#: Say where a record stands; the others are curves.
PLACES = ("epoch", "step", "step_total")


class Writers:
    """``train.jsonl``, TensorBoard's event file and, where it is asked for, VisualDL's."""

    def __init__(self, folder: Path, visualdl: bool = False) -> None:
        """Goes on with the files that are there. Raises ConfigError without VisualDL."""
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(str(folder / "tensorboard"))
        self._visualdl = visualdl_writer(folder / "visualdl") if visualdl else None
        path = folder / "train.jsonl"
        cut_off = path.is_file() and not path.read_bytes().endswith(b"\n")
        self._jsonl = path.open("a", encoding="utf-8")
        #: Whether there is something to draw.
        self.any_line = self._jsonl.tell() > 0
        if cut_off and self.any_line:  # a killed run's last line: ours must not continue it
            self._jsonl.write("\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, and one scalar at step ``step_total`` for every other number in it."""
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

    A picture is not worth a run: whatever hinders it is a warning.
    """
    try:
        from paddlevideo.report.curves import write_curves
        from paddlevideo.report.history import read_history

        write_curves(folder / "curves.png", [read_history(folder / "train.jsonl")])
    except Exception as fault:
        log.warning("curves.png is not drawn: %s", fault)
    else:
        log.info("curves in %s", folder / "curves.png")
