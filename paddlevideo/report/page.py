"""A retrieval test as one HTML file: nothing is loaded from elsewhere, and no script runs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.whole import write_bytes_whole
from paddlevideo.report.cards import Thumbnails, cards
from paddlevideo.report.charts import MARKS, Curve, histogram, recall_chart
from paddlevideo.report.clip_videos import Origin
from paddlevideo.report.markup import Markup, element, join
from paddlevideo.report.queries import DIRECTIONS, SCORES, Query
from paddlevideo.report.style import STYLE
from paddlevideo.report.tables import effort, metric_table, number, part, protocol_table, spoken

TITLE = "Text-video retrieval"
STYLES = {"text_to_video": "forward", "video_to_text": "backward"}


def write_report(
    path: Path,
    results: Mapping[str, Any],
    queries: Sequence[Query],
    videos: Path | None = None,
    shown: int = 20,
    origin_of: Callable[[str], Origin] = Origin,
) -> list[str]:
    """Writes the page whole or not at all; its folder is made if absent.

    Args:
        path: the HTML file.
        results: what ``results.json`` holds; each part of it may be absent.
        queries: of both directions, in any order.
        videos: a folder of clips ``<id>.mp4`` or such for thumbnails. A clip that is absent, or
            whose video is damaged, gets a plain tile.
        shown: how many queries of each direction have a card: half of them those with the worst
            ranks, half spread evenly over the others.
        origin_of: where a clip comes from, by its id.

    Returns:
        Lines about clips without a picture; they are on the page too.

    Raises:
        DataError: ``videos`` is not a folder.
        UserError: OpenCV is wanted for thumbnails and not installed.
    """
    thumbnails = Thumbnails(None if videos is None else Path(videos), origin_of)
    write_page(path, page(results, queries, thumbnails, shown))
    return thumbnails.remarks()


def write_page(path: Path, text: str) -> None:
    """Writes a page whole or not at all; its folder is made if absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A caption may hold half a surrogate pair, which UTF-8 cannot write.
    write_bytes_whole(path, text.encode("utf-8", "replace"))


def page(
    results: Mapping[str, Any], queries: Sequence[Query], thumbnails: Thumbnails, shown: int
) -> str:
    """The text of the page; arguments and errors as for :func:`write_report`."""
    groups = {way: [each for each in queries if each.direction == way] for way in DIRECTIONS}
    main = element(
        "main",
        element("h1", TITLE),
        element("p", summary(results, groups)),
        *_numbers(results),
        *_charts(results, groups),
        *_examples(groups, thumbnails, shown),
        *notes(thumbnails.remarks()),
        *_protocol(results),
    )
    return document(TITLE, main, STYLE + thumbnails.style())


def notes(lines: Sequence[str]) -> list[Markup]:
    """Small paragraphs."""
    return [element("p", line, class_="note") for line in lines]


def document(title: str, main: Markup, style: str, media: str = "") -> str:
    """A whole page.

    Only this very style sheet and pictures inside it are allowed, and what ``media`` says, the end
    of a content security policy; scripts and links are not.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        f"base-uri 'none'; form-action 'none'{media}"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    whole = element("html", head, element("body", main), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def summary(results: Mapping[str, Any], groups: Mapping[str, Sequence[Query]]) -> str:
    """The test in one sentence."""
    metrics, chance = part(results, "text_to_video"), part(results, "chance", "text_to_video")
    first, median = number("R@1", metrics.get("R@1")), number("MedianR", metrics.get("MedianR"))
    if first is None or median is None:
        return "No numbers of text-to-video retrieval."
    videos = part(results, "protocol").get("videos")
    among = f" among {videos:,} videos" if isinstance(videos, int) else ""
    count = len(groups["text_to_video"])
    captions = f"{count:,} captions" if count else "captions"
    beside = number("R@1", chance.get("R@1"))
    luck = f" (chance {beside}\u00a0%)" if beside is not None else ""
    return (
        f"For {first}\u00a0% of {captions} the right video comes first{among}{luck}; "
        f"the median rank is {median}."
    )


def _numbers(results: Mapping[str, Any]) -> list[Markup]:
    note = "Recall R@k in percent: the right answer is among the first k."
    if "chance" in results:
        note += " In grey: chance."
    pieces = [element("h2", "Results"), element("p", note, class_="note"), metric_table(results)]
    if costs := effort(results):
        pieces.append(element("p", costs, class_="note"))
    return pieces


def _charts(results: Mapping[str, Any], groups: Mapping[str, Sequence[Query]]) -> list[Markup]:
    curves = [_curve(results, way, group) for way, group in groups.items() if group]
    if not curves:
        return [element("h2", "Ranks"), element("p", "No ranks of single queries were kept.")]
    largest = max(int(curve.ranks.max()) for curve in curves)
    figures = [
        _figure(
            Markup(f"{curve.name.capitalize()}: queries by rank"),
            histogram(curve.name, curve.style, curve.ranks, largest),
        )
        for curve in curves
    ]
    figures.append(_figure(join("Recall (%) at rank k", _legend(curves)), recall_chart(curves)))
    return [element("h2", "Ranks"), element("div", *figures, class_="charts")]


def _curve(results: Mapping[str, Any], direction: str, group: Sequence[Query]) -> Curve:
    own = np.array([max(len(query.right), 1) for query in group])
    return Curve(
        name=spoken(direction),
        style=STYLES[direction],
        ranks=np.array([query.rank for query in group]),
        own=own,
        candidates=_candidates(part(results, "chance", direction), float(own.mean())),
    )


def _candidates(chance: Mapping[str, Any], own: float) -> int | None:
    """How many answers there are: chance at rank 1 is ``own``, the right ones, out of all."""
    first = chance.get("R@1")
    if not isinstance(first, (int, float)) or not 0 < first <= 100:
        return None
    return max(round(100 * own / first), 1)


def _figure(caption: Markup, chart: Markup) -> Markup:
    return element("figure", element("figcaption", caption), chart, class_="panel")


def _legend(curves: Sequence[Curve]) -> Markup:
    names = [
        element("span", f"{MARKS[curve.style]} {curve.name}", class_=curve.style)
        for curve in curves
    ]
    if any(curve.candidates for curve in curves):
        names.append(element("span", "┄ chance", class_="dim"))
    return element("div", *names, class_="legend")


def choose(queries: Sequence[Query], shown: int) -> tuple[list[Query], list[Query]]:
    """The queries with the worst ranks, worst first, and a spread over the others, best first.

    The choice depends on the ranks alone, so nobody picks the flattering ones by hand.
    """
    by_rank = sorted(queries, key=lambda query: query.rank)
    worst = min(shown // 2, len(by_rank))
    others = by_rank[: len(by_rank) - worst]
    places = np.linspace(0, len(others) - 1, min(shown - worst, len(others)))
    hardest = by_rank[len(others) :][::-1]
    return hardest, [others[int(place)] for place in places]


def _examples(
    groups: Mapping[str, Sequence[Query]], thumbnails: Thumbnails, shown: int
) -> list[Markup]:
    hardest, spread = {}, {}
    for way, group in groups.items():
        hardest[way], spread[way] = choose(group, shown)
    worst_note = f"The worst ranks of all. {SCORES}"
    spread_note = "Evenly over the ranks of the other queries, best first."
    return [
        *_lists("Hardest queries", worst_note, hardest, thumbnails),
        *_lists("A spread of queries", spread_note, spread, thumbnails),
    ]


def _lists(
    title: str, note: str, lists: Mapping[str, Sequence[Query]], thumbnails: Thumbnails
) -> list[Markup]:
    pieces = []
    for way, group in lists.items():
        if group:
            pieces += [element("h3", spoken(way).capitalize()), cards(group, thumbnails)]
    return [element("h2", title), element("p", note, class_="note"), *pieces] if pieces else []


def _protocol(results: Mapping[str, Any]) -> list[Markup]:
    protocol = part(results, "protocol")
    return [element("h2", "Protocol"), protocol_table(protocol)] if protocol else []
