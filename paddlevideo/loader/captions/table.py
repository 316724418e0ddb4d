"""Tables of text. The only reader of CSV files: what is checked is what is read."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from paddlevideo.loader.captions.text import open_text
from paddlevideo.utils.errors import DataError

SEPARATORS = (",", "\t", ";")
#: Lines that are looked at for the separator, and that a quoted field may span.
_HEAD, _SPAN = 50, 100
_LIMIT = csv.field_size_limit()  # characters of a field

IsHeader = Callable[[Sequence[str]], bool]


class Row(NamedTuple):
    """A line of a table. ``where`` is "FILE: line N", for messages."""

    where: str
    fields: list[str]
    names: Sequence[str] = ()

    def get(self, name: str) -> str:
        """The field in the column ``name`` without blanks around it; "" where there is none.

        The name "" is that of no column, though a header may have empty fields.
        """
        if not name or name not in self.names:
            return ""
        index = self.names.index(name)
        return self.fields[index].strip() if index < len(self.fields) else ""


class Table:
    """A file of rows: commas, semicolons or tabs between its fields, with or without a header.

    ``names``: the columns that the header names, in lower case without blanks around them; empty
    without a header. Rows whose fields are all blank are passed over.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        is_header: IsHeader,
        text: Sequence[str] = (),
        strict: bool = False,
    ) -> None:
        """``is_header`` is asked whether these names of columns are a header.

        ``text``: columns of free text; separators that are not quoted belong to the first of them
        that the header names, or to the last field without a header. A quote that is never closed
        is text, unless ``strict``. Raises DataError on a file that cannot be read and on a header
        that names a column twice.
        """
        self.path, self.strict = path, strict
        self.names: list[str] = []
        self.first = ""  # the first line that is not blank, for messages, and its number
        self.first_line = 1
        self.separator, self.spaced = ",", False
        self._skipped = 0  # the number of the last line that holds no row
        self._find_header(is_header)
        self.text = next((name for name in text if name in self.names), "")

    def _find_header(self, is_header: IsHeader) -> None:
        with open_text(self.path) as file:
            numbered = ((number, line) for number, line in enumerate(file, 1) if line.strip())
            head = list(islice(numbered, _HEAD))
        if head and (named := re.fullmatch(r"sep=(.)", head[0][1].strip())):  # Excel's mark
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
                self._refuse_doubles(number)
                return

    def _refuse_doubles(self, number: int) -> None:
        for name, count in Counter(filter(None, self.names)).items():
            if count > 1:
                raise DataError(
                    f'{self.path}: line {number}: {count} columns are called "{name}". Rename or '
                    "remove all but one"
                )

    def __iter__(self) -> Iterator[Row]:
        """The rows in order. Raises DataError, naming file and line, on one that is damaged."""
        with open_text(self.path) as file:
            lines = _Lines(file)
            while line := lines.next():
                if lines.number <= self._skipped or not line.strip():
                    continue
                where = f"{self.path}: line {lines.number}"
                fields = self._fields(line, lines, where)
                if not "".join(fields).isspace() and any(fields):
                    yield Row(where, self._fitted(fields, where), self.names)

    def _parse(self, text: str, strict: bool) -> list[str]:
        reader = csv.reader(
            [text], delimiter=self.separator, skipinitialspace=self.spaced, strict=strict
        )
        return next(reader)

    def _fields(self, line: str, lines: _Lines, where: str) -> list[str]:
        """The fields of the row that begins with ``line``; a quoted one may span several lines."""
        if '"' not in line and not self.spaced and len(line) < _LIMIT:
            return line.rstrip("\n").split(self.separator)  # as the csv module does, but faster
        try:
            return self._parse(line.rstrip("\n"), strict=True)
        except csv.Error as error:
            reason = str(error)
        if self.names and '"' in line:
            for count, text in lines.longer(line):
                try:
                    fields = self._parse(text.rstrip("\n"), strict=True)
                except csv.Error:
                    continue
                if self.strict or len(fields) == len(self.names):
                    lines.skip(count)
                    return fields
                break
        if self.strict and "unexpected end" in reason:
            reason = "the quoted field that begins in this line has no end"
        try:
            if not self.strict:
                return self._parse(line.rstrip("\n"), strict=False)
        except csv.Error as error:
            reason = str(error)
        raise DataError(f"{where}: is not CSV ({reason})")

    def _fitted(self, fields: list[str], where: str) -> list[str]:
        """As many fields as the header has; separators that nothing quotes belong to the text."""
        extra = len(fields) - len(self.names)
        if not self.names or extra <= 0:
            return fields
        if not any(field.strip() for field in fields[len(self.names) :]):
            return fields[: len(self.names)]
        if not self.text:
            raise DataError(
                f"{where}: has more columns than the header. Put quotes around text that holds "
                f"{self.separator!r}"
            )
        first = self.names.index(self.text)
        joined = (self.separator + " " * self.spaced).join(fields[first : first + extra + 1])
        return [*fields[:first], joined, *fields[first + extra + 1 :]]


class _Lines:
    """The numbered lines of a file, with a look at those to come."""

    def __init__(self, file: Iterator[str]) -> None:
        self.number = 0
        self._file, self._ahead = file, list[str]()

    def next(self) -> str:
        """The next line; "" at the end."""
        self.number += 1
        return self._ahead.pop(0) if self._ahead else next(self._file, "")

    def longer(self, line: str) -> Iterator[tuple[int, str]]:
        """``line`` with 1, 2, ... lines that follow it, where the last of them holds a quote."""
        for count in range(1, _SPAN + 1):
            if len(self._ahead) < count:
                self._ahead += islice(self._file, 1)
            if len(self._ahead) < count:
                return
            line += self._ahead[count - 1]
            if '"' in self._ahead[count - 1]:
                yield count, line

    def skip(self, count: int) -> None:
        """Passes over the next lines."""
        del self._ahead[:count]
        self.number += count


def column(field: str) -> str:
    """The name of a column: "Video ID" and "video_id" are one."""
    return re.sub(r"[\s-]+", "_", field.strip().strip('"').strip().lower())


def _separator(lines: Sequence[str]) -> str:
    """The comma, unless another separator comes before it in every line, and some line has none."""
    if all("," in line for line in lines) and not all("\t" in line for line in lines):
        return ","
    for separator in SEPARATORS[1:]:
        if lines and all(separator in line.partition(",")[0] for line in lines):
            return separator
    return ","
