"""The answers of a retrieval test to each query: ``queries.jsonl``, one JSON object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddlevideo.files.whole import check_together, write_text_whole
from paddlevideo.utils.errors import DataError

DIRECTIONS = ("text_to_video", "video_to_text")
#: What a score is, for people.
SCORES = (
    "A score is the match margin, the logit of a match minus that of a mismatch, plus the weighted "
    "similarity of a retrieval head: the order counts, 0 is undecided, and below 0 the model "
    "rather expects a mismatch."
)


@dataclass(frozen=True)
class Found:
    """One answer to a query."""

    name: str  # a video id or a caption
    score: float
    right: bool


@dataclass(frozen=True)
class Query:
    """A caption that videos are ranked for, or a video that captions are."""

    direction: str  # one of DIRECTIONS
    query: str  # the caption, or the video id
    right: Sequence[str]  # the positives: video ids, or captions
    rank: int  # of the best positive, from 1
    best: Sequence[Found]  # the highest scores, best first


def write_queries(path: str | Path, queries: Sequence[Query]) -> None:
    """Writes ``queries`` whole or not at all. Raises ValueError for a score that is not finite."""
    write_text_whole(path, queries_text(queries))


def queries_text(queries: Sequence[Query]) -> str:
    """Returns the lines of a file. Raises ValueError for a score that is not finite."""
    return "".join(json.dumps(asdict(query), allow_nan=False) + "\n" for query in queries)


def read_queries(path: str | Path) -> list[Query]:
    """Returns the queries of a file.

    Raises DataError, with the file and the number of the line, if it cannot be read, a line is not
    a :class:`Query`, or ``results.json`` beside it is of a different test.
    """
    check_together(Path(path))
    queries = []
    try:
        with open(path, "rb") as file:  # lines end at \n only, whatever a caption holds
            for number, line in enumerate(file, 1):
                queries.append(_parse(line, f"{path}: line {number}"))
    except OSError as error:
        advice = "main.py --test writes it beside results.json"
        raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    return queries


def _parse(line: bytes, location: str) -> Query:
    try:
        return _query(json.loads(line.decode("utf-8")))
    except KeyError as error:
        raise DataError(f"{location}: {error} is missing") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{location}: {error}; was the file cut short or edited?") from None


def _query(fields: Any) -> Query:
    """Checks one line. Raises KeyError for a missing field, ValueError for a wrong one."""
    _expect(isinstance(fields, Mapping), "expected an object in braces")
    direction, rank = fields["direction"], fields["rank"]
    _expect(direction in DIRECTIONS, f"direction is {direction!r}; expected one of {DIRECTIONS}")
    _expect(type(rank) is int and rank >= 1, f"rank is {rank!r}; expected a whole number from 1")
    _expect(isinstance(fields["query"], str), "query must be a text")
    right, best = fields["right"], fields["best"]
    _expect(isinstance(right, list), "right must be a list of texts")
    _expect(all(isinstance(name, str) for name in right), "right must be a list of texts")
    _expect(isinstance(best, list), "best must be a list")
    return Query(direction, fields["query"], right, rank, [_found(item) for item in best])


def _found(fields: Any) -> Found:
    _expect(isinstance(fields, Mapping), "each of best must be an object in braces")
    name, score, right = fields["name"], fields["score"], fields["right"]
    _expect(isinstance(name, str), "name must be a text")
    _expect(type(score) in {int, float}, f"score is {score!r}; expected a number")
    _expect(math.isfinite(score), f"score is {score!r}; expected a finite number")
    _expect(isinstance(right, bool), f"right is {right!r}; expected true or false")
    return Found(name, float(score), right)


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
