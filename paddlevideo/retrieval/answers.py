"""Output of retrieval: files, page and table of a test; clips on the terminal.

C captions, V videos.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.report.queries import DIRECTIONS, SCORES, Query, RankedAnswer
from paddlevideo.retrieval.ranks import Ranking, highest
from paddlevideo.utils.log import print_table

log = logging.getLogger("paddlevideo")

#: Number of answers that are kept per query.
BEST = 10

#: Further rows below each direction: the key in the results, and the title of the row.
FURTHER = {
    "first_stage": "first stage alone",
    "match_alone": "match margin alone",
    "dual_softmax": "dual softmax (see below)",
    "chance": "chance",
}


# ------------------------------------------------------------------------ files of a test


def queries_of(
    ranking: Ranking, weight: float, captions: Sequence[str], videos: Sequence[str]
) -> list[Query]:
    """Returns every query with its rank and best answers.

    ``captions`` (C,) and ``videos`` (V,) are names; ``weight`` is that of the similarities.
    """
    truth = ranking.truth
    with_captions = np.unique(truth)
    order = np.argsort(truth, kind="stable")
    captions_of = np.split(order, np.searchsorted(truth[order], with_captions)[1:])
    ranks, best = ranking.ranks(weight), ranking.best(BEST, weight)
    sides: tuple[tuple[Sequence[str], Sequence[str], Any], ...] = (
        (captions, videos, truth[:, None]),
        ([videos[video] for video in with_captions], captions, captions_of),
    )
    return [
        _query(direction, name, answers, positives, (rank, *answer))
        for direction, (names, answers, all_positives) in zip(DIRECTIONS, sides, strict=True)
        for name, positives, rank, answer in zip(
            names, all_positives, ranks[direction], zip(*best[direction], strict=True), strict=True
        )
    ]


def _query(
    direction: str,
    name: str,
    answers: Sequence[str],
    positives: np.ndarray,
    result: tuple[int, np.ndarray, np.ndarray],
) -> Query:
    """Returns a query; ``positives`` are indices, ``result`` is its rank, indices and scores."""
    rank, indices, scores = result
    best = [
        RankedAnswer(answers[index], round(float(score), 4), bool(index in positives))
        for index, score in zip(indices.tolist(), scores, strict=True)
    ]
    return Query(direction, name, [answers[i] for i in positives.tolist()], int(rank), best)


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes an .npz file under any name."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_test_page(
    path: Path, results: Mapping[str, Any], queries: Sequence[Query], videos: Path | None
) -> None:
    """Writes the page of a test; clips without a picture are logged."""
    from paddlevideo.prepare.origins import ClipNotes
    from paddlevideo.report import write_report

    notes = ClipNotes(results["protocol"].get("features"))
    for line in write_report(path, results, queries, videos, origin_of=notes.origin):
        log.warning("%s", line)
    log.info("wrote %s", path)


# ------------------------------------------------------------------------ table of a test


def print_results(results: Mapping[str, Any]) -> None:
    """Prints a table of both directions with chance, and logs what the stages cost."""
    from rich.table import Table

    directions = [direction for direction in DIRECTIONS if direction in results]
    if directions:
        columns = list(results[directions[0]])
        table = Table("", *columns)
        for direction in directions:
            cells = _cells(results[direction], columns)
            table.add_row(direction.replace("_", " "), *cells, style="bold")
            for key, title in FURTHER.items():
                if numbers := results.get(key, {}).get(direction):
                    table.add_row(f"  {title}", *_cells(numbers, columns), style="dim")
        print_table(table, 80)
    for line in _stage_lines(results):
        log.info("%s", line)


def _cells(numbers: Mapping[str, float], columns: list[str]) -> list[str]:
    """Returns the numbers formatted to two decimals."""
    return [f"{numbers[column]:.2f}" for column in columns]


def _stage_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yields lines on the recall of the shortlists and on what the stages cost."""
    for direction, numbers in results.get("first_stage", {}).items():
        for name, value in numbers.items():
            if name not in results[direction] and name.startswith("R@"):
                yield (
                    f"{direction.replace('_', ' ')}: the first stage's {name[2:]} best contain "
                    f"a correct answer for {value:.2f} % of the queries"
                )
    if found := results.get("search_recall"):
        yield (
            f"the approximate first stage finds {found['percent']:.1f} % of the "
            f"{found['nearest']} most similar videos, measured with {found['captions']} captions"
        )
    if "dual_softmax" in results:
        yield "dual softmax uses the other queries, so its numbers cannot be compared with others"
    stages = results.get("stages", {})
    if "gallery_seconds" in stages:
        seconds = stages["scoring_seconds"]
        yield (
            f"gallery encoded in {stages['gallery_seconds']:.1f} s, first stage "
            f"{stages['first_stage_seconds']:.1f} s, {stages['pairs_scored']:,} pairs scored in "
            f"{seconds:.1f} s"
        )


# ------------------------------------------------------- clips that a sentence describes


@dataclass(frozen=True)
class Answer:
    """A clip that a search returns for a sentence."""

    clip: str
    score: float  # match margin + weighted similarity
    margin: float
    similarity: float


def best_clips(scores: np.ndarray, clips: Sequence[str], count: int) -> list[tuple[int, str]]:
    """Returns the positions and names of the ``count`` highest ``scores`` (V,), best first."""
    order = highest(scores[None], count)[0][0]
    return [(position, clips[position]) for position in order.tolist()]


def print_clips(
    sentence: str, clips: Sequence[str], numbers: Mapping[str, Sequence[float]], digits: int
) -> None:
    """Prints the clips of a sentence, best first: a table, or tab-separated lines in a pipe.

    ``numbers``: columns of the table, with ``digits`` decimals; lines have only "score".
    """
    if not sys.stdout.isatty():
        words = " ".join(sentence.split())
        lines = [
            f"{rank}\t{score:.4f}\t{clip}\t{words}\n"
            for rank, (clip, score) in enumerate(zip(clips, numbers["score"], strict=True), 1)
        ]
        # A single write, unlike print(): "| head -1" must not end the search.
        sys.stdout.write("".join(lines))
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    clip_column = Column("clip", overflow="fold")  # an id that is cut short names no clip
    table = Table("rank", clip_column, *numbers, title=Text(sentence))
    for rank, (clip, *row) in enumerate(zip(clips, *numbers.values(), strict=True), 1):
        table.add_row(str(rank), Text(clip), *(f"{number:.{digits}f}" for number in row))
    Console().print(table)


def explain_scores(scores: Sequence[float]) -> bool:
    """Explains scores on standard error if one is negative; returns whether it did."""
    negative = any(score < 0 for score in scores)
    if negative:
        print(SCORES, file=sys.stderr)
    return negative
