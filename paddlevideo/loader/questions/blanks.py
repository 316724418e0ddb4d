"""Files of sentences with a blank, in the columns of LSMDC's fill-in-the-blank."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paddlevideo.loader.questions.question import Question
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text, writable

COLUMNS = (
    "the eight columns of LSMDC, with tabs between them and no header: clip, four times, sentence, "
    "question with _____, answer"
)
#: What stands for the missing word.
BLANK = re.compile(r"_{2,}")


def read_blanks(path: str) -> tuple[list[Question], list[str]]:
    """Returns the questions of a file, and the lines, "FILE: line N", whose question has no blank.

    A question's id is the number of its line. Answers are in lower case. Raises DataError, naming
    file and line, for other columns, several blanks or an empty answer, and if no question has a
    blank.
    """
    questions, without = [], []
    for number, line in _numbered(path):
        where = f"{path}: line {number}"
        question = _question(line, number, where)
        if question is None:
            without.append(where)
        else:
            questions.append(question)
    if not questions and not without:
        raise DataError(f"{path}: is empty; expected {COLUMNS}")
    if not questions:
        raise DataError(
            f"{path}: no question has a blank (_____): the first of {len(without)} lines is "
            f"{without[0]}"
        )
    return questions, without


def _question(line: str, number: int, where: str) -> Question | None:
    """Returns the question of a line, or None if it has no blank. Raises DataError."""
    fields = [unquoted(field.strip()) for field in line.split("\t")]
    if len(fields) != 8:
        raise DataError(f"{where}: has {len(fields)} columns; expected {COLUMNS}")
    clip, question, answer = fields[0], fields[6], fields[7]
    blanks = len(BLANK.findall(question))
    if number == 1 and not blanks and fields[1][:1].isalpha():  # not a time
        raise DataError(f"{where}: looks like a header; expected {COLUMNS}")
    if not blanks:
        return None
    if blanks > 1:
        raise DataError(f'{where}: "{question:.80}" has {blanks} blanks; expected one')
    for name, value in (("clip", clip), ("answer", answer)):
        if not value:
            raise DataError(f"{where}: the {name} is empty; expected {COLUMNS}")
    return Question(str(number), clip, writable(question, where), answer.lower(), where=where)


def unquoted(field: str) -> str:
    """Returns a field without quotes around it."""
    return field[1:-1].strip() if len(field) > 1 and field[0] == field[-1] == '"' else field


def _numbered(path: str) -> Iterator[tuple[int, str]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\n")


def around_blank(question: str) -> tuple[str, str]:
    """Returns the text before and after the blank."""
    before, after = BLANK.split(question, maxsplit=1)
    return before.strip(), after.strip()
