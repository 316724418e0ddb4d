"""Queries of a retrieval test with their answers: ``queries.jsonl``, one JSON object per line."""

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
#: An explanation of scores for users.
SCORES = (
    "A score is the match margin, the logit of a match minus that of a mismatch, plus the weighted "
    "similarity of a retrieval head. Only the order matters; below 0 the model considers a "
    "mismatch more likely."
)


@dataclass(frozen=True)
class RankedAnswer:
    """One answer to a query."""

    name: str  # a video id or a caption
    score: float
    right: bool  # whether it is a positive


#: The former name.
Found = RankedAnswer


@dataclass(frozen=True)
class Query:
    """A caption for which videos are ranked, or a video for which captions are."""

    direction: str  # one of DIRECTIONS
    query: str  # the caption, or the video id
    right: Sequence[str]  # the positives: video ids, or captions
    rank: int  # of the best positive, from 1
    best: Sequence[RankedAnswer]  # the highest scores, best first


def write_queries(path: str | Path, queries: Sequence[Query]) -> None:
    """Writes ``queries`` atomically. Raises ValueError if a score is not finite."""
    write_text_whole(path, queries_text(queries))


def queries_text(queries: Sequence[Query]) -> str:
    """Returns the content of the file. Raises ValueError if a score is not finite."""
    return "".join(json.dumps(asdict(query), allow_nan=False) + "\n" for query in queries)


def read_queries(path: str | Path) -> list[Query]:
    """Returns the queries of a file.

    Raises DataError, with file and line, if it cannot be read, a line is not a :class:`Query`, or
    ``results.json`` beside it belongs to another test.
    """
    check_together(Path(path))
    queries = []
    try:
        with open(path, "rb") as file:  # a caption may contain other line ends than \n
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
    _expect(isinstance(fields, Mapping), "expected a JSON object")
    direction, rank = fields["direction"], fields["rank"]
    _expect(direction in DIRECTIONS, f"direction is {direction!r}; expected one of {DIRECTIONS}")
    _expect(type(rank) is int and rank >= 1, f"rank is {rank!r}; expected a positive integer")
    _expect(isinstance(fields["query"], str), "query must be a string")
    right, best = fields["right"], fields["best"]
    _expect(isinstance(right, list), "right must be a list of strings")
    _expect(all(isinstance(name, str) for name in right), "right must be a list of strings")
    _expect(isinstance(best, list), "best must be a list")
    return Query(direction, fields["query"], right, rank, [_answer(item) for item in best])


def _answer(fields: Any) -> RankedAnswer:
    _expect(isinstance(fields, Mapping), "each entry of best must be a JSON object")
    name, score, right = fields["name"], fields["score"], fields["right"]
    _expect(isinstance(name, str), "name must be a string")
    _expect(type(score) in {int, float}, f"score is {score!r}; expected a number")
    _expect(math.isfinite(score), f"score is {score!r}; expected a finite number")
    _expect(isinstance(right, bool), f"right is {right!r}; expected true or false")
    return RankedAnswer(name, float(score), right)


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
