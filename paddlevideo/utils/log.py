"""Log lines: to the terminal and to a file, from the main rank only."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

NAME = "paddlevideo"


def set_up_logging(level: str = "INFO", folder: Path | None = None, silent: bool = False) -> None:
    """Sends the package's log to standard output and to ``<folder>/log.txt``.

    ``silent``: warnings and errors only, without a file: what ranks other than the first do.
    """
    logger = logging.getLogger(NAME)
    logger.propagate = False
    logger.setLevel(logging.WARNING if silent else level.upper())
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [_Printer()]
    if folder is not None and not silent:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter("[%(asctime)s] %(levelname)s: %(message)s", "%m/%d %H:%M:%S")
        )
        logger.addHandler(handler)


class _Printer(logging.Handler):
    """Prints to what standard output is at that moment: above a progress bar, if one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record. A reader that has gone must not end a training run: log.txt stays."""
        with suppress(OSError):
            print(self.format(record), flush=True)
