"""Selects fonts for text in pictures, and positions labels.

Matplotlib lists the fonts of the system; its own DejaVu Sans comes first. Pillow, which draws on
frames of videos, uses one font for a whole text; matplotlib falls back to the next font for
characters that one font lacks.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2

#: Prefixes of family names to try first, in lower case: fonts with many characters.
PREFERRED = (
    *("noto sans cjk", "noto sans sc", "noto sans jp", "noto sans kr", "source han sans"),
    *("wenquanyi", "droid sans fallback", "pingfang", "hiragino sans", "microsoft yahei"),
    *("simhei", "malgun gothic", "noto sans", "arial unicode", "unifont"),
)
MOST_FONTS = 400  # searched for a character
_WARNED: set[str] = set()  # missing characters, once they have been reported


def families_for(text: str) -> list[str]:
    """Returns families for matplotlib that together have the characters of ``text``."""
    missing = set(printable(text).replace(" ", ""))
    families = ["DejaVu Sans"]  # part of matplotlib
    for name, path in fonts_of_the_system():
        held = missing & characters_of(path)
        if held and name not in families:
            families.append(name)
        missing -= held
        if not missing:
            return families
    _warn_once(missing)
    return families


def font_for(text: str, size: int) -> Font:
    """Returns a font of ``size`` pixels with all characters of ``text``, or most of them."""
    wanted = set(printable(text).replace(" ", ""))
    best, fewest = "", {character for character in wanted if not character.isascii()}
    if fewest:  # Pillow's own font is clearest in small sizes, but may only have ASCII
        fewest = wanted
        for _, path in fonts_of_the_system():
            missing = wanted - characters_of(path)
            if len(missing) < len(fewest):
                best, fewest = path, missing
            if not missing:
                break
        else:
            _warn_once(fewest)
    return _open(best, size)


@lru_cache(1)
def fonts_of_the_system() -> tuple[tuple[str, str], ...]:
    """Returns family and path of upright regular fonts, preferred ones first."""
    from matplotlib.font_manager import fontManager

    def rank(family: str) -> int:
        if family == "DejaVu Sans":
            return -1
        starts = (n for n, start in enumerate(PREFERRED) if family.lower().startswith(start))
        return next(starts, len(PREFERRED))

    regular = {
        entry.name: entry.fname
        for entry in fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular")
        if entry.stretch == "normal" and os.path.isfile(entry.fname)
    }
    return tuple(sorted(regular.items(), key=lambda font: (rank(font[0]), font))[:MOST_FONTS])


@lru_cache(MOST_FONTS)
def characters_of(path: str) -> frozenset[str]:
    """Returns the characters of a font file; none if it cannot be read or scaled."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@lru_cache(64)
def _open(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def _warn_once(missing: set[str]) -> None:
    """Warns once per process about characters that cannot be drawn."""
    if _WARNED:
        return
    _WARNED.update(missing)
    shown = " ".join(sorted(missing)[:20])
    print(
        f"no installed font has characters such as {shown}: they are drawn as boxes. Install "
        "fonts: apt-get install fonts-noto-cjk fonts-noto-core fonts-symbola",
        file=sys.stderr,
    )


def fitted(text: str, size: int, width: float) -> str:
    """Returns ``text`` in one line, cut to ``width`` pixels with an ellipsis."""
    text = printable(text)
    font = font_for(text, size)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)  # bounds of the longest prefix that fits
    while low < high:
        middle = (low + high + 1) // 2
        fits = font.getlength(text[:middle].rstrip() + "...") <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "..." if low or font.getlength("...") <= width else ""


def wrapped(text: str, size: int, width: float, lines: int) -> list[str]:
    """Wraps ``text`` to at most ``lines`` lines of ``width`` pixels; the last one may be cut.

    Lines break at spaces, or within a word that is longer than a line.
    """
    left = printable(text)
    font = font_for(left, size)
    broken: list[str] = []
    while left and len(broken) < lines - 1:
        if font.getlength(left) <= width:
            break
        end = next(
            n for n in range(len(left), 0, -1) if n == 1 or font.getlength(left[:n]) <= width
        )
        space = left.rfind(" ", 1, end + 1)
        end = space if space > 0 else end
        broken.append(left[:end].rstrip())
        left = left[end:].lstrip()
    return [*broken, fitted(left, size, width)] if left else broken


def printable(text: str) -> str:
    """Returns ``text`` in one line, with single spaces and without control characters."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


class LabelSpace:
    """Allocates space for labels in a picture, inside it and without overlap."""

    def __init__(self, inside: Rectangle) -> None:
        self.inside = inside
        self._taken: list[Rectangle] = []

    def take(self, x: int, y: int, width: int, height: int) -> tuple[int, int] | None:
        """Returns the free corner nearest to (x, y), or None if there is no space."""
        left, top, right, bottom = self.inside
        if width > right - left or height > bottom - top:
            return None
        x = min(max(x, left), right - width)
        y = min(max(y, top), bottom - height)
        rows = {y, *(box[3] for box in self._taken), *(box[1] - height for box in self._taken)}
        free = [
            (column, row)
            for row in rows
            if top <= row <= bottom - height
            for column in self._free_columns(x, row, width, height)
        ]
        if not free:
            return None
        corner = min(free, key=lambda at: (abs(at[0] - x) + abs(at[1] - y), at))
        self._taken.append((*corner, corner[0] + width, corner[1] + height))
        return corner

    def _free_columns(self, x: int, row: int, width: int, height: int) -> list[int]:
        """Returns the free columns of a row: the desired one, and those beside other labels."""
        left, _, right, _ = self.inside
        rivals = [box for box in self._taken if box[1] < row + height and row < box[3]]
        columns = [x, *(box[2] for box in rivals), *(box[0] - width for box in rivals)]
        return [
            column
            for column in columns
            if left <= column <= right - width
            and all(column + width <= box[0] or box[2] <= column for box in rivals)
        ]
