"""One entry of a caption file, and the checks of its values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import writable

Span = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Line:
    """A caption of a clip, or (``is_video``) of all clips of a video that overlap its span.

    ``text`` is None if only the clip's span is given. ``where``: file and line or entry.
    """

    name: str
    text: str | None
    span: Span | None = None
    is_video: bool = False
    video: str = ""
    where: str = ""


#: The result of reading an entry: a line, the error in it, or None if it has no text.
Item = Line | DataError | None


@dataclass
class BadEntries:
    """Invalid entries of caption files that are left out, at most ``allowed`` of them."""

    allowed: float = 0
    #: Advice for the message if there are more.
    advice: str = ""
    count: int = 0
    #: The first 10,000 errors.
    errors: list[str] = field(default_factory=list)
    #: The number of entries without text, which are valid.
    silences: int = 0

    def note(self, error: DataError) -> None:
        """Counts an entry. Raises the error if no more may be left out."""
        if self.count >= self.allowed:
            raise DataError(f"{error}{self.advice}") from None
        self.count += 1
        if len(self.errors) < 10_000:
            self.errors.append(str(error))


def seconds(text: Any, where: str) -> float:
    """Returns a number of seconds. Raises DataError, beginning with ``where``, if invalid."""
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: expected seconds, got {text!r:.40}") from None


def as_span(values: Iterable[Any], where: str) -> Span:
    """Returns start and end in seconds. Raises DataError, beginning with ``where``, if invalid."""
    numbers = [seconds(value, where) for value in values]
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: {numbers} is not a start and an end in seconds")
    if not 0 <= numbers[0] <= numbers[1]:
        raise DataError(f"{where}: begins at {numbers[0]:g} s, but ends at {numbers[1]:g} s")
    return numbers[0], numbers[1]


def field_of(entry: Any, name: str, where: str) -> Any:
    """Returns the value under a key. Raises DataError if there is none."""
    if not isinstance(entry, dict) or name not in entry:
        raise DataError(f'{where}: has no "{name}"')
    return entry[name]


def name_of(entry: Any, name: str, where: str) -> str:
    """Returns the id under a key as text; it may be a number."""
    if type(field_of(entry, name, where)) is int:
        return str(entry[name])
    return text_of(entry, name, where)


def text_of(entry: Any, name: str, where: str) -> str:
    """Returns the stripped text under a key. Raises DataError for anything else."""
    value = field_of(entry, name, where)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} is {value!r:.40}; expected text")
    return writable(value.strip(), where)


def list_of(value: Any, where: str) -> list[Any]:
    """Returns ``value``, a list. Raises DataError for anything else."""
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, got {value!r:.40}")
    return value
