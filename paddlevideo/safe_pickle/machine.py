"""The stack machine of pickles, reduced to instructions for data.

It interprets the program itself, without :mod:`pickle`. A name in the file never becomes a Python
object, only one of the records below, which :mod:`paddlevideo.safe_pickle` turns into arrays after
checking all sizes. It calls, imports and preallocates nothing.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any


class Refused(Exception):
    """A pickle contains something unsupported; the caller adds the file's name."""


class CutShort(Refused):
    """The file ends before its program does."""


class NameRecord:
    """A global named in the file; ``meaning`` is one of the values of ``_NAMES``."""

    __slots__ = ("meaning",)

    def __init__(self, meaning: str):
        self.meaning = meaning


class DTypeRecord:
    """``numpy.dtype(code)``, its byte order set by BUILD."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any):
        self.code, self.order = code, "="


class ArrayRecord:
    """A future array or scalar; ``state`` is (shape, dtype, is_fortran, data)."""

    __slots__ = ("state", "is_scalar")

    def __init__(self, state: tuple | None = None, is_scalar: bool = False):
        self.state, self.is_scalar = state, is_scalar


class Latin1Record:
    """``_codecs.encode(text, "latin1")``, as protocol 2 writes bytes."""

    __slots__ = ("text",)

    def __init__(self, text: str):
        self.text = text


_NAMES = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "builtins tuple": "tuple",
    "__builtin__ tuple": "tuple",
    "builtins bytes": "bytes",
    "__builtin__ bytes": "bytes",
    "_codecs encode": "encode",
    "collections OrderedDict": "OrderedDict",
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    _NAMES[f"{_core}.multiarray _reconstruct"] = "reconstruct"
    _NAMES[f"{_core}.multiarray scalar"] = "scalar"
    _NAMES[f"{_core}.numeric _frombuffer"] = "frombuffer"


def require(condition: bool, message: str) -> None:
    """Raises :class:`Refused` with the message unless the condition is true."""
    if not condition:
        raise Refused(message)


def _reconstruct(kind: Any, _shape: Any, _code: Any) -> ArrayRecord:
    require(type(kind) is NameRecord and kind.meaning == "ndarray", "an array of an unknown class")
    return ArrayRecord()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> ArrayRecord:
    return ArrayRecord((shape, dtype, order == "F", data))


def _encode(text: Any, encoding: Any) -> Latin1Record:
    require(type(text) is str and encoding == "latin1", "text that is not encoded as latin1")
    return Latin1Record(text)


def _tuple(items: Any) -> tuple:
    # Only a tuple, which is returned itself: a list would be copied at every reference.
    require(type(items) is tuple, "a tuple made of something else")
    return items


# The calls of REDUCE, with the arguments in the file; a wrong number of them is a TypeError.
_CALLS: dict[str, Callable[..., Any]] = {
    "reconstruct": _reconstruct,
    "frombuffer": _frombuffer,
    "scalar": lambda dtype, data: ArrayRecord(((), dtype, False, data), is_scalar=True),
    "dtype": lambda code, _align, _copy: DTypeRecord(code),
    "tuple": _tuple,
    "bytes": lambda: b"",
    "encode": _encode,
    "OrderedDict": OrderedDict,
}


class Machine:
    """The stack machine. Large byte strings stay views of ``buffer``."""

    #: What names of the file mean, the calls of those names, and the instructions.
    names: Mapping[str, str] = _NAMES
    calls: Mapping[str, Callable[..., Any]] = _CALLS
    steps: Mapping[int, Callable[[Any], Any]]

    def __init__(self, buffer: memoryview):
        self.buffer = buffer
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        # A dictionary: a list would have to be as long as the largest index.
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Interprets the program up to its STOP and returns the value on top of the stack."""
        buffer, steps = self.buffer, self.steps
        while True:
            code = buffer[self.position]
            self.position += 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            step = steps.get(code)
            if step is None:
                raise Refused(f"instruction 0x{code:02x} at byte {self.position - 1}")
            step(self)

    def take(self, size: int) -> memoryview:
        """Returns the next ``size`` bytes without copying. Raises CutShort."""
        end = self.position + size
        if end > len(self.buffer):
            left = len(self.buffer) - self.position
            raise CutShort(f"{size} bytes expected, {left} left")
        piece = self.buffer[self.position : end]
        self.position = end
        return piece

    def number(self, layout: struct.Struct) -> Any:
        """Returns the next number, of the type of ``layout``."""
        return layout.unpack(self.take(layout.size))[0]

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        """Removes everything above the last mark from the stack, and returns it."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def line(self) -> str:
        """Returns the next line of text (half of a name in protocol 2)."""
        piece = bytes(self.buffer[self.position : self.position + 256])
        end = piece.index(b"\n")
        self.position += end + 1
        return piece[:end].decode()

    def name(self, module: str, attribute: str) -> None:
        """Pushes the record of a known name. Raises Refused for an unknown one."""
        key = f"{module} {attribute}"
        if key not in self.names:
            raise Refused(f'the name "{module}.{attribute}", which could run code')
        self.push(NameRecord(self.names[key]))

    def stack_global(self) -> None:
        """Pushes the record of a name whose two halves are on the stack."""
        attribute, module = self.stack.pop(), self.stack.pop()
        require(type(attribute) is str and type(module) is str, "a name that is not text")
        self.name(module, attribute)

    def append(self, items: list[Any]) -> None:
        """Appends to the list on top of the stack."""
        target = self.stack[-1]
        require(type(target) is list, "items appended to something other than a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Sets keys and values, given in turn, in the dictionary on top of the stack."""
        target = self.stack[-1]
        require(
            type(target) in (dict, OrderedDict), "items set on something other than a dictionary"
        )
        keys, values = items[::2], items[1::2]
        require(len(keys) == len(values), "a key without a value")
        for key, value in zip(keys, values, strict=True):
            # Hashing nested shared tuples can take years; text and integers cannot.
            require(type(key) in (str, int), "a dictionary key that is neither text nor integer")
            target[key] = value

    def reduce(self) -> None:
        """Pushes the record that stands for the result of a call."""
        arguments, function = self.stack.pop(), self.stack.pop()
        require(type(function) is NameRecord, "a call of something without a name")
        require(type(arguments) is tuple, "a call without arguments")
        require(function.meaning in self.calls, f"a call of {function.meaning}")
        self.push(self.calls[function.meaning](*arguments))

    def build(self) -> None:
        """Gives the record on top of the stack its state."""
        state, target = self.stack.pop(), self.stack[-1]
        require(type(state) is tuple, "an object with an unknown state")
        if type(target) is DTypeRecord:
            require(state[2:5] == (None, None, None), "a structured type")
            target.order = state[1]
        else:
            is_new = type(target) is ArrayRecord and target.state is None and len(state) == 5
            require(is_new, "a state for something that is not an array")
            target.state = state[1:]


_U1, _U2, _U4, _U8 = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<Q"))


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value)


def _number(layout: str) -> Callable[[Machine], None]:
    reader = struct.Struct(layout)
    return lambda machine: machine.push(machine.number(reader))


def _text(length: struct.Struct) -> Callable[[Machine], None]:
    return lambda machine: machine.push(
        str(machine.take(machine.number(length)), "utf-8", "surrogatepass")
    )


def _bytes(length: struct.Struct) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(length)))


def _long(length: struct.Struct) -> Callable[[Machine], None]:
    return lambda machine: machine.push(
        int.from_bytes(machine.take(machine.number(length)), "little", signed=True)
    )


def _put(length: struct.Struct) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.memo[machine.number(length)] = machine.stack[-1]

    return step


def _get(length: struct.Struct) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.memo[machine.number(length)])


def _tuple_of(size: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        require(len(machine.stack) >= size, "a tuple of missing items")
        machine.stack[-size:] = [tuple(machine.stack[-size:])]

    return step


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


_STEPS: dict[int, Callable[[Machine], Any]] = {
    0x80: lambda machine: machine.take(1),  # PROTO
    0x95: lambda machine: machine.take(8),  # FRAME: a hint for buffering
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): _number("<i"),
    ord("K"): _number("<B"),
    ord("M"): _number("<H"),
    0x8A: _long(_U1),
    0x8B: _long(_U4),
    ord("G"): _number(">d"),
    0x8C: _text(_U1),
    ord("X"): _text(_U4),
    0x8D: _text(_U8),
    ord("C"): _bytes(_U1),
    ord("B"): _bytes(_U4),
    0x8E: _bytes(_U8),
    0x96: _bytes(_U8),  # BYTEARRAY8: writable arrays in protocol 5
    ord("]"): lambda machine: machine.push([]),
    ord("}"): lambda machine: machine.push({}),
    ord(")"): _constant(()),
    ord("t"): lambda machine: machine.push(tuple(machine.pop_mark())),
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    ord("a"): lambda machine: machine.append([machine.stack.pop()]),
    ord("e"): lambda machine: machine.append(machine.pop_mark()),
    ord("s"): _set_item,
    ord("u"): lambda machine: machine.set_items(machine.pop_mark()),
    ord("q"): _put(_U1),
    ord("r"): _put(_U4),
    0x94: _memoize,
    ord("h"): _get(_U1),
    ord("j"): _get(_U4),
    ord("c"): lambda machine: machine.name(machine.line(), machine.line()),
    0x93: Machine.stack_global,
    ord("R"): Machine.reduce,
    ord("b"): Machine.build,
}
Machine.steps = _STEPS
