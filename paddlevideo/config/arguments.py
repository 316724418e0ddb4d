"""Checks values against a constructor's signature: its names, type hints and defaults.

Supported type hints: int, float (integers fit), bool, str, None, ``Literal``, unions,
lists and other sequences, maps, dataclasses (given as maps), paths, and ``Annotated`` with
``InputPath`` or a ``Range``. Any other hint, or none, accepts every value. A float must be finite.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import itertools
import types
import typing
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, NamedTuple, Union

from paddlevideo.config.tree import KeyPath
from paddlevideo.files.paths import path_complaint
from paddlevideo.registry import InputPath, NameOrPath, OutputPath, did_you_mean
from paddlevideo.utils.ranges import Range

_INPUT_PATH = typing.get_args(InputPath)[1]
_PATHS = (_INPUT_PATH, typing.get_args(OutputPath)[1], typing.get_args(NameOrPath)[1])
_SEQUENCES = (
    *(list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.MutableSequence),
    *(collections.abc.Iterable, collections.abc.Collection, collections.abc.Set),
)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_TYPES: dict[Any, Any] = {
    **{int: int, float: (int, float), bool: bool, str: str},
    **{None: type(None), type(None): type(None)},
}
#: Arguments of earlier versions, and what to do without them.
REMOVED_ARGUMENTS = {
    "faiss_from": "no longer exists, so remove it: an exact first stage uses NumPy, and "
    "first_stage: approximate uses faiss",
}
_MAX_LISTED = 12  # known names in a message
_MAX_SHOWN = 60  # characters of a value in a message
_MAX_COMPARED = 1000  # files of a folder that are compared with the name of a missing file


class Fault(NamedTuple):
    """An error in a configuration, and its path below the value that was checked."""

    path: KeyPath
    message: str
    wrong_type: bool = False


class Schema(NamedTuple):
    """The arguments of a constructor. ``anything``: accepts other names too."""

    hints: dict[str, Any]
    required: frozenset[str]
    nullable: frozenset[str]
    anything: bool


# --------------------------------------------------------------------------- arguments


def argument_faults(
    part: Callable[..., Any],
    arguments: Mapping[str, Any],
    files: bool = True,
    checked: Collection[str] = (),
) -> Iterator[Fault]:
    """Yields the errors in ``arguments`` for ``part``, a class or a function.

    Checks that input files exist only if ``files``. Skips the values of the arguments named in
    ``checked``.
    """
    schema = schema_of(part)
    for name in sorted(schema.required - set(arguments)):
        yield Fault((name,), "missing")
    for name, value in arguments.items():
        if name not in schema.hints:
            if not schema.anything:
                gone = REMOVED_ARGUMENTS.get(name)
                yield Fault((name,), gone or unknown("argument", name, schema.hints))
        elif name not in checked and not (value is None and name in schema.nullable):
            yield from prefix_path((name,), value_faults(value, schema.hints[name], files))


def prefix_path(path: KeyPath, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yields ``faults`` with ``path`` before their own paths."""
    for fault in faults:
        yield fault._replace(path=(*path, *fault.path))


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """Returns ``unknown KIND "NAME"``, with the nearest known name, or all if they are few."""
    near = did_you_mean(name, known)
    if not near and len(known) <= _MAX_LISTED:
        near = f" Known: {', '.join(sorted(known)) or 'none'}"
    return f'unknown {kind} "{name}".{near}'


def schema_of(part: Callable[..., Any]) -> Schema:
    """Returns the signature of a class or function with resolved type hints."""
    try:
        parameters = inspect.signature(part).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return Schema({}, frozenset(), frozenset(), anything=True)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    namespace = _namespace(part)
    return Schema(
        hints={p.name: _resolve(p.annotation, namespace) for p in named},
        required=frozenset(p.name for p in named if p.default is p.empty),
        nullable=frozenset(p.name for p in named if p.default is None),
        anything=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _namespace(part: Callable[..., Any]) -> dict[str, Any]:
    """Returns the names that the hints of ``part`` may use: those of its module."""
    function: Any = part.__init__ if inspect.isclass(part) else part
    return getattr(inspect.unwrap(function), "__globals__", {})


def _resolve(annotation: Any, namespace: dict[str, Any]) -> Any:
    """Returns a hint as a type, also if it is text; Any if absent or unresolvable."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"hint": annotation})
    try:
        return typing.get_type_hints(holder, namespace, include_extras=True)["hint"]
    except Exception:  # a name imported for type checkers only, or a bug in the part
        return Any


# ------------------------------------------------------------------------------ values


def value_faults(value: Any, hint: Any, files: bool = True) -> Iterator[Fault]:
    """Yields the errors in ``value`` as a ``hint``, at most one for each item."""
    inner = typing.get_args(hint)
    kind = typing.get_origin(hint) or hint
    if kind is Annotated:
        yield from _annotated_faults(value, inner[0], inner[1:], files)
    elif kind in (Union, types.UnionType):
        yield from _union_faults(value, hint, inner, files)
    elif not _is_of(value, kind, inner):
        yield _mismatch(value, hint)
    elif kind in _SEQUENCES:
        yield from _item_faults(value, kind, inner, files)
    elif kind in _MAPS:
        for key, item in value.items():
            yield from prefix_path((key,), value_faults(item, inner[1] if inner else Any, files))
    elif inspect.isclass(hint) and dataclasses.is_dataclass(hint):
        yield from argument_faults(hint, value, files=files)
    elif kind is float and value not in Range():
        yield Fault((), f"expected a finite number, got {_shown(value)}")


def _is_of(value: Any, kind: Any, inner: tuple[Any, ...]) -> bool:
    """Whether a value is of a kind, without its items; True for an unsupported kind."""
    if kind is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if kind in _SEQUENCES:
        return isinstance(value, (list, tuple))
    if kind in _MAPS or dataclasses.is_dataclass(kind):
        return isinstance(value, Mapping)
    if inspect.isclass(kind) and issubclass(kind, PurePath):
        return isinstance(value, str)
    if isinstance(value, bool) and kind in (int, float):
        return False
    return isinstance(value, _TYPES.get(kind, object))


def _annotated_faults(
    value: Any, hint: Any, metadata: tuple[Any, ...], files: bool
) -> Iterator[Fault]:
    faults = list(value_faults(value, hint, files))
    yield from faults
    if faults or value is None:
        return
    for entry in metadata:
        if isinstance(entry, Range) and value not in entry:
            yield Fault((), f"expected {entry}, got {_shown(value)}")
        if entry == _INPUT_PATH and not value:
            yield Fault((), "the path is empty")
        elif entry in _PATHS and files and (complaint := path_complaint(value)):
            yield Fault((), complaint)
        elif entry == _INPUT_PATH and files and not Path(value).exists():
            yield Fault((), _missing_file(value))


def _union_faults(value: Any, hint: Any, choices: tuple[Any, ...], files: bool) -> Iterator[Fault]:
    """Yields the errors for the first choice of the right type, else one for all choices."""
    if value == "" and type(None) in choices and InputPath in choices:
        return  # PaddleVideo's files write "" for no file
    faults = [list(value_faults(value, choice, files)) for choice in choices]
    if not all(faults):
        return
    meant = [
        each for each in faults if not any(fault.wrong_type and not fault.path for fault in each)
    ]
    yield from meant[0] if meant else [_mismatch(value, hint)]


def _item_faults(value: Any, kind: Any, inner: tuple[Any, ...], files: bool) -> Iterator[Fault]:
    is_fixed = kind is tuple and bool(inner) and inner[-1] is not ...
    if is_fixed and len(inner) != len(value):
        yield Fault((), f"expected {len(inner)} values, got {len(value)}")
        return
    hints = inner if is_fixed else itertools.repeat(inner[0] if inner else Any)
    for index, (item, hint) in enumerate(zip(value, hints, strict=False)):
        yield from prefix_path((index,), value_faults(item, hint, files))


# ---------------------------------------------------------------------------- messages

_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    str: ("text", "texts"),
    None: ("null", "null"),
    type(None): ("null", "null"),
}


def describe(hint: Any) -> str:
    """Describes a type hint in words."""
    inner = typing.get_args(hint)
    kind = typing.get_origin(hint) or hint
    if kind is Annotated:
        return "the path of a file or folder" if _INPUT_PATH in inner else describe(inner[0])
    if kind in (Union, types.UnionType):
        return " or ".join(describe(choice) for choice in inner)
    if kind is Literal:
        return " or ".join(map(_shown, inner))
    if kind in _SEQUENCES:
        item = inner[0] if inner else Any
        return f"a list of {_WORDS[item][1]}" if item in _WORDS else "a list"
    if kind in _MAPS or dataclasses.is_dataclass(hint):
        return "a map"
    return _WORDS[hint][0] if hint in _WORDS else "another value"


def _mismatch(value: Any, hint: Any) -> Fault:
    wanted = describe(hint)
    message = f"expected {wanted}, got {_shown(value)}{_advice(value, wanted)}"
    return Fault((), message, wrong_type=True)


def _advice(value: Any, wanted: str) -> str:
    """Suggests what the user may have meant."""
    if isinstance(value, str):
        return _advice_on_text(value, wanted)
    if "text" in wanted and not isinstance(value, (Mapping, list)) and value is not None:
        return "; in quotes it would be text"
    if isinstance(value, float) and value.is_integer() and "whole" in wanted:
        return f"; write {int(value)}"
    return ""


def _advice_on_text(value: str, wanted: str) -> str:
    if value in ("None", "none"):
        return "; YAML's word for nothing is null"
    if "number" in wanted and _is_number(value):
        plain = unicodedata.normalize("NFKC", value)  # full-width digits as ASCII
        return "; in quotes it is text" if plain == value else f"; write {plain}"
    if "a list" in wanted and value.startswith("("):
        return "; a list is written [1, 2]"
    if "a list" in wanted and value.startswith("-"):
        return '; write "- " with a space before each item'
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    """Returns a short text for a value."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= _MAX_SHOWN else f'"{value[:_MAX_SHOWN]}..."'
    return str(value)


def _missing_file(name: str) -> str:
    """Returns which part of the path ``name`` is missing, and a similar name in its folder."""
    path = Path(name)
    folder = path.parent
    if name in ("None", "none"):
        return f'there is no file or folder "{name}"; YAML\'s word for nothing is null'
    if not folder.is_dir():
        hint = "; it is a URL: download the file first" if "://" in name else ""
        return f'there is no folder "{folder}" for "{name}" (working directory: {Path.cwd()}){hint}'
    beside = [other.name for other in itertools.islice(folder.iterdir(), _MAX_COMPARED)]
    near = did_you_mean(path.name, beside)
    return f'there is no file or folder "{name}" (working directory: {Path.cwd()}).{near}'
