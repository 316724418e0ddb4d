from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

import pytest

from paddlevideo.config.arguments import argument_faults, schema_of, value_faults
from paddlevideo.registry import InputPath
from paddlevideo.utils.ranges import AtLeast, Range

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclass
class Point:
    x: int
    y: float = 0.0


def messages(faults) -> list[str]:
    return [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults]


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3], [1.5, True, "1", None, [1], {}]),
        (float, [0, 1e-4], [True, "0.1", None]),
        (bool, [True, False], [0, "yes", None]),
        (str, ["", "x"], [1, None, True, ["x"]]),
        (None, [None], [0, ""]),
        (Any, [None, 1, {}], []),
        (Sequence[int], [[], [1, 2]], [1, "12", [1, "2"], {}]),
        (list, [[], ["x", 1]], ["x", {}]),
        (tuple[int, ...], [[], [1, 2]], [["x"]]),
        (tuple[int, str], [[1, "x"]], [[1], ["x", 1], [1, "x", 2]]),
        (dict[str, float], [{}, {"a": 1}], [[], {"a": "x"}]),
        (Mapping, [{}, {"a": 1}], [[], None]),
        (int | None, [1, None], ["x", 1.5]),
        (Optional[int], [1, None], ["x"]),  # noqa: UP045 - the old way to write it
        (Union[int, list[int]], [1, [1]], ["x", ["x"]]),  # noqa: UP007
        (float | dict, [1, {"name": "x"}], ["x", [1]]),
        (Literal["a", "b", 1], ["a", 1], ["c", True, None]),
        (Annotated[int, AtLeast(1)], [1, 2], [0, "x"]),
        (Annotated[int, AtLeast(1)] | None, [None, 1], [0]),
        (float, [1.5], [float("nan"), float("inf")]),
        (Annotated[float, Range(at_least=0, below=1)], [0, 0.5], [-0.1, 1, float("nan"), "0"]),
        (Annotated[float, Range(above=0)], [1e-9], [0, -1, float("inf")]),
        (list[Annotated[int, AtLeast(0)]], [[], [0, 3]], [[0, -1]]),
        (Annotated[int, AtLeast(0)] | list[Annotated[int, AtLeast(0)]], [0, [0]], [-1, [-1]]),
        (Path, ["x"], [1, None]),
        (Point, [{"x": 1}], [{}, {"x": "a"}, {"x": 1, "z": 2}, 3]),
        (Callable[[int], int], [1, "x"], []),
        (object, [1, "x"], []),
    ],
)
def test_types(hint, good, bad):
    for value in good:
        assert messages(value_faults(value, hint)) == []
    for value in bad:
        assert messages(value_faults(value, hint)), value


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("16", int, ': expected a whole number, got "16"; in quotes it is text'),
        (1e2, int, ": expected a whole number, got 100.0; write 100"),
        (2024, str, ": expected text, got 2024; in quotes it would be text"),
        ("None", int | None, 'whole number or null, got "None"; YAML\'s word for nothing is null'),
        (["x", 1, "y"], list[int], '0: expected a whole number, got "x"'),
        ({"a": {"b": "c"}}, dict[str, dict[str, int]], 'a.b: expected a whole number, got "c"'),
        ("summ", Literal["mul", "sum"], ': expected "mul" or "sum", got "summ"'),
        (0, Annotated[int, AtLeast(1)], ": expected 1 or more, got 0"),
        (2, Annotated[float, Range(at_least=0, at_most=1)], ": expected 0 to 1, got 2"),
        (1, Annotated[float, Range(at_least=0, below=1)], "0 or more and less than 1, got 1"),
        (0.0, Annotated[float, Range(above=0)], ": expected more than 0, got 0.0"),
        (float("nan"), float, ": expected a finite number, got nan"),
        (3, list[int] | None, ": expected a list of whole numbers or null, got 3"),
        ([["x"]], int | list[list[int]], '0.0: expected a whole number, got "x"'),
        ("x" * 100, int, f'got "{"x" * 60}..."'),
    ],
)
def test_messages(value, hint, message):
    assert message in messages(value_faults(value, hint))[0]


def test_input_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train_data.npy").touch()
    assert messages(value_faults("train_data.npy", InputPath)) == []
    assert messages(value_faults(str(tmp_path), InputPath)) == []
    assert 'Did you mean "train_data.npy"' in messages(value_faults("train_dat.npy", InputPath))[0]
    assert 'no folder "no"' in messages(value_faults("no/a.npy", InputPath | None))[0]
    assert messages(value_faults("absent", InputPath, files=False)) == []
    assert messages(value_faults(["train_data.npy", "absent"], list[InputPath]))[0][0] == "1"
    assert messages(value_faults("", InputPath | None)) == []
    assert messages(value_faults(None, InputPath | None)) == []
    assert "is empty" in messages(value_faults("", InputPath))[0]
    assert "expected text" in messages(value_faults(3, InputPath))[0]


class Part:
    def __init__(self, size: int, name="x", other: Unknown = 1, rate: float = None, *, last: str):
        pass


class Heir(Part):
    pass


def open_part(size: int, **rest: Any) -> None:
    pass


def test_classes_and_functions_are_read_alike():
    for part in (Part, Heir):
        schema = schema_of(part)
        assert schema.required == {"size", "last"} and not schema.anything
        assert schema.hints == {"size": int, "name": Any, "other": Any, "rate": float, "last": str}
    assert schema_of(open_part).anything and schema_of(Point).required == {"x"}
    assert schema_of(dict).anything


def test_arguments():
    given = {"sizes": 1, "last": 2, "other": object(), "rate": None}
    assert messages(argument_faults(Part, given)) == [
        "size: missing",
        'sizes: unknown argument "sizes". Did you mean "size"?',
        "last: expected text, got 2; in quotes it would be text",
    ]
    assert messages(argument_faults(open_part, {"size": 1, "any": 2})) == []
    assert "Known: x, y" in messages(argument_faults(Point, {"x": 1, "qqq": 1}))[0]
    assert messages(argument_faults(Point, {"x": "text"}, checked={"x"})) == []
