"""HTML from small pieces: what is not marked as ready is text, and is escaped."""

from __future__ import annotations

import html

#: Elements without an end tag.
VOID = frozenset({"meta"})


class Markup(str):
    """HTML that is ready. Any other string is text."""

    __slots__ = ()


def ready(text: str) -> Markup:
    """``text`` as HTML: as it is where it is Markup already, escaped where it is not."""
    return text if isinstance(text, Markup) else Markup(html.escape(text))


def join(*pieces: str, between: str = "\n") -> Markup:
    """The pieces one after another, with ``between`` (plain HTML) in the gaps."""
    return Markup(between.join(ready(piece) for piece in pieces))


def element(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element around its children.

    ``class_="a"`` is written ``class="a"`` and ``aria_label="b"`` is written ``aria-label="b"``. An
    attribute that is None is left out.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{join(*children, between='')}</{name}>")


def unseen(text: str) -> Markup:
    """Text for those who listen to the page: it is read out, not shown."""
    return element("span", text, class_="unseen")


def shorten(text: str, longest: int = 300) -> str:
    """The text, or its first ``longest`` characters and an ellipsis."""
    return text if len(text) <= longest else text[:longest] + "…"
