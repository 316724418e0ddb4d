"""Files of multiple choice: ``MSR_MC_test.csv``, NExT-QA's tables, JSON lines with options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paddlevideo.loader.captions.table import Row, Table
from paddlevideo.loader.questions.entries import (
    CLIP_NAMES,
    ID_NAMES,
    KIND_NAMES,
    Entry,
    is_json,
    optional,
    read_entries,
    text_value,
    unique_ids,
    value_of,
    without_header,
)
from paddlevideo.loader.questions.question import Choice
from paddlevideo.utils.errors import DataError

FORMS = (
    "a header with the columns of MSR_MC_test.csv (key, vid_key, a1, a2, ..., answer), of NExT-QA "
    "(video, question, answer, qid, type, a0, a1, ...), or JSON lines with the keys video_id, "
    "options and answer"
)
#: What is needed to choose, without a test.
ASKED = (
    "a header with columns a0, a1, ... and perhaps question, video and qid, or JSON lines with the "
    "key options and perhaps question, video_id and question_id"
)
OPTIONS = ("options", "candidates", "choices")
#: vid_key of MSR-VTT's files: the clip msr9652 is called video9652 elsewhere.
_MSRVTT_KEY = re.compile(r"msr(\d+)")


def read_choices(path: str, for_test: bool = True) -> list[Choice]:
    """Returns the questions of a file in its order.

    The answer is counted from 0. Only a test needs clips and answers: with ``for_test`` False they
    may be missing. Raises DataError, naming file and line, if columns are missing, an answer is out
    of range or not given, a candidate is empty, or an id appears twice.
    """
    if is_json(path):
        choices = [_of_entry(entry, for_test) for entry in read_entries(path)]
    else:
        choices = _table(path, for_test)
    if not choices:
        raise DataError(f"{path}: holds no questions")
    unique_ids([choice.id for choice in choices], [choice.where for choice in choices])
    return choices


def equal_candidates(choices: Sequence[Choice]) -> Iterator[tuple[Choice, str]]:
    """Yields the choices that list a candidate twice, with the candidate; case does not count."""
    for choice in choices:
        plain = [" ".join(text.lower().split()) for text in choice.candidates]
        twice = next((text for text in plain if plain.count(text) > 1), None)
        if twice is not None:
            yield choice, twice


# ------------------------------------------------------------------------------- tables


def candidate_columns(names: Sequence[str]) -> list[str]:
    """Returns the columns a1, a2, ... or a0, a1, ... in order; [] unless they are consecutive."""
    numbered = sorted((int(name[1:]), name) for name in names if re.fullmatch(r"a\d{1,3}", name))
    numbers = [number for number, _ in numbered]
    starts = numbers[:1] in ([0], [1])
    is_complete = starts and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return [name for _, name in numbered] if is_complete and len(numbers) > 1 else []


def _is_header(names: Sequence[str]) -> bool:
    has_clip = any(name in names for name in CLIP_NAMES)
    return has_clip and "answer" in names and bool(candidate_columns(names))


def _table(path: str, for_test: bool) -> list[Choice]:
    table = Table(path, _is_header if for_test else lambda names: bool(candidate_columns(names)))
    if not table.names:
        raise without_header(table, "multiple choice", FORMS if for_test else ASKED)
    columns = candidate_columns(table.names)
    return [_of_row(row, columns, for_test) for row in table]


def _of_row(row: Row, columns: Sequence[str], for_test: bool) -> Choice:
    if len(row.fields) < len(row.names):
        raise DataError(
            f"{row.where}: has {len(row.fields)} columns, but the header names {len(row.names)}"
        )
    entry = {name: row.get(name) for name in row.names}
    candidates = [entry[name] for name in columns]
    return _choice(row.where, entry, candidates, for_test)


def _of_entry(item: Entry, for_test: bool) -> Choice:
    where, entry = item
    candidates = value_of(entry, OPTIONS, where, "options")
    if not isinstance(candidates, list) or len(candidates) < 2:
        raise DataError(
            f"{where}: the options are {candidates!r:.60}; expected a list of two texts or more"
        )
    return _choice(where, entry, candidates, for_test)


def _choice(
    where: str, entry: Mapping[str, Any], candidates: Sequence[Any], for_test: bool
) -> Choice:
    texts = tuple(text_value(text, where, "candidate") for text in candidates)
    clip = optional(entry, CLIP_NAMES)
    if clip or for_test:
        clip = text_value(value_of(entry, CLIP_NAMES, where, "clip"), where, "clip")
    answer = entry.get("answer")
    is_known = for_test or answer not in (None, "")
    name = optional(entry, ID_NAMES) or f"{clip}_{where.rpartition(' ')[2]}"
    if "qid" in entry and not optional(entry, ("question_id",)):
        name = f"{clip}_{name}"  # NExT-QA numbers the questions of each video
    return Choice(
        name,
        _MSRVTT_KEY.sub(r"video\1", clip) if clip == entry.get("vid_key") else clip,
        optional(entry, ("question",)),
        texts,
        answer_position(answer, texts, where) if is_known else -1,
        optional(entry, KIND_NAMES),
        where,
    )


def answer_position(answer: Any, candidates: Sequence[str], where: str) -> int:
    """Returns the position of the right candidate: a number from 0, a candidate, or A, B, ...

    Raises DataError if it is none of these.
    """
    text = str(answer).strip() if isinstance(answer, (int, str)) else ""
    last = len(candidates) - 1
    if re.fullmatch(r"-?\d{1,9}", text) and (text not in candidates or isinstance(answer, int)):
        position = int(text)
        if 0 <= position <= last:
            return position
        advice = ": is it counted from 1?" if position == last + 1 else ""
        raise DataError(
            f"{where}: the answer is {position}, but there are {last + 1} candidates, counted from "
            f"0 to {last}{advice}"
        )
    if text in candidates:
        return candidates.index(text)
    if len(text) == 1 and 0 <= ord(text) - ord("A") <= last:
        return ord(text) - ord("A")
    raise DataError(
        f"{where}: the answer is {answer!r:.60}; expected its position from 0 to {last}, or one "
        "of the candidates"
    )
