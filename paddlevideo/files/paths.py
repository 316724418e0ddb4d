"""Paths as users write them: ``~`` is the home folder, ``$NAME`` an environment variable."""

from __future__ import annotations

import os
import re

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def expand_path(text: str) -> str:
    """``text`` with a leading ``~`` or ``~user``, ``$NAME`` and ``${NAME}`` replaced.

    Variables that are not set, or empty, stay as they are. A file whose name contains ``$`` is
    taken where it exists, unless the text begins with a variable: ``./$NAME`` and ``./~`` always
    mean files of these names.
    """
    if not text.startswith(("~", "$")) and ("$" not in text or os.path.lexists(text)):
        return text
    return _VARIABLE.sub(lambda match: _value(match) or match[0], os.path.expanduser(text))


def path_complaint(text: str) -> str:
    """Why ``expand_path`` left something in a path that does not exist, or an empty string."""
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
