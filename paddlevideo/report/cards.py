"""Cards of single queries: what was asked, and the best answers with the right one marked."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from paddlevideo.report.clip_pictures import ClipPictures
from paddlevideo.report.clip_videos import Origin, Shot
from paddlevideo.report.markup import Markup, element, join, shorten, unseen
from paddlevideo.report.queries import Found, Query

BEST = 5  # answers on a card; the right one follows where it is not among them
THUMBNAIL = (176, 132, 65)  # width, height, quality of a JPEG: about 4 KB


class Thumbnails(ClipPictures):
    """Pictures of clips for a page: each is made once, however many cards show it."""

    def __init__(self, folder: Path | None, origin_of: Callable[[str], Origin] = Origin) -> None:
        """Arguments and errors as for ``ClipPictures``."""
        super().__init__(folder, origin_of)
        self._pictures: dict[str, tuple[str, str] | None] = {}  # by clip: class, data URL
        self._styled: set[str] = set()

    def data(self, name: str) -> str | None:
        """A JPEG of the middle of a clip as a URL that holds it, or None without one."""
        picture = self._picture(name)
        return picture[1] if picture else None

    def style_class(self, name: str) -> str | None:
        """The class that shows a clip's picture, or None without one."""
        picture = self._picture(name)
        if picture is None:
            return None
        self._styled.add(name)
        return picture[0]

    def _picture(self, name: str) -> tuple[str, str] | None:
        if name not in self._pictures:
            number = len(self._pictures)
            jpeg = self.read(name, _small_jpeg)
            self._pictures[name] = None if jpeg is None else (f"clip{number}", _data_url(jpeg))
        return self._pictures[name]

    def style(self) -> str:
        """The CSS of all classes that were asked for."""
        return "".join(
            f'.{picture[0]} {{ background-image: url("{picture[1]}") }}\n'
            for name, picture in self._pictures.items()
            if picture and name in self._styled
        )


def _small_jpeg(shot: Shot) -> bytes:
    from paddlevideo.report.thumbnails import small_jpeg

    return small_jpeg(shot, *THUMBNAIL)


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def cards(queries: Sequence[Query], thumbnails: Thumbnails) -> Markup:
    """A list of cards."""
    make = {"text_to_video": _caption_card, "video_to_text": _video_card}
    items = [make[query.direction](query, thumbnails) for query in queries]
    return element("ol", *items, class_="cards")


def _caption_card(query: Query, thumbnails: Thumbnails) -> Markup:
    """A caption and its best clips."""
    asked = element("p", shorten(query.query), class_="query", dir="auto")
    tiles = [_tile(each, place, thumbnails) for place, each in enumerate(query.best[:BEST], 1)]
    tiles += [_tile(each, place, thumbnails) for each, place in _right_beyond(query)]
    return _card(join(asked, _rank(query)), element("ol", *tiles, class_="answers"))


def _video_card(query: Query, thumbnails: Thumbnails) -> Markup:
    """A video and its best captions."""
    name = element("span", shorten(query.query), class_="name")
    asked = element("div", picture(query.query, thumbnails), name, class_="asking")
    lines = [_sentence(each, place) for place, each in enumerate(query.best[:BEST], 1)]
    lines += [_sentence(each, place, "beyond") for each, place in _right_beyond(query)]
    return _card(join(asked, _rank(query)), element("ol", *lines, class_="lines"))


def _card(asked: Markup, answers: Markup) -> Markup:
    return element("li", element("div", asked), answers, class_="card panel")


def _rank(query: Query) -> Markup:
    several = f" (best of {len(query.right)})" if len(query.right) > 1 else ""
    style = "rank first" if query.rank == 1 else "rank dim"
    return element("p", "rank ", element("strong", f"{query.rank:,}"), several, class_=style)


def _right_beyond(query: Query) -> list[tuple[Found, int | None]]:
    """The right answer and its place, where it is not among those shown.

    Its score (NaN) is not known if it is beyond all that were kept, and if there are several, nor
    is which of them has the rank.
    """
    if any(each.right for each in query.best[:BEST]) or not query.right:
        return []
    kept = [each for each in query.best[BEST:] if each.right]
    if kept:
        return [(kept[0], query.rank)]
    unscored = Found(query.right[0], math.nan, True)
    return [(unscored, query.rank if len(query.right) == 1 else None)]


def _score(found: Found) -> Markup:
    if math.isnan(found.score):
        return Markup()
    return element("span", unseen("score "), f"{found.score:.2f}", class_="score")


def _place(place: int | None) -> Markup:
    return element("span", f"{place:,}. ", class_="dim") if place is not None else Markup()


def _mark(found: Found) -> Markup:
    return element("span", "✓ right", class_="mark") if found.right else Markup()


def _tile(found: Found, place: int | None, thumbnails: Thumbnails) -> Markup:
    return element(
        "li",
        picture(found.name, thumbnails),
        _score(found),
        _place(place),
        _mark(found),
        element("span", shorten(found.name, 60), class_="name"),
        class_="tile right" if found.right else "tile",
    )


def picture(name: str, thumbnails: Thumbnails) -> Markup:
    """A clip's middle frame, or a plain tile with the clip's name."""
    style = thumbnails.style_class(name)
    if style is None:
        return element("span", shorten(name, 60), class_="picture absent", aria_hidden="true")
    label = f"middle frame of {shorten(name, 60)}"
    return element("span", class_=f"picture {style}", role="img", aria_label=label)


def _sentence(found: Found, place: int | None, style: str = "") -> Markup:
    return element(
        "li",
        _score(found),
        _place(place),
        element("span", shorten(found.name), dir="auto"),
        " ",
        _mark(found),
        class_=" ".join(["sentence", *(["right"] if found.right else []), style]).strip(),
    )
