"""A progress bar on a terminal, a line in a notebook, lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

log = logging.getLogger("paddlevideo")

Item = TypeVar("Item")
_shown: ContextVar[bool] = ContextVar("shown", default=True)
#: A notebook's line: seconds before the first one and between two, and its width.
EVERY, WIDTH = 0.5, 60
#: Seconds between two lines in the log, and before the first one.
LOGGED = 60.0


@contextmanager
def progress(shown: bool) -> Iterator[None]:
    """Context in which bars are drawn, or not."""
    before = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(before)


def track(
    items: Iterable[Item],
    description: str,
    total: int | None = None,
    unit: str = "batches",
    units_per_item: int = 1,
    logged: bool = True,
) -> Iterator[Item]:
    """Yields ``items`` and draws a bar with ``unit`` per second and the remaining time.

    A notebook shows a line with the same instead. If standard error is neither, as in a pipe, a
    log file or CI, a line is logged every minute, unless the caller logs by itself: ``logged``.
    Nothing is shown in a ``progress(False)`` context.
    """
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel.")
    if _shown.get() and in_notebook:
        yield from _with_line(items, description, total, unit, units_per_item)
        return
    if not (_shown.get() and sys.stderr.isatty()):
        is_told = _shown.get() and logged
        words = (items, description, total, unit, units_per_item)
        yield from log_progress(*words) if is_told else items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        amount = None if total is None else total * units_per_item
        task = bar.add_task(description, total=amount, rate="")
        for item in items:
            yield item
            bar.advance(task, units_per_item)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")


def _with_line(
    items: Iterable[Item], description: str, total: int | None, unit: str, units_per_item: int
) -> Iterator[Item]:
    """Yields ``items`` and overwrites a line on standard error, which is blank in the end."""
    started = written = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - written >= EVERY:
            written = now
            share = f" {done / total:.0%}" if total else ""
            speed = done * units_per_item / (now - started)
            line = f"{description}{share} {speed:,.0f} {unit}/s"
            print(f"\r{line:{WIDTH}.{WIDTH}}", end="", file=sys.stderr, flush=True)
    if written > started:
        print(f"\r{'':{WIDTH}}\r", end="", file=sys.stderr, flush=True)


def log_progress(
    items: Iterable[Item],
    description: str,
    total: int | None = None,
    unit: str = "batches",
    units_per_item: int = 1,
) -> Iterator[Item]:
    """Yields ``items`` and logs a line every minute, also on a terminal: inside of other work."""
    started = written = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - written < LOGGED:
            continue
        written, count, seconds = now, done * units_per_item, now - started
        fields: dict[str, Any] = {"event": "progress", "work": description, "done": count}
        share, left = f"{count:,} {unit}", ""
        if total:
            fields["total"] = total * units_per_item
            share = f"{100 * done / total:.0f} %"
            left = f", {timedelta(seconds=round(seconds * (total - done) / done))} left"
        rate = f"{count / seconds:,.0f}" if count >= 10 * seconds else f"{count / seconds:.2g}"
        text = f"{description}: {share}, {rate} {unit}/s{left}"
        log.info("%s", text, extra={"fields": fields})
