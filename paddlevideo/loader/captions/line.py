"""What a caption file says of a clip or of a video."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from paddlevideo.utils.errors import DataError

Span = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Line:
    """A caption of a clip, or (``is_video``) of all clips of a video that overlap its span.

    ``text`` None: only the clip's span in its video. ``where``: file and line or entry.
    """

    name: str
    text: str | None
    span: Span | None = None
    is_video: bool = False
    video: str = ""
    where: str = ""


def seconds(text: Any, where: str) -> float:
    """A number of seconds. Raises DataError, beginning with ``where``, for anything else."""
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: {text!r:.40} where seconds belong") from None


def as_span(values: Iterable[Any], where: str) -> Span:
    """Start and end in seconds. Raises DataError, beginning with ``where``, for anything else."""
    numbers = [seconds(value, where) for value in values]
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: {numbers} is not a start and an end in seconds")
    if numbers[0] > numbers[1] or numbers[1] < 0:
        raise DataError(f"{where}: begins at {numbers[0]:g} s, but ends at {numbers[1]:g} s")
    return numbers[0], numbers[1]
