"""Tables of text: the only reader of CSV files, for checks and for training."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text

SEPARATORS = (",", "\t", ";")
#: Number of lines that decide the separator, and that a quoted field may span.
_HEAD, _SPAN = 50, 100
_LIMIT = csv.field_size_limit()  # characters of a field

IsHeader = Callable[[Sequence[str]], bool]


class Row(NamedTuple):
    """A line of a table. ``where`` is "FILE: line N", for messages."""

    where: str
    fields: list[str]
    names: Sequence[str] = ()

    def get(self, name: str) -> str:
        """Returns the stripped field in the column ``name``, or "" if there is none.

        "" names no column, although a header may have empty fields.
        """
        if not name or name not in self.names:
            return ""
        index = self.names.index(name)
        return self.fields[index].strip() if index < len(self.fields) else ""


class Table:
    """A file of rows: commas, semicolons or tabs between its fields, with or without a header.

    ``names``: the stripped, lower-case names of columns in the header, empty without one. Skips
    rows whose fields are all blank.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        is_header: IsHeader,
        text: Sequence[str] = (),
        strict: bool = False,
    ) -> None:
        """``is_header``: whether names of columns are a header.

        ``text``: columns of free text; unquoted separators belong to the first of them that the
        header names, or to the last field without a header. A quote that is never closed is text,
        unless ``strict``. Raises DataError for a file that cannot be read and for a header that
        names a column twice.
        """
        self.path, self.strict = path, strict
        self.names: list[str] = []
        self.first = ""  # the first line that is not blank, for messages, and its number
        self.first_line = 1
        self.separator, self.spaced = ",", False
        self._skipped = 0  # number of the last line before the rows
        self._find_header(is_header)
        self.text = next((name for name in text if name in self.names), "")

    def _find_header(self, is_header: IsHeader) -> None:
        with open_text(self.path) as file:
            numbered = ((number, line) for number, line in enumerate(file, 1) if line.strip())
            head = list(islice(numbered, _HEAD))
        if head and (named := re.fullmatch(r"sep=(.)", head[0][1].strip())):  # written by Excel
            self.separator, self._skipped = named[1], head.pop(0)[0]
        else:
            self.separator = _separator([line for _, line in head])
        if not head:
            return
        number, first = head[0]
        self.first = first.strip()
        self.first_line = number
        fields: list[str] = []
        for separator in dict.fromkeys((self.separator, *SEPARATORS)):
            with suppress(csv.Error):  # too long for a header
                fields = next(csv.reader([first.rstrip("\n")], delimiter=separator))
            names = [column(field) for field in fields]
            if is_header(names):
                self.names, self.separator, self._skipped = names, separator, number
                self.spaced = any(field[:1] == " " for field in fields)
                self._check_unique(number)
                return

    def _check_unique(self, number: int) -> None:
        for name, count in Counter(filter(None, self.names)).items():
            if count > 1:
                raise DataError(
                    f'{self.path}: line {number}: {count} columns are called "{name}". Rename or '
                    "remove all but one"
                )

    def __iter__(self) -> Iterator[Row]:
        """Yields the rows. Raises DataError, naming file and line, for a damaged one."""
        with open_text(self.path) as file:
            lines = _Lines(file)
            while line := lines.next():
                if lines.number <= self._skipped or not line.strip():
                    continue
                where = f"{self.path}: line {lines.number}"
                fields = self._fields(line, lines, where)
                if not "".join(fields).isspace() and any(fields):
                    yield Row(where, self._join_extra(fields, where), self.names)

    def _parse(self, text: str, strict: bool) -> list[str]:
        reader = csv.reader(
            [text], delimiter=self.separator, skipinitialspace=self.spaced, strict=strict
        )
        return next(reader)

    def _fields(self, line: str, lines: _Lines, where: str) -> list[str]:
        """Returns the fields of the row that begins with ``line``; a quoted one may span lines."""
        if '"' not in line and not self.spaced and len(line) < _LIMIT:
            return line.rstrip("\n").split(self.separator)  # as the csv module does, but faster
        try:
            return self._parse(line.rstrip("\n"), strict=True)
        except csv.Error as error:
            reason = str(error)
        if self.names and '"' in line:
            for count, text in lines.joined(line):
                try:
                    fields = self._parse(text.rstrip("\n"), strict=True)
                except csv.Error:
                    continue
                if self.strict or len(fields) == len(self.names):
                    lines.skip(count)
                    return fields
                break
        if self.strict and "unexpected end" in reason:
            reason = "the quoted field that begins in this line is not closed"
        try:
            if not self.strict:
                return self._parse(line.rstrip("\n"), strict=False)
        except csv.Error as error:
            reason = str(error)
        raise DataError(f"{where}: is not CSV ({reason})")

    def _join_extra(self, fields: list[str], where: str) -> list[str]:
        """Joins fields beyond those of the header: unquoted separators belong to the text."""
        extra = len(fields) - len(self.names)
        if not self.names or extra <= 0:
            return fields
        if not any(field.strip() for field in fields[len(self.names) :]):
            return fields[: len(self.names)]
        if not self.text:
            raise DataError(
                f"{where}: has more columns than the header. Put quotes around text with "
                f"{self.separator!r}"
            )
        first = self.names.index(self.text)
        joined = (self.separator + " " * self.spaced).join(fields[first : first + extra + 1])
        return [*fields[:first], joined, *fields[first + extra + 1 :]]


class _Lines:
    """The numbered lines of a file, with look-ahead."""

    def __init__(self, file: Iterator[str]) -> None:
        self.number = 0
        self._file, self._ahead = file, list[str]()

    def next(self) -> str:
        """Returns the next line, or "" at the end."""
        self.number += 1
        return self._ahead.pop(0) if self._ahead else next(self._file, "")

    def joined(self, line: str) -> Iterator[tuple[int, str]]:
        """Yields ``line`` with 1, 2, ... lines after it, the last of them with a quote."""
        for count in range(1, _SPAN + 1):
            if len(self._ahead) < count:
                self._ahead += islice(self._file, 1)
            if len(self._ahead) < count:
                return
            line += self._ahead[count - 1]
            if '"' in self._ahead[count - 1]:
                yield count, line

    def skip(self, count: int) -> None:
        """Skips the next lines."""
        del self._ahead[:count]
        self.number += count


def column(field: str) -> str:
    """Returns the name of a column: "Video ID" and "video_id" are the same."""
    return re.sub(r"[\s-]+", "_", field.strip().strip('"').strip().lower())


def _separator(lines: Sequence[str]) -> str:
    """Returns the comma unless another separator precedes it in every line, or it is missing."""
    if all("," in line for line in lines) and not all("\t" in line for line in lines):
        return ","
    for separator in SEPARATORS[1:]:
        if lines and all(separator in line.partition(",")[0] for line in lines):
            return separator
    return ","
