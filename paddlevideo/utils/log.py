"""Logging to the terminal and to a file, on the main rank only; what commands print as JSON."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

from paddlevideo.utils.json_streams import json_line, json_streams

NAME = "paddlevideo"
#: What this one logs is for log.txt only: long, and no news on a terminal.
FILE_ONLY = f"{NAME}.file_only"
FORMAT = logging.Formatter("[%(asctime)s] %(levelname)s: %(message)s", "%m/%d %H:%M:%S")
#: Values of ``--log_format``.
FORMATS = ("text", "json")

_is_json = False


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
        is_printed = isinstance(handler, _Printer)
        handler.setFormatter(JsonFormatter() if _is_json and is_printed else FORMAT)
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


# ---------------------------------------------------------------------------------- JSON


def run_in_format(arguments: Sequence[str] | None, action: Callable[[], int]) -> int:
    """Runs a command in the format that ``--log_format`` names, and returns its exit code.

    The command line is searched before it is parsed, so that mistakes in it are JSON as well. A bug
    is then one line with its traceback, and the exit code is 1.
    """
    if not _asks_for_json(sys.argv[1:] if arguments is None else arguments):
        return action()
    with json_streams(), _json_logging():
        try:
            return action()
        except Exception:
            logging.getLogger(NAME).critical("ended by a bug", exc_info=True)
            return 1


def _asks_for_json(words: Sequence[str]) -> bool:
    return "--log_format=json" in words or ("--log_format", "json") in pairwise(words)


@contextmanager
def _json_logging() -> Iterator[None]:
    """Context in which logs, warnings and uncaught exceptions of threads are JSON lines."""
    global _is_json
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root, ours = logging.getLogger(), logging.getLogger(NAME)
    before = ours.level, threading.excepthook
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread
    _is_json = True
    try:
        yield
    finally:
        _is_json = False
        logging.captureWarnings(False)
        level, threading.excepthook = before
        ours.setLevel(level)
        root.removeHandler(handler)


def _log_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "of Python"
    error = ended.exc_value or ended.exc_type()
    logging.getLogger(NAME).critical("the thread %s ended by a bug", name, exc_info=error)


def is_json() -> bool:
    """Returns whether this command prints JSON lines."""
    return _is_json


class JsonFormatter(logging.Formatter):
    """A record as a JSON line; ``extra={"fields": {...}}`` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, with the traceback as a field."""
        fields = {"event": "log", **getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            fields["error"] = "".join(traceback.format_exception_only(error)).strip()
            fields["traceback"] = "".join(traceback.format_exception(error))
        when = datetime.fromtimestamp(record.created, timezone.utc)
        message = record.getMessage().strip()
        return json_line(record.levelname.lower(), record.name, message, when=when, **fields)


def tell(
    event: str, text: str, /, *, warns: bool = False, news: bool = False, **fields: Any
) -> None:
    """Prints a line of a command: as text, or with ``fields`` as JSON.

    Args:
        event: what happened, in a word, for programs.
        text: what happened, for people.
        warns: it goes to standard error, as a warning.
        news: it goes to standard error, for people who wait.
        fields: values for JSON.
    """
    if _is_json:
        text = json_line("warning" if warns else "info", NAME, text.strip(), event, **fields)
    print(text, file=sys.stderr if warns or news else sys.stdout)


def complain(message: str) -> None:
    """Prints what ended a command; its lines are one in JSON."""
    print(
        json_line("error", NAME, message, "error") if _is_json else f"error: {message}",
        file=sys.stderr,
    )


def log_json(event: str, text: str, /, **fields: Any) -> None:
    """Prints a line as :func:`tell`, in JSON only: text would be too much for people."""
    if _is_json:
        tell(event, text, **fields)


def print_table(table: Any, least: int) -> None:
    """Prints a table of rich, at least ``least`` characters wide; not in JSON, a line at a time."""
    if not _is_json:
        from rich.console import Console

        Console(width=max(Console().width, least)).print(table)
