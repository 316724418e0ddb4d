"""The files below a folder: each real folder once, without hidden files; the rest is counted.

Every command that takes a folder of inputs uses :func:`walk`, so that all see the same files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import printable

#: Folders and files that operating systems create; lower case.
SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "desktop.ini", "ehthumbs.db", "thumbs.db", "icon\r"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found"),
        *("@eadir", "#recycle", "#snapshot"),
    )
)
SHOWN = 8  # endings or names that a line lists


@dataclass
class Walk:
    """The wanted files of a folder, sorted by path, and what was left out."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    #: Numbers of other files, by ending, or "hidden" or "special".
    other: Counter[str] = field(default_factory=Counter)
    #: Broken links, and folders without the permission to read them.
    broken: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def left_out(self) -> list[str]:
        """Returns a line for each kind of thing that was left out, for the user."""
        lines = []
        if count := self.other.total():
            kinds = sorted(self.other.items(), key=lambda kind: (-kind[1], kind[0]))
            shown = _listed([f"{printable(kind)} {number}" for kind, number in kinds])
            lines.append(f"{count} other {_files(count)} left out: {shown}")
        if self.broken:
            lines.append(f"broken links left out: {len(self.broken)}: {self._names(self.broken)}")
        if self.unreadable:
            names = self._names(self.unreadable)
            lines.append(f"unreadable folders left out: {len(self.unreadable)}: {names}")
        return lines

    def _names(self, paths: list[Path]) -> str:
        return _listed([printable(str(path.relative_to(self.folder))) for path in sorted(paths)])


def walk(folder: Path, wanted: Callable[[Path], bool] = lambda path: True) -> Walk:
    """Returns all files of ``folder`` and its subfolders that are ``wanted``, linked ones too.

    Each real folder is visited once, so that circular links neither hang nor repeat files; of
    several paths to a folder the one without links counts. Names that begin with a dot and those
    of operating systems (``__MACOSX``, ``Thumbs.db``) are hidden. ``wanted`` is called for broken
    links and pipes too, so that a clip that cannot be read is reported as such: it must only open
    regular files. Raises DataError if ``folder`` itself cannot be read.
    """
    result = Walk(folder)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise DataError(f"{folder}: cannot be read as a folder ({error.strerror})") from None
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:  # the folders without links in their paths, then those behind each link
        links: list[Path] = []
        for start in waiting:
            _visit(start, wanted, seen, result, links)
        waiting = sorted(links)
    result.files.sort()
    return result


def refuse_inside(flag: str, output: Path, source: Path) -> None:
    """Raises ConfigError for an output that is the folder of inputs ``source``, or inside it.

    It would be an input of the next run. Hidden names are not inputs.
    """
    folder, target = os.path.realpath(source), os.path.realpath(output)
    if not os.path.isdir(folder) or os.path.commonpath([folder, target]) != folder:
        return
    parts = PurePath(os.path.relpath(target, folder)).parts
    if target == folder or not any(is_hidden(part) for part in parts):
        beside = os.path.join(os.path.dirname(folder), os.path.basename(target))
        other = beside if target != folder else folder + ".out"
        raise ConfigError(
            f"{flag} {output}: is inside the folder of inputs {source}, and would be an input "
            f"the next time. Name a path outside it, such as {other}"
        )


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder with this name is never an input."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def ending(path: PurePath) -> str:
    """Returns the ending of a file's name in lower case, as ``.mp4``, or ``no ending``."""
    return path.suffix.lower() or "no ending"


def _visit(
    start: Path,
    wanted: Callable[[Path], bool],
    seen: set[tuple[int, int]],
    result: Walk,
    links: list[Path],
) -> None:
    """Adds what is below ``start`` to ``result``, and linked folders to ``links``."""
    stack = [start]
    while stack:
        folder = stack.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                children = list(entries)
        except OSError:
            result.unreadable.append(folder)
            continue
        for entry in children:
            path = Path(folder, entry.name)
            if is_hidden(entry.name):
                result.other["hidden"] += 1
            elif _leads_to_folder(entry):
                (links if entry.is_symlink() else stack).append(path)
            else:
                _sort_file(entry, path, wanted, result)


def _sort_file(
    entry: os.DirEntry[str], path: Path, wanted: Callable[[Path], bool], result: Walk
) -> None:
    if wanted(path):
        result.files.append(path)
    elif _is_regular(entry):
        result.other[ending(path)] += 1
    elif entry.is_symlink() and not os.path.exists(path):
        result.broken.append(path)
    else:
        result.other["special"] += 1  # a pipe, a socket or a device


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _listed(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")


def _files(count: int) -> str:
    return "file" if count == 1 else "files"
