"""Writes the results of a search as an HTML page: each clip with captions and a player."""

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

CAPTIONS = 3  # shown per clip, at most
#: Extensions of videos that browsers play, if the codec is common.
PLAYED = (".mp4", ".m4v", ".webm", ".ogv", ".mov")
#: The page may be opened from disk or from a server; video paths are relative to it.
MEDIA = "; media-src 'self' file:"


@dataclass(frozen=True)
class Hit:
    """A clip in the results of a search."""

    clip: str
    score: float
    captions: Sequence[str] = ()


def write_search_page(
    path: Path,
    results: Mapping[str, Sequence[Hit]],
    videos: Path | None = None,
    origin_of: Callable[[str], Origin] = Origin,
) -> list[str]:
    """Writes each sentence of ``results`` with its clips; returns lines about missing pictures.

    Other arguments and errors are those of :func:`paddlevideo.report.page.write_report`. Players
    find the videos relative to the page, so both must be moved together.
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
    """Returns a line about videos that are only shown as pictures, if there are any."""
    shots = [thumbnails.shot(clip) for clip in clips]
    endings = {shot.path.suffix.lower() for shot in shots if shot and not shot.is_picture}
    if unplayable := sorted(endings - {*PLAYED}):
        return [
            f"Most browsers do not play {', '.join(unplayable)} files and show a picture instead."
        ]
    return []


def _shown(hit: Hit, thumbnails: Thumbnails, folder: Path) -> dict[str, Any]:
    """Returns the template's data of a hit: a player if browsers play its video, else a picture."""
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
    """Returns the URL of a video, with the span to play, for a page in ``folder``.

    It is relative, so that it stays valid if page and videos are moved or served together.
    """
    try:
        relative = os.path.relpath(video, folder)
        url = quote(os.fsencode(Path(relative).as_posix()))
    except ValueError:  # another drive
        url = Path(os.path.abspath(video)).as_uri()
    return url if span is None else f"{url}#t={','.join(map(_seconds, span))}"


def _seconds(second: float) -> str:
    return f"{second:.2f}".rstrip("0").rstrip(".")
