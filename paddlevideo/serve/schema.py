"""The objects of the JSON API, as ``/openapi.json`` describes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from paddlevideo.retrieval.search import DEPTH
from paddlevideo.serve.clips import About
from paddlevideo.serve.engine import Engine, Found, SearchRequest
from paddlevideo.serve.hits import Hit, address_of_video, link, page_link


class Error(BaseModel):
    """What went wrong, in one line."""

    error: str


class Clip(BaseModel):
    """A clip, with addresses on this server; they are null where there is nothing."""

    clip: str = Field(description="the id in the feature file")
    captions: list[str]
    video: str = Field(description="the name of its video, if it is known")
    folder: str
    start: float | None = Field(description="seconds in the video; null: from its start")
    end: float | None
    video_url: str | None = Field(description="null also for videos that browsers do not play")
    silent: str = Field(description='why its video is not played, or ""')
    picture_url: str | None
    like_url: str = Field(description="a page of similar clips")


class Ranked(Clip):
    """A clip of a search."""

    rank: int = Field(description="from 1")
    score: float | None = Field(description="margin + weight * similarity; null if not matched")
    margin: float | None = Field(description="logit of a match minus that of a mismatch")
    similarity: float = Field(description="of the vectors; for a clip a cosine")


class Results(BaseModel):
    """The answer to a search. Matched clips come first, then others by their similarity."""

    text: str
    like: str
    folder: str
    match: int = Field(description="clips that were matched, at most")
    total: int = Field(description="clips that were searched")
    warning: str = Field(description='about words that are not known, or ""')
    clips: list[Ranked]
    next: str | None = Field(description="the address of the clips that follow, if there are any")


class Folder(BaseModel):
    """A folder of videos."""

    folder: str
    clips: int


class Health(BaseModel):
    """The state of the server; unless it is ready, its status code is 503."""

    status: str = Field(description="ready, indexing, or away: its index does not answer")
    indexed: int = Field(description="clips that are indexed")
    clips: int
    waiting: int = Field(description="searches in the queue")


Answers = dict[int | str, dict[str, Any]]
ERRORS: Answers = {
    400: {"model": Error, "description": "a mistake in the request"},
    503: {"model": Error, "description": "try again after the seconds of Retry-After"},
}
_MISSING: Answers = {404: {"model": Error, "description": "there is none"}}


def picture() -> Answers:
    """Returns the answers to a request for a picture."""
    return {200: {"content": {"image/jpeg": {}}}, **_MISSING, **ERRORS}


def video() -> Answers:
    """Returns the answers to a request for a video."""
    content: dict[str, Any] = {"content": {"video/mp4": {}, "video/webm": {}, "video/ogg": {}}}
    return {
        200: content,
        206: {**content, "description": "the range of bytes that Range names"},
        416: {"description": "the file has none of these bytes"},
        **_MISSING,
        **ERRORS,
    }


def clip(about: About, folder: str) -> dict[str, Any]:
    """Returns a :class:`Clip`."""
    start, end = about.span or (None, None)
    return {
        "clip": about.clip,
        "captions": list(about.captions),
        "video": about.video,
        "folder": folder,
        "start": start,
        "end": end,
        "video_url": address_of_video(about) if about.plays else None,
        "silent": about.silent,
        "picture_url": link("/api/clips/picture", id=about.clip) if about.path else None,
        "like_url": link("/", like=about.clip),
    }


def results(
    request: SearchRequest, found: Found, hits: list[Hit], best: int, most: int
) -> dict[str, Any]:
    """Returns :class:`Results`. ``best``: clips at a time; ``most``: matched by default."""
    ranked = [
        {
            **clip(hit.about, hit.folder),
            "rank": hit.rank,
            "score": hit.score,
            "margin": hit.margin,
            "similarity": hit.similarity,
        }
        for hit in hits
    ]
    end = hits[-1].rank if hits else len(found.ranking)
    following = None
    if end < min(len(found.ranking), DEPTH):
        address = page_link(request, most, best=best, **{"from": end})
        following = "/api/search" + address.removeprefix("/")
    asked = asdict(request)
    return {
        **{name: asked[name] for name in ("text", "like", "folder")},
        "match": request.candidates,
        "total": found.ranking.total,
        "warning": found.warning,
        "clips": ranked,
        "next": following,
    }


def health(engine: Engine) -> dict[str, Any]:
    """Returns a :class:`Health`."""
    indexed, clips = engine.progress()
    status = "ready" if engine.is_ready else "away" if engine.is_away else "indexing"
    return {
        "status": status,
        "indexed": indexed,
        "clips": clips,
        "waiting": engine.waiting,
    }
