"""Docstrings as Markdown: names in the way of Sphinx, and BERT's tokens, which are not links."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod):`([\w.]+)`")
TOKEN = re.compile(r"(?<!`)\[(CLS|SEP|MASK|UNK|PAD)\]")


class PlainRoles(Extension):
    """Replaces a role by its name in back-ticks, and escapes the tokens."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Changes the docstring of a loaded object."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = TOKEN.sub(r"\\[\1]", text)
