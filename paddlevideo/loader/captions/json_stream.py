"""Streaming of the entries of large JSON files: HowTo100M's captions are gigabytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text

CHUNK = 1 << 20  # characters
_DECODER = json.JSONDecoder()


def json_entries(path: str | os.PathLike[str]) -> Iterator[tuple[str | int, Any]]:
    """Yields the key and value of each entry of an object, or index and item of a list.

    Keeps one entry and up to two chunks in memory. Raises DataError if the file is not JSON in
    UTF-8, is neither an object nor a list, or has further content.
    """
    with open_text(path) as file:
        yield from _Stream(file, str(path)).entries()


class _Stream:
    """A text file, read only as far as the next value requires."""

    def __init__(self, file: Any, path: str) -> None:
        self.file, self.path = file, path
        self.text, self.position, self.ended = "", 0, False

    def entries(self) -> Iterator[tuple[str | int, Any]]:
        opening = self._next_char()
        if opening not in ("{", "["):
            raise DataError(f"{self.path}: is neither a JSON object nor a JSON list")
        closing = "}" if opening == "{" else "]"
        number = 0
        self._skip_space()
        if self._at(closing):
            self._next_char()
            self._end()
            return
        while True:
            key: str | int = number
            if opening == "{":
                key = self._key()
            yield key, self._value()
            number += 1
            char = self._next_char()
            if char == closing:
                self._end()
                return
            if char != ",":
                raise self._error(f"expected , or {closing}, got {char!r}")

    def _end(self) -> None:
        self._skip_space()
        if self.position < len(self.text):
            raise self._error("content after its end")

    def _error(self, message: str) -> DataError:
        near = self.text[max(self.position - 20, 0) : self.position + 20]
        return DataError(f"{self.path}: is not valid JSON ({message}, near {near!r})")

    def _read_more(self) -> bool:
        """Doubles the text in memory, so that the cost of a long value is linear."""
        if self.ended:
            return False
        rest = self.text[self.position :]
        new = self.file.read(max(CHUNK, len(rest)))
        self.text, self.position, self.ended = rest + new, 0, not new
        return not self.ended

    def _skip_space(self) -> None:
        while True:
            while self.position < len(self.text) and self.text[self.position].isspace():
                self.position += 1
            if self.position < len(self.text) or not self._read_more():
                return

    def _at(self, char: str) -> bool:
        return self.text[self.position : self.position + 1] == char

    def _next_char(self) -> str:
        self._skip_space()
        char = self.text[self.position : self.position + 1]
        self.position += 1
        return char

    def _key(self) -> str:
        key = self._value()
        if not isinstance(key, str):
            raise self._error(f"the key {key!r:.40}")
        if self._next_char() != ":":
            raise self._error("a key without a value")
        return key

    def _value(self) -> Any:
        self._skip_space()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
            except (ValueError, RecursionError) as error:  # ValueError: too long a number
                if self.ended or self._is_final(error):
                    raise self._error(str(error)) from None
                self._read_more()
                continue
            if end < len(self.text) or self.ended:
                self.position = end
                return value
            self._read_more()  # a number at the very end of the chunk may continue

    def _is_final(self, error: Exception) -> bool:
        """Whether the text is invalid, rather than incomplete so far."""
        if not isinstance(error, json.JSONDecodeError):
            return True
        return "Unterminated" not in error.msg and error.pos < len(self.text) - 16
