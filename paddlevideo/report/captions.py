"""The page of a captioning test: numbers, and captions beside frames and references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.report.clip_videos import Origin
from paddlevideo.report.page import Section, subject
from paddlevideo.report.pages import Thumbnails, write_page
from paddlevideo.report.tables import part, protocol_entries

#: The numbers of a captioning test in the order of its tables; those with two decimals are not in
#: percent.
MEASURES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "exact")
TWO_DECIMALS = ("CIDEr",)
#: References on a card.
REFERENCES = 3


def caption_rows(results: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Returns the title and the formatted numbers of the test and of each yardstick."""
    groups = {"this test": results, **part(results, "yardsticks")}
    return [
        (title, {name: _cell(name, numbers[name]) for name in MEASURES if name in numbers})
        for title, numbers in groups.items()
    ]


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if name in TWO_DECIMALS else f"{value:.1f}"


def write_caption_page(
    path: Path,
    results: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    videos: Path | None = None,
    origin_of: Callable[[str], Origin] = Origin,
    shown: int = 40,
) -> list[str]:
    """Writes the page atomically; creates its folder if needed.

    Args:
        path: the HTML file.
        results: the content of ``results.json``.
        answers: clips with "caption", "references" and "CIDEr".
        videos: a folder of clips or pictures named after the clips, for thumbnails.
        origin_of: returns the origin of a clip, given its id.
        shown: the number of clips with a card: evenly spread over their CIDEr, best first.

    Returns:
        Lines about clips without a picture, which are also on the page.

    Raises:
        DataError: ``videos`` is not a folder.
        UserError: OpenCV is needed for thumbnails and not installed.
    """
    rows = caption_rows(results)
    columns = list(rows[0][1])
    table = {
        "caption": "Numbers of the test, and of captions that do not look at the clip",
        "columns": columns,
        "rows": [(name, [cells.get(column, "") for column in columns]) for name, cells in rows],
    }
    protocol = {"caption": "Protocol of the test", "rows": protocol_entries(results)}
    sections = [
        Section("Results", "table", table, "In percent, but CIDEr."),
        Section(
            "A sample of clips",
            "captions",
            [_card(answer) for answer in spread(answers, shown)],
            "Evenly spread over the CIDEr of single captions, best first. Below each caption are "
            "its references.",
        ),
        Section("Protocol", "entries", protocol),
    ]
    return write_page(
        Path(path),
        "Captions of clips",
        "report.html.j2",
        Thumbnails(None if videos is None else Path(videos), origin_of),
        summary=_summary(rows, len(answers)),
        subject=subject(results),
        sections=sections,
    )


def _summary(rows: Sequence[tuple[str, Mapping[str, str]]], clips: int) -> str:
    """Returns the result in one sentence, beside that of the best yardstick."""
    own, *others = rows
    text = f"CIDEr {own[1].get('CIDEr', '?')} on {clips:,} clips"
    beside = [f"{cells['CIDEr']} for {name}" for name, cells in others if "CIDEr" in cells]
    return f"{text} ({', '.join(beside)})." if beside else f"{text}."


def spread(answers: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Returns at most ``count`` answers, evenly spread over their CIDEr, best first."""
    ordered = sorted(answers, key=lambda answer: -answer["CIDEr"])
    count = min(count, len(ordered))
    last = len(ordered) - 1
    return [ordered[round(index * last / max(count - 1, 1))] for index in range(count)]


def _card(answer: Mapping[str, Any]) -> dict[str, Any]:
    references = answer["references"]
    return {
        "clip": answer["clip"],
        "caption": answer["caption"],
        "references": references[:REFERENCES],
        "more": max(len(references) - REFERENCES, 0),
        "exact": answer["caption"] in references,
        "score": f"{answer['CIDEr']:.2f}",
    }
