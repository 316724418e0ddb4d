"""The page of a retrieval test, with sections for numbers, ranks, queries and protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from paddlevideo.report.charts import Ranked, rank_charts
from paddlevideo.report.clip_videos import Origin
from paddlevideo.report.pages import Thumbnails, write_page
from paddlevideo.report.queries import DIRECTIONS, SCORES, Query
from paddlevideo.report.tables import (
    STYLES,
    number,
    numbers,
    part,
    protocol_entries,
    spoken,
)

BEST = 5  # answers on a card, followed by the correct one if it is not among them


@dataclass(frozen=True)
class Section:
    """A part of the page; ``kind`` names the macro of parts.html.j2 that shows ``data``.

    Another task can add a macro or use "entries": a caption and rows of a name and a value.
    """

    title: str
    kind: str = ""
    data: Any = None
    note: str = ""


def write_report(
    path: Path,
    results: Mapping[str, Any],
    queries: Sequence[Query],
    videos: Path | None = None,
    shown: int = 20,
    origin_of: Callable[[str], Origin] = Origin,
    sections: Sequence[Section] = (),
) -> list[str]:
    """Writes the page atomically; creates its folder if needed.

    Args:
        path: the HTML file.
        results: the content of ``results.json``; each part may be missing.
        queries: those of both directions, in any order.
        videos: a folder of clips such as ``<id>.mp4`` for thumbnails. A clip whose video is
            missing or damaged gets a plain tile.
        shown: number of queries of each direction with a card: half of them those with the worst
            ranks, half spread evenly over the others.
        origin_of: returns the origin of a clip, given its id.
        sections: further sections.

    Returns:
        Lines about clips without a picture, which are also on the page.

    Raises:
        DataError: ``videos`` is not a folder.
        UserError: OpenCV is needed for thumbnails and not installed.
    """
    thumbnails = Thumbnails(None if videos is None else Path(videos), origin_of)
    groups = {name: [each for each in queries if each.direction == name] for name in DIRECTIONS}
    protocol = protocol_entries(results)
    all_sections = [
        *_numbers(results),
        *_ranks(results, groups),
        *_examples(groups, shown),
        *sections,
        *_entries("Protocol", "Protocol of the test", protocol),
    ]
    return write_page(
        Path(path),
        "Text-video retrieval",
        "report.html.j2",
        thumbnails,
        summary=summary(results, groups),
        subject=subject(results),
        sections=all_sections,
    )


def summary(results: Mapping[str, Any], groups: Mapping[str, Sequence[Query]]) -> str:
    """Returns the result in one sentence."""
    metrics, chance = part(results, "text_to_video"), part(results, "chance", "text_to_video")
    first, median = number("R@1", metrics.get("R@1")), number("MedianR", metrics.get("MedianR"))
    if first is None or median is None:
        return "No text-to-video results."
    videos = part(results, "protocol").get("videos")
    among = f" among {videos:,} videos" if isinstance(videos, int) else ""
    count = len(groups["text_to_video"])
    captions = f"{count:,} captions" if count else "captions"
    beside = number("R@1", chance.get("R@1"))
    luck = f" (chance {beside}\u00a0%)" if beside is not None else ""
    return (
        f"For {first}\u00a0% of {captions} the correct video ranks first{among}{luck}; "
        f"the median rank is {median}."
    )


def subject(results: Mapping[str, Any]) -> str:
    """Returns the names of the weights and of the tested file, if known."""
    protocol = part(results, "protocol")
    names = {
        key: PurePath(v).name
        for key in ("weights", "file")
        if (v := protocol.get(key)) and isinstance(v, str)
    }
    titles = {"weights": "Weights", "file": "tested on"}
    return ", ".join(f"{titles[key]} {name}" for key, name in names.items())


def _numbers(results: Mapping[str, Any]) -> list[Section]:
    """Returns the table of both directions, and numbers that belong to neither."""
    table, note = numbers(results), "Recall R@k in percent: a correct answer is among the first k."
    if "chance" in results:
        note += " Grey: chance."
    plain = [
        (name.replace("_", " "), f"{value:,.4g}")
        for name, value in results.items()
        if name != "similarity_weight" and number(name, value) is not None
    ]
    retrieval = [Section("Results", "numbers", table, note)] if table["rows"] or not plain else []
    return retrieval + _entries("Numbers", "Numbers of the test", plain)


def _entries(title: str, caption: str, rows: Sequence[tuple[str, str]]) -> list[Section]:
    return [Section(title, "entries", {"caption": caption, "rows": rows})] if rows else []


def _ranks(results: Mapping[str, Any], groups: Mapping[str, Sequence[Query]]) -> list[Section]:
    directions = []
    for direction, group in groups.items():
        if group:
            ranks = np.array([query.rank for query in group])
            positives = np.array([max(len(query.right), 1) for query in group])
            candidates = _candidates(part(results, "chance", direction), float(positives.mean()))
            name, style = spoken(direction), STYLES[direction]
            directions.append(Ranked(name, style, ranks, positives, candidates))
    if not directions:
        return [Section("Ranks", note="The ranks of single queries are not available.")]
    return [Section("Ranks", "charts", rank_charts(directions))]


def _candidates(chance: Mapping[str, Any], positives: float) -> int | None:
    """Infers the number of candidates: R@1 of chance is the fraction of positives."""
    first = chance.get("R@1")
    if not isinstance(first, (int, float)) or not 0 < first <= 100:
        return None
    return max(round(100 * positives / first), 1)


def choose(queries: Sequence[Query], shown: int) -> tuple[list[Query], list[Query]]:
    """Returns the queries with the worst ranks, worst first, and a sample of the others.

    The choice depends only on the ranks, so examples are not cherry-picked.
    """
    by_rank = sorted(queries, key=lambda query: query.rank)
    worst = min(shown // 2, len(by_rank))
    others = by_rank[: len(by_rank) - worst]
    indices = np.linspace(0, len(others) - 1, min(shown - worst, len(others)))
    hardest = by_rank[len(others) :][::-1]
    return hardest, [others[int(index)] for index in indices]


def _examples(groups: Mapping[str, Sequence[Query]], shown: int) -> list[Section]:
    chosen = {direction: choose(group, shown) for direction, group in groups.items()}
    notes = {
        "Hardest queries": f"The queries with the worst ranks. {SCORES}",
        "A sample of queries": "Evenly spread over the ranks of the other queries, best first.",
    }
    sections = []
    for index, (title, note) in enumerate(notes.items()):
        cards = [
            (spoken(direction).capitalize(), direction, [card(query) for query in lists[index]])
            for direction, lists in chosen.items()
            if lists[index]
        ]
        if cards:
            sections.append(Section(title, "queries", cards, note))
    return sections


def card(query: Query) -> dict[str, Any]:
    """Returns a query with its best answers, followed by the correct one if it is not among them.

    The score is None if the correct answer is not among those kept; its position is None if there
    are several correct ones, as it is then unknown which of them has the rank.
    """
    answers = [
        {**asdict(each), "position": index, "beyond": False}
        for index, each in enumerate(query.best[:BEST], 1)
    ]
    if query.right and not any(answer["right"] for answer in answers):
        kept = [asdict(each) for each in query.best[BEST:] if each.right]
        last = kept[0] if kept else {"name": query.right[0], "score": None, "right": True}
        position = query.rank if kept or len(query.right) == 1 else None
        answers.append({**last, "position": position, "beyond": True})
    return {"query": query, "answers": answers}
