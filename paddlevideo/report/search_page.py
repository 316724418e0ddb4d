"""The answers of a search as an HTML file: each clip with its captions and a player."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from paddlevideo.report.cards import Thumbnails, picture
from paddlevideo.report.clip_videos import Origin, Shot, Span
from paddlevideo.report.markup import Markup, element, join, shorten, unseen
from paddlevideo.report.page import document, notes, write_page
from paddlevideo.report.queries import SCORES
from paddlevideo.report.style import STYLE

CAPTIONS = 3  # of a clip, at most
#: Endings of videos that browsers play, if their codec is a common one.
PLAYED = (".mp4", ".m4v", ".webm", ".ogv", ".mov")
#: The page is opened from a disk or from a server; the videos lie where it does.
MEDIA = "; media-src 'self' file:"


@dataclass(frozen=True)
class Hit:
    """A clip that a search gave, and what is known of it."""

    clip: str
    score: float
    captions: Sequence[str] = ()


def write_search_page(
    path: Path,
    found: Mapping[str, Sequence[Hit]],
    videos: Path | None = None,
    origin_of: Callable[[str], Origin] = Origin,
) -> list[str]:
    """Writes sentences with all their clips, best first, and returns what has no picture.

    Arguments and errors as for :func:`paddlevideo.report.page.write_report`. The players show the
    videos where they are: the page is to stay where it is in relation to them.
    """
    path = Path(path)
    thumbnails = Thumbnails(None if videos is None else Path(videos), origin_of)
    lists = [_answers(text, hits, thumbnails, path) for text, hits in found.items()]
    main = element(
        "main",
        element("h1", "Search"),
        element("p", SCORES, class_="note"),
        *lists,
        *notes(_unplayable(thumbnails, found)),
        *notes(thumbnails.remarks()),
    )
    write_page(path, document("Search", main, STYLE + thumbnails.style(), MEDIA))
    return thumbnails.remarks()


def _unplayable(thumbnails: Thumbnails, found: Mapping[str, Sequence[Hit]]) -> list[str]:
    """A line about videos that are shown by their pictures alone; empty for none."""
    shots = {thumbnails.shot(hit.clip) for hits in found.values() for hit in hits}
    endings = {shot.path.suffix.lower() for shot in shots if shot and not shot.is_picture}
    if unplayable := sorted(endings - {*PLAYED}):
        return [f"Most browsers do not play {', '.join(unplayable)} files: they show a picture."]
    return []


def _answers(text: str, hits: Sequence[Hit], thumbnails: Thumbnails, page: Path) -> Markup:
    items = [_hit(hit, rank, thumbnails, page) for rank, hit in enumerate(hits, 1)]
    return join(
        element("h2", shorten(text), dir="auto"), element("ol", *items, class_="cards hits")
    )


def _hit(hit: Hit, rank: int, thumbnails: Thumbnails, page: Path) -> Markup:
    shot = thumbnails.shot(hit.clip)
    span = shot.span if shot else None
    time = (
        element("span", " to ".join(map(_seconds, span)) + " s", class_="dim") if span else Markup()
    )
    lines = [element("p", shorten(text), dir="auto") for text in hit.captions[:CAPTIONS]]
    if (more := len(hit.captions) - CAPTIONS) > 0:
        lines.append(element("p", f"and {more} more", class_="dim"))
    return element(
        "li",
        _player(hit.clip, shot, thumbnails, page),
        element("span", unseen("score "), f"{hit.score:.2f}", class_="score"),
        element("span", f"{rank:,}. ", class_="dim"),
        element("span", time, class_="dim"),
        element("span", shorten(hit.clip, 60), class_="name"),
        *lines,
        class_="card panel tile",
    )


def _player(clip: str, shot: Shot | None, thumbnails: Thumbnails, page: Path) -> Markup:
    """The clip to play, its picture, or a plain tile with its name."""
    if shot is not None and not shot.is_picture:
        return element(
            "video",
            class_="picture",
            src=address(shot.path, page.parent, shot.span),
            poster=thumbnails.data(clip),
            controls="",
            preload="none",
            aria_label=f"clip {shorten(clip, 60)}",
        )
    return picture(clip, thumbnails)


def address(video: Path, folder: Path, span: Span | None) -> str:
    """The URL of a video in a page in ``folder``, and of the seconds of it that are to be played.

    It is relative, so that it holds where page and videos move or are served together.
    """
    try:
        relative = os.path.relpath(video, folder)
        url = quote(os.fsencode(Path(relative).as_posix()))
    except ValueError:  # another drive
        url = Path(os.path.abspath(video)).as_uri()
    return url if span is None else f"{url}#t={','.join(map(_seconds, span))}"


def _seconds(second: float) -> str:
    return f"{second:.2f}".rstrip("0").rstrip(".")
