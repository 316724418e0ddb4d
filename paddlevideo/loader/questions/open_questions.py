"""Files of open questions: ActivityNet-QA's pairs and tables, MSVD-QA's and MSRVTT-QA's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.loader.captions.table import Table
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
)
from paddlevideo.loader.questions.question import Question
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.words import split_words

#: The types of ActivityNet-QA by number; the last six are its free questions.
ACTIVITYNET = (
    *("motion", "spatial relation", "temporal relation"),
    *("yes/no", "color", "object", "location", "number", "other"),
)
FORMS = (
    "ActivityNet-QA's test_q.json (video_name, question, question_id) with test_a.json beside it, "
    "JSON or JSON lines with video_id, question, answer and id as MSRVTT-QA has them, or a table "
    "with a header of video_id, question and answer"
)
_QUESTIONS, _ANSWERS = "_q.json", "_a.json"


def read_questions(
    path: str, answers_path: str | None = None, clip_id: str = "{video}"
) -> list[Question]:
    """Returns the questions of a file in its order; answers are in lower case.

    ``answers_path``: the file of answers, by default ``NAME_a.json`` beside ``NAME_q.json``.
    ``clip_id`` formats a clip's id from the ``video`` of the file. Types are named as
    ActivityNet-QA names them if they are its numbers, else by the question's first word if the
    file has none. Raises DataError, naming file and line or entry.
    """
    entries = list(read_entries(path) if is_json(path) else _rows(path))
    if answers_path is None and path.endswith(_QUESTIONS):
        answers_path = path.removesuffix(_QUESTIONS) + _ANSWERS
        if not Path(answers_path).is_file():
            raise DataError(
                f"{path}: there is no {answers_path} with the answers. Set answers_path to it"
            )
    answers = _answers(answers_path) if answers_path else None
    questions = [_question(entry, answers, str(answers_path), clip_id) for entry in entries]
    if not questions:
        raise DataError(f"{path}: holds no questions")
    unique_ids([each.id for each in questions], [each.where for each in questions])
    return questions


def _rows(path: str) -> list[Entry]:
    table = Table(path, _is_header, ("question",))
    if not table.names:
        raise DataError(
            f'{path}: line {table.first_line}: "{table.first:.80}" does not name the columns of '
            f"questions. Expected {FORMS}"
        )
    return [(row.where, {name: row.get(name) for name in row.names}) for row in table]


def _is_header(names: Sequence[str]) -> bool:
    return {"question", "answer"} <= set(names) and any(name in names for name in CLIP_NAMES)


def _answers(path: str) -> dict[str, Entry]:
    """Returns the entries of a file of answers by the ids of their questions."""
    entries = list(read_entries(path))
    ids = [str(value_of(entry, ID_NAMES, where, "id")) for where, entry in entries]
    unique_ids(ids, [where for where, _ in entries])
    return dict(zip(ids, entries, strict=True))


def _question(
    item: Entry, answers: Mapping[str, Entry] | None, answers_path: str, clip_id: str
) -> Question:
    where, entry = item
    text = text_value(value_of(entry, ("question",), where, "question"), where, "question")
    video = text_value(value_of(entry, CLIP_NAMES, where, "clip"), where, "clip")
    name = optional(entry, ID_NAMES) or where.rpartition(" ")[2]
    if answers is not None:
        if name not in answers:
            raise DataError(f'{where}: the question "{name}" has no answer in {answers_path}')
        where_answer, entry_answer = answers[name]
        entry = {**entry, **{key: x for key, x in entry_answer.items() if key not in entry}}
        where = where if "answer" in item[1] else where_answer
    answer = text_value(value_of(entry, ("answer",), where, "answer"), where, "answer")
    kind = kind_of(optional(entry, KIND_NAMES), text)
    return Question(name, clip_of(clip_id, video), text, answer.lower(), kind, item[0])


def kind_of(kind: Any, question: str) -> str:
    """Returns the name of a type; without one the question's first word."""
    if kind.isdecimal() and int(kind) < len(ACTIVITYNET):
        return ACTIVITYNET[int(kind)]
    return kind or split_words(question)[0].lower()


def clip_of(clip_id: str, video: str) -> str:
    """Returns the id of a clip. Raises ConfigError if ``clip_id`` has other names in braces."""
    try:
        return clip_id.format(video=video)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f'clip_id is "{clip_id}" ({error!r}); expected the name {{video}} in it, such as '
            '"v_{video}"'
        ) from None
