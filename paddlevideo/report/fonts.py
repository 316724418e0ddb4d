"""Text in pictures: a font that has its characters, its size, and free space for labels."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2

#: Where systems keep fonts; matplotlib brings DejaVu along.
FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts"),
)
#: Beginnings of file names that are tried first, lower case: fonts with many characters.
PREFERRED = (
    *("dejavusans.", "notosans-regular", "notosanscjk-regular", "notosanscjk", "notosanssc"),
    *("notosansjp", "notosanskr", "wqy", "droidsansfallback", "sourcehansans", "unifont"),
    *("arialuni", "arial unicode", "msyh", "simhei", "pingfang", "hiragino", "notosans"),
)
MOST_FONTS = 400  # that are looked at
#: What is drawn for a character that a font lacks is what it draws for this one.
MISSING = "\U0010ffff"
SPACES = " \u00a0\u3000"
_TOLD: set[str] = set()  # characters of the message, once it has been given


def font_for(text: str, size: int) -> Font:
    """The first font of ``size`` pixels that has all characters of ``text``.

    Pillow's own font comes first, then the system's. Where none has all of them it is the one that
    has most, and standard error says once which characters are missing and how to get a font.
    """
    characters = frozenset(letter for letter in text if letter.isprintable())
    return _open(_path_for(characters), size)


@lru_cache(4096)
def _path_for(characters: frozenset[str]) -> str:
    best, fewest = "", characters
    for path in _candidates():
        missing = frozenset(letter for letter in fewest | characters if not _has(path, letter))
        if not missing:
            return path
        if path == "" or len(missing) < len(fewest):
            best, fewest = path, missing
    _tell(fewest)
    return best


def _candidates() -> Iterator[str]:
    """Paths of fonts; the empty one stands for Pillow's own."""
    yield ""
    yield from _system_fonts()


@lru_cache(1)
def _system_fonts() -> tuple[str, ...]:
    paths = [
        Path(folder, name)
        for root in (*FOLDERS, *_matplotlib_fonts())
        for folder, _, names in os.walk(os.path.expanduser(root))
        for name in names
        if name.lower().endswith((".ttf", ".ttc", ".otf"))
    ]

    def rank(path: Path) -> tuple[int, str]:
        name = path.name.lower()
        places = [n for n, start in enumerate(PREFERRED) if name.startswith(start)]
        return (places[0] if places else len(PREFERRED)), str(path)

    return tuple(str(path) for path in sorted(paths, key=rank)[:MOST_FONTS])


def _matplotlib_fonts() -> list[str]:
    """The folder of fonts in an installed matplotlib, which need not be imported for it."""
    return [
        str(Path(folder, "matplotlib", "mpl-data", "fonts", "ttf"))
        for folder in sys.path
        if folder and Path(folder, "matplotlib").is_dir()
    ]


@lru_cache(64)
def _open(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@lru_cache(1 << 16)
def _has(path: str, character: str) -> bool:
    """Whether a font has a character: it draws it otherwise than one that no font has."""
    if character in SPACES:
        return True
    try:
        font = _open(path, 16)
        drawn, missing = (bytes(font.getmask(text)) for text in (character, MISSING))
    except (OSError, ValueError):
        return False  # damaged, or a font of pictures in one fixed size
    return drawn != missing


def _tell(missing: frozenset[str]) -> None:
    """Says once in a process that there are characters that cannot be drawn."""
    if _TOLD:
        return
    _TOLD.update(missing)
    shown = " ".join(sorted(missing)[:20])
    print(
        f"no installed font has characters such as {shown}: they are drawn as boxes. Fonts for "
        "them: apt-get install fonts-noto-cjk fonts-noto-core fonts-symbola",
        file=sys.stderr,
    )


def fitted(text: str, size: int, width: float) -> str:
    """``text`` in one line, cut to ``width`` pixels with an ellipsis."""
    text = printable(text)
    font = font_for(text, size)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)  # the longest beginning that fits is between them
    while low < high:
        middle = (low + high + 1) // 2
        fits = font.getlength(text[:middle].rstrip() + "...") <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "..." if low or font.getlength("...") <= width else ""


def wrapped(text: str, size: int, width: float, lines: int) -> list[str]:
    """``text`` in at most ``lines`` lines of ``width`` pixels, the last one cut if need be.

    Lines break at spaces, and within a word that is longer than a line.
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
    """``text`` in one line: white space becomes single spaces, control characters are left out."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


class LabelSpace:
    """Free space in a picture: labels neither overlap nor leave it."""

    def __init__(self, inside: Rectangle) -> None:
        self.inside = inside
        self._taken: list[Rectangle] = []

    def take(self, x: int, y: int, width: int, height: int) -> tuple[int, int] | None:
        """The free corner (x, y) nearest to the one wished for, or None where there is none."""
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
        place = min(free, key=lambda at: (abs(at[0] - x) + abs(at[1] - y), at))
        self._taken.append((*place, place[0] + width, place[1] + height))
        return place

    def _free_columns(self, x: int, row: int, width: int, height: int) -> list[int]:
        """Columns of a row that are free: the one wished for, and those beside other labels."""
        left, _, right, _ = self.inside
        rivals = [box for box in self._taken if box[1] < row + height and row < box[3]]
        columns = [x, *(box[2] for box in rivals), *(box[0] - width for box in rivals)]
        return [
            column
            for column in columns
            if left <= column <= right - width
            and all(column + width <= box[0] or box[2] <= column for box in rivals)
        ]
