"""Text in messages: names, and text from files on its way to a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable


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
