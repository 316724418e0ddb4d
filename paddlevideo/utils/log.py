"""Logging to the terminal and to a file, on the main rank only."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from pathlib import Path

NAME = "paddlevideo"
#: What this one logs is for log.txt only: long, and no news on a terminal.
FILE_ONLY = f"{NAME}.file_only"
FORMAT = logging.Formatter("[%(asctime)s] %(levelname)s: %(message)s", "%m/%d %H:%M:%S")


def set_up_logging(level: str = "INFO", silent: bool = False) -> None:
    """Sends the package's log to standard output, and keeps it for :func:`log_to`.

    ``silent``: warnings and errors only, not kept; for ranks other than the first.
    """
    logger = logging.getLogger(NAME)
    logger.propagate = False
    logger.setLevel(logging.WARNING if silent else level.upper())
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [_Printer()] if silent else [_Printer(), _Keeper()]
    for handler in handlers:
        handler.setFormatter(FORMAT)
        logger.addHandler(handler)


def log_to(path: Path) -> None:
    """Appends the log to a file, including what has been logged so far."""
    logger = logging.getLogger(NAME)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(FORMAT)
    for keeper in [each for each in logger.handlers if isinstance(each, _Keeper)]:
        logger.removeHandler(keeper)
        for record in keeper.records:
            handler.handle(record)
    logger.addHandler(handler)


class _Keeper(logging.Handler):
    """Keeps the last records until there is a log file."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one record."""
        self.records.append(record)


class _Printer(logging.Handler):
    """Prints to the current standard output: above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record. A closed pipe must not end a training run: log.txt remains."""
        if record.name == FILE_ONLY:
            return
        with suppress(OSError):
            print(self.format(record), flush=True)
