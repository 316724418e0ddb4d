"""The names of classes in a file: MS-TCN's ``mapping.txt``, or COIN's annotations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text, text_lines, whole_number

BACKGROUND_NAME = "background"
#: The largest id of a step: every id up to the largest one in a file becomes a class.
MAX_STEP = 99_999


def read_class_names(path: str) -> tuple[str, ...]:
    """Returns the name of each class, 0 first, from a ``mapping.txt`` or a file of COIN's form.

    Raises DataError naming file and line.
    """
    if Path(path).suffix.lower() == ".json":
        return coin_classes(read_coin(path), path)
    return read_mapping(path)


def read_mapping(path: str) -> tuple[str, ...]:
    """Returns the names of a file of lines "number name", such as "0 background".

    Raises DataError unless the numbers are 0 to n - 1 in any order and all names differ.
    """
    names: dict[int, str] = {}
    for number, line in text_lines(path):
        first, *rest = line.split(maxsplit=1)
        index, name = whole_number(first), "".join(rest)
        if index is None or not name:
            raise DataError(
                f'{path}: line {number}: "{line:.60}": expected a class\'s number and its name, '
                'such as "0 background"'
            )
        if index in names or name in names.values():
            raise DataError(f'{path}: line {number}: "{line:.60}": occurs twice; keep one of them')
        names[index] = name
    if sorted(names) != list(range(len(names))) or not names:
        raise DataError(
            f"{path}: the {len(names)} classes have the numbers {sorted(names)[:5]} ...; expected "
            f"0 to {max(len(names) - 1, 1)}, without gaps"
        )
    return tuple(names[index] for index in range(len(names)))


def read_coin(path: str) -> dict[str, dict[str, Any]]:
    """Returns the videos of a file of COIN's form: by id, "annotation", "duration" and "subset".

    Raises DataError if it has another form.
    """
    with open_text(path) as file:
        text = file.read()
    if not text.strip():
        raise DataError(f"{path}: is empty. Copy or write it again")
    try:
        database = json.loads(text)["database"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f'{path}: expected JSON of the form {{"database": {{video id: {{"annotation": [...], '
            f'"duration": seconds, "subset": "training" or "testing"}}}}}} ({error!r:.80})'
        ) from None
    if not isinstance(database, dict) or not all(isinstance(v, dict) for v in database.values()):
        raise DataError(f'{path}: "database" is not a map of video ids to maps')
    for video, entry in database.items():
        steps = entry.setdefault("annotation", [])
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise DataError(f'{path}: video "{video}": "annotation" is not a list of maps')
    return database


def coin_classes(database: Mapping[str, Mapping[str, Any]], path: str) -> tuple[str, ...]:
    """Returns the labels of COIN's step ids; 0 is the background, and gaps have plain names.

    Raises DataError for an id that is not a positive whole number, or that has two labels.
    """
    names: dict[int, str] = {}
    for video, entry in database.items():
        for row, step in enumerate(entry["annotation"]):
            where = f'{path}: video "{video}", annotation {row}'
            number, label = step_id(step, where), str(step.get("label", ""))
            if names.setdefault(number, label) != label:
                raise DataError(
                    f'{where}: id {number} is "{label}", but "{names[number]}" before. '
                    "An id has one label"
                )
    top = max(names, default=0)
    return (
        BACKGROUND_NAME,
        *(names.get(index, unnamed_step(index)) for index in range(1, top + 1)),
    )


def unnamed_step(index: int) -> str:
    """Returns the name of a class whose id occurs in no annotation."""
    return f"step {index}"


def step_id(step: Mapping[str, Any], where: str) -> int:
    """Returns the number of an annotation's step. Raises DataError beginning with ``where``."""
    text = str(step.get("id", ""))
    number = whole_number(text)
    if not number or number > MAX_STEP:
        raise DataError(
            f'{where}: the id is "{text:.20}"; expected a whole number from 1 to {MAX_STEP}'
        )
    return number
