"""Likely causes of invalid YAML, in words; PyYAML only names the token that it expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import yaml

#: Looks like a space, or like nothing at all, and is part of a name or a value for YAML.
UNUSUAL_SPACE = re.compile("[\u00a0\u2000-\u200f\u2028\u2029\u202f\u2060\u3000\ufeff]")
#: A key at the beginning of a line, with the "- " of a list before it.
_KEY = r"\s*(?:- +)*[\"']?[\w.-]+[\"']?"
_MISSING_SPACE = re.compile(rf"({_KEY}):(?![\s:/\\])(\S.*)$")
_WIDE_COLON = re.compile(rf"{_KEY}\s*：")
_EQUALS = re.compile(rf"({_KEY})\s*=\s*(\S.*)$")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7})( |$)")
_RESERVED = re.compile(rf"(?:{_KEY}: +|\s*- +|\s*)([%@`*&|>!])")
_WELL_FORMED = re.compile(rf"{_KEY}:(?: |$)|\s*- ")

#: As PyYAML counts lines.
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CLOSING = {"sequence": '"]"', "mapping": '"}"', "node": '"]" or "}"'}


class Mistake(NamedTuple):
    """A line, counted from 1, and what is wrong with it."""

    line: int
    message: str


def find_mistake(error: yaml.YAMLError, text: str) -> Mistake:
    """Returns the most likely cause and its line, or else PyYAML's message."""
    if not isinstance(error, yaml.MarkedYAMLError):  # a character that YAML does not allow
        position = getattr(error, "position", 0)
        return Mistake(text.count("\n", 0, position) + 1, _special_character(text, position))
    mark = error.problem_mark or error.context_mark
    last = mark.line + 1 if mark else 1
    first = error.context_mark.line + 1 if error.context_mark else last
    lines = _LINE_END.split(text)
    return (
        suspicious_line(lines, first, last)
        or next(_known_problems(error, lines, first, last), None)
        or Mistake(last, ", ".join(part for part in (error.context, error.problem) if part))
    )


def suspicious_line(lines: Sequence[str], first: int, last: int) -> Mistake | None:
    """Returns the first common mistake in lines ``first`` to ``last``, and incomplete ones before.

    YAML reads an incomplete line as the beginning of a longer text, and reports a later line.
    """
    while first > 1 and not _is_complete(_without_comment(lines[first - 2])):
        first -= 1
    for number in range(first, min(last, len(lines)) + 1):
        for message in _mistakes(_without_comment(lines[number - 1])):
            return Mistake(number, message)
    return None


def _is_complete(line: str) -> bool:
    return bool(_WELL_FORMED.match(line)) and not _MISSING_SPACE.match(line)


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line)


def _mistakes(line: str) -> Iterator[str]:
    """Yields easily overlooked mistakes in one line."""
    if _CONFLICT.match(line):
        yield "git left this line where two versions are in conflict: keep one of the two"
    if _WIDE_COLON.match(line):
        yield 'the colon is a full-width one ("："): write ":" and a space after it'
    if space := UNUSUAL_SPACE.search(line):
        yield unusual_space(space)
    if "\t" in line:
        yield "there is a tab in this line: YAML needs spaces"
    if match := _MISSING_SPACE.match(line):
        yield missing_space(match[1].strip(), match[2].strip())
    if match := _EQUALS.match(line):
        yield f'write "{match[1].strip()}: {match[2].strip()}", with a colon'


def unusual_space(match: re.Match[str], offset: int = 0) -> str:
    """Returns the message for a character of ``UNUSUAL_SPACE``."""
    name = "a non-breaking space" if match[0] == "\u00a0" else "an invisible character"
    column = offset + match.start() + 1
    return f"there is {name} (U+{ord(match[0]):04X}) in column {column}: write a plain space"


def missing_space(key: str, value: str) -> str:
    """Returns the message for ``key:value``."""
    return f'a space is missing after the colon: write "{key}: {value}"'


def entry_advice(text: str) -> str:
    """Returns the message for a text that was meant as ``key: value``, or ""."""
    lines = _LINE_END.split(text)
    mistake = suspicious_line(lines, 1, len(lines))
    return mistake.message if mistake else ""


def _known_problems(
    error: yaml.MarkedYAMLError, lines: Sequence[str], first: int, last: int
) -> Iterator[Mistake]:
    """Translates PyYAML's common messages."""
    problem, context = error.problem or "", error.context or ""
    line = lines[last - 1] if last <= len(lines) else ""
    if "quoted scalar" in context and "end of stream" in problem:
        yield Mistake(first, "the quote that opens in this line is not closed")
    if match := re.search(r"flow (sequence|mapping|node)", context):
        closing = _CLOSING[match[1]]
        yield Mistake(first, f'{closing} or "," is missing in what opens in this line')
    if "unknown escape character" in problem:
        yield Mistake(last, r"\ is an escape character in double quotes: use single quotes")
    if "another document" in problem:
        yield Mistake(last, '"---" begins a second document: a configuration has only one')
    if match := re.search("undefined alias '(.*)'", problem):
        advice = f'a text that begins with "*" needs quotes, an alias its anchor: "&{match[1]}"'
        yield Mistake(last, advice)
    if match := _RESERVED.match(line):
        yield Mistake(last, f'a text that begins with "{match[1]}" needs quotes')
    if "mapping values are not allowed" in problem:
        yield Mistake(last, _unexpected_colon(line, lines[last - 2] if last > 1 else ""))
    if "simple key" in context:
        yield Mistake(first, f'"{lines[first - 1].strip()}" is neither "key: value" nor "- item"')
    if "<block end>" in problem or "<document start>" in problem:
        yield Mistake(last, 'this line is not indented like its neighbours, or its "-" is wrong')


def _unexpected_colon(line: str, above: str) -> str:
    if _indentation(line) > _indentation(above) and not above.rstrip().endswith(":"):
        return "this line is indented further than the one above, which has a value already"
    return 'a text with ": " in it needs quotes'


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _special_character(text: str, position: int) -> str:
    character = text[position : position + 1]
    if character == "\0":
        return "there is a zero byte: is the file UTF-16? Save it as UTF-8"
    return f"the character U+{ord(character or ' '):04X} is not allowed: remove it"
