"""Nested maps and lists: the texts in them, and differences between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: The value of a key that one of two maps lacks.
ABSENT = "(absent)"


def texts_in(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields every text in nested maps and lists, each after its dotted key."""
    if isinstance(values, str):
        yield path, values
    for key, value in (_children(values) or {}).items():
        yield from texts_in(value, f"{path}.{key}".strip("."))


def changes(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields dotted key, old and new value of each difference, sorted by key at each level."""
    old, new = _children(before), _children(now)
    if old is None or new is None or isinstance(before, Mapping) != isinstance(now, Mapping):
        if before != now:
            yield path, before, now
        return
    for key in sorted(old.keys() | new.keys()):
        dotted = f"{path}.{key}".strip(".")
        yield from changes(old.get(key, ABSENT), new.get(key, ABSENT), dotted)


def _children(value: Any) -> dict[str, Any] | None:
    """Returns the entries of a map or list by name, or None."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return {str(index): item for index, item in enumerate(value)}
    return None
