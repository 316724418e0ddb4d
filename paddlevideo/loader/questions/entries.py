"""Entries of JSON files and the checks that all files of questions share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paddlevideo.loader.captions.json_stream import json_entries
from paddlevideo.loader.captions.table import Table
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text, writable

#: Names of columns and keys: of a clip, of a question's id and of its type.
CLIP_NAMES = ("clip", "clip_id", "video_id", "video_name", "vid_key", "video", "vid")
ID_NAMES = ("question_id", "qid", "key", "id")
KIND_NAMES = ("question_type", "type")

Entry = tuple[str, Mapping[str, Any]]  # where, for messages, and the object


def is_json(path: str) -> bool:
    """Returns whether the first character of a file begins a JSON object or list."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    return first.lstrip()[:1] in ("{", "[")


def read_entries(path: str) -> Iterator[Entry]:
    """Yields the objects of a JSON list or of JSON lines. Raises DataError, naming the entry."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    items: Iterator[tuple[str, Any]]
    if first.lstrip().startswith("["):
        items = ((f"{path}: entry {key}", value) for key, value in json_entries(path))
    else:
        items = _lines(path)
    for where, value in items:
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: {value!r:.60} is not an object")
        yield where, value


def _lines(path: str) -> Iterator[tuple[str, Any]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}: line {number}"
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: is not a JSON object ({error})") from None


def value_of(entry: Mapping[str, Any], names: Sequence[str], where: str, what: str) -> Any:
    """Returns the value under the first of ``names`` that ``entry`` has. Raises DataError."""
    for name in names:
        if entry.get(name) not in (None, ""):
            return entry[name]
    known = ", ".join(f'"{name}"' for name in names)
    raise DataError(f"{where}: has no {what}: expected the key {known}")


def text_value(value: Any, where: str, what: str) -> str:
    """Returns text or a number as stripped text. Raises DataError if there is none."""
    if type(value) in (int, float) and math.isfinite(value):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: the {what} is {value!r:.60}; expected text")
    return writable(value.strip(), where)


def optional(entry: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the value under the first of ``names`` as text, or ""."""
    value = next((entry[name] for name in names if entry.get(name) not in (None, "")), "")
    return str(value).strip()


def without_header(table: Table, what: str, forms: str) -> DataError:
    """Returns the error for a table whose first line does not name the columns of ``what``."""
    if not table.first:
        return DataError(f"{table.path}: is empty. Expected {forms}")
    return DataError(
        f'{table.path}: line {table.first_line}: "{table.first:.80}" does not name the columns of '
        f"{what}. Expected {forms}"
    )


def unique_ids(ids: Sequence[str], wheres: Sequence[str]) -> None:
    """Raises DataError if two questions have one id: a file of answers could not tell them."""
    seen: dict[str, str] = {}
    for name, where in zip(ids, wheres, strict=True):
        if name in seen:
            raise DataError(
                f'{where}: the id "{name}" is also that of {seen[name]}. Ids must be different: '
                "the file of answers refers to them"
            )
        seen[name] = where
