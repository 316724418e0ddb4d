"""Log lines: to the terminal and to a file, from the main rank only."""

from __future__ import annotations

import logging
import sys
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
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if folder is not None and not silent:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter("[%(asctime)s] %(levelname)s: %(message)s", "%m/%d %H:%M:%S")
        )
        logger.addHandler(handler)
