"""Paths as users write them, with ``~`` and ``$NAME``, and as C libraries can open them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.printable import is_utf8

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def expand_path(text: str) -> str:
    """Returns ``text`` with a leading ``~`` or ``~user``, ``$NAME`` and ``${NAME}`` replaced.

    Variables that are not set, or empty, are left. An existing file whose name contains ``$`` is
    taken, unless the text begins with a variable: ``./$NAME`` and ``./~`` always mean files of
    these names.
    """
    if not text.startswith(("~", "$")) and ("$" not in text or os.path.lexists(text)):
        return text
    return _VARIABLE.sub(lambda match: _value(match) or match[0], os.path.expanduser(text))


def path_complaint(text: str) -> str:
    """Returns why ``expand_path`` could not expand a path that does not exist, or ""."""
    if os.path.lexists(text):
        return ""
    unset = [match for match in _VARIABLE.finditer(text) if not _value(match)]
    if unset and not text.startswith("./"):
        name = unset[0][1] or unset[0][2]
        return f'the environment variable {name} is not set, which "{text}" uses'
    user = text.partition("/")[0]
    if user.startswith("~") and os.path.expanduser(user) == user:
        return f'there is no user "{user[1:]}" here; "./{text}" is a file or folder of this name'
    return ""


def _value(match: re.Match[str]) -> str:
    return os.environ.get(match[1] or match[2], "")


@contextmanager
def native_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Gives a name under which FFmpeg and OpenCV can open ``path`` within the context.

    It is absolute, because FFmpeg takes the part before a colon in ``10:30.webm`` for a protocol;
    and it is UTF-8, because OpenCV crashes on anything else: another name gets a temporary link.
    """
    absolute = os.path.abspath(path)
    if is_utf8(absolute):
        yield absolute
        return
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        ending = re.sub(r"[^.\w]", "", os.path.splitext(absolute)[1], flags=re.ASCII)
        link = Path(folder, f"file{ending}")
        link.symlink_to(absolute)
        yield str(link)


def as_text(name: str) -> str:
    r"""Returns a file name as valid text: bytes that are not UTF-8 become ``\xe9`` and the like."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def refuse_not_utf8(flag: str, path: Path) -> None:
    """Raises ConfigError for an output at a path that LMDB cannot open."""
    if not is_utf8(os.path.abspath(path)):
        name = as_text(os.path.abspath(path))
        raise ConfigError(f"{flag} {name}: is not valid UTF-8, which LMDB needs. Name another path")
