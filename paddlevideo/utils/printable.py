"""Text for messages: lists of names, and text from files that a terminal can show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 5  # number of names that a message lists


def some(names: Iterable[object], shown: int = SHOWN, separator: str = ", ") -> str:
    """Returns the first names and the number of the others: "a, b and 3 more"."""
    texts = list(map(str, names))
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return separator.join(texts[:shown]) + more


def printable(text: str) -> str:
    r"""Returns ``text`` in one line, with control characters as ``\x1b`` and the like."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def without_surrogates(text: str) -> str:
    """Returns ``text`` with bytes that the locale left undecoded decoded as UTF-8.

    Replaces bytes that are not UTF-8, and lone surrogates, which some JSON files have.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python keeps undecoded bytes as U+DC80 to U+DCFF; other surrogates mean nothing.
        usable = re.sub(r"[\ud800-\udc7f\udd00-\udfff]", "?", text)
        return usable.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text


def is_utf8(text: str) -> bool:
    """Whether ``text`` can be encoded as UTF-8: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class Tally:
    """A count with the first names counted."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str, count: int = 1) -> None:
        """Adds ``count`` for a name, which is listed unless empty."""
        self.count += count
        if name and len(self.names) < SHOWN:
            self.names.append(name)

    def shown(self) -> str:
        """Returns the first names, safe for a terminal."""
        names = [printable(name) for name in self.names]
        texts = [name if len(name) <= 60 else name[:57] + "..." for name in names]
        return ", ".join([*texts, "..."] if self.count > len(names) and names else texts)

    def __str__(self) -> str:
        return f"{self.count}: {self.shown()}" if self.names else f"{self.count}"
