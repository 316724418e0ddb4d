"""Text from files on its way to a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""``text`` in one line, with ``\x1b`` and the like for what steers a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
