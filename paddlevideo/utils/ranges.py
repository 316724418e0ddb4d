"""Bounds of numbers, as type hints: ``rate: Probability = 0.5``.

The configuration check reports a number outside its bounds with file and line; command lines use
the same bounds through :func:`number`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, kw_only=True)
class Range:
    """``Annotated[float, Range(at_least=0, below=1)]``: bounds of a number, each optional."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            abs(value) <= sys.float_info.max  # of integers too, which may be larger than any float
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        parts = [
            "" if self.at_least is None else f"{self.at_least:g} or more",
            "" if self.above is None else f"more than {self.above:g}",
            "" if self.at_most is None else f"at most {self.at_most:g}",
            "" if self.below is None else f"less than {self.below:g}",
        ]
        return " and ".join(part for part in parts if part) or "a finite number"


def AtLeast(minimum: float) -> Range:
    """Returns the bounds of a number that is at least ``minimum``."""
    return Range(at_least=minimum)


Count = Annotated[int, Range(at_least=1)]
CountOrZero = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Probability = Annotated[float, Range(at_least=0, at_most=1)]
#: A fraction below 1, such as the decay of a running mean.
Fraction = Annotated[float, Range(at_least=0, below=1)]


def number(kind: type[int] | type[float], bounds: Range) -> Callable[[str], float]:
    """Returns the ``type=`` of a command-line option: a number within ``bounds``."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            words = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f'expected {words}, got "{text}"') from None
        if value not in bounds:
            raise argparse.ArgumentTypeError(f'expected {bounds}, got "{text}"')
        return value

    return parse


#: For command lines: integers from 1 and from 0, numbers above 0 and from 0.
count, count_or_zero = (number(int, Range(at_least=minimum)) for minimum in (1, 0))
positive, non_negative = number(float, Range(above=0)), number(float, Range(at_least=0))
