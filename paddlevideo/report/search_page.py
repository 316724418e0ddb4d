"""The answers of a search as an HTML file: each clip with its captions and a player."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paddlevideo.report.clip_videos import Origin, Span
from paddlevideo.report.pages import Thumbnails, write_page
from paddlevideo.report.queries import SCORES

CAPTIONS = 3  # of a clip, at most
#: Endings of videos that browsers play, if their codec is a common one.
PLAYED = (".mp4", ".m4v", ".webm", ".ogv", ".mov")
#: The page is opened from a disk or from a server; the videos are found relative to it.
MEDIA = "; media-src 'self' file:"


@dataclass(frozen=True)
class Hit:
    """A clip that a search gave, and what is known of it."""

    clip: str
    score: float
    captions: Sequence[str] = ()


def write_search_page(
    path: Path,
    results: Mapping[str, Sequence[Hit]],
    videos: Path | None = None,
    origin_of: Callable[[str], Origin] = Origin,
) -> list[str]:
    """Writes each sentence of ``results`` with its clips, and returns lines on missing pictures.

    Further arguments and errors as for :func:`paddlevideo.report.page.write_report`. The players
    read the videos from where they are, relative to the page: both have to be moved together.
    """
    path = Path(path)
    thumbnails = Thumbnails(None if videos is None else Path(videos), origin_of)
    answers = [
        (sentence, [_shown(hit, thumbnails, path.parent) for hit in hits])
        for sentence, hits in results.items()
    ]
    clips = {hit.clip for hits in results.values() for hit in hits}
    remarks = _unplayable(thumbnails, clips)
    return write_page(
        path,
        "Search",
        "search.html.j2",
        thumbnails,
        remarks,
        MEDIA,
        answers=answers,
        explanation=SCORES,
    )


def _unplayable(thumbnails: Thumbnails, clips: set[str]) -> list[str]:
    """A line about videos that are shown by their pictures alone; empty for none."""
    shots = [thumbnails.shot(clip) for clip in clips]
    endings = {shot.path.suffix.lower() for shot in shots if shot and not shot.is_picture}
    if unplayable := sorted(endings - {*PLAYED}):
        return [f"Most browsers do not play {', '.join(unplayable)} files: a picture is shown."]
    return []


def _shown(hit: Hit, thumbnails: Thumbnails, folder: Path) -> dict[str, Any]:
    """What the template needs of a hit: a player for a video that browsers play, or a picture."""
    shot = thumbnails.shot(hit.clip)
    plays = shot is not None and not shot.is_picture and shot.path.suffix.lower() in PLAYED
    return {
        "clip": hit.clip,
        "score": hit.score,
        "video": address(shot.path, folder, shot.span) if shot and plays else None,
        "poster": thumbnails.data_url(hit.clip) if plays else None,
        "time": " to ".join(map(_seconds, shot.span)) + " s" if shot and shot.span else "",
        "captions": hit.captions[:CAPTIONS],
        "more": max(len(hit.captions) - CAPTIONS, 0),
    }


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
