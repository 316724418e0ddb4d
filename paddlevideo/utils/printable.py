"""Text in messages: names, and text from files on its way to a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 5  # names of a tally


def some(names: Iterable[object], shown: int = 5, separator: str = ", ") -> str:
    """The first of ``names``, and how many more there are."""
    texts = list(map(str, names))
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return separator.join(texts[:shown]) + more


def printable(text: str) -> str:
    r"""``text`` in one line, with ``\x1b`` and the like for what steers a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def without_surrogates(text: str) -> str:
    """``text`` with UTF-8 in the place of bytes that Python could not decode, as in a plain locale.

    What is not UTF-8 either is replaced, and so is half of a pair, as JSON may hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        # The bytes that Python put away are U+DC80 to U+DCFF; other halves are of no use.
        usable = re.sub(r"[\ud800-\udc7f\udd00-\udfff]", "?", text)
        return usable.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def is_utf8(text: str) -> bool:
    """False for the name of a file that is not valid UTF-8, and for half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class Tally:
    """A count with the first names that were counted."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str, count: int = 1) -> None:
        """Counts ``count`` of a name; "" is not shown."""
        self.count += count
        if name and len(self.names) < SHOWN:
            self.names.append(name)

    def shown(self) -> str:
        """The first names, for a terminal."""
        names = [printable(name) for name in self.names]
        texts = [name if len(name) <= 60 else name[:57] + "..." for name in names]
        return ", ".join([*texts, "..."] if self.count > len(names) and names else texts)

    def __str__(self) -> str:
        return f"{self.count}: {self.shown()}" if self.names else f"{self.count}"
