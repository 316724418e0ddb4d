"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
_shown: ContextVar[bool] = ContextVar("shown", default=True)


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
) -> Iterator[Item]:
    """Yields ``items`` and draws a bar with ``unit`` per second and the remaining time.

    Nothing is drawn in a ``progress(False)`` context, or if standard error is not a terminal: in a
    pipe, a log file or CI.
    """
    if not (_shown.get() and sys.stderr.isatty()):
        yield from items
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
