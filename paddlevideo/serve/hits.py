"""The clips of a ranking as a page and the API show them, with scores in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from paddlevideo.retrieval.search import ClipRanking
from paddlevideo.serve.clips import About
from paddlevideo.serve.engine import SearchRequest

CAPTIONS = 2  # shown for each clip, at most


@dataclass(frozen=True)
class Hit:
    """A clip of a ranking; numbers are None where they do not apply (see ``ClipRanking``)."""

    rank: int  # from 1
    about: About
    folder: str
    similarity: float
    score: float | None = None
    margin: float | None = None


def hits_of(
    ranking: ClipRanking, abouts: list[About], folders: list[str], start: int
) -> Iterator[Hit]:
    """Yields the clips of a ranking from position ``start`` on, as many as ``abouts``."""
    for row, (about, folder) in enumerate(zip(abouts, folders, strict=True), start):
        score, margin = float(ranking.scores[row]), float(ranking.margins[row])
        is_matched = not math.isnan(margin)
        yield Hit(
            row + 1,
            about,
            folder,
            float(ranking.similarities[row]),
            score if is_matched else None,
            margin if is_matched else None,
        )


def link(path: str, **values: str | int) -> str:
    """Returns an address of this server; empty values are left out."""
    given = {name: value for name, value in values.items() if value != ""}
    query = urlencode(given, errors="replace", quote_via=quote)
    return f"{path}?{query}" if query else path


def page_link(request: SearchRequest, most: int, **more: str | int) -> str:
    """Returns the address of the page that answers a request, which can be shared.

    ``most``: the number of clips that are matched by default, which the address leaves out.
    """
    match = "" if request.like or request.candidates == most else request.candidates
    return link(
        "/", text=request.text, like=request.like, folder=request.folder, match=match, **more
    )


def second(value: float) -> str:
    """Returns seconds as a clock shows them: 1:05, 1:02:05, 0:05.5."""
    tenths = round(value * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def span_text(about: About) -> str:
    """Returns the times of a clip in its video, or ""."""
    return "" if about.span is None else "\u2013".join(map(second, about.span))


def address_of_video(about: About) -> str:
    """Returns the address of a clip's video, with the span to play."""
    span = "" if about.span is None else "#t=" + ",".join(f"{time:g}" for time in about.span)
    return link("/api/clips/video", id=about.clip) + span


def verdict(hit: Hit, is_like: bool) -> str:
    """Returns what the numbers of a clip mean, in a few words."""
    if hit.margin is not None:
        return "a match" if hit.margin > 0 else "not quite a match"
    return "similarity" if is_like else "not matched"


def explanation(hit: Hit, weight: float, is_like: bool) -> list[tuple[str, str, str]]:
    """Returns name, number and meaning of each part of a score."""
    if is_like:
        return [("similarity", f"{hit.similarity:.2f}", "1 is the same direction, 0 is unrelated")]
    similarity = (
        "similarity",
        f"{hit.similarity:.2f}",
        "how near the sentence's vector and the clip's are to each other",
    )
    if hit.margin is None or hit.score is None:
        rest = "it was not among the most similar clips, which are matched word by word"
        return [similarity, ("match margin", "\u2013", rest)]
    likely = 1 / (1 + math.exp(-min(max(hit.margin, -50.0), 50.0)))
    margin = (
        "match margin",
        f"{hit.margin:+.2f}",
        f"the model read sentence and clip together: {likely:.0%} for a match",
    )
    if not weight:
        return [margin]
    total = f"{hit.margin:.2f} + {weight:g} \u00d7 {hit.similarity:.2f}; it sets the order"
    return [margin, similarity, ("score", f"{hit.score:.2f}", total)]
