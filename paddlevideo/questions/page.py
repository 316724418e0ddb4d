"""The page of a test with questions: numbers, and answers beside pictures of their clips."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.report.page import Section, subject
from paddlevideo.report.pages import Thumbnails, write_page
from paddlevideo.report.tables import part, protocol_entries

log = logging.getLogger("paddlevideo")

SHOWN = 12  # cards of right answers, and of wrong ones
LISTED = 5  # answers on a card


def write_questions_page(
    path: Path, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], videos: Path | None
) -> None:
    """Writes the page of a test; clips without a picture are logged.

    Args:
        path: the HTML file.
        results: the content of ``results.json``.
        rows: the lines of ``predictions.jsonl``.
        videos: a folder of clips such as ``<id>.mp4`` for pictures.
    """
    from paddlevideo.prepare.origins import ClipNotes

    notes = ClipNotes(part(results, "protocol").get("features"))
    sections = [_numbers(results), *_examples(rows)]
    protocol = {"caption": "Protocol of the test", "rows": protocol_entries(results)}
    for line in write_page(
        path,
        "Questions about clips",
        "report.html.j2",
        Thumbnails(videos, notes.origin),
        summary=summary(results),
        subject=subject(results),
        sections=[*sections, Section("Protocol", "entries", protocol)],
    ):
        log.warning("%s", line)
    log.info("wrote %s", path)


def summary(results: Mapping[str, Any]) -> str:
    """Returns the result in one sentence."""
    beside = [
        f"{name.replace('_', ' ')} {numbers['accuracy']:.1f}\u00a0%"
        for name, numbers in _compared(results).items()
    ]
    luck = f" ({', '.join(beside)})" if beside else ""
    return (
        f"{results['accuracy']:.1f}\u00a0% of {results['questions']:,} questions are answered "
        f"correctly{luck}."
    )


def _compared(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns chance and yardsticks by name."""
    chance = part(results, "chance")
    return {**({"chance": chance} if chance else {}), **part(results, "yardsticks")}


def _numbers(results: Mapping[str, Any]) -> Section:
    error = f"{results['accuracy']:.2f} % +- {results['standard_error']:.2f}"
    rows = [("accuracy", error)]
    rows += [(f"of type {kind}", f"{x:.2f} %") for kind, x in part(results, "by_type").items()]
    rows += [
        (name.replace("_", " "), f"{numbers['accuracy']:.2f} %")
        for name, numbers in _compared(results).items()
    ]
    return Section("Results", "entries", {"caption": "Accuracy", "rows": rows})


def _examples(rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    titles = {"Wrong answers": False, "Correct answers": True}
    sections = []
    for title, is_correct in titles.items():
        group = [row for row in rows if row["correct"] == is_correct]
        spread = np.linspace(0, len(group) - 1, min(SHOWN, len(group))).astype(int)
        note = f"{len(spread)} of {len(group):,}, evenly spread over the file."
        if len(spread):
            sections.append(Section(title, "questions", [card(group[i]) for i in spread], note))
    return sections


def card(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a question with its answers, best first, and the correct one if it is beyond."""
    if "candidates" in row:
        order = np.argsort(-np.asarray(row["scores"]), kind="stable").tolist()
        lines = [(row["candidates"][at], row["scores"][at], at == row["answer"]) for at in order]
    else:
        lines = [(text, score, text == row["answer"]) for text, score in row["best"]]
    shown = [
        {"name": text, "score": score, "right": right, "position": position}
        for position, (text, score, right) in enumerate(lines[:LISTED], 1)
    ]
    if not any(line["right"] for line in shown):
        right = [(at, line) for at, line in enumerate(lines, 1) if line[2]]
        at, line = right[0] if right else (None, (row["answer"], None, True))
        shown.append({"name": line[0], "score": line[1], "right": True, "position": at})
    return {"clip": row["clip"], "question": row["question"], "lines": shown}
